"""Train and fine-tune from Python alone: a dataset, a method, agents and their curve (docs/python.md).

A configuration does the same with files, figures and verdicts. Numbers are those of its jobs where agents,
seeds and settings are the same.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from algorithms.methods.interface import Method, OfflineStart
from algorithms.population.agents import load_members
from algorithms.training.acceleration import prepare_process
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, StartingAgents, pretrain, stream_seed
from algorithms.training.online import OnlineSchedule
from algorithms.training.trial import sizes_of
from offline_data.minari_io import check_recorded_on, read_published
from offline_data.transitions import Transitions
from storage import UserError
from storage.provenance import configuration_hash
from storage.settings import build

Watch = Callable[[pd.DataFrame], None]
"""What is called with the curve so far at each evaluation."""


class Trained(NamedTuple):
    """Agents of one method, one or an ensemble for each seed, and how they came to be."""

    agents: list[dict[str, Tensor]]
    """What a checkpoint holds of each, seed by seed; `algorithms.population.checkpoints.save` writes one."""
    curve: pd.DataFrame
    """Rows of `storage.curves.COLUMNS`: a metric of a seed at a step."""
    method: Method
    environment: str
    updates: int = 0
    """Updates that the agents have had offline, by the method that trained them last."""

    @torch.no_grad()
    def act(self, observations: ArrayLike, seed: int = 0) -> NDArray[np.float32]:
        """Act as in evaluation, by the agents of the `seed`-th seed: [..., observation] -> [..., action]."""
        rows = torch.as_tensor(np.asarray(observations), dtype=torch.float32)
        flat = rows.reshape(-1, rows.shape[-1])
        runs = self.method.agents.count // self.method.agents.members
        actions = self.method.exploit(flat.expand(runs, *flat.shape))[seed]
        return np.asarray(actions.reshape(*rows.shape[:-1], -1).numpy(), dtype=np.float32)


def dataset(minari_id: str, environment: str | None = None) -> Transitions:
    """Read a Minari dataset of vectors, which is downloaded where it is not there.

    UserError as `offline_data.minari_io.read_published`.
    """
    return read_published(minari_id, environment)[0]


def offline(
    method: str,
    environment: str,
    data: Transitions,
    start: Trained | None = None,
    *,
    seeds: Sequence[int] = (0,),
    schedule: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
    **numbers: Any,
) -> Trained:
    """Train an agent for each seed on `data`, side by side.

    Args:
        method: one of `algorithms.catalogue.OFFLINE`, or package.module:Class.
        environment: what the agents are evaluated in, such as "Hopper-v4".
        data: what they learn from.
        start: the agents to start from, one a seed: of another method, where the method takes some, or of
            the same, which are trained further; `updates` of the schedule counts those that they have had.
        seeds: of networks, batches and evaluation.
        schedule: fields of `OfflineSchedule`, such as `{"updates": 2000}`.
        folder: where checkpoints lie, from which the same call goes on after an interruption; None: nowhere.
        watch: called with the curve so far at each evaluation.
        numbers: fields of the method's `Config`, such as `hidden_widths=[64, 64]`.

    Raises:
        UserError: an unknown name, a wrong setting, data or agents of other sizes, or data that say that they
            were recorded in another environment, version included.
    """
    kind = find_method(method, "offline")
    config = build(kind.Config, numbers, method)
    lasting = build(OfflineSchedule, schedule or {}, "schedule")
    had = start.updates if start and type(start.method) is kind else 0
    starting = StartingAgents(start.agents, had) if start else None
    prepare_process()
    with _place(folder) as place:
        job = _job(method, environment, data, start, seeds, place, watch, [numbers, schedule])
        agents, curve = pretrain(kind, config, lasting, data, job, starting)
    acting = _acting(kind, config, job, data, agents, had)
    return Trained(agents, curve, acting, environment, lasting.updates)


def online(
    method: str,
    environment: str,
    data: Transitions | None = None,
    start: Trained | None = None,
    *,
    seeds: Sequence[int] = (0,),
    schedule: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
    **numbers: Any,
) -> Trained:
    """Learn online, a run for each seed, side by side; arguments are those of `offline`.

    `method` is one of `algorithms.catalogue.ONLINE`, `schedule` has fields of `OnlineSchedule` such as
    `{"steps": 2000}`. An ensemble of N (`ensemble_size`) takes the first N agents of `start` for the first
    seed, the next N for the second; `data` is None for a method from scratch. Where `data` are scaled
    (`Transitions.scaled`), so are the rewards that are collected. UserError for data that are shifted.
    """
    kind = find_method(method, "online")
    config = build(kind.Config, numbers, method)
    lasting = build(OnlineSchedule, schedule or {}, "schedule")
    members, agents = start.agents if start else [], list[dict[str, Tensor]]()
    prepare_process()
    with _place(folder) as place:
        job = _job(method, environment, data, start, seeds, place, watch, [numbers, schedule])
        curve = fine_tune(kind, config, lasting, data, members, job, _reward_scale(data), trained=agents)
    return Trained(agents, curve, _acting(kind, config, job, data, agents), environment)


def _reward_scale(data: Transitions | None) -> float:
    """Return the factor of rewards collected online, that of the data's."""
    metadata = {} if data is None else data.metadata
    if shift := metadata.get("reward_shift"):
        raise UserError(
            f"the data's rewards are shifted by {shift:g}, which those collected online are not: expected"
            " rewards as they were recorded, or scaled"
        )
    return float(metadata.get("reward_scale", 1.0))


def _place(folder: Path | str | None) -> Any:
    return tempfile.TemporaryDirectory() if folder is None else nullcontext(folder)


def _job(
    method: str,
    environment: str,
    data: Transitions | None,
    start: Trained | None,
    seeds: Sequence[int],
    place: Path | str,
    watch: Watch | None,
    settings: Sequence[Mapping[str, Any] | None],
) -> Job:
    """Describe the job to its loop; a checkpoint is of these settings, data and agents to start from."""
    sizes_of(environment)
    if data is not None:
        check_recorded_on(data, environment)
    label = method.rpartition(":")[2].lower()
    named = str(data.metadata.get("dataset_id", "data")) if data is not None else "none"
    said = {"settings": settings, "method": method, "environment": environment, "seeds": list(seeds)}
    digest = hashlib.sha256()
    for numbers in [{} if data is None else vars(data), *(start.agents if start else [])]:
        for name, array in sorted(numbers.items()):
            if name != "metadata":
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(array).data)
    identity = configuration_hash({**said, "data": named, "numbers": digest.hexdigest()})
    return Job("python", label, named, environment, list(seeds), identity, Path(place), watch=watch)


def _acting(
    kind: type[Method],
    config: Any,
    job: Job,
    data: Transitions | None,
    agents: Sequence[Mapping[str, Tensor]],
    had: int = 0,
) -> Method:
    """Return the method with its trained agents, to act as they are evaluated, seed by seed.

    They `had` so many updates before this training.
    """
    own, returns = [stream_seed(seed, job.label, had) for seed in job.seeds], data.returns() if data else ()
    start = OfflineStart(own, *sizes_of(job.environment), (), returns)
    population = kind.population(start, config, len(agents) // len(job.seeds))
    load_members(population, agents)
    population.load_averages(agents)
    return kind(population, config)
