"""A minibatch of transitions, one row of draws for each agent of the population."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from storage import UserError


class Batch(NamedTuple):
    """Transitions drawn for every agent; P agents, B transitions each, float32.

    `masks` is 0 where the next state is terminal (no bootstrap) and 1 elsewhere, time-outs included.
    `extras` are what a method declares that it needs beside them (`algorithms.replay.extras`). Observations
    are tensors; as they are drawn they may be named ones, "image" uint8 [P, B, H, W, C] and others, of which
    the agents make tensors (`Population.encode`).
    """

    observations: Any  # [P, B, observation_size]
    actions: Tensor  # [P, B, action_size]
    rewards: Tensor  # [P, B]
    masks: Tensor  # [P, B]
    next_observations: Any  # [P, B, observation_size]
    extras: Mapping[str, Tensor] = MappingProxyType({})  # [P, B, ...] each, by name

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply `function` to each tensor."""
        return combined([self], function)


FIELDS = Batch._fields[:-1]
"""The names of what every batch has."""


def combined(batches: Sequence[Batch], function: Callable[..., Tensor]) -> Batch:
    """Apply `function` to the batches' tensors of each name. UserError where they have other extras."""
    names = batches[0].extras.keys()
    for other in batches[1:]:
        if other.extras.keys() != names:
            found, expected = (", ".join(sorted(each)) or "none" for each in (other.extras, names))
            raise UserError(f"a batch has the extras {found}, expected {expected}, as beside it")

    def each(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], Mapping):
            return {name: function(*(part[name] for part in parts)) for name in parts[0]}
        return function(*parts)

    fields = [each([getattr(batch, name) for batch in batches]) for name in FIELDS]
    extras = {name: function(*(batch.extras[name] for batch in batches)) for name in names}
    return Batch._make([*fields, extras])


def slices(batch: Batch, count: int) -> list[Batch]:
    """Cut the batch [P, B, ...] into `count` parts [P, B / count, ...]. UserError unless B is a multiple."""
    rows = batch.rewards.shape[1]
    if rows % count:
        raise UserError(f"a batch of {rows} rows cannot be cut into {count} equal parts")
    size = rows // count

    def part(start: int) -> Batch:
        return batch.map(lambda field: field.narrow(1, start, size))

    return [part(start) for start in range(0, rows, size)]
