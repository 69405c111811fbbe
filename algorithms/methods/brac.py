"""Behaviour-regularised actor-critic, BRAC (Wu, Tucker and Nachum 2019): SAC held near the data's policy.

The behaviour b is a policy cloned from the data (`behaviour_cloning`). BRAC-v subtracts alpha
D(pi(.|s), b(.|s)) from the actor's objective and from the value that critics bootstrap from; BRAC-p from the
actor's objective alone. [BRAC] marks Farama-Foundation/D4RL-Evaluations, folder brac; [MSBM] the copy of it
in Altriaex/multi_source_behavior_modeling. Defaults are [BRAC]'s script for D4RL. Fresh weights are Glorot
and Bengio's, which Keras starts from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from algorithms.methods import behaviour_cloning, losses
from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import Population, learned, load_network
from algorithms.population.networks import Critics, TanhGaussian
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from storage import UserError
from storage.constraints import BatchSize, Count, FewCount, NotNegative, Positive, Rate, Weight, Widths


@dataclass(frozen=True)
class BRACConfig:
    """BRAC's numbers; the defaults are [BRAC]'s script for D4RL."""

    hidden_widths: Widths = (300, 300)  # [BRAC] of the critics; [MSBM] three of 300
    policy_hidden_widths: Widths = (200, 200)  # [BRAC]; [MSBM] three of 200
    behaviour_hidden_widths: Widths = (200, 200)  # [BRAC] of the phase before
    batch_size: BatchSize = 256  # [BRAC]
    discount: Weight = 0.99  # [BRAC]
    target_update_rate: Rate = 5e-3  # [BRAC] tau, before every update
    policy_learning_rate: Rate = 3e-5  # [BRAC]; its README 3e-4
    value_learning_rate: Rate = 1e-3  # [BRAC]
    divergence: Literal["kl", "mmd"] = "kl"  # [BRAC]
    divergence_actions: FewCount = 4  # [BRAC] sampled in each state for an estimate; [MSBM] 10
    rectified_divergence: bool = False  # [MSBM] a KL estimate below 0 counts as 0
    kernel_width: Positive = 20.0  # [BRAC] of MMD's Laplacian kernel
    divergence_weight: NotNegative = 1.0  # [BRAC] alpha; its README 0.1
    # [BRAC] train_alpha: the divergence that a learned alpha holds the policy to; none: alpha is fixed
    target_divergence: Positive | None = None
    weight_learning_rate: Rate = 1e-5  # [BRAC] of a learned alpha; its README 1e-3
    warm_start_updates: Count = 20_000  # [BRAC] in which the actor is drawn to the behaviour alone


class BRACAgents(Population):
    """P agents: policy, twin critics and their targets, the cloned behaviour, and the divergence's weight."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "q", "behaviour")

    def make_networks(self, observation_size: int, config: BRACConfig) -> None:
        """Make policy, behaviour, critics and their targets, and the divergence's weight."""
        sizes = (self.count, observation_size, self.action_size)
        self.policy = behaviour_cloning.BoundedPolicy(*sizes, config.policy_hidden_widths)
        self.behaviour = behaviour_cloning.BoundedPolicy(
            *sizes, config.behaviour_hidden_widths
        ).requires_grad_(False)
        self.q, self.target_q = (CriticsFromGlorot(*sizes, config.hidden_widths) for _ in range(2))
        self.divergence_weight = nn.Parameter(torch.full((self.count,), float(config.divergence_weight)))

    def groups(self, config: BRACConfig) -> list[dict[str, Any]]:
        """Group what is learned: policy, critics, and the divergence's weight."""
        return [*super().groups(config), learned(config.weight_learning_rate, self.divergence_weight)]

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Initialise policy and critics, the behaviour as it was cloned. UserError where it does not fit."""
        self.initialise()
        load_network(self, "behaviour", members, "policy")

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """Return the policy in each state."""
        policy: TanhGaussian = self.policy(observations)
        return policy


class CriticsFromGlorot(Critics):
    """Critics whose fresh weights are Glorot and Bengio's."""

    def initialise(self, streams: Streams) -> None:
        """Initialise with Glorot and Bengio's weights, biases 0."""
        self.net.initialise_xavier(streams)


def kl_divergence(policy: TanhGaussian, behaviour: TanhGaussian, noise: Tensor, rectified: bool) -> Tensor:
    """KL(policy || behaviour) in each state, estimated from n actions of the policy. [P, B]  [BRAC] kl

    mean_i[log pi(a_i|s) - log b(a_i|s)], from `noise [P, B, n, A]`; `rectified` raises what is below 0 to 0.
    """
    actions, log_density = policy.per_candidate().sample(noise)
    likelihood = behaviour.per_candidate().log_density(behaviour_cloning.inside(actions))
    estimate = (log_density - likelihood).mean(dim=-1)
    return torch.relu(estimate) if rectified else estimate


def mmd_divergence(ours: Tensor, theirs: Tensor, width: float) -> Tensor:
    """Maximum mean discrepancy of two sets of actions [P, B, n, A] in each state. [P, B]  [BRAC] mmd

    E[k(x, x')] + E[k(y, y')] - 2 E[k(x, y)] over all pairs, k(x, y) = exp(-|x - y|_1 / width).
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        apart = (x.unsqueeze(3) - y.unsqueeze(2)).abs().sum(dim=-1)
        return torch.exp(-apart / width).mean(dim=(2, 3))

    return kernel(ours, ours) + kernel(theirs, theirs) - 2 * kernel(ours, theirs)


def divergence(agents: BRACAgents, policy: TanhGaussian, observations: Tensor, config: BRACConfig) -> Tensor:
    """D(pi(.|s), b(.|s)) of `policy` in each state, estimated from sampled actions. [P, B]"""
    with torch.no_grad():
        behaviour: TanhGaussian = agents.behaviour(observations)
    size = (observations.shape[1], config.divergence_actions, agents.action_size)
    noise = agents.streams.normal(*size)
    if config.divergence == "kl":
        return kl_divergence(policy, behaviour, noise, config.rectified_divergence)
    theirs = behaviour.per_candidate().actions(agents.streams.normal(*size))
    return mmd_divergence(policy.per_candidate().actions(noise), theirs, config.kernel_width)


@torch.no_grad()
def td_target(agents: BRACAgents, batch: Batch, config: BRACConfig, penalised: bool) -> Tensor:
    """r + discount mask (min Q_target(s', a') - alpha D(s')), a' ~ pi(.|s'). [P, B]  BRAC-p has no D."""
    policy: TanhGaussian = agents.policy(batch.next_observations)
    actions = policy.actions(agents.streams.normal(*batch.actions.shape[1:]))
    value: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
    if penalised:
        apart = divergence(agents, policy, batch.next_observations, config)
        value = value - agents.divergence_weight.unsqueeze(1) * apart
    return batch.rewards + config.discount * batch.masks * value


def actor_loss(
    agents: BRACAgents, batch: Batch, config: BRACConfig, warm_start: bool
) -> tuple[Tensor, Tensor]:
    """E[alpha D(s) - min Q(s, a)], a ~ pi(.|s), without Q in the warm start. [P]; and E[D]. [P]"""
    policy: TanhGaussian = agents.policy(batch.observations)
    actions = policy.actions(agents.streams.normal(*batch.actions.shape[1:]))
    apart = divergence(agents, policy, batch.observations, config)
    loss = agents.divergence_weight.detach().unsqueeze(1) * apart
    if not warm_start:
        loss = loss - agents.q(batch.observations, actions, frozen=True).amin(dim=1)
    return loss.mean(dim=-1), apart.mean(dim=-1)


def weight_loss(agents: BRACAgents, apart: Tensor, target: float) -> Tensor:
    """alpha (target - E[D]): alpha rises while the policy is further from the behaviour. [P]  [BRAC]"""
    return agents.divergence_weight * (target - apart.detach())


class BRACV(Method):
    """BRAC with a value penalty, from a cloned behaviour."""

    Config: ClassVar[type[Any]] = BRACConfig
    Agents: ClassVar[Any] = BRACAgents
    penalises_values: ClassVar[bool] = True

    @classmethod
    def begin_offline(cls, start: OfflineStart, config: Any) -> Self:
        """Begin pre-training. UserError where there is no behaviour to start from."""
        if not start.agents:
            raise UserError("BRAC starts from nothing, expected a phase before it that clones the behaviour")
        return super().begin_offline(start, config)

    def turning_points(self) -> Sequence[int]:
        """Return the update with which Q enters the actor's loss."""
        return (self.config.warm_start_updates,)

    def update(self, batch: Batch, step: int) -> Metrics:
        """Update targets, critics, and the actor by the new critics. [BRAC] brac_primal_agent.py"""
        agents, config = self.agents, self.config
        agents.move_targets(config.target_update_rate)
        target = td_target(agents, batch, config, self.penalises_values)
        critics, q = losses.critic_loss(agents, batch, target)
        agents.step(critics)
        actor, apart = actor_loss(agents, batch, config, step < config.warm_start_updates)
        if config.target_divergence is None:
            agents.step(actor)
        else:
            agents.step(actor, weight_loss(agents, apart, config.target_divergence))
            with torch.no_grad():
                agents.divergence_weight.clamp_(min=0)
        return {
            "critic_loss": critics.detach(),
            "actor_loss": actor.detach(),
            "q_mean": q.detach().mean(dim=(1, 2)),
            "divergence": apart.detach(),
            "divergence_weight": agents.divergence_weight.detach().clone(),
        }


class BRACP(BRACV):
    """BRAC with policy regularisation: critics bootstrap without the penalty."""

    penalises_values: ClassVar[bool] = False
