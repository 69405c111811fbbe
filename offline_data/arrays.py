"""Parallel arrays of transitions, episode after episode: what holds for every kind of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from storage import UserError

Array = NDArray[np.float32]
RewardScale = float | Literal["return_range"]


class Shape(NamedTuple):
    """What an array must be: its type, dimensions and number of rows."""

    kind: DTypeLike
    dimensions: int
    rows: int


def check_arrays(name: str, arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, Shape]) -> None:
    """UserError, naming the dataset and the array, where one is not as expected, contiguous and finite."""
    for key, (kind, dimensions, rows) in expected.items():
        array = arrays[key]
        if array.dtype != kind or array.ndim != dimensions or len(array) != rows:
            raise UserError(
                f"{name}: {key} is {array.dtype} of shape {array.shape}, expected {np.dtype(kind)} with"
                f" {dimensions} dimension(s) and {rows} rows"
            )
        if not array.flags.c_contiguous:
            raise UserError(f"{name}: {key} is not contiguous in memory")
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} holds a value that is not a finite number")


def check_last_ends(name: str, episode_ends: NDArray[np.bool_]) -> None:
    """UserError where there is no transition or the last one does not end its episode."""
    if len(episode_ends) == 0 or not episode_ends[-1]:
        raise UserError(f"{name}: the last transition must end an episode")


def check_ends_are_known(metadata: Mapping[str, Any], name: str, purpose: str) -> None:
    """UserError where two episodes of the data may count as one, and `purpose` needs whole ones.

    By what reading a D4RL file decided (`d4rl_hdf5.recording`): episodes are longer than the time limit, or
    the authors' rule has gone over ends that the file shows without a mark.
    """
    decided = metadata.get("episode_ends", {})
    joined = decided.get("unmarked_ends") if decided.get("rule") == "authors" else 0
    if longer := decided.get("longer_than_time_limit"):
        found = f"{longer} of them longer than the time limit"
    elif joined:
        found = f"{joined} of them end without a mark and are joined to the next"
    else:
        return
    raise UserError(
        f"{name} does not mark where its episodes end ({found}): expected data with the ends of all, which"
        f" {purpose} needs"
    )


def episode_slices(episode_ends: NDArray[np.bool_]) -> Iterator[slice]:
    """Yield the rows of each episode, in order."""
    start = 0
    for end in np.flatnonzero(episode_ends).tolist():
        yield slice(start, end + 1)
        start = end + 1


class EpisodeRows:
    """Base class of M transitions, episode after episode: what follows from rewards and episodes alone."""

    rewards: Array
    episode_ends: NDArray[np.bool_]
    metadata: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of transitions M."""
        return len(self.rewards)

    def episodes(self) -> Iterator[slice]:
        """Return the rows of each episode, in order."""
        return episode_slices(self.episode_ends)

    def discounted_returns(self, discount: float) -> Array:
        """Return the discounted sum of rewards from each step to the end of its episode. [M]

        G_t = r_t + discount G_{t+1}, with G = 0 beyond the end, whether a terminal or a time-out made it.
        """
        returns = self.rewards.astype(np.float64)
        ends = np.flatnonzero(self.episode_ends)
        lengths = np.diff(ends, prepend=-1)
        # All episodes walk backwards together: long recordings have many short episodes.
        for back in range(1, int(lengths.max())):
            rows = ends[lengths > back] - back
            returns[rows] += discount * returns[rows + 1]
        return returns.astype(np.float32)

    def scaled(self, reward_scale: RewardScale) -> Self:
        """Return the same transitions with rewards times `reward_scale`; all else is shared, not copied.

        The scale of "return_range" is 1000 / (largest - smallest return of an episode), as IQL's authors
        normalise locomotion rewards (ikostrikov/implicit_q_learning, train_offline.py). The metadata have the
        number, of transitions that are scaled again the product. UserError where all returns are equal, or of
        episodes whose ends are not known.
        """
        if reward_scale == "return_range":
            reward_scale = self._range_scale()
        rewards = self.rewards * np.float32(reward_scale)
        return self._with(rewards, {"reward_scale": reward_scale * self.metadata.get("reward_scale", 1.0)})

    def returns(self) -> list[float]:
        """Return the undiscounted return of each episode, in their order."""
        return [float(self.rewards[rows].sum(dtype=np.float64)) for rows in self.episodes()]

    def _range_scale(self) -> float:
        name = self.metadata.get("dataset_id", "transitions")
        check_ends_are_known(self.metadata, name, "reward_scale return_range")
        returns = self.returns()
        span = max(returns) - min(returns)
        if span == 0:
            raise UserError(
                f"{name}: all episodes return {returns[0]:g}: reward_scale return_range needs others"
            )
        return 1000 / span

    def shifted(self, reward: float) -> Self:
        """Return the same transitions with `reward` added to every reward; all other arrays are shared.

        The metadata have the number, of transitions that are shifted again the sum.
        """
        rewards = self.rewards + np.float32(reward)
        return self._with(rewards, {"reward_shift": reward + self.metadata.get("reward_shift", 0.0)})

    def _with(self, rewards: Array, note: Mapping[str, Any]) -> Self:
        every: Any = self  # a dataclass
        same: Self = dataclasses.replace(every, rewards=rewards, metadata={**self.metadata, **note})
        return same
