"""Floating-point operations of what a method does, counted while it runs for a moment on made-up data.

A multiplication and an addition are two. Only products of matrices count; what else an update does is in the
rates of `workflow.cost.machine`. Phases, and what comes before them, are `workflow.chains`'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from algorithms.diagnostics import action_auroc, behaviours, likelihood
from algorithms.methods.interface import PRETRAINED, Method
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch
from algorithms.training import counting, trial
from envs.locomotion import specification
from offline_data.transitions import Transitions
from workflow.chains import Link, MethodAndConfig, Place, begin_offline, begin_online


class Operations(NamedTuple):
    """What one run (offline: one agent) of a method does, and how many numbers it learns."""

    update: int  # on average over the learner's period
    action: int
    numbers: int
    kernels: counting.Kernels  # of an update


@cache
def of_run(place: Place, size: int, before: tuple[Link, ...], last: MethodAndConfig) -> Operations:
    """Of one run online, from `size` agents of the phases before."""
    run = begin_online(place, size, before, last)
    return _of(run, run.learn, place)


@cache
def of_agent(place: Place, before: tuple[Link, ...], last: MethodAndConfig) -> Operations:
    """Of one agent's pre-training, once it learns as it does most of the time."""
    agent, batch = begin_offline(place, before, last), random_batch_of(place, last)
    return _of(agent, lambda: agent.update(agent.agents.encode(batch), PRETRAINED), place)


@cache
def of_behaviours(place: Place, before: tuple[Link, ...], last: MethodAndConfig) -> float:
    """Of what is measured of one agent's behaviours on one transition of held-out data."""
    agent, batch = begin_offline(place, before, last), random_batch_of(place, last)
    arrays = {name: getattr(batch, name)[0].numpy() for name in FIELDS}
    held_out = Transitions(**arrays, episode_ends=np.ones(len(batch.rewards[0]), np.bool_))
    tensors = one_agent(agent.agents, 0)
    measured = counting.operations(lambda: behaviours.log_densities(tensors, last[1], held_out))
    return measured / len(held_out)


@cache
def of_warm_start(place: Place, before: tuple[Link, ...], last: MethodAndConfig) -> tuple[int, int]:
    """Of an update that clones, and of one that fits returns. UserError where the method has none."""
    agent, batch = begin_offline(place, before, last), random_batch_of(place, last)
    cloning = counting.operations(lambda: agent.clone(agent.agents.encode(batch)))
    return cloning, counting.operations(lambda: agent.fit_returns(agent.agents.encode(batch), batch.rewards))


@cache
def of_auroc(place: Place, size: int, before: tuple[Link, ...], last: MethodAndConfig) -> float:
    """Of one measurement of Figure 10, from one with as many states as the run has transitions."""
    run, probe = begin_online(place, size, before, last), action_auroc.ActionAUROC(1, [0])
    return (
        counting.operations(lambda: probe.at(run, 1))
        * action_auroc.ActionAUROCConfig().max_states
        / trial.ROWS
    )


@cache
def of_likelihood(environment: str, config: likelihood.LikelihoodConfig) -> tuple[int, float]:
    """Of one update of Figure 1a's density model, and of all that is evaluated with it."""
    spec, streams, one = specification(environment), Streams([0]), replace(config, updates=1)
    pairs = trial.random(0, trial.ROWS, spec.observation_size + spec.action_size)
    model = likelihood.train_vae(pairs, streams, one)
    update = counting.operations(lambda: likelihood.train_vae(pairs, streams, one))
    samples = config.importance_samples
    judged = counting.operations(lambda: likelihood.log_likelihood(model, pairs, streams, samples))
    return update, judged / trial.ROWS * 2 * config.evaluated_pairs


def _of(learner: Method, update: Callable[[], object], place: Place) -> Operations:
    observations = trial.made_up(0, place.sizes, 1).map(lambda rows: rows.unsqueeze(0)).observations
    with torch.no_grad():
        action = counting.operations(lambda: learner.exploit(observations))
    learned = [parameter for group in learner.agents.optimiser.param_groups for parameter in group["params"]]
    numbers = sum(each.numel() for each in learned)
    period = learner.period()  # an actor may learn at some updates alone

    def updates() -> None:
        for _ in range(period):
            update()

    products = counting.operations(updates) // period
    # Of updates that come after: the first ones make the optimiser's moments.
    kernels = counting.Kernels(*(-(-count // period) for count in counting.kernels(updates)))
    return Operations(products, action, numbers, kernels)


def random_batch_of(place: Place, last: MethodAndConfig) -> Batch:
    """Return a batch of random transitions, as large as the settings say and with what the method needs."""
    method, config = last
    data = trial.offline_data(place.sizes, method.needed(config), config.batch_size)
    return data.gather(torch.arange(config.batch_size).unsqueeze(0))
