"""A minibatch of transitions, one row of draws for each agent of the population."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Transitions drawn for every agent; P agents, B transitions each, float32.

    `masks` is 0 where the next state is terminal (no bootstrap) and 1 elsewhere, time-outs included.
    """

    observations: Tensor  # [P, B, observation_size]
    actions: Tensor  # [P, B, action_size]
    rewards: Tensor  # [P, B]
    masks: Tensor  # [P, B]
    next_observations: Tensor  # [P, B, observation_size]
