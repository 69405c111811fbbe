"""How stores keep observations: two vectors a transition, or frames of named observations, each of them once.

An episode of T transitions is T + 1 frames; a transition is named by the frame it starts in, and the next
frame is the one after. Stores ask for the observations of transitions, [.., size] each or by name, and do not
look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.population.encoding import Observed
from storage import UserError

Pair = tuple[Any, Any]
"""Observations and next observations: tensors, or tensors by name."""


class RecordedPairs:
    """Vectors of M recorded transitions. [M, size] each"""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self.before, self.after = before, after
        self.shape: Observed = before.shape[1]

    def gather(self, rows: Tensor) -> Pair:
        """Gather the observations of the transitions `rows`, int64 [n]. [n, size] each"""
        return self.before.index_select(0, rows), self.after.index_select(0, rows)


class RecordedFrames:
    """Named observations of M recorded transitions, F frames in all."""

    def __init__(
        self, frames: Mapping[str, NDArray[Any]], index: NDArray[np.int64], device: torch.device
    ) -> None:
        """`frames` [F, ...] each, the T + 1 of an episode in a row; `index` [M] is where a transition starts.

        UserError for a frame without next.
        """
        count = min(map(len, frames.values()))
        if index.min() < 0 or index.max() + 1 >= count:
            raise UserError(
                f"the offline frame_index runs from {index.min()} to {index.max()}, expected frames and their"
                f" next ones among {count}"
            )
        self.frames = {name: torch.from_numpy(array).to(device) for name, array in frames.items()}
        self.index = torch.from_numpy(index).to(device)
        self.shape: Observed = {name: tuple(rows.shape[1:]) for name, rows in self.frames.items()}

    def gather(self, rows: Tensor) -> Pair:
        """Gather the observations of the transitions `rows`, int64 [n]. [n, ...] each"""
        starts = self.index[rows]
        before, after = (
            {name: frames[starts + later] for name, frames in self.frames.items()} for later in (0, 1)
        )
        return before, after


class CollectedPairs:
    """Vectors of what S runs collect. [S, capacity, size] each"""

    def __init__(self, runs: int, capacity: int, size: int, device: torch.device) -> None:
        self._rows = [torch.zeros(runs, capacity, size, device=device) for _ in _PAIR]
        self._first_row = torch.arange(runs, device=device).unsqueeze(1) * capacity

    def add(self, start: int, before: Tensor, after: Tensor) -> None:
        """Add those of n transitions from number `start` on, [S, n, size]. UserError for other shapes."""
        for name, rows, new in zip(_PAIR, self._rows, (before, after), strict=True):
            check_shape(name, new, (len(rows), new.shape[1], rows.shape[2]))
            rows[:, start : start + new.shape[1]] = new

    def gather(self, indices: Tensor) -> Pair:
        """Gather those of each run's own transitions, int64 [S, B]. [S, B, size]"""
        flat = (indices + self._first_row).view(-1)
        before, after = (
            rows.flatten(0, 1).index_select(0, flat).view(*indices.shape, *rows.shape[2:])
            for rows in self._rows
        )
        return before, after

    def state(self, size: int) -> dict[str, Tensor]:
        """Return those of the first `size` transitions."""
        return {name: rows[:, :size] for name, rows in zip(_PAIR, self._rows, strict=True)}


class CollectedFrames:
    """Named observations of what S runs collect, whole episodes of `horizon` transitions, each frame once."""

    def __init__(
        self, runs: int, episodes: int, horizon: int, shapes: Mapping[str, tuple[int, ...]], device: Any
    ) -> None:
        self.horizon = horizon
        kinds = {name: torch.uint8 if len(shape) == 3 else torch.float32 for name, shape in shapes.items()}
        self._frames = {
            name: torch.zeros(runs, episodes, horizon + 1, *shape, dtype=kinds[name], device=device)
            for name, shape in shapes.items()
        }
        self._run = torch.arange(runs, device=device).unsqueeze(1)

    def add(self, start: int, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        """Add those of whole episodes from transition `start` on. UserError where they are no such."""
        for name, frames in self._frames.items():
            rows = [observations[name] for observations in (before, after)]
            added = rows[0].shape[1]
            for each in rows:
                check_shape(name, each, (len(frames), added, *frames.shape[3:]))
            if added % self.horizon:
                raise UserError(
                    f"{added} transitions were collected, expected whole episodes of {self.horizon}"
                )
            first, then = (each.reshape(len(frames), -1, self.horizon, *each.shape[2:]) for each in rows)
            if not torch.equal(first[:, :, 1:], then[:, :, :-1]):
                raise UserError(
                    f"the online {name} are not whole episodes: one does not begin where the last ended"
                )
            episodes = slice(start // self.horizon, (start + added) // self.horizon)
            frames[:, episodes, :-1] = first
            frames[:, episodes, -1] = then[:, :, -1]

    def gather(self, indices: Tensor) -> Pair:
        """Gather those of each run's own transitions, int64 [S, B]. [S, B, ...] each"""
        episode, moment = indices // self.horizon, indices % self.horizon
        before, after = (
            {name: frames[self._run, episode, moment + later] for name, frames in self._frames.items()}
            for later in (0, 1)
        )
        return before, after

    def state(self, size: int) -> dict[str, Tensor]:
        """Return the frames of the first `size` transitions."""
        episodes = size // self.horizon
        return {f"frames.{name}": frames[:, :episodes] for name, frames in self._frames.items()}


_PAIR = ("observations", "next_observations")


def check_shape(name: str, found: Tensor, expected: tuple[int, ...]) -> None:
    """Raise UserError where what was collected is of another shape."""
    if tuple(found.shape) != expected:
        raise UserError(f"the online {name} have shape {list(found.shape)}, expected {list(expected)}")
