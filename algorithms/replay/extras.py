"""Named extras of transitions: what a method needs of them beside what every batch has.

They are computed once, from whole episodes, and drawn with the batches of those methods that declare them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.population.checkpoints import fit
from offline_data.arrays import check_ends_are_known
from offline_data.image_episodes import SOURCES, ImageEpisodes
from offline_data.transitions import Transitions
from storage import UserError

Extra = Literal["returns_to_go", "next_actions", "continues", "trajectory", "source"]
"""The discounted rewards from here to the episode's end [P, B]; the next step's action [P, B, A] and 1 where
the episode has a next step, else 0 [P, B]; the number of the episode, int64 [P, B]; which of a dataset's
sources the episode is from, int8 [P, B]."""
EPISODE_ENDS = "episode_ends"
"""The extra of what is collected: whether a step is its episode's last. bool [S, n]"""


ONLINE = 3
"""Of `source`, what a run has collected itself; what is offline comes from `SOURCES`."""


class Needed(NamedTuple):
    """The extras that a method draws with its batches, the discount of its returns, and what it imitates.

    Of `imitated` sources, where it names any, the data have to hold some.
    """

    names: tuple[Extra, ...] = ()
    discount: float = 1.0
    imitated: tuple[int, ...] = ()


NO_EXTRAS = Needed()


def recorded_extras(transitions: Transitions | ImageEpisodes, needed: Needed) -> dict[str, NDArray[Any]]:
    """Compute the extras of a dataset's M transitions. [M, ...] each. UserError where the data lack one.

    So too where they hold nothing that is to be imitated.
    """
    extras: dict[str, NDArray[Any]] = {
        name: _recorded(transitions, name, needed.discount) for name in needed.names
    }
    if needed.imitated:
        present = np.unique(extras["source"]).tolist()
        check_imitated(needed, present, transitions.metadata.get("dataset_id", "the dataset"))
    return extras


def check_imitated(needed: Needed, present: Collection[int], dataset: str) -> None:
    """UserError where none of the `imitated` sources is `present` in a dataset."""
    if needed.imitated and not set(needed.imitated) & set(present):
        there, wanted = (
            " or ".join(SOURCES[source] for source in sources) for sources in (present, needed.imitated)
        )
        raise UserError(f"{dataset} has {there} episodes alone, expected {wanted} ones, to be imitated")


def _recorded(transitions: Transitions | ImageEpisodes, name: Extra, discount: float) -> NDArray[Any]:
    dataset = transitions.metadata.get("dataset_id", "the dataset")
    if name in ("returns_to_go", "trajectory"):
        check_ends_are_known(transitions.metadata, dataset, f"the method's {name}")
    if name == "returns_to_go":
        return transitions.discounted_returns(discount)
    if name == "next_actions":  # where an episode ends, another's, with `continues` 0
        return np.roll(transitions.actions, -1, axis=0)
    if name == "continues":
        return (~transitions.episode_ends).astype(np.float32)
    if name == "trajectory":
        return np.cumsum(transitions.episode_ends) - transitions.episode_ends
    if isinstance(transitions, ImageEpisodes):
        return transitions.source
    raise UserError(f"{dataset} does not say {name} of its episodes, and the method needs it")


class ReturnsToGo:
    """Discounted returns-to-go of what S runs collect, up to the end of their episodes.

    Of an episode that goes on they are the sum so far, and grow with each step.
    """

    def __init__(self, runs: int, capacity: int, discount: float, device: torch.device) -> None:
        self.discount = discount
        self.values = torch.zeros(runs, capacity, dtype=torch.float64, device=device)
        self._begun = torch.zeros(runs, dtype=torch.int64)  # where the last episode did; on the CPU

    def add(self, start: int, rewards: Tensor, ends: Tensor) -> None:
        """Add steps from number `start` on: [S, n] each, `ends` on the CPU."""
        values, marks = rewards.double(), ends.to(rewards.device)
        for step in reversed(range(values.shape[1] - 1)):
            later = values[:, step] + self.discount * values[:, step + 1]
            values[:, step] = torch.where(marks[:, step], values[:, step], later)
        self.values[:, start : start + values.shape[1]] = values
        if start > (first := int(self._begun.min())):
            before = torch.arange(first, start)
            goes_on = before >= self._begun.unsqueeze(1)
            factors = (self.discount ** (start - before).double() * goes_on).to(values.device)
            self.values[:, first:start] += torch.where(factors > 0, factors * values[:, :1], 0.0)
        numbers = torch.arange(start + 1, start + 1 + values.shape[1])
        self._begun = torch.maximum(self._begun, (numbers * ends).amax(dim=1))

    def state(self, size: int) -> dict[str, Tensor]:
        """Copy the first `size` steps' values, and where each run's last episode began."""
        return {"returns_to_go": self.values[:, :size].clone(), "episode_begun": self._begun.clone()}

    def restore(self, state: Mapping[str, Tensor], size: int) -> None:
        """Go on from `state(size)`. UserError where it is not this run's."""
        fit(state, self.state(size))
        self.values[:, :size] = state["returns_to_go"]
        self._begun.copy_(state["episode_begun"])
