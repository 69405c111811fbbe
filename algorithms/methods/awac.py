"""Advantage-weighted actor-critic, AWAC (Nair et al. 2020): one update, offline first and then online.

A baseline of the paper: rlkit's examples/awac "without any modification to hyperparameters and
architectures" ([S] D.1). [AWAC] marks Nair et al., [rlkit] that code. Online an ensemble of N agents acts
as one ([P] 6.1), by one Gaussian with the moments of their mixture ([C] awac_ensemble.py). As in [C] it
only acts, while the trainer is given the members; what that trainer does is not published. Here each
member bootstraps from its own policy and critics, so that it learns exactly as AWAC without an ensemble
(ours); the members of a run share its batches ([C]: one replay) and start with targets equal to their
critics (ours; [C] keeps the targets).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from algorithms.methods import losses
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import Population
from algorithms.population.encoding import EncoderConfig
from algorithms.population.networks import Critics, TanhGaussian, mixture_policy
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from storage.constraints import BatchSize, EnsembleSize, LogStdRange, Positive, Rate, Weight, Widths


@dataclass(frozen=True)
class AWACConfig:
    """AWAC's numbers; the defaults are rlkit's examples/awac/mujoco/awac1.py, named by [S] D.1."""

    hidden_widths: Widths = (256, 256)  # [rlkit] of the critics
    policy_hidden_widths: Widths = (256, 256, 256, 256)  # [rlkit]
    log_std_range: LogStdRange = (-6.0, 0.0)  # [rlkit]
    batch_size: BatchSize = 1024  # [rlkit] online; its 50,000 updates before take 128
    discount: Weight = 0.99  # [rlkit]
    target_update_rate: Rate = 5e-3  # [rlkit] tau, every step
    policy_learning_rate: Rate = 3e-4  # [rlkit]
    value_learning_rate: Rate = 3e-4  # [rlkit]
    policy_weight_decay: Weight = 1e-4  # [rlkit] Adam's L2 term, on weights, biases and deviations
    advantage_temperature: Positive = 2.0  # [rlkit] beta, [AWAC] lambda; in units of (unscaled) reward
    advantage_weighting: Literal["softmax", "exponential"] = "softmax"  # [rlkit]; [AWAC]
    ensemble_size: EnsembleSize = 5  # [P] 6.1, [S] D.1: members of an online run
    encoder: EncoderConfig | None = None  # of images (ours)


class Gaussian(NamedTuple):
    """A Gaussian over actions, not squashed: a sample may lie outside the box, where the simulator clips."""

    mean: Tensor  # [..., action_size], in [-1, 1]
    log_std: Tensor  # broadcasts against the mean

    def actions(self, noise: Tensor) -> Tensor:
        """Sample actions mean + std noise; `noise` is standard normal, [..., action_size]."""
        return self.mean + self.log_std.exp() * noise

    def log_density(self, actions: Tensor) -> Tensor:
        """Compute the log density of actions; [..., action_size] -> [...]."""
        noise = (actions - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * noise.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def mode(self) -> Tensor:
        """Return the deterministic action."""
        return self.mean


class GaussianPolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> Gaussian of [P, B, action_size].

    The mean passes through tanh; the deviation is the same in every state. [rlkit] GaussianPolicy
    """

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, action_size)
        self.log_std_logits = nn.Parameter(torch.zeros(agents, 1, action_size))
        self.log_std_range = log_std_range

    def forward(self, observations: Tensor) -> Gaussian:
        """Return the action distribution in each state."""
        low, high = self.log_std_range
        log_std = low + (high - low) * torch.sigmoid(self.log_std_logits)
        return Gaussian(torch.tanh(self.net(observations)), log_std)

    def initialise(self, streams: Streams) -> None:
        """Initialise with near-zero mean, log deviation in the middle of its range. [rlkit] init_w = 1e-3"""
        self.net.initialise(1e-3, streams)
        nn.init.zeros_(self.log_std_logits)


class AWACAgents(Population):
    """P AWAC agents: Gaussian policy, twin critics and their targets."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "q")
    feature_networks: ClassVar[tuple[str, ...]] = ("policy", "q")

    def make_networks(self, observation_size: int, config: AWACConfig) -> None:
        """Make policy, critics and their targets."""
        sizes = (observation_size, self.action_size)
        self.policy = GaussianPolicy(self.count, *sizes, config.policy_hidden_widths, config.log_std_range)
        self.q = Critics(self.count, *sizes, config.hidden_widths)
        self.target_q = Critics(self.count, *sizes, config.hidden_widths)

    def groups(self, config: AWACConfig) -> list[dict[str, Any]]:
        """Group what is learned; the policy's weights decay."""
        policy, critics = super().groups(config)
        return [policy | {"weight_decay": config.policy_weight_decay}, critics]

    def distribution(self, observations: Tensor) -> Gaussian:
        """Return the policy that each run's members act by as one, in the states [S, B, observation_size]."""
        members: Gaussian = self.policy(self.for_members(observations))
        # Off2On matches moments before its tanh, here no tanh follows; its limits on the deviation lie
        # beyond any that members with means in [-1, 1] can have.
        return Gaussian(*mixture_policy(TanhGaussian(*members), self.members))

    def noise(self, batch: Batch) -> Tensor:
        """Draw standard normal numbers for one action of each agent in each row. [P, B, action_size]"""
        return self.streams.normal(self.members, *batch.actions.shape[1:]).flatten(0, 1)


def td_target(agents: AWACAgents, batch: Batch, config: AWACConfig) -> Tensor:
    """r + discount mask min Q_target(s', a'), a' of the agent's own policy. [P, B]

    There is no entropy term ([rlkit] alpha = 0).
    """
    with torch.no_grad():
        actions = agents.policy(batch.next_observations).actions(agents.noise(batch))
        next_q: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
        return batch.rewards + config.discount * batch.masks * next_q


@torch.no_grad()
def advantage_weights(
    agents: AWACAgents, policy: Gaussian, batch: Batch, q: Tensor, config: AWACConfig
) -> Tensor:
    """Weigh the data's actions: how much each is to be imitated. [P, B]

    exp(A / beta) with A(s, a) = min Q(s, a) - min Q(s, a'), a' ~ pi(.|s), from `q [P, 2, B]` of the data's
    actions ([AWAC]: "exponential", which overflows above A = 88 beta). "softmax" divides them by their
    mean over the batch ([rlkit]: a softmax over the batch, times its size).
    """
    own_actions = policy.actions(agents.noise(batch))
    value = agents.q(batch.observations, own_actions).amin(dim=1)
    advantage: Tensor = q.amin(dim=1) - value
    exponents = advantage / config.advantage_temperature
    if config.advantage_weighting == "exponential":
        return exponents.exp()
    return torch.softmax(exponents, dim=-1) * exponents.shape[-1]


def actor_loss(policy: Gaussian, batch: Batch, weights: Tensor) -> Tensor:
    """-E[weight log pi(a|s)] over the data's actions, whose weights are constants. [P]"""
    return -(weights * policy.log_density(batch.actions)).mean(dim=-1)


def update(agents: AWACAgents, batch: Batch, config: AWACConfig) -> Metrics:
    """Make one step of every agent: critics and actor on the old parameters, then targets. [rlkit]

    `batch` has one row of draws a seed, for all of its members; so have the metrics, their mean.
    """
    batch = batch.map(agents.for_members)
    target = td_target(agents, batch, config)
    critics, q = losses.critic_loss(agents, batch, target)
    policy: Gaussian = agents.policy(batch.observations)
    weights = advantage_weights(agents, policy, batch, q, config)
    actor = actor_loss(policy, batch, weights)
    agents.step(critics, actor)
    agents.move_targets(config.target_update_rate)
    metrics = {
        "critic_loss": critics,
        "actor_loss": actor,
        "q_mean": q.mean(dim=(1, 2)),
        "advantage_weight_max": weights.amax(dim=-1),
    }
    return {name: agents.per_run(value.detach()).mean(dim=1) for name, value in metrics.items()}


class AWAC(Method):
    """AWAC: offline every agent for itself; online the members of a run act as one and learn apart.

    Online it draws uniformly from all data ([rlkit] one buffer); sampled actions may lie outside the box.
    """

    Config: ClassVar[type[Any]] = AWACConfig
    Agents: ClassVar[Any] = AWACAgents
    algorithm = staticmethod(update)
