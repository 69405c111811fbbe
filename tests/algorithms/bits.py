"""Comparing populations to the bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """The same tensors by name."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def row_of(state: Mapping[str, Tensor], row: int, rows: int) -> dict[str, Tensor]:
    """One agent's (or one run's) share of every tensor; the optimiser's step counts belong to all."""
    return {name: tensor.chunk(rows)[row] for name, tensor in state.items() if tensor.ndim}
