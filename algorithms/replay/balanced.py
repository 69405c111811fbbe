"""Balanced replay (Off2On): draws by priorities from offline and online data together.

[P] marks the paper, [S] its supplement, [C] the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from algorithms.population.checkpoints import fit
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.replays import OnlineReplay, UniformReplay
from algorithms.replay.stores import OfflineData, OnlineBuffer, gather_union
from algorithms.replay.sum_tree import SumTree
from storage import UserError


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
        indices = self._tree.sample((strata + streams.fractions(batch_size)) / batch_size)
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
