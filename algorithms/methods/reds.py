"""ReDS (Singh et al. 2023): CQL whose penalty also pushes down poor actions that the data are likely to hold.

CQL holds the policy as close to the data in every state, whether they vary much there or not. ReDS trains one
policy more, rho, on what is poor of the data, and pushes Q down on a mixture of the learned policy and rho:
of what the data push up, the good part remains (docs/methods/reds.md). Settings and losses are those of the
first author's code (github.com/Asap7772/ReDS, conservative_sac_reds.py), marked [REDS]; everything else is
`cql`'s, so that at one learning rate of the policy the two differ by the penalty alone.

[REDS], in its later versions, draws rho's candidates from the Gaussian before it is squashed: they leave the
box of actions, with the density of another distribution than the one that rho's loss fits. Here both are of
one tanh-Gaussian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from algorithms.methods import conservative, cql
from algorithms.methods.interface import Metrics
from algorithms.population.agents import ActorCritics, learned
from algorithms.population.networks import Policy, TanhGaussian
from algorithms.replay.batch import Batch
from storage.constraints import NotNegative, Rate

EXPONENT_RANGE = (-10.0, 5.0)  # [REDS] of the logarithm of an action's weight in rho's loss
LARGEST_ACTION = 0.999  # [REDS] to which the data's actions are clipped where rho is to be likely there


@dataclass(frozen=True)
class REDSConfig(cql.CQLConfig):
    """ReDS's numbers beside CQL's."""

    policy_learning_rate: Rate = 3e-4  # [REDS]; rho learns at it too
    # [REDS] reds_temp, of rho's exponent -A; swept there over 1e-4 and 1e-1, the choice is not known. At 0
    # rho clones the data: a control that ranks no actions
    inverse_temperature: NotNegative = 0.1
    # [REDS] "joint", its last version: rho's candidates are more of one soft maximum; "halves", its first:
    # half of CQL's soft maximum and half of rho's own
    mixture: Literal["joint", "halves"] = "joint"


class REDSAgents(ActorCritics):
    """Actor-critics with one policy more, rho, of what is poor of the data."""

    feature_networks: ClassVar[tuple[str, ...]] = ()

    exported: ClassVar[tuple[str, ...]] = ("policy", "q", "poor")

    def make_networks(self, observation_size: int, config: Any) -> None:
        """Make CQL's networks and rho."""
        super().make_networks(observation_size, config)
        self.poor = Policy(self.count, observation_size, self.action_size, config.hidden_widths)

    def groups(self, config: Any) -> list[dict[str, Any]]:
        """Group what is learned; rho learns at the policy's rate. [REDS]"""
        return [*super().groups(config), learned(config.policy_learning_rate, self.poor)]


@torch.no_grad()
def poor_weights(agents: REDSAgents, batch: Batch, config: REDSConfig) -> Tensor:
    """exp(clip(-c A(s, a))) of the data's actions, c the inverse temperature. [P, B]  [REDS]

    A(s, a) = mean_j Q_j(s, a) - min_j Q_j(s, a_pi), a_pi ~ pi(.|s).
    """
    noise = agents.streams.normal(*batch.actions.shape[1:])
    own = agents.distribution(batch.observations).actions(noise)
    value = agents.q(batch.observations, own).amin(dim=1)
    advantage = agents.q(batch.observations, batch.actions).mean(dim=1) - value
    weights: Tensor = (-config.inverse_temperature * advantage).clamp(*EXPONENT_RANGE).exp()
    return weights


def poor_loss(agents: REDSAgents, batch: Batch, weights: Tensor) -> Tensor:
    """-E[w log rho(a|s)] over the data. [P]  [REDS]"""
    inside = batch.actions.clamp(-LARGEST_ACTION, LARGEST_ACTION)
    poor: TanhGaussian = agents.poor(batch.observations)
    return -(weights * poor.log_density(inside)).mean(dim=-1)


@torch.no_grad()
def poor_proposals(agents: REDSAgents, batch: Batch, config: REDSConfig) -> tuple[Tensor, Tensor]:
    """Actions of rho(.|s), and the log weight that each is divided by. [P, B, n, A] and [P, B, n]"""
    rows, action_size = batch.actions.shape[1:]
    noise = agents.streams.normal(rows, config.sampled_actions, action_size)
    actions, log_density = agents.poor(batch.observations).per_candidate().sample(noise)
    return actions, log_density if config.importance_sampling else torch.zeros_like(log_density)


def support_penalty(
    agents: REDSAgents, policy: TanhGaussian, batch: Batch, q_data: Tensor, config: REDSConfig
) -> Tensor:
    """Measure how far Q's soft maximum, over rho's candidates too, stands above Q of the data. [P, K]"""
    actions, log_density = conservative.proposals(agents, policy, batch, config)
    poor, poor_density = poor_proposals(agents, batch, config)
    if config.mixture == "joint":
        actions, log_density = (
            torch.cat([actions, poor], dim=2),
            torch.cat([log_density, poor_density], dim=2),
        )
        pushed_down = conservative.soft_maximum(agents, batch, actions, log_density, config)
    else:
        of_cql = conservative.soft_maximum(agents, batch, actions, log_density, config)
        pushed_down = 0.5 * (of_cql + conservative.soft_maximum(agents, batch, poor, poor_density, config))
    return pushed_down - q_data.mean(dim=-1)


class REDS(cql.CQL):
    """ReDS offline."""

    Config: ClassVar[type[Any]] = REDSConfig
    Agents: ClassVar[Any] = REDSAgents
    measures: ClassVar[Mapping[str, str]] = {
        "poor_loss": "mean loss of the policy of poor actions, weighted negative log density [nats]"
    }

    def update(self, batch: Batch, step: int) -> Metrics:
        """Make CQL's update with the penalty above, and in the same step rho's. All by the old parameters."""
        weights = poor_weights(self.agents, batch, self.config)
        poor = poor_loss(self.agents, batch, weights)
        metrics = cql.update(self.agents, batch, self.config, step, support_penalty, [poor])
        return metrics | {"poor_loss": poor.detach(), "advantage_weight_max": weights.amax(dim=-1)}
