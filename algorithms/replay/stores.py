"""Where transitions lie: the offline data, and the growing online buffer of each run.

A run is one seed's fine-tuning; the first axis S of every tensor counts the runs that learn side by side.
The offline data are held once for all runs; each run has an online buffer of its own. Both hold vectors or
frames of named observations (`algorithms.replay.observed`). Indices name the union of both: index i < M is
offline transition i, index M + i is the run's online transition i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.population.checkpoints import fit
from algorithms.population.encoding import Observed
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch, combined
from algorithms.replay.extras import (
    EPISODE_ENDS,
    NO_EXTRAS,
    ONLINE,
    Needed,
    ReturnsToGo,
    recorded_extras,
)
from algorithms.replay.observed import (
    CollectedFrames,
    CollectedPairs,
    RecordedFrames,
    RecordedPairs,
    check_shape,
)
from offline_data.image_episodes import ImageEpisodes
from offline_data.transitions import Transitions
from storage import UserError

Recordings = Transitions | ImageEpisodes
"""A dataset: of vectors, or of images and what comes beside them."""


class OfflineData:
    """M recorded transitions, held once, read by every run and never written."""

    def __init__(
        self,
        observations: NDArray[np.float32],
        actions: NDArray[np.float32],
        rewards: NDArray[np.float32],
        masks: NDArray[np.float32],
        next_observations: NDArray[np.float32],
        device: torch.device | str = "cpu",
        extras: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over float32 arrays with M >= 1 rows each; on the CPU they are not copied.

        Shapes: [M, observation_size], [M, action_size], [M], [M], [M, observation_size]; `extras` [M, ...].
        Raises UserError for other types or shapes.
        """
        self._take({"actions": actions, "rewards": rewards, "masks": masks}, extras or {}, device)
        pair = {"observations": observations, "next_observations": next_observations}
        _check(pair, len(rewards))
        self._observed: RecordedPairs | RecordedFrames = RecordedPairs(
            *(torch.from_numpy(array).to(self.device) for array in pair.values())
        )

    def _take(
        self,
        arrays: Mapping[str, NDArray[np.float32]],
        extras: Mapping[str, NDArray[Any]],
        device: torch.device | str,
    ) -> None:
        _check(arrays, len(arrays["rewards"]))
        self.device = torch.device(device)
        self._rows, self._extras = (
            {name: torch.from_numpy(array).to(self.device) for name, array in each.items()}
            for each in (arrays, extras)
        )

    @classmethod
    def from_transitions(
        cls,
        transitions: Recordings,
        device: torch.device | str = "cpu",
        needed: Needed = NO_EXTRAS,
    ) -> OfflineData:
        """Take over a dataset's transitions, not copied on the CPU, with the extras that are `needed`.

        Images always have their source. UserError where the dataset does not have an extra.
        """
        extras = recorded_extras(transitions, needed)
        if isinstance(transitions, Transitions):
            return cls(**{name: getattr(transitions, name) for name in FIELDS}, device=device, extras=extras)
        data = cls.__new__(cls)
        arrays = {name: getattr(transitions, name) for name in ("actions", "rewards", "masks")}
        data._take(arrays, {**extras, "source": transitions.source}, device)
        data._observed = RecordedFrames(transitions.observations, transitions.frame_index, data.device)
        return data

    @classmethod
    def joined(
        cls, recordings: Sequence[Recordings], device: torch.device | str = "cpu", needed: Needed = NO_EXTRAS
    ) -> OfflineData:
        """Take over several datasets' transitions, one after the other, with the extras that are `needed`.

        UserError for images, data of several sizes, and trajectories, whose numbers belong to one dataset.
        """
        first, *others = recordings
        if not others:
            return cls.from_transitions(first, device, needed)
        vectors = [each for each in recordings if isinstance(each, Transitions)]
        if len(vectors) < len(recordings) or "trajectory" in needed.names:
            raise UserError("agents side by side have several datasets: expected vectors, no trajectories")
        if len({(each.observations.shape[1], each.actions.shape[1]) for each in vectors}) > 1:
            raise UserError("agents side by side have several datasets: expected them of the same sizes")
        extras = [recorded_extras(each, needed) for each in vectors]
        return cls(
            **{name: np.concatenate([getattr(each, name) for each in vectors]) for name in FIELDS},
            device=device,
            extras={name: np.concatenate([each[name] for each in extras]) for name in needed.names},
        )

    def __len__(self) -> int:
        return len(self._rows["rewards"])

    @property
    def sizes(self) -> tuple[Observed, int]:
        """Shapes of an observation and size of an action."""
        return self._observed.shape, self._rows["actions"].shape[1]

    def gather(self, indices: Tensor) -> Batch:
        """Gather the transitions `indices`, int64 [S, B]. Tensors [S, B, ...]"""
        flat = indices.reshape(-1)
        before, after = self._observed.gather(flat)
        rows, extras = (
            {name: array.index_select(0, flat) for name, array in each.items()}
            for each in (self._rows, self._extras)
        )
        batch = Batch(before, **rows, next_observations=after, extras=extras)
        return batch.map(lambda field: field.view(*indices.shape, *field.shape[1:]))

    def sample(self, batch_size: int, streams: Streams) -> Batch:
        """Draw uniformly, with replacement. Tensors [S, B, ...]"""
        return self.gather(streams.rows_below(len(self), batch_size))


def _check(arrays: Mapping[str, NDArray[Any]], count: int) -> None:
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise UserError(f"the offline {name} are {array.dtype}, expected float32")
        if len(array) != count or count == 0:
            raise UserError(
                f"the offline {name} have {len(array)} rows beside {count} rewards, expected as many and at"
                " least one"
            )
        if array.ndim != (1 if name in ("rewards", "masks") else 2):
            raise UserError(f"the offline {name} have shape {list(array.shape)}")


class OnlineBuffer:
    """Transitions of each of S runs so far, in order; as large as the run, so that nothing is evicted."""

    def __init__(
        self,
        runs: int,
        capacity: int,
        observation_size: Observed,
        action_size: int,
        device: torch.device | str = "cpu",
        needed: Needed = NO_EXTRAS,
        horizon: int = 1,
    ) -> None:
        """Empty, with room for `capacity` transitions of each of `runs` runs, and what is `needed` of each.

        Named observations are kept by whole episodes of `horizon` transitions; they have a source.
        Raises UserError for an extra that what is collected does not have.
        """
        self.runs = runs
        self.capacity = capacity
        self.device = torch.device(device)
        self.size = 0
        # The size once more, on the device: a captured CUDA graph that draws below it sees it grow.
        self.count = torch.zeros((), dtype=torch.float64, device=self.device)
        self._named = not isinstance(observation_size, int)
        self._observed: CollectedPairs | CollectedFrames = (
            CollectedPairs(runs, capacity, observation_size, self.device)
            if isinstance(observation_size, int)
            else CollectedFrames(runs, capacity // horizon, horizon, observation_size, self.device)
        )
        shapes = {"actions": (action_size,), "rewards": (), "masks": ()}
        self._rows = {n: torch.zeros(runs, capacity, *each, device=device) for n, each in shapes.items()}
        self._first_row = torch.arange(runs, device=self.device).unsqueeze(1) * capacity
        there = ("returns_to_go", "source") if self._named else ("returns_to_go",)
        if others := [name for name in needed.names if name not in there]:
            raise UserError(f"what is collected online has no {others[0]}, and the method needs it")
        self._returns = (
            ReturnsToGo(runs, capacity, needed.discount, self.device)
            if "returns_to_go" in needed.names
            else None
        )

    def add(self, block: Batch) -> None:
        """Append n transitions to every run; tensors [S, n, ...].

        Raises UserError when they do not fit or have other shapes.
        """
        stop = self.size + block.rewards.shape[1]
        if stop > self.capacity:
            raise UserError(
                f"the online buffer holds {self.capacity} transitions a run, {stop} were collected:"
                " its capacity has to be the number of online steps"
            )
        self._observed.add(self.size, block.observations, block.next_observations)
        for name, rows in self._rows.items():
            check_shape(name, getattr(block, name), (self.runs, stop - self.size, *rows.shape[2:]))
            rows[:, self.size : stop] = getattr(block, name)
        if self._returns is not None:
            if EPISODE_ENDS not in block.extras:
                raise UserError(
                    "what was collected does not say where episodes end, and returns_to_go need it"
                )
            ends = block.extras[EPISODE_ENDS]
            self._returns.add(self.size, self._rows["rewards"][:, self.size : stop], ends)
        self._grow_to(stop)

    def _grow_to(self, size: int) -> None:
        self.size = size
        self.count.fill_(size)

    def gather(self, indices: Tensor) -> Batch:
        """Gather each run's own transitions `indices`, int64 [S, B]. Tensors [S, B, ...]"""
        before, after = self._observed.gather(indices)
        flat = (indices + self._first_row).view(-1)
        rows = {
            name: rows.flatten(0, 1).index_select(0, flat).view(*indices.shape, *rows.shape[2:])
            for name, rows in self._rows.items()
        }
        extras = {}
        if self._named:
            extras["source"] = torch.full_like(indices, ONLINE, dtype=torch.int8)
        if self._returns is not None:
            returns = self._returns.values.view(-1).index_select(0, flat).view(indices.shape)
            extras["returns_to_go"] = returns.float()
        return Batch(before, **rows, next_observations=after, extras=extras)

    def state(self) -> dict[str, Tensor]:
        """Copy the filled rows, one tensor [S, size, ...] for each field of Batch, or the frames."""
        rows = {
            name: rows.clone(memory_format=torch.contiguous_format)
            for name, rows in (self._filled(self.size) | self._observed.state(self.size)).items()
        }
        return rows if self._returns is None else rows | self._returns.state(self.size)

    def _filled(self, size: int) -> dict[str, Tensor]:
        return {name: rows[:, :size] for name, rows in self._rows.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`. Raises UserError when a field is missing or of another shape."""
        missing = [name for name in (*self._rows, *self._observed.state(0)) if name not in state]
        if missing:
            raise UserError(f"the saved online buffer lacks {', '.join(missing)}")
        size = sum(state["actions"].shape[1:2])
        filled = self._filled(size) | self._observed.state(size)
        fit(state, filled)
        if self._returns is not None:
            self._returns.restore(state, size)
        for name, rows in filled.items():
            rows.copy_(state[name])
        self._grow_to(size)


def gather_union(offline: OfflineData, online: OnlineBuffer, indices: Tensor) -> Batch:
    """Gather transitions `indices`, int64 [S, B], of offline and online data in a row. Tensors [S, B, ...]

    Both parts are read at clamped indices and the wrong one is dropped: no copy of the offline data,
    no shape that depends on the draw.
    """
    boundary = len(offline)
    is_online = indices >= boundary
    old = offline.gather(indices.clamp(max=boundary - 1))
    new = online.gather((indices - boundary).clamp(min=0))
    return combined(
        [new, old], lambda n, o: torch.where(is_online.view(*indices.shape, *(1,) * (n.ndim - 2)), n, o)
    )
