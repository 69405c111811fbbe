"""Floating-point operations of updates and actions, counted by PyTorch while they run on made-up data.

A multiplication and an addition are two. Only products of matrices count; what else an update does is in the
coefficients of `workflow.cost`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from algorithms.methods.interface import PRETRAINED, Method
from algorithms.replay.batch import Batch
from algorithms.training import counting, trial
from envs.locomotion import EnvironmentSpecification


class Operations(NamedTuple):
    """What one run (offline: one agent) of a method does, and how many numbers it learns."""

    update: int
    action: int
    numbers: int


def of_online(run: Method, spec: EnvironmentSpecification) -> Operations:
    """Of one run that has begun (`trial.begin`)."""
    return _of(run, run.learn, spec)


def of_offline(agent: Method, spec: EnvironmentSpecification) -> Operations:
    """Of one agent that has begun (`trial.begin_offline`), once it learns as it does most of the time."""
    return _of(agent, lambda: agent.update(_batch(agent, spec), PRETRAINED), spec)


def of_warm_start(agent: Method, spec: EnvironmentSpecification) -> tuple[int, int]:
    """Of an update that clones, and of one that fits returns. UserError where the method has none."""
    batch = _batch(agent, spec)
    return counting.operations(lambda: agent.clone(batch)), counting.operations(
        lambda: agent.fit_returns(batch, batch.rewards)
    )


def _of(learner: Method, update: Callable[[], object], spec: EnvironmentSpecification) -> Operations:
    observations = trial.random(0, 1, 1, spec.observation_size)
    with torch.no_grad():
        action = counting.operations(lambda: learner.exploit(observations))
    learned = [parameter for group in learner.agents.optimiser.param_groups for parameter in group["params"]]
    return Operations(counting.operations(update), action, sum(parameter.numel() for parameter in learned))


def _batch(agent: Method, spec: EnvironmentSpecification) -> Batch:
    rows = trial.made_up(1, spec, agent.config.batch_size)
    return Batch(*(field.unsqueeze(0) for field in rows))
