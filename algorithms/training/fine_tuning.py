"""The online methods by name, the project's own and other people's, and how a run with one is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor

from algorithms.diagnostics import action_auroc
from algorithms.diagnostics.action_auroc import ActionAUROCConfig
from algorithms.methods.awac import AWACLearner
from algorithms.methods.bcq import BCQLearner
from algorithms.methods.cql import CQLFineTuning
from algorithms.methods.off2on import Off2OnLearner
from algorithms.methods.sac import SACFineTuning, SACLearner
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData, OnlineBuffer
from algorithms.training.custom import import_method
from algorithms.training.jobs import Job, check_sizes
from algorithms.training.online import Learner, Measure, Method, OnlineSchedule, Start, run_online
from envs.locomotion import specification
from offline_data.transitions import Transitions
from storage import UserError

METHODS: dict[str, type[Method]] = {
    "off2on": Off2OnLearner,
    "sac_ft": SACFineTuning,
    "cql_ft": CQLFineTuning,
    "awac": AWACLearner,
    "bcq_ft": BCQLearner,
    "sac": SACLearner,
}
Members = Sequence[Mapping[str, Tensor]]


def find_method(name: str) -> type[Method]:
    """A method of `METHODS`, or a custom one by "package.module:Class".

    UserError where there is none of that name, or it is not a `Method`.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" in name:
        return import_method(name)
    raise UserError(f"unknown method {name!r}, expected one of {', '.join(METHODS)}, or package.module:Class")


def fine_tune(
    label: str,
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    job: Job,
    reward_scale: float = 1.0,
) -> pd.DataFrame:
    """Run `method` online, one run for each of `seeds`, side by side; returns their curve.

    `label` is what the curve calls it; two labels of one method share no random numbers. `config` is of the
    class `method.Config`. `transitions` is the offline data, its rewards already scaled (None for methods
    from scratch); `members` the pre-trained agents run by run. Raises UserError for missing data, or agents
    of another number or size.
    A custom method's updates are not captured as CUDA graphs, and it is not copied to be evaluated beside
    its learning: nothing says that its updates are alike, or that its agents are all it acts with.
    """
    if method not in METHODS.values():
        job = job._replace(compute=replace(job.compute, updates_per_graph=0, evaluation_beside=False))
    learner = make_learner(
        label, method, config, online, transitions, members, seeds, job.environment, job.compute.device
    )
    measure = _auroc(learner, online.auroc_interval, seeds) if online.auroc_interval else None
    return run_online(online, label, learner, seeds, job, reward_scale, measure).curve


def _auroc(learner: Learner, interval: int, seeds: Sequence[int]) -> Measure | None:
    """Figure 10's measurement at each `interval`, for Off2On alone: it is about ensembles of Q-functions."""
    if not isinstance(learner, Off2OnLearner):
        return None

    def measure(step: int) -> Mapping[str, ArrayLike]:
        if step == 0 or step % interval:
            return {}
        of_step = [derived_seed(seed, "action auroc", step) for seed in seeds]
        streams = Streams(of_step, learner.agents.streams.device)
        found = action_auroc.measure(learner.agents, learner.replay.online, streams, ActionAUROCConfig())
        return {name: value.numpy() for name, value in found.items()}

    return measure


def make_learner(
    label: str,
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    environment: str,
    device: str = "cpu",
) -> Learner:
    """`method` at the start of its online phase, on `device`; the arguments are `fine_tune`'s."""
    if not isinstance(config, method.Config):
        raise UserError(f"{label} was given {type(config).__name__}, expected {method.Config.__name__}")
    spec = specification(environment)
    if transitions is not None:
        check_sizes(transitions, environment)
    start = Start(
        seeds=[derived_seed(seed, label) for seed in seeds],
        draws=Streams([derived_seed(seed, label, "batches") for seed in seeds], device),
        observation_size=spec.observation_size,
        action_size=spec.action_size,
        offline=None if transitions is None else OfflineData.from_transitions(transitions, device),
        buffer=OnlineBuffer(
            len(seeds), online.steps + online.initial_steps, spec.observation_size, spec.action_size, device
        ),
        members=members,
        block_size=online.block_size,
    )
    learner = method.begin(start, config)
    learner.agents.move_to(device)
    return learner
