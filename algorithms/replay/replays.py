"""Replays: what draws batches from offline data and the online buffer of each run, uniformly.

A replay draws indices of the union of both (`algorithms.replay.stores`) and does not look at what they name.
`algorithms.replay.balanced` draws by priorities.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch, combined
from algorithms.replay.stores import OfflineData, OnlineBuffer, gather_union
from storage import UserError

PlainReplayName = Literal["uniform", "online_only"]


class OnlineReplay:
    """Uniform draws from what was collected online alone: SAC from scratch.

    What draws from offline data too inherits the rest: it is saved without them, which never change.
    """

    def __init__(self, online: OnlineBuffer) -> None:
        self.online = online

    def sample(self, batch_size: int, streams: Streams) -> tuple[Batch, Tensor]:
        """Draw uniformly, with replacement. Raises UserError while nothing has been collected."""
        _require_online(self.online)
        indices = streams.rows_below(self.online.count, batch_size)
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
        indices = streams.rows_below(len(self.offline) + self.online.count, batch_size)
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
        online = streams.rows_below(self.online.count, new)
        place = _spread(old, batch_size, offline.device)
        parts = [offline_rows, self.online.gather(online)]
        batch = combined(parts, lambda *both: torch.cat(both, dim=1).index_select(1, place))
        indices = torch.cat([offline, len(self.offline) + online], dim=1)
        return batch, indices.index_select(1, place)

    def _offline_part(self, count: int, streams: Streams) -> tuple[Tensor, Batch]:
        """Return the indices [S, count] and the transitions of the share that `share` is of."""
        indices = streams.rows_below(len(self.offline), count)
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
        place, unreplaced = (streams.rows_below(size, count) for _ in range(2))
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


def _require_online(online: OnlineBuffer) -> None:
    if online.size == 0:
        raise UserError("nothing has been collected online yet, expected at least one transition")
