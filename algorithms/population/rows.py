"""Rows of a population's tensors, taken and repeated."""

from __future__ import annotations

import torch
from torch import Tensor


def of_subsets(values: Tensor, chosen: Tensor) -> Tensor:
    """Take the rows of `values [P K, ...]` that `chosen [P, M]` numbers among each agent's K. [P M, ...]

    Differentiable in a way that a GPU can repeat and capture, as an index's gradient is not.
    """
    agents = len(chosen)
    rows = values.reshape(agents, len(values) // agents, -1)
    if torch.is_grad_enabled() and values.requires_grad:
        taken = torch.bmm(one_hot(chosen, rows.shape[1], values.dtype), rows)
    else:
        taken = rows.gather(1, chosen.unsqueeze(-1).expand(-1, -1, rows.shape[2]))
    return taken.reshape(-1, *values.shape[1:])


def one_hot(chosen: Tensor, of: int, dtype: torch.dtype) -> Tensor:
    """1 where a number is the place's, 0 elsewhere. [...] -> [..., of]"""
    return (chosen.unsqueeze(-1) == torch.arange(of, device=chosen.device)).to(dtype)


def each_times(rows: Tensor, times: int) -> Tensor:
    """Repeat each row of the first axis so often, a single one without a copy. [n, ...] -> [n times, ...]

    For what is joined with other rows: a product takes the view of a single row for another layout than
    copies of several, and may round otherwise.
    """
    return rows.unsqueeze(1).expand(-1, times, *rows.shape[1:]).flatten(0, 1)
