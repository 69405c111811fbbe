"""Implicit Q-learning, IQL (Kostrikov et al. 2022): values of no action that the data do not hold.

V is an upper expectile of Q over the data's actions, Q bootstraps from V, and the policy imitates the data's
actions by weights that grow with their advantage. [IQL] marks the authors' code; offline and online it is one
update, drawn online uniformly from all data. The paper fine-tunes in no locomotion task: there all numbers
but the constant rate are the offline ones (ours).

[IQL] goes on online with the agent as it is; here, as for most methods, networks are handed on, and targets
(equal to the critics) and Adam's moments begin anew. [IQL] scales a locomotion dataset's rewards and leaves
those collected online as they are, three to six times as large; a dataset's `reward_scale: return_range`
scales both here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from algorithms.methods import awac, losses
from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import CountedAgents, learned
from algorithms.population.encoding import EncoderConfig
from algorithms.population.networks import Critics
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from storage.constraints import (
    BatchSize,
    Count,
    FewCount,
    LogStdRange,
    Positive,
    Rate,
    Share,
    Weight,
    Widths,
)


@dataclass(frozen=True)
class IQLConfig:
    """IQL's numbers; the defaults are [IQL] configs/mujoco_config.py, for locomotion."""

    hidden_widths: Widths = (256, 256)  # [IQL] of V, critics and policy alike
    log_std_range: LogStdRange = (-5.0, 2.0)  # [IQL] policy.py; it starts at 0
    batch_size: BatchSize = 256  # [IQL]
    discount: Weight = 0.99  # [IQL]
    target_update_rate: Rate = 5e-3  # [IQL] tau, every update
    policy_learning_rate: Rate = 3e-4  # [IQL]
    value_learning_rate: Rate = 3e-4  # [IQL] V and critics
    # [IQL] 1; in Osa et al.'s (2023) comparison 2: critics' updates an update of the policy and of targets
    policy_delay: FewCount = 1
    policy_decay_updates: Count = 1_000_000  # [IQL] cosine to 0 of the policy's rate; 0: it is constant
    expectile: Share = 0.7  # [IQL]
    inverse_temperature: Positive = 3.0  # [IQL] beta, of advantages in units of scaled reward
    largest_weight: Positive = 100.0  # [IQL] actor.py
    # [IQL]; "range" is Osa et al.'s (2023), their scale the inverse temperature: no unit of rewards counts
    advantage_weighting: Literal["exponential", "range"] = "exponential"
    encoder: EncoderConfig | None = None  # of images (ours)


@dataclass(frozen=True)
class IQLFineTuningConfig(IQLConfig):
    """IQL's numbers online."""

    policy_decay_updates: Count = 0  # [IQL] train_finetune.py: opt_decay_schedule None


class Value(nn.Module):
    """P value functions: `[P, B, observation_size]` -> [P, B]."""

    def __init__(self, agents: int, observation_size: int, hidden_widths: Sequence[int]) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, 1)

    def forward(self, observations: Tensor) -> Tensor:
        """V in each state."""
        value: Tensor = self.net(observations).squeeze(-1)
        return value


class GaussianPolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> Gaussian of [P, B, action_size], its mean through tanh.

    The deviation is the same in every state. [IQL] policy.py, with state_dependent_std and tanh_squash false
    """

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: LogStdRange,
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, action_size)
        self.log_std = nn.Parameter(torch.zeros(agents, 1, action_size))
        self.log_std_range = log_std_range

    def forward(self, observations: Tensor) -> awac.Gaussian:
        """Return the action distribution in each state."""
        return awac.Gaussian(torch.tanh(self.net(observations)), self.log_std.clamp(*self.log_std_range))


class IQLAgents(CountedAgents):
    """P IQL agents: Gaussian policy, value function, twin critics and their targets."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "v", "q")
    feature_networks: ClassVar[tuple[str, ...]] = ("policy", "q", "v")
    steps_together: ClassVar[bool] = False

    actor_measures: ClassVar[tuple[str, ...]] = ("actor_loss", "advantage_weight_max")

    def make_networks(self, observation_size: int, config: IQLConfig) -> None:
        """Make policy, value function, critics and their targets."""
        super().make_networks(observation_size, config)
        sizes = (observation_size, self.action_size, config.hidden_widths)
        self.policy = GaussianPolicy(self.count, *sizes, config.log_std_range)
        self.v = Value(self.count, observation_size, config.hidden_widths)
        self.q, self.target_q = Critics(self.count, *sizes), Critics(self.count, *sizes)

    def groups(self, config: IQLConfig) -> list[dict[str, Any]]:
        """Group what is learned: the policy, and V with the critics."""
        return [
            learned(config.policy_learning_rate, self.policy),
            learned(config.value_learning_rate, self.v, self.q),
        ]

    def initialise_networks(self) -> None:
        """Initialise orthogonal weights times the root of 2, biases 0. [IQL] common.py, default_init"""
        for network in (self.policy, self.v, self.q):
            layers = len(network.net.affine_maps())
            network.net.initialise_orthogonal([math.sqrt(2)] * layers, self.streams)
        nn.init.zeros_(self.policy.log_std)

    def distribution(self, observations: Tensor) -> awac.Gaussian:
        """Return the policy in the states [P, B, observation_size]."""
        policy: awac.Gaussian = self.policy(observations)
        return policy

    def explore(self, observations: Tensor) -> Tensor:
        """Sample actions, clipped to the box. [IQL]"""
        return super().explore(observations).clamp(-1, 1)


@torch.no_grad()
def smaller_target_q(agents: IQLAgents, batch: Batch) -> Tensor:
    """min Q_target(s, a) of the data's actions. [P, B]"""
    smaller: Tensor = agents.target_q(batch.observations, batch.actions).amin(dim=1)
    return smaller


def value_loss(agents: IQLAgents, batch: Batch, q: Tensor, expectile: Share) -> Tensor:
    """E[ |expectile - 1(q < V(s))| (q - V(s))^2 ], `q [P, B]` constant. [P]  [IQL] critic.py"""
    advantage: Tensor = q - agents.v(batch.observations)
    weight = (expectile - (advantage < 0).to(advantage.dtype)).abs()
    return (weight * advantage.square()).mean(dim=-1)


@torch.no_grad()
def advantage_weights(agents: IQLAgents, batch: Batch, q: Tensor, config: IQLConfig) -> Tensor:
    """min( exp(beta (q - V(s))), largest weight ): how much the data's action is imitated. [P, B]

    "range" takes q - V(s) by the batch's range instead, with beta as the scale (`losses.range_weights`).
    """
    advantage: Tensor = q - agents.v(batch.observations)
    if config.advantage_weighting == "range":
        return losses.range_weights(advantage, config.inverse_temperature)
    weights: Tensor = torch.exp(config.inverse_temperature * advantage)
    return weights.clamp(max=config.largest_weight)


@torch.no_grad()
def td_target(agents: IQLAgents, batch: Batch, config: IQLConfig) -> Tensor:
    """r + discount mask V(s'). [P, B]"""
    next_value: Tensor = agents.v(batch.next_observations)
    return batch.rewards + config.discount * batch.masks * next_value


def policy_rate(agents: IQLAgents, config: IQLConfig) -> Tensor | float:
    """Return the policy's learning rate at this update: constant, or a cosine's way from it to 0."""
    if not config.policy_decay_updates:
        return config.policy_learning_rate
    passed = (agents.updates[0] / config.policy_decay_updates).clamp(max=1)
    return config.policy_learning_rate * 0.5 * (1 + torch.cos(math.pi * passed))


def update(agents: IQLAgents, batch: Batch, config: IQLConfig) -> Metrics:
    """Make one step of every agent: V, then the policy and the critics with the new V, then targets. [IQL]

    Of policy and targets at every `policy_delay`th update alone.
    """
    q = smaller_target_q(agents, batch)
    agents.step(value_loss(agents, batch, q, config.expectile))
    due = (agents.made + 1) % config.policy_delay == 0
    if due:
        _update_policy(agents, batch, q, config)
    critics, q_data = losses.critic_loss(agents, batch, td_target(agents, batch, config))
    agents.step(critics)
    if due:
        agents.move_targets(config.target_update_rate)
    agents.count_update()
    return losses.measured(critic_loss=critics, q_mean=q_data.mean(dim=(1, 2))) | agents.noted()


def _update_policy(agents: IQLAgents, batch: Batch, q: Tensor, config: IQLConfig) -> None:
    """Make the policy's step, by the new V."""
    weights = advantage_weights(agents, batch, q, config)
    actor = awac.actor_loss(agents.policy(batch.observations), batch, weights)
    agents.optimiser.param_groups[0]["lr"] = policy_rate(agents, config)
    agents.step(actor)
    agents.note_actor(actor, weights.amax(dim=-1))


class IQL(Method):
    """IQL offline."""

    Config: ClassVar[type[Any]] = IQLConfig
    Agents: ClassVar[Any] = IQLAgents
    algorithm = staticmethod(update)

    @classmethod
    def begin_offline(cls, start: OfflineStart, config: Any) -> Self:
        """Begin with fresh agents, or go on with those of `start` where the policy's rate was."""
        learner = super().begin_offline(start, config)
        learner.agents.count_from(start.updates)
        return learner


class IQLFineTuning(IQL):
    """IQL-ft: the same update from one IQL agent, on uniform draws from offline and online data."""

    Config: ClassVar[type[Any]] = IQLFineTuningConfig
