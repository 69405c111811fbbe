"""Where batches come from: offline data, the growing online buffer, and four ways to draw from them.

A run is one seed's fine-tuning; the first axis S of every tensor counts the runs that learn side by side.
The offline data are held once for all runs; each run has an online buffer of its own. Both hold vectors or
frames of named observations (`algorithms.replay.observed`): a replay draws indices and does not look.
Indices name the union of both: index i < M is offline transition i, index M + i is the run's online
transition i (in `OnlineReplay`, which has no offline data, M = 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

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
from algorithms.replay.sum_tree import SumTree
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
        return self.gather(_rows_below(len(self), batch_size, streams))


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


class OnlineReplay:
    """Uniform draws from what was collected online alone: SAC from scratch.

    What draws from offline data too inherits the rest: it is saved without them, which never change.
    """

    def __init__(self, online: OnlineBuffer) -> None:
        self.online = online

    def sample(self, batch_size: int, streams: Streams) -> tuple[Batch, Tensor]:
        """Draw uniformly, with replacement. Raises UserError while nothing has been collected."""
        _require_online(self.online)
        indices = _rows_below(self.online.count, batch_size, streams)
        return self.online.gather(indices), indices

    def offline_share(self, indices: Tensor) -> Tensor:
        """Zero: nothing is offline. float32 [S]"""
        return torch.zeros(len(indices), device=indices.device)

    def add(self, block: Batch) -> None:
        """Append newly collected transitions, tensors [S, n, ...]."""
        self.online.add(block)

    def state(self) -> dict[str, Tensor]:
        """Return the online buffer's filled rows."""
        return self.online.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on bit for bit where `state()` was taken."""
        self.online.restore(state)


class UniformReplay(OnlineReplay):
    """Uniform draws from offline and online data together: the baseline SAC-ft."""

    def __init__(self, offline: OfflineData, online: OnlineBuffer) -> None:
        super().__init__(online)
        self.offline = offline

    def sample(self, batch_size: int, streams: Streams) -> tuple[Batch, Tensor]:
        """Draw uniformly from the union, with replacement."""
        indices = _rows_below(len(self.offline) + self.online.count, batch_size, streams)
        return gather_union(self.offline, self.online, indices), indices

    def offline_share(self, indices: Tensor) -> Tensor:
        """Return the share of offline transitions among `indices` [S, B]. float32 [S]"""
        return (indices < len(self.offline)).to(torch.float32).mean(dim=1)


def check_fraction(fraction: float, batch_size: int, name: str = "offline_fraction") -> None:
    """Raise UserError, by the setting's `name`, for a share of a batch that is none of its rows."""
    if not 0.0 <= fraction <= 1.0:
        raise UserError(f"{name} is {fraction}, expected from 0 to 1")
    if (rows := fraction * batch_size) != round(rows):
        raise UserError(
            f"{name} {fraction} of batch_size {batch_size} is {rows:g} rows, expected a whole number of them"
        )


class MixedReplay(UniformReplay):
    """Batches of which a fixed share is offline, the rest online, each drawn uniformly with replacement.

    Offline rows are spread evenly: with a share of a half they are every second row from the first on, so
    that any slice of an even number of rows is half and half.
    """

    def __init__(self, offline: OfflineData, online: OnlineBuffer, share: float) -> None:
        """`share` is that of offline rows. Raises UserError for one outside [0, 1]."""
        if not 0.0 <= share <= 1.0:
            raise UserError(f"the share of offline rows in a batch is {share}, expected from 0 to 1")
        super().__init__(offline, online)
        self.share = share

    def sample(self, batch_size: int, streams: Streams) -> tuple[Batch, Tensor]:
        """Draw round(share * batch_size) offline rows, and the others online.

        Raises UserError while nothing has been collected, where there are others.
        """
        old = round(self.share * batch_size)
        new = batch_size - old
        if new:
            _require_online(self.online)
        offline, offline_rows = self._offline_part(old, streams)
        online = _rows_below(self.online.count, new, streams)
        place = _spread(old, batch_size, offline.device)
        parts = [offline_rows, self.online.gather(online)]
        batch = combined(parts, lambda *both: torch.cat(both, dim=1).index_select(1, place))
        indices = torch.cat([offline, len(self.offline) + online], dim=1)
        return batch, indices.index_select(1, place)

    def _offline_part(self, count: int, streams: Streams) -> tuple[Tensor, Batch]:
        """Return the indices [S, count] and the transitions of the share that `share` is of."""
        indices = _rows_below(len(self.offline), count, streams)
        return indices, self.offline.gather(indices)


class RingReplay(MixedReplay):
    """As `MixedReplay`, but in the offline share what is collected takes the place of offline transitions.

    Each transition after the first `kept_out` that a run has collected counts there in the place of a random
    offline one; once all are replaced, the newest as many.
    """

    def __init__(self, offline: OfflineData, online: OnlineBuffer, share: float, kept_out: int = 0) -> None:
        """Raise UserError for a share outside [0, 1]."""
        super().__init__(offline, online, share)
        self.kept_out = kept_out

    def _offline_part(self, count: int, streams: Streams) -> tuple[Tensor, Batch]:
        size = len(self.offline)
        place, unreplaced = (_rows_below(size, count, streams) for _ in range(2))
        entered = (self.online.count - self.kept_out).clamp(min=0).to(torch.int64)
        newest = size + self.kept_out + (entered - size).clamp(min=0) + place
        indices = torch.where(place < entered, newest, unreplaced)
        return indices, gather_union(self.offline, self.online, indices)


@cache
def _spread(chosen: int, of: int, device: torch.device) -> Tensor:
    """For each of `of` places the row that fills it: the first `chosen` rows evenly, the others between. [of]

    Place i is for one of the chosen where ceil((i + 1) chosen / of) exceeds ceil(i chosen / of), so the first
    is where there are any.
    """
    places = torch.arange(of + 1, device=device)
    is_chosen = (-(-places * chosen // of)).diff() > 0
    ahead = is_chosen.cumsum(0)
    return torch.where(is_chosen, ahead - 1, chosen + places[:-1] - ahead)


PlainReplayName = Literal["uniform", "online_only"]


class BalancedReplay(UniformReplay):
    """Off2On's prioritised draws from offline and online data together ([P] 4.1, [S] D.1).

    Offline transitions enter with priority 1. Online transitions enter with the default priority p0,
    one for each run, which starts at `initial_priority(...)`: the first `block_size` of them then have
    probability `initial_online_fraction` of being drawn. After a draw its transitions get the
    priorities that the caller computes from the density ratio, and p0 rises to the largest priority
    seen; it never falls, so every later block enters with at least the initial priority ([C]).
    Draws are stratified and carry no importance weights ([C]).
    """

    def __init__(
        self,
        offline: OfflineData,
        online: OnlineBuffer,
        initial_online_fraction: float,
        block_size: int = 1000,
    ) -> None:
        """All offline transitions enter with priority 1; `online` is still empty.

        Raises UserError for a fraction outside (0, 1) or a block size below 1.
        """
        if online.size:
            raise UserError(f"balanced replay starts with an empty online buffer, got {online.size} rows")
        super().__init__(offline, online)
        self._tree = SumTree(online.runs, len(offline) + online.capacity, device=online.device)
        first = initial_priority(len(offline), initial_online_fraction, block_size)
        if first > self._tree.largest_priority:
            raise UserError(
                f"initial_online_fraction {initial_online_fraction} with a block size of {block_size} gives"
                f" new transitions priority {first:.3g}, expected at most {self._tree.largest_priority:.3g}"
            )
        self.default_priority = torch.full((online.runs,), first, dtype=torch.float64, device=online.device)
        self._tree.fill(0, len(offline), 1.0)

    def sample(self, batch_size: int, streams: Streams) -> tuple[Batch, Tensor]:
        """Draw in proportion to the priorities, one from each of `batch_size` equal parts of their sum."""
        strata = torch.arange(batch_size, dtype=torch.float64, device=self.online.device)
        indices = self._tree.sample((strata + _uniform(batch_size, streams)) / batch_size)
        return gather_union(self.offline, self.online, indices), indices

    def update_priorities(self, indices: Tensor, priorities: Tensor) -> None:
        """Write the priorities [S, B] of the transitions `indices` [S, B] drawn before.

        p0 <- max(p0, max(priorities)) ([S] D.1). The priorities are finite and positive: the density
        ratio as its module normalises and clamps it.
        """
        self._tree.set(indices, priorities)
        # In place: a captured CUDA graph goes on reading this tensor.
        torch.maximum(
            self.default_priority, priorities.amax(dim=1).to(torch.float64), out=self.default_priority
        )

    def priorities(self, indices: Tensor) -> Tensor:
        """Return the present priorities of the transitions `indices`, int64 [S, B]. float64 [S, B]"""
        return self._tree.get(indices)

    def sample_offline(self, batch_size: int, streams: Streams) -> Batch:
        """Draw uniformly from the offline data alone, for the density ratio. Tensors [S, B, ...]"""
        return self.offline.sample(batch_size, streams)

    def sample_online(self, batch_size: int, streams: Streams) -> Batch:
        """Draw uniformly from the online data alone, for the density ratio. Tensors [S, B, ...]

        Raises UserError while nothing has been collected.
        """
        return OnlineReplay.sample(self, batch_size, streams)[0]

    def sample_union(self, batch_size: int, streams: Streams) -> Batch:
        """Draw uniformly from offline and online data together, whatever their priorities. [S, B, ...]"""
        return super().sample(batch_size, streams)[0]

    def add(self, block: Batch) -> None:
        """Append newly collected transitions, tensors [S, n, ...], with the default priority."""
        start = len(self.offline) + self.online.size
        super().add(block)
        self._tree.fill(start, len(self.offline) + self.online.size, self.default_priority)

    def state(self) -> dict[str, Tensor]:
        """Copy the online buffer's rows, `priority_units` int64 [S, M + size], `default_priority` [S]."""
        return {
            **super().state(),
            "priority_units": self._tree.state(len(self.offline) + self.online.size),
            "default_priority": self.default_priority.clone(),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on bit for bit where `state()` was taken. Raises UserError for another run's state."""
        missing = [name for name in ("priority_units", "default_priority") if name not in state]
        if missing:
            raise UserError(f"the saved replay lacks {', '.join(missing)}")
        super().restore(state)
        expected = len(self.offline) + self.online.size
        if state["priority_units"].shape[1:] != (expected,):
            raise UserError(
                f"the saved priority_units have shape {list(state['priority_units'].shape)},"
                f" expected {expected} a run"
            )
        fit(state, {"default_priority": self.default_priority})
        self._tree.restore(state["priority_units"])
        self.default_priority.copy_(state["default_priority"])


def initial_priority(offline_size: int, initial_online_fraction: float, block_size: int) -> float:
    """Return the priority P0 of new online transitions: M / block_size * rho / (1 - rho).

    `block_size` of them beside M offline ones of priority 1 are then drawn with probability rho ([S] D.1,
    where block_size is 1000).

    Raises UserError unless 0 < rho < 1 and block_size >= 1.
    """
    if not 0.0 < initial_online_fraction < 1.0:
        raise UserError(f"initial_online_fraction is {initial_online_fraction}, expected between 0 and 1")
    if block_size < 1:
        raise UserError(f"the block size is {block_size}, expected at least 1")
    return offline_size / block_size * initial_online_fraction / (1.0 - initial_online_fraction)


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


def _rows_below(count: int | Tensor, draws: int, streams: Streams) -> Tensor:
    """Draw uniform row numbers below `count`. int64 [S, draws]"""
    return (_uniform(draws, streams) * count).to(torch.int64)


def _uniform(draws: int, streams: Streams) -> Tensor:
    """Draw uniform float64 numbers in [0, 1) with 53 random bits: 24 would favour some of a million rows.

    [S, draws]. Times a count below 2^53 they stay below it, rounding included.
    """
    return streams.integers(2**53, draws).to(torch.float64) * 2.0**-53


def _require_online(online: OnlineBuffer) -> None:
    if online.size == 0:
        raise UserError("nothing has been collected online yet, expected at least one transition")
