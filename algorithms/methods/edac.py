"""EDAC (An et al. 2021): SAC with many critics, whose slopes in the action are pushed apart.

Targets and actor take the smallest of all critics; the more the critics agree on where a data action is to be
moved, the more they pay, so that few are needed to doubt actions beside the data. The paper is arXiv
2110.01548; settings and order of computation are its code's (github.com/snu-mllab/EDAC, bdff4d6), marked
[EDAC]; a widely used port (github.com/tinkoff-ai/CORL, edac.py), marked [CORL], has the same networks but for
the weights of the policy's first layer, which [EDAC] begins within 1 / sqrt(its outputs); here as [CORL].

[EDAC] compares only so many critics as an action has dimensions, drawn anew in each update; the paper and
[CORL] compare all: a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from algorithms.methods import losses, sac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import ActorCritics
from algorithms.population.passes import Norm
from algorithms.replay.batch import Batch
from storage import UserError
from storage.constraints import FewCount, LogStdRange, NotNegative, Widths

HIDDEN_BIAS = 0.1  # [CORL] "init as in the EDAC paper"; [EDAC] networks.py


@dataclass(frozen=True)
class ManyCriticsConfig(sac.SACConfig):
    """The numbers of the networks, beside SAC's."""

    hidden_widths: Widths = (256, 256, 256)  # [CORL] of policy and critics
    critics: FewCount = 10  # [EDAC] num_qs; 50 for hopper
    critic_norm: Norm = "none"  # [EDAC]
    log_std_range: LogStdRange = (-5.0, 2.0)  # [CORL] "from EDAC paper"


@dataclass(frozen=True)
class EDACConfig(ManyCriticsConfig):
    """EDAC's numbers beside those; the others are SAC's, as in [EDAC]."""

    diversity_weight: NotNegative = 1.0  # [EDAC] eta; 5 for some datasets of walker2d
    diverse_critics: Literal["action_size", "all"] = "action_size"  # [EDAC]; [CORL]: those that are compared

    def __post_init__(self) -> None:
        """Raise UserError for critics that cannot be compared."""
        if self.critics < 2:
            raise UserError(f"critics is {self.critics}, expected at least 2 that differ")
        if self.critic_norm != "none":
            raise UserError(f"critic_norm is {self.critic_norm}, expected none for critics of diverse slopes")


class EDACAgents(ActorCritics):
    """Actor-critics with the paper's networks and initialisation."""

    feature_networks: ClassVar[tuple[str, ...]] = ()

    def initialise_networks(self) -> None:
        """Initialise weights within 1 / sqrt(inputs), near-zero means and values. [CORL]"""
        self.policy.net.initialise_fan_in(1e-3, self.streams, HIDDEN_BIAS)
        self.q.net.initialise_fan_in(3e-3, self.streams, HIDDEN_BIAS)


def diversity_loss(agents: EDACAgents, batch: Batch, config: EDACConfig) -> Tensor:
    """E[ sum over pairs i != j of cos(dQ_i/da, dQ_j/da) ] / (M - 1), of M critics at data actions. [P]"""
    count = config.critics
    if config.diverse_critics == "action_size":
        count = max(2, min(count, agents.action_size))
    chosen = agents.streams.subsets(1, count, config.critics).squeeze(1)
    slopes = agents.q.action_gradients(batch.observations, batch.actions, chosen)
    units = slopes / (torch.linalg.vector_norm(slopes, dim=-1, keepdim=True) + 1e-10)
    # The pairs' products are the square of the sum less the squares.
    products = units.sum(dim=1).square().sum(dim=-1) - units.square().sum(dim=(1, 3))
    loss: Tensor = products.mean(dim=-1) / (count - 1)
    return loss


def update(agents: EDACAgents, batch: Batch, config: EDACConfig) -> Metrics:
    """Make one step of every agent: losses on the old parameters, then targets. [EDAC]"""
    critics, q = losses.critic_loss(agents, batch, sac.td_target(agents, batch, config))
    diversity = diversity_loss(agents, batch, config)
    actions, log_density = agents.policy(batch.observations).sample(
        agents.streams.normal(*batch.actions.shape[1:])
    )
    actor = sac.actor_loss(agents, batch.observations, actions, log_density)
    temperature = sac.entropy_coefficient_loss(agents, log_density)
    agents.step(critics, config.diversity_weight * diversity, actor, temperature)
    agents.move_targets(config.target_update_rate)
    found = losses.measured(critic_loss=critics, diversity_loss=diversity)
    return found | sac.metrics(agents, q, actor, log_density)


class EDAC(Method):
    """EDAC offline."""

    Config: ClassVar[type[Any]] = EDACConfig
    Agents: ClassVar[Any] = EDACAgents
    algorithm = staticmethod(update)
    measures: ClassVar[Mapping[str, str]] = {
        "diversity_loss": "mean over states of the sum of critics' pairwise cosines of dQ/da, over M - 1 [1]"
    }
