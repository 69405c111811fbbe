"""AWAC whose policy is a mixture of K Gaussians: a baseline of DMPO (Osa et al. 2023) with its architecture.

A gate says how likely each Gaussian is in a state; the policy acts by the likeliest. [DMPO] marks the code of
that paper, github.com/TakaOsa/DMPO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from algorithms.methods import awac, losses
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import Population
from algorithms.population.mixtures import SubPolicies
from algorithms.population.networks import Critics, squashed
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from storage.constraints import (
    BatchSize,
    EnsembleSize,
    FewCount,
    LogStdRange,
    NotNegative,
    Rate,
    Weight,
    Widths,
)

LOG_FLOOR = math.log(1e-12)  # [DMPO] added to the mixture's density, inside its logarithm


@dataclass(frozen=True)
class MixtureAWACConfig:
    """The method's numbers, [DMPO]'s."""

    hidden_widths: Widths = (256, 256)  # [DMPO] of all networks
    sub_policies: EnsembleSize = 8  # [DMPO] K
    log_std_range: LogStdRange = (-5.0, 0.0)  # [DMPO]
    batch_size: BatchSize = 256  # [DMPO]
    discount: Weight = 0.99  # [DMPO]
    target_update_rate: Rate = 5e-3  # [DMPO] tau, every update
    policy_learning_rate: Rate = 3e-4  # [DMPO] of components and gate
    value_learning_rate: Rate = 3e-4  # [DMPO]
    advantage_scale: NotNegative = 10.0  # [DMPO] scale
    value_actions: FewCount = 5  # [DMPO] of AWAC: sampled in each state for its value


class GaussianMixture(NamedTuple):
    """K Gaussians over actions in each state, of which the likeliest acts."""

    components: awac.Gaussian  # [P, B, K, action_size]
    log_weights: Tensor  # [P, B, K]

    def likeliest(self) -> awac.Gaussian:
        """Return the component that the gate prefers. [P, B, action_size]"""
        chosen = self.log_weights.argmax(dim=-1)[:, :, None, None]
        return awac.Gaussian(*(part.take_along_dim(chosen, dim=2).squeeze(2) for part in self.components))

    def actions(self, noise: Tensor) -> Tensor:
        """Sample actions of the likeliest component."""
        return self.likeliest().actions(noise)

    def mode(self) -> Tensor:
        """Its mean."""
        return self.likeliest().mode()

    def log_density(self, actions: Tensor) -> Tensor:
        """log( sum_z weight_z N(a; mean_z, std_z) + 1e-12 ) of actions [P, B, action_size]. [P, B]"""
        joint = self.log_weights + self.components.log_density(actions.unsqueeze(2))
        density = joint.logsumexp(dim=-1)
        return torch.logaddexp(density, torch.full_like(density, LOG_FLOOR))


class MixturePolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> mixture of K Gaussians."""

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        count: int,
        log_std_range: LogStdRange,
    ) -> None:
        super().__init__()
        self.components = SubPolicies(agents, observation_size, hidden_widths, 2 * action_size, count)
        self.gate = PopulationMLP(agents, observation_size, hidden_widths, count)
        self.log_std_range = log_std_range

    def forward(self, observations: Tensor) -> GaussianMixture:
        """Return the mixture in each state."""
        mean, log_std = self.components.of_all(observations).chunk(2, dim=-1)
        components = awac.Gaussian(torch.tanh(mean), squashed(log_std, self.log_std_range))
        return GaussianMixture(components, torch.log_softmax(self.gate(observations), dim=-1))


class MixtureAWACAgents(Population):
    """P agents: mixture policy, twin critics, targets of both."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "q")
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q", "target_policy": "policy"}

    def make_networks(self, observation_size: int, config: MixtureAWACConfig) -> None:
        """Make policy, critics and the targets of both."""
        sizes = (self.count, observation_size, self.action_size, config.hidden_widths)
        mixture = (*sizes, config.sub_policies, config.log_std_range)
        self.policy, self.target_policy = MixturePolicy(*mixture), MixturePolicy(*mixture)
        self.q, self.target_q = Critics(*sizes), Critics(*sizes)

    def initialise_networks(self) -> None:
        """Initialise networks as PyTorch does, each drawn from its own stream."""
        policy = self.policy
        for part in (policy.components.embedding, policy.components.net, policy.gate, self.q.net):
            part.initialise_default(self.streams)

    def distribution(self, observations: Tensor) -> GaussianMixture:
        """Return the policy in the states [P, B, observation_size]."""
        mixture: GaussianMixture = self.policy(observations)
        return mixture


@torch.no_grad()
def td_target(agents: MixtureAWACAgents, batch: Batch, config: MixtureAWACConfig) -> Tensor:
    """r + discount mask min Q_target(s', a'), a' of the policy's likeliest component. [P, B]  [DMPO]"""
    noise = agents.streams.normal(*batch.actions.shape[1:])
    actions = agents.policy(batch.next_observations).actions(noise)
    value: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
    return batch.rewards + config.discount * batch.masks * value


@torch.no_grad()
def advantage_weights(agents: MixtureAWACAgents, batch: Batch, config: MixtureAWACConfig) -> Tensor:
    """How much each of the data's actions is to be imitated. [P, B]  [DMPO]

    A(s, a) = min Q_target(s, a) - mean_i min Q_target(s, a_i), a_i of the target policy, by the batch's range
    (`losses.range_weights`); their mean is not 1.
    """
    rows, action_size = batch.actions.shape[1:]
    chosen = agents.target_policy(batch.observations).likeliest()
    noise = agents.streams.normal(rows, config.value_actions, action_size)
    own = awac.Gaussian(*(part.unsqueeze(2) for part in chosen)).actions(noise)
    value = agents.target_q.of_candidates(batch.observations, own).amin(dim=1).mean(dim=-1)
    advantage = agents.target_q(batch.observations, batch.actions).amin(dim=1) - value
    return losses.range_weights(advantage, config.advantage_scale)


class MixtureAWAC(Method):
    """Mixture AWAC offline."""

    Config: ClassVar[type[Any]] = MixtureAWACConfig
    Agents: ClassVar[Any] = MixtureAWACAgents

    def update(self, batch: Batch, step: int) -> Metrics:
        """One step of critics and policy, by the old parameters, then of targets. [DMPO]"""
        agents, config = self.agents, self.config
        critics, q = losses.critic_loss(agents, batch, td_target(agents, batch, config))
        weights = advantage_weights(agents, batch, config)
        actor = -(weights * agents.policy(batch.observations).log_density(batch.actions)).mean(dim=-1)
        agents.step(critics, actor)
        agents.move_targets(config.target_update_rate)
        found = losses.measured(critic_loss=critics, actor_loss=actor, q_mean=q.mean(dim=(1, 2)))
        return found | {"advantage_weight_max": weights.amax(dim=-1)}
