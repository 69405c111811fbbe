"""Random numbers that belong to one agent each, so that no agent depends on its neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class Streams:
    """One independent random stream per row of a population of `len(seeds)` rows.

    Row i draws from a generator seeded with `seeds[i]` alone: its numbers are the same whether it is
    drawn for by itself or beside others.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def __len__(self) -> int:
        return len(self._generators)

    @property
    def seeds(self) -> list[int]:
        """The seeds that the streams were made of."""
        return [generator.initial_seed() for generator in self._generators]

    def on(self, device: torch.device | str) -> Streams:
        """Restart these seeds' streams on another device, with other numbers; on this one return them."""
        if torch.device(device) == self.device:
            return self
        return Streams(self.seeds, device)

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let each replay of `graph`, about to be captured, draw where the last draw ended."""
        for generator in self._generators:
            graph.register_generator_state(generator)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1). [P, *shape]"""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._generators])

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers. [P, *shape]"""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._generators])

    def integers(self, high: int | Sequence[int], *shape: int) -> Tensor:
        """Draw uniform int64 in [0, high), `high` one for all or each row's own. [P, *shape]"""
        highs = [high] * len(self) if isinstance(high, int) else high
        pairs = zip(highs, self._generators, strict=True)
        return torch.stack([torch.randint(h, shape, generator=g, device=self.device) for h, g in pairs])

    def fractions(self, *shape: int) -> Tensor:
        """Draw uniform float64 numbers in [0, 1) with 53 random bits. [P, *shape]"""
        return self.integers(2**53, *shape).to(torch.float64) * 2.0**-53

    def rows_below(self, count: int | Tensor, draws: int) -> Tensor:
        """Draw uniform row numbers below `count` < 2^53. int64 [P, draws]

        24 random bits would favour some of a million rows; 53 stay below the count, rounding included.
        """
        return (self.fractions(draws) * count).to(torch.int64)

    def subsets(self, number: int, size: int, of: int, replacement: bool = False) -> Tensor:
        """Draw `size` of 0, ..., `of` - 1 uniformly, `number` times, all different without replacement.

        int64 [P, number, size]
        """
        if replacement:
            return self.integers(of, number, size)
        return self.uniform(number, of).topk(size, dim=-1, largest=False).indices

    def state(self) -> Tensor:
        """Return the generators' states. uint8 [P, state_size]"""
        return torch.stack([g.get_state() for g in self._generators])

    def restore(self, state: Tensor) -> None:
        """Go on exactly where `state()` was taken."""
        for generator, row in zip(self._generators, state, strict=True):
            generator.set_state(row.cpu().clone())  # set_state reads a view from its storage's start


def derived_seed(*parts: int | str) -> int:
    """Derive a 63-bit seed from all `parts`, which collides with no other use of the same run seed."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
