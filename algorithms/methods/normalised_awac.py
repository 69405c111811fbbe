"""AWAC with normalised advantages: what DMPO's authors compare with first (Osa et al. 2023).

One Gaussian whose deviation depends on the state, and weights by the batch's range of advantages. [DMPO]
marks the code of that paper, github.com/TakaOsa/DMPO. `awac` is rlkit's, with which Off2On is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algorithms.methods import awac, losses
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import CountedAgents
from algorithms.population.networks import Critics, squashed
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from storage.constraints import BatchSize, FewCount, LogStdRange, NotNegative, Rate, Weight, Widths


@dataclass(frozen=True)
class WeightedConfig:
    """Numbers of this method and of mixture AWAC alike, [DMPO]'s."""

    hidden_widths: Widths = (256, 256)  # [DMPO] of all networks
    log_std_range: LogStdRange = (-5.0, 0.0)  # [DMPO]; two tanh in a row leave -4.4 to -0.6 of it
    batch_size: BatchSize = 256  # [DMPO]
    discount: Weight = 0.99  # [DMPO]
    target_update_rate: Rate = 5e-3  # [DMPO] tau, with every update of the policy
    policy_learning_rate: Rate = 3e-4  # [DMPO]
    value_learning_rate: Rate = 3e-4  # [DMPO]
    policy_delay: FewCount = 2  # [DMPO] policy_freq: critics' updates an update of policy and targets
    advantage_scale: NotNegative = 10.0  # [DMPO] scale


@dataclass(frozen=True)
class NormalisedAWACConfig(WeightedConfig):
    """The method's numbers."""

    value_actions: FewCount = 5  # [DMPO] sample_num: sampled in each state for its value


def gaussian(outputs: Tensor, log_std_range: LogStdRange) -> awac.Gaussian:
    """Read outputs [..., 2 action_size] as mean and log deviation, which passes two tanh. [DMPO]"""
    mean, log_std = outputs.chunk(2, dim=-1)
    return awac.Gaussian(torch.tanh(mean), squashed(torch.tanh(log_std), log_std_range))


class GaussianPolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> Gaussian of [P, B, action_size]."""

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: LogStdRange,
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, 2 * action_size)
        self.log_std_range = log_std_range

    def forward(self, observations: Tensor) -> awac.Gaussian:
        """Return the action distribution in each state."""
        return gaussian(self.net(observations), self.log_std_range)


class WeightedAgents(CountedAgents):
    """P agents: a policy with `log_density`, twin critics, targets of both."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "q")
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q", "target_policy": "policy"}

    actor_measures: ClassVar[tuple[str, ...]] = ("actor_loss", "advantage_weight_max")

    def make_networks(self, observation_size: int, config: WeightedConfig) -> None:
        """Make policy, critics and the targets of both."""
        super().make_networks(observation_size, config)
        self.policy, self.target_policy = (self.make_policy(observation_size, config) for _ in range(2))
        sizes = (self.count, observation_size, self.action_size, config.hidden_widths)
        self.q, self.target_q = Critics(*sizes), Critics(*sizes)

    def make_policy(self, observation_size: int, config: Any) -> nn.Module:
        """Make a policy that is not initialised."""
        raise NotImplementedError

    def layers(self) -> Sequence[Any]:
        """Return what PyTorch's initialisation is drawn for, in the order of the draws."""
        return self.policy.net, self.q.net

    def initialise_networks(self) -> None:
        """Initialise networks as PyTorch does, each drawn from its own stream. [DMPO]"""
        for part in self.layers():
            part.initialise_default(self.streams)

    def distribution(self, observations: Tensor) -> Any:
        """Return the policy in the states [P, B, observation_size]."""
        return self.policy(observations)


class NormalisedAWACAgents(WeightedAgents):
    """P agents with one Gaussian each."""

    def make_policy(self, observation_size: int, config: NormalisedAWACConfig) -> GaussianPolicy:
        """Make a policy that is not initialised."""
        sizes = (self.count, observation_size, self.action_size)
        return GaussianPolicy(*sizes, config.hidden_widths, config.log_std_range)


@torch.no_grad()
def td_target(agents: Any, batch: Batch, config: WeightedConfig, policy: nn.Module) -> Tensor:
    """r + discount mask min Q_target(s', a'), a' of `policy`. [P, B]  [DMPO]"""
    noise = agents.streams.normal(*batch.actions.shape[1:])
    actions = policy(batch.next_observations).actions(noise)
    value: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
    return batch.rewards + config.discount * batch.masks * value


@torch.no_grad()
def advantage_weights(agents: NormalisedAWACAgents, batch: Batch, config: NormalisedAWACConfig) -> Tensor:
    """How much each of the data's actions is to be imitated. [P, B]  [DMPO]

    A(s, a) = min Q(s, a) - mean_i min Q(s, a_i), a_i of the target policy, by the batch's range
    (`losses.range_weights`), divided by their mean.
    """
    rows, action_size = batch.actions.shape[1:]
    noise = agents.streams.normal(rows, config.value_actions, action_size)
    chosen = agents.target_policy(batch.observations)
    own = awac.Gaussian(*(part.unsqueeze(2) for part in chosen)).actions(noise)
    value = agents.q.of_candidates(batch.observations, own).amin(dim=1).mean(dim=-1)
    advantage = agents.q(batch.observations, batch.actions).amin(dim=1) - value
    weights = losses.range_weights(advantage, config.advantage_scale)
    return weights / weights.mean(dim=-1, keepdim=True)


Weigh = Callable[[Any, Batch, Any], Tensor]


def update(agents: Any, batch: Batch, config: WeightedConfig, target: Tensor, weigh: Weigh) -> Metrics:
    """Critics towards `target [P, B]`; at every `policy_delay`th time the policy, and then targets. [DMPO]

    `weigh` says by the new critics how much each of the data's actions is to be imitated.
    """
    critics, q = losses.critic_loss(agents, batch, target)
    agents.step(critics)
    agents.count_update()
    if agents.made % config.policy_delay == 0:
        weights = weigh(agents, batch, config)
        actor = -(weights * agents.policy(batch.observations).log_density(batch.actions)).mean(dim=-1)
        agents.step(actor)
        agents.note_actor(actor, weights.amax(dim=-1))
        agents.move_targets(config.target_update_rate)
    return {**losses.measured(critic_loss=critics, q_mean=q.mean(dim=(1, 2))), **agents.noted()}


class NormalisedAWAC(Method):
    """AWAC with normalised advantages, offline."""

    Config: ClassVar[type[Any]] = NormalisedAWACConfig
    Agents: ClassVar[Any] = NormalisedAWACAgents

    def update(self, batch: Batch, step: int) -> Metrics:
        """One update; the critics bootstrap from the policy, not from its target. [DMPO]"""
        target = td_target(self.agents, batch, self.config, self.agents.policy)
        return update(self.agents, batch, self.config, target, advantage_weights)
