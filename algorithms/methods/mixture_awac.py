"""AWAC whose policy is a mixture of K Gaussians: a baseline of DMPO (Osa et al. 2023) with its architecture.

A gate says how likely each Gaussian is in a state; the policy acts by the likeliest. [DMPO] marks the code of
that paper, github.com/TakaOsa/DMPO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from algorithms.methods import awac, losses, normalised_awac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.mixtures import SubPolicies
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from storage.constraints import EnsembleSize, LogStdRange

LOG_FLOOR = math.log(1e-12)  # [DMPO] added to the mixture's density, inside its logarithm


@dataclass(frozen=True)
class MixtureAWACConfig(normalised_awac.WeightedConfig):
    """The method's numbers, [DMPO]'s."""

    sub_policies: EnsembleSize = 8  # [DMPO] K


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
        components = normalised_awac.gaussian(self.components.of_all(observations), self.log_std_range)
        return GaussianMixture(components, torch.log_softmax(self.gate(observations), dim=-1))


class MixtureAWACAgents(normalised_awac.WeightedAgents):
    """P agents with a mixture each."""

    def make_policy(self, observation_size: int, config: MixtureAWACConfig) -> MixturePolicy:
        """Make a mixture that is not initialised."""
        sizes = (self.count, observation_size, self.action_size, config.hidden_widths)
        return MixturePolicy(*sizes, config.sub_policies, config.log_std_range)

    def layers(self) -> Sequence[Any]:
        """Return what PyTorch's initialisation is drawn for, in the order of the draws."""
        policy: Any = self.policy
        return policy.components.embedding, policy.components.net, policy.gate, self.q.net


@torch.no_grad()
def advantage_weights(agents: MixtureAWACAgents, batch: Batch, config: MixtureAWACConfig) -> Tensor:
    """How much each of the data's actions is to be imitated. [P, B]  [DMPO]

    A(s, a) = min Q_target(s, a) - min Q_target(s, a'), a' of the target policy's likeliest component, by the
    batch's range (`losses.range_weights`); their mean is not 1.
    """
    states = batch.observations
    own = agents.target_policy(states).actions(agents.streams.normal(*batch.actions.shape[1:]))
    smaller = [agents.target_q(states, actions).amin(dim=1) for actions in (batch.actions, own)]
    return losses.range_weights(smaller[0] - smaller[1], config.advantage_scale)


class MixtureAWAC(Method):
    """Mixture AWAC offline."""

    Config: ClassVar[type[Any]] = MixtureAWACConfig
    Agents: ClassVar[Any] = MixtureAWACAgents

    def update(self, batch: Batch, step: int) -> Metrics:
        """One update; the critics bootstrap from the target policy. [DMPO]"""
        target = normalised_awac.td_target(self.agents, batch, self.config, self.agents.target_policy)
        return normalised_awac.update(self.agents, batch, self.config, target, advantage_weights)
