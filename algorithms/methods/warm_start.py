"""Two optional phases before CQL that let small budgets start somewhere: cloning and Monte-Carlo critics.

Neither is in the paper. With target rate 0.005 and discount 0.99 a critic needs some 20,000 updates to
reach its scale; regressing it on the data's own returns first, and the actor on the data's actions,
replaces most of them where minutes must do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.methods import losses
from algorithms.methods.interface import Metrics
from algorithms.population.agents import ActorCritics
from algorithms.replay.batch import Batch


def clone(agents: ActorCritics, batch: Batch) -> Metrics:
    """Make one step of every policy up the log likelihood of the data's actions."""
    negative_log_likelihood = -agents.policy(batch.observations).log_density(batch.actions).mean(dim=-1)
    agents.step(negative_log_likelihood)
    return {"actor_loss": negative_log_likelihood.detach()}


def fit_returns(agents: ActorCritics, batch: Batch, returns: Tensor) -> Metrics:
    """Make one step of every critic towards the discounted returns [P, B] that followed in the data."""
    error, q = losses.critic_loss(agents, batch, returns)
    agents.step(error)
    agents.copy_targets()
    return {"td_error": error.detach(), "q_mean": torch.mean(q.detach(), dim=(1, 2))}
