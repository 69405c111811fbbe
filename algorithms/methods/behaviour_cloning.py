"""Behaviour cloning with an entropy bonus, as BRAC (Wu, Tucker and Nachum 2019) clones the data's policy.

[BRAC] marks Farama-Foundation/D4RL-Evaluations, folder brac. Fresh weights are Glorot and Bengio's, which
Keras starts from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algorithms.methods import sac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import Population, learned
from algorithms.population.networks import Policy, TanhGaussian, squashed
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from storage.constraints import BatchSize, Positive, Rate, Weight, Widths

LOG_STD_RANGE = (-5.0, 0.0)  # [BRAC] networks.py
EDGE = 1e-3  # [BRAC] an action's distance from the edge of the box where its density is asked for


class BoundedPolicy(Policy):
    """P tanh-Gaussian policies whose log deviation passes through tanh into its range. [BRAC]"""

    def __init__(
        self, agents: int, observation_size: int, action_size: int, hidden_widths: Sequence[int]
    ) -> None:
        super().__init__(agents, observation_size, action_size, hidden_widths, LOG_STD_RANGE)

    def forward(self, observations: Tensor) -> TanhGaussian:
        """Return the action distribution in each state."""
        mean, log_std = self.net(observations).chunk(2, dim=-1)
        return TanhGaussian(mean, squashed(log_std, self.log_std_range))

    def initialise(self, streams: Streams) -> None:
        """Initialise with Glorot and Bengio's weights, biases 0."""
        self.net.initialise_xavier(streams)


def inside(actions: Tensor) -> Tensor:
    """Actions kept `EDGE` away from the box's edge, where a tanh-Gaussian's density has none."""
    return actions.clamp(-1 + EDGE, 1 - EDGE)


@dataclass(frozen=True)
class CloningConfig:
    """The numbers of the phase that clones the behaviour."""

    behaviour_hidden_widths: Widths = (200, 200)  # [BRAC]
    policy_learning_rate: Rate = 5e-4  # [BRAC] Adam; the entropy's weight learns at it too
    batch_size: BatchSize = 256  # [BRAC]
    discount: Weight = 0.99  # [BRAC] of the phase that follows; nothing here bootstraps
    initial_entropy_coefficient: Positive = 1.0  # ours; then learned towards an entropy of -|A| [BRAC]


class ClonedPolicies(Population):
    """P policies that imitate, and the weights of their entropies."""

    exported: ClassVar[tuple[str, ...]] = ("policy",)
    targets: ClassVar[Mapping[str, str]] = {}

    def make_networks(self, observation_size: int, config: CloningConfig) -> None:
        """Make policies and the weights of their entropies."""
        sizes = (observation_size, self.action_size, config.behaviour_hidden_widths)
        self.policy = BoundedPolicy(self.count, *sizes)
        coefficients = torch.full((self.count,), config.initial_entropy_coefficient)
        self.log_entropy_coefficient = nn.Parameter(coefficients.log())

    def groups(self, config: CloningConfig) -> list[dict[str, Any]]:
        """Group what is learned, all at one rate: policies and the weights of their entropies. [BRAC]"""
        return [learned(config.policy_learning_rate, self.policy, self.log_entropy_coefficient)]

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """Return the cloned behaviour."""
        policy: TanhGaussian = self.policy(observations)
        return policy


def cloning_loss(agents: ClonedPolicies, batch: Batch) -> tuple[Tensor, Tensor]:
    """E[alpha log b(a'|s) - log b(a|s)], a' ~ b(.|s), a the data's. [P]; and log b(a'|s). [P, B]  [BRAC]"""
    policy: TanhGaussian = agents.policy(batch.observations)
    _, log_density = policy.sample(agents.streams.normal(*batch.actions.shape[1:]))
    coefficient = agents.log_entropy_coefficient.detach().exp()
    likelihood = policy.log_density(inside(batch.actions))
    return (coefficient.unsqueeze(1) * log_density - likelihood).mean(dim=-1), log_density


class BehaviourCloning(Method):
    """The behaviour, cloned."""

    Config: ClassVar[type[Any]] = CloningConfig
    Agents: ClassVar[Any] = ClonedPolicies

    def update(self, batch: Batch, step: int) -> Metrics:
        """Make one step of every policy, and of its entropy's weight. [BRAC] bc_agent.py"""
        agents = self.agents
        loss, log_density = cloning_loss(agents, batch)
        agents.step(loss, sac.entropy_coefficient_loss(agents, log_density))
        return {
            "actor_loss": loss.detach(),
            "entropy": -log_density.detach().mean(dim=-1),
            "entropy_coefficient": agents.log_entropy_coefficient.detach().exp(),
        }
