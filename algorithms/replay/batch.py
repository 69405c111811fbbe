"""A minibatch of transitions, one row of draws for each agent of the population."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from storage import UserError


class Batch(NamedTuple):
    """Transitions drawn for every agent; P agents, B transitions each, float32.

    `masks` is 0 where the next state is terminal (no bootstrap) and 1 elsewhere, time-outs included.
    """

    observations: Tensor  # [P, B, observation_size]
    actions: Tensor  # [P, B, action_size]
    rewards: Tensor  # [P, B]
    masks: Tensor  # [P, B]
    next_observations: Tensor  # [P, B, observation_size]


def slices(batch: Batch, count: int) -> list[Batch]:
    """The batch [P, B, ...] in `count` equal parts [P, B / count, ...]. UserError where B is no multiple."""
    rows = batch.rewards.shape[1]
    if rows % count:
        raise UserError(f"a batch of {rows} rows cannot be cut into {count} equal parts")
    return [Batch(*fields) for fields in zip(*(field.chunk(count, dim=1) for field in batch), strict=True)]
