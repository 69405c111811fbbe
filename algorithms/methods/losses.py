"""Losses that are word for word the same in several papers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from algorithms.replay.batch import Batch


def critic_loss(agents: Any, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the critics `agents.q` towards `target`, as `squared_error` [P]; and Q [P, K, B]."""
    q: Tensor = agents.q(batch.observations, batch.actions)
    return squared_error(q, target), q


def squared_error(q: Tensor, target: Tensor) -> Tensor:
    """Sum over critics of the mean squared error of `q` [P, K, B] towards a TD target or return. [P]

    `target` is common to all critics [P, B], or each has its own [P, K, B].
    """
    return _errors(q, target).mean(dim=-1).sum(dim=-1)


def mean_critic_loss(agents: Any, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error as `critic_loss`, averaged over critics and batch [P]; and Q [P, K, B]."""
    q: Tensor = agents.q(batch.observations, batch.actions)
    return _errors(q, target).mean(dim=(1, 2)), q


def _errors(q: Tensor, target: Tensor) -> Tensor:
    return (q - (target if target.ndim == q.ndim else target.unsqueeze(1))).square()


def range_weights(advantage: Tensor, scale: float) -> Tensor:
    """exp(scale (A - max A) / (max A - min A)) over each batch, from exp(-scale) to 1. [P, B]

    Where all advantages are equal so are the weights, 1. (Osa et al. 2023)
    """
    largest, smallest = advantage.amax(dim=-1, keepdim=True), advantage.amin(dim=-1, keepdim=True)
    apart = (largest - smallest).clamp(min=torch.finfo(advantage.dtype).tiny)
    return torch.exp(scale * (advantage - largest) / apart)


def measured(**values: Tensor) -> dict[str, Tensor]:
    """Return what an update has measured, by the names of metrics and without gradient."""
    return {name: value.detach() for name, value in values.items()}
