"""Losses that are word for word the same in several papers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from algorithms.replay.batch import Batch


def critic_loss(agents: Any, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the critics `agents.q` towards `target` [P, B], their common TD target or return.

    Summed over the twins, averaged over the batch [P]; and the Q values [P, 2, B].
    """
    q: Tensor = agents.q(batch.observations, batch.actions)
    return (q - target.unsqueeze(1)).square().mean(dim=-1).sum(dim=-1), q
