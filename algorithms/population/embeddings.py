"""Tables of vectors, one a thing that agents know: `[P, K, d]`, read by number, as directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from algorithms.population.perceptrons import fill_uniform
from algorithms.population.rows import one_hot
from algorithms.population.streams import Streams

BOUND = 0.05


class Embeddings(nn.Module):
    """K vectors of d numbers for each of P agents; of a vector only its direction counts."""

    def __init__(self, agents: int, things: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(agents, things, size))

    def forward(self, numbers: Tensor, frozen: bool = False) -> Tensor:
        """Return the directions of things by number: int64 [P, B] -> [P, B, d], each of length 1.

        `frozen` lets no gradient through.
        """
        vectors = self.vectors.detach() if frozen else self.vectors
        rows: Tensor = _Rows.apply(vectors, numbers)  # type: ignore[no-untyped-call]
        return functional.normalize(rows, dim=-1)

    def directions(self) -> Tensor:
        """Return all directions. [P, K, d]"""
        return functional.normalize(self.vectors, dim=-1)

    def initialise(self, streams: Streams) -> None:
        """Numbers uniform within 0.05, as Keras begins: short, so that a small step turns a vector far."""
        fill_uniform(self.vectors, BOUND, streams)


def nearest(directions: Tensor, among: Tensor) -> Tensor:
    """Find which of `among [P, K, d]` has the largest cosine with each direction [P, B, d]. int64 [P, B]"""
    return torch.bmm(directions, among.transpose(1, 2)).argmax(dim=-1)


class _Rows(torch.autograd.Function):
    """Rows of a table by number, with a gradient that is the same each time and that a GPU can capture."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.things = table.shape[1]
        return table.gather(1, numbers.unsqueeze(-1).expand(-1, -1, table.shape[2]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (numbers,) = ctx.saved_tensors
        if not gradient.is_cpu:  # a product, which unlike a sum of scattered rows has one order
            return torch.bmm(one_hot(numbers, ctx.things, gradient.dtype).transpose(1, 2), gradient), None
        agents, _, size = gradient.shape
        first = torch.arange(agents).unsqueeze(1) * ctx.things
        flat = gradient.new_zeros(agents * ctx.things, size)
        flat.index_add_(0, (numbers + first).flatten(), gradient.reshape(-1, size))
        return flat.view(agents, ctx.things, size), None
