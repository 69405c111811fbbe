"""Draws in proportion to priorities over millions of leaves: a wide, shallow tree of exact sums."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from storage import UserError

UNITS = 2**20
"""Priorities are counted in units of 2^-20 (1e-6), so that every sum is a sum of integers."""

LARGEST_TOTAL = 2**62
"""Units that one tree may hold; every sum then fits an int64."""

WIDEST_TOP = 4096
"""Nodes of the top level, scanned once for all draws of a tree; measured in benchmarks/sum_tree.py."""


class SumTree:
    """`trees` independent trees over `leaves` leaves each; a leaf is drawn in proportion to its priority.

    Every node holds the sum of its `branching` children, in whole units. Integer sums are exact in any
    order, on any device and for any branching: what a tree draws depends on its priorities alone, never
    on the updates that led to them, and no rounding can lead a draw to a leaf of priority zero. The
    price is a priority rounded up to a multiple of 2^-20: at most 0.1 % at 1e-3, the least that
    balanced replay writes.

    Few wide levels suit tensors: each level costs a handful of calls over all draws at once, so two
    levels of 32 children below a wide top do the work of a binary tree's twenty-one (1.25M leaves).
    """

    def __init__(
        self, trees: int, leaves: int, branching: int = 32, device: torch.device | str = "cpu"
    ) -> None:
        """All priorities zero. Raises UserError unless trees, leaves >= 1 and branching >= 2."""
        if trees < 1 or leaves < 1 or branching < 2:
            raise UserError(
                "a sum tree needs trees >= 1, leaves >= 1 and branching >= 2,"
                f" got {trees}, {leaves} and {branching}"
            )
        self.trees = trees
        self.leaves = leaves
        self.branching = branching
        self.device = torch.device(device)
        self.largest_priority = LARGEST_TOTAL // UNITS // leaves
        # From the leaves up; each level but the top is padded with zeros to whole families of children.
        self._levels: list[Tensor] = []
        self._first_family: list[Tensor] = []  # of each tree, in the level's flattened list of families
        width = leaves
        while width > max(WIDEST_TOP, branching):
            width = -(-width // branching)
            self._levels.append(self._zeros(width * branching))
            self._first_family.append(torch.arange(trees, device=self.device).unsqueeze(1) * width)
        self._levels.append(self._zeros(width))

    def set(self, indices: Tensor, priorities: Tensor) -> None:
        """Give the leaves `indices` (int64 [S, B]) the `priorities` [S, B], finite and >= 0.

        An index may appear twice in a row if both carry the same priority. Priorities above
        `largest_priority` count as that.
        """
        _write(self._levels[0], indices, self._units(priorities))
        for (level, above), first in zip(pairwise(self._levels), self._first_family, strict=True):
            indices = indices // self.branching
            families = self._families(level).index_select(0, (indices + first).view(-1))
            _write(above, indices, families.sum(dim=1).view_as(indices))

    def fill(self, start: int, stop: int, priority: float | Tensor) -> None:
        """Give the leaves start .. stop - 1 of every tree one priority, a number or one per tree [S]."""
        if not 0 <= start <= stop <= self.leaves:
            raise UserError(f"leaves {start} to {stop} are not within a tree of {self.leaves} leaves")
        priority = torch.as_tensor(priority, dtype=torch.float64, device=self.device)
        self._levels[0][:, start:stop] = self._units(priority).view(-1, 1)
        self._rebuild(start, stop)

    def sample(self, fractions: Tensor) -> Tensor:
        """Return the leaves whose cumulative intervals contain fractions * total. int64 [S, B]

        `fractions` is float64 [S, B] in [0, 1). A leaf of priority zero is never answered, unless all
        of its tree's priorities are zero.
        """
        nodes = self._levels[-1]
        cumulative = nodes.cumsum(dim=1)
        total = cumulative[:, -1:]
        # A fraction next to 1 can round up to the total itself.
        ticket = torch.minimum((fractions * total).to(torch.int64), total - 1)
        index = child = torch.searchsorted(cumulative, ticket, right=True)
        for level, first in zip(self._levels[-2::-1], self._first_family[::-1], strict=True):
            before = cumulative.gather(1, child) - nodes.gather(1, child)
            ticket = (ticket - before).view(-1, 1)
            nodes = self._families(level).index_select(0, (index + first).view(-1))
            cumulative = nodes.cumsum(dim=1)
            child = torch.searchsorted(cumulative, ticket, right=True)
            index = torch.add(child.view_as(index), index, alpha=self.branching)
        return index

    def total(self) -> Tensor:
        """Return the sum of each tree's priorities. float64 [S]"""
        return self._levels[-1].sum(dim=1).to(torch.float64) / UNITS

    def get(self, indices: Tensor) -> Tensor:
        """Return the priorities of the leaves `indices`, int64 [S, B], as they are kept. float64 [S, B]"""
        return self._levels[0].gather(1, indices).to(torch.float64) / UNITS

    def state(self, stop: int | None = None) -> Tensor:
        """Copy the leaves (the first `stop` leaves), in units. int64 [S, leaves or stop]"""
        return self._levels[0][:, : self.leaves if stop is None else stop].clone(
            memory_format=torch.contiguous_format
        )

    def restore(self, state: Tensor) -> None:
        """Go on from `state()`; leaves beyond it have priority zero. Raises UserError where it is none."""
        if (
            state.dtype != torch.int64
            or state.ndim != 2
            or state.shape[0] != self.trees
            or state.shape[1] > self.leaves
        ):
            raise UserError(
                f"the saved priorities are {state.dtype} {list(state.shape)}, expected torch.int64 for"
                f" {self.trees} trees of at most {self.leaves} leaves"
            )
        largest = self.largest_priority * UNITS
        if not ((state >= 0) & (state <= largest)).all():
            raise UserError(f"the saved priorities are not all from 0 to {largest} units")
        self._levels[0].zero_()
        self._levels[0][:, : state.shape[1]] = state
        self._rebuild(0, self.leaves)

    def _rebuild(self, start: int, stop: int) -> None:
        """Sum anew every node above the leaves start .. stop - 1."""
        for level, above in pairwise(self._levels):
            start, stop = start // self.branching, -(-stop // self.branching)
            families = self._families(level).view(self.trees, -1, self.branching)
            above[:, start:stop] = families[:, start:stop].sum(dim=2)

    def _families(self, level: Tensor) -> Tensor:
        """Return a level's nodes, one row for each parent. [S * parents, branching]"""
        return level.view(-1, self.branching)

    def _units(self, priorities: Tensor) -> Tensor:
        # Rounded up, so that no positive priority vanishes. What is not a number counts as zero: captured
        # updates draw once more before the host hears of it, and no draw may lead out of the tree.
        units = torch.nan_to_num(priorities.to(torch.float64) * UNITS, nan=0.0).ceil()
        return units.clamp(0, self.largest_priority * UNITS).to(torch.int64)

    def _zeros(self, width: int) -> Tensor:
        return torch.zeros(self.trees, width, dtype=torch.int64, device=self.device)


def _write(level: Tensor, indices: Tensor, units: Tensor) -> None:
    """level[s, indices[s, b]] = units[s, b]; where an index appears twice, its units are the same.

    As the maximum of what is written, which a GPU finds in any order: its deterministic `scatter_` sorts,
    which cannot be captured in a CUDA graph.
    """
    level.scatter_reduce_(1, indices, units, "amax", include_self=False)
