"""Methods tried on a few made-up transitions: whether a run can begin, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from algorithms.methods.interface import Method, OfflineStart, Start
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch, combined
from algorithms.replay.extras import EPISODE_ENDS, Needed
from algorithms.replay.stores import OfflineData, OnlineBuffer
from envs.locomotion import EnvironmentSpecification
from offline_data.transitions import Transitions

ROWS = 64
"""Transitions that each run is given."""

EPISODES = 100
"""Episodes that pre-training is tried for: a method may look for so many sources of them."""

Agent = Mapping[str, Tensor]


def begin(
    method: type[Method],
    config: Any,
    spec: EnvironmentSpecification,
    members: Sequence[Agent],
    seeds: Sequence[int] = (0,),
    offline: OfflineData | None = None,
) -> Method:
    """A run for each of `seeds` with `ROWS` online transitions of its own; `members` are pre-trained agents.

    UserError, as where it begins in earnest, for missing data and agents that do not fit.
    """
    start = Start(
        seeds,
        Streams([seed + 1 for seed in seeds]),
        spec.observation_size,
        spec.action_size,
        offline,
        OnlineBuffer(len(seeds), ROWS, spec.observation_size, spec.action_size, needed=method.needed(config)),
        members,
        ROWS,
    )
    learner = method.begin(start, config)
    rows = [made_up(seed, spec) for seed in seeds]
    learner.replay.add(combined(rows, lambda *each: torch.stack(each)))
    return learner


def begin_offline(
    method: type[Method], config: Any, spec: EnvironmentSpecification, agents: Sequence[Agent] = ()
) -> Method:
    """One agent's pre-training, from `agents` if there is one. UserError as where it begins in earnest."""
    sizes = (spec.observation_size, spec.action_size)
    return method.begin_offline(OfflineStart([0], *sizes, agents, returns=range(EPISODES)), config)


def made_up(seed: int, spec: EnvironmentSpecification, rows: int = ROWS) -> Batch:
    """`rows` random transitions. [rows, ...] each"""
    observations, actions = spec.observation_size, spec.action_size
    return Batch(
        random(seed, rows, observations),
        random(seed + 2, rows, actions).tanh(),
        random(seed + 3, rows),
        torch.ones(rows),
        random(seed + 4, rows, observations),
        {EPISODE_ENDS: torch.arange(1, rows + 1) == rows},
    )


def offline_data(spec: EnvironmentSpecification, needed: Needed, rows: int = ROWS) -> OfflineData:
    """`rows` random transitions, as a dataset's of one episode, with the extras that are `needed`."""
    batch = made_up(1, spec, rows)
    arrays = {name: getattr(batch, name).numpy() for name in FIELDS}
    ends = batch.extras[EPISODE_ENDS].numpy()
    return OfflineData.from_transitions(Transitions(**arrays, episode_ends=ends), needed=needed)


def random(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
