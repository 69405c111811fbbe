"""Deterministic mixture policy optimisation, DMPO (Osa et al. 2023), first called V2AE.

One Gaussian fitted to data with several modes lies between them, where nobody acted and where Q is asked
for values of actions that no data hold. Here the policy is a mixture of K deterministic sub-policies mu(s, z)
and acts by the one that the critics value highest. A discrete conditional VAE imitates the data with them:
its encoder q(z|s, a) says which sub-policy an action belongs to, its prior is the softmax over z of the
critics' values, and an action counts the more the better it is. info-DMPO also asks that the action tells
which sub-policy made it.

[DMPO] marks github.com/TakaOsa/DMPO; settings and order of computation are its code's. Its variant for
AntMaze (DMPO_ant) is these settings: `minimum_weight`, `learns_values` and `value_range`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from algorithms.methods import iql, losses, rebrac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.adam import AgentwiseAdam
from algorithms.population.agents import CountedAgents, learned
from algorithms.population.mixtures import Encoder, Mixture
from algorithms.population.networks import Critics
from algorithms.population.rows import one_hot
from algorithms.replay.batch import Batch
from storage import UserError
from storage.constraints import (
    BatchSize,
    EnsembleSize,
    FewCount,
    NotNegative,
    Positive,
    Rate,
    UpToTwo,
    ValueRange,
    Weight,
    Widths,
)

SMALLEST = 1e-12  # [DMPO] added to what a logarithm is taken of
LARGEST_WEIGHT = 100.0  # [DMPO] of an action, where weights are clamped


@dataclass(frozen=True)
class DMPOConfig:
    """DMPO's numbers; the defaults are [DMPO]'s for MuJoCo's locomotion."""

    hidden_widths: Widths = (256, 256)  # [DMPO] of all networks; three in DMPO_ant
    sub_policies: EnsembleSize = 8  # [DMPO] latent_disc_dim, K
    batch_size: BatchSize = 256  # [DMPO]
    discount: Weight = 0.99  # [DMPO]
    target_update_rate: Rate = 5e-3  # [DMPO] tau, with every update of the actor
    policy_learning_rate: Rate = 3e-4  # [DMPO] of sub-policies and encoder; 2e-4 in DMPO_ant
    value_learning_rate: Rate = 3e-4  # [DMPO] of critics and V; 2e-4 in DMPO_ant
    policy_delay: FewCount = 2  # [DMPO] policy_freq: critics' updates an update of all else
    target_noise: UpToTwo = 0.2  # [DMPO] policy_noise, of the target's actions
    target_noise_limit: UpToTwo = 0.5  # [DMPO] noise_clip
    advantage_scale: NotNegative = 10.0  # [DMPO] scale; 5 for AntMaze. At 0 all actions count alike
    # [DMPO] weight_type: "range", its default, takes advantages by the batch's range, "clamped" as they are
    advantage_weighting: Literal["range", "clamped"] = "range"
    divergence_weight: NotNegative = 1.0  # [DMPO] of the encoder's divergence from the prior
    encoder_temperature: Positive = 0.67  # [DMPO] of the Gumbel-softmax
    # [DMPO] --info-reg is "published": of probabilities in the place of logits, and never of the last
    # sub-policy. "bound" is what it is meant to be, the lower bound of the mutual information
    information: Literal["none", "published", "bound"] = "none"
    information_learning_rate: Rate = 5e-7  # [DMPO] ilr; 5e-5 when it was V2AE
    minimum_weight: Weight = 1.0  # [DMPO] DMPO_ant 0.7: of the smaller twin where actions are judged
    learns_values: bool = False  # [DMPO] DMPO_ant: critics bootstrap from a V, and no noise is added
    value_range: ValueRange | None = None  # [DMPO] DMPO_ant: V's target's, (0, 100) in AntMaze

    def __post_init__(self) -> None:
        """Raise UserError for a range of values that are not learned."""
        if self.value_range is not None and not self.learns_values:
            raise UserError(
                f"value_range is {list(self.value_range)} and learns_values false: a range is for a learned V"
            )


class Judged(NamedTuple):
    """All sub-policies' actions in each state, and what the critics say of them."""

    actions: Tensor  # [P, B, K, action_size]
    values: Tensor  # [P, B, K]

    def best(self) -> Tensor:
        """Return the action of highest value. [P, B, action_size]"""
        chosen = self.values.argmax(dim=-1)[:, :, None, None]
        return self.actions.take_along_dim(chosen, dim=2).squeeze(2)


class DMPOAgents(CountedAgents):
    """P agents: mixture of policies, encoder, twin critics, targets of policies and critics."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "encoder", "q")
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q", "target_policy": "policy"}

    actor_measures: ClassVar[tuple[str, ...]] = (
        "actor_loss",
        "advantage_weight_max",
        "latent_divergence",
        "sub_policies_used",
        "information_loss",
    )

    def make_networks(self, observation_size: int, config: DMPOConfig) -> None:
        """Make sub-policies, encoder, critics, targets, and what the settings ask for beside them."""
        super().make_networks(observation_size, config)
        self.minimum_weight, widths, count = config.minimum_weight, config.hidden_widths, config.sub_policies
        policy = (self.count, observation_size, widths, self.action_size, count)
        self.policy, self.target_policy = Mixture(*policy), Mixture(*policy)
        posterior = (self.count, observation_size + self.action_size, widths, count)
        self.encoder = Encoder(*posterior)
        sizes = (self.count, observation_size, self.action_size, widths)
        self.q, self.target_q = Critics(*sizes), Critics(*sizes)
        self.optional: tuple[str, ...] = ()
        if config.learns_values:
            self.optional += ("v",)
            self.v = iql.Value(self.count, observation_size, widths)
        self.information_optimiser: AgentwiseAdam | None = None
        if config.information != "none":
            self.optional += ("guess",)
            self.guess = Encoder(*posterior)
            group = learned(config.information_learning_rate, self.policy, self.guess)
            self.information_optimiser = AgentwiseAdam([group], self.count)

    def groups(self, config: DMPOConfig) -> list[dict[str, Any]]:
        """Group what is learned: sub-policies with the encoder, and critics with V."""
        values = (self.q, self.v) if config.learns_values else (self.q,)
        return [
            learned(config.policy_learning_rate, self.policy, self.encoder),
            learned(config.value_learning_rate, *values),
        ]

    @property
    def handed_on(self) -> tuple[str, ...]:
        """The exported networks, and those that the settings ask for beside them."""
        return (*super().handed_on, *self.optional)

    def initialise_networks(self) -> None:
        """Initialise networks as PyTorch does, each drawn from its own stream. [DMPO]"""
        self.policy.embedding.initialise_default(self.streams)
        for network in self.handed_on:
            self.get_submodule(network).net.initialise_default(self.streams)  # type: ignore[union-attr,operator]

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Return Adam, and one more of the sub-policies for what an action is to tell. [DMPO]"""
        others = {} if self.information_optimiser is None else {"information": self.information_optimiser}
        return super().optimisers() | others

    def together(self, q: Tensor) -> Tensor:
        """Return one value of the twins' [P, 2, ...]: the smaller, or in part the larger. [P, ...]"""
        smaller = q.amin(dim=1)
        if self.minimum_weight == 1:
            return smaller
        return self.minimum_weight * smaller + (1 - self.minimum_weight) * q.amax(dim=1)

    @torch.no_grad()
    def judged(self, policy: Mixture, observations: Tensor) -> Judged:
        """Judge the sub-policies of `policy` in each state by the critics."""
        actions = policy.of_all(observations)
        return Judged(actions, self.together(self.q.of_candidates(observations, actions)))

    def distribution(self, observations: Tensor) -> rebrac.Deterministic:
        """mu(s, z*), z* = argmax_z min_j Q_j(s, mu(s, z))."""
        return rebrac.Deterministic(self.judged(self.policy, observations).best(), 0.0)


@torch.no_grad()
def td_target(agents: DMPOAgents, batch: Batch, config: DMPOConfig) -> Tensor:
    """r + discount mask min_j Q_target,j(s', a'), a' near the target mixture's action. [P, B]  [DMPO]

    The critics choose among the target sub-policies, the target critics judge; noise is normal and clipped.
    Where V is learned: r + discount mask V(s').
    """
    states = batch.next_observations
    if config.learns_values:
        value: Tensor = agents.v(states)
    else:
        noise = config.target_noise * agents.streams.normal(*batch.actions.shape[1:])
        limit = config.target_noise_limit
        best = agents.judged(agents.target_policy, states).best()
        value = agents.target_q(states, (best + noise.clamp(-limit, limit)).clamp(-1, 1)).amin(dim=1)
    return batch.rewards + config.discount * batch.masks * value


def value_loss(agents: DMPOAgents, batch: Batch, config: DMPOConfig) -> Tensor:
    """E[(V(s) - v)^2], v the target critics' value of the target mixture's action in its range. [P]"""
    with torch.no_grad():
        best = agents.judged(agents.target_policy, batch.observations).best()
        target = agents.together(agents.target_q(batch.observations, best))
        if config.value_range is not None:
            target = target.clamp(*config.value_range)
    error: Tensor = agents.v(batch.observations) - target
    return error.square().mean(dim=-1)


@torch.no_grad()
def value_weights(agents: DMPOAgents, batch: Batch, config: DMPOConfig) -> Tensor:
    """How much each of the data's actions is to be imitated, by A(s, a) = Q(s, a) - V(s). [P, B]  [DMPO]

    V is that of the target mixture by the critics, max_z min_j Q_j(s, mu_target(s, z)), or the learned one.
    """
    q = agents.together(agents.q(batch.observations, batch.actions))
    if config.learns_values:
        advantage = q - agents.v(batch.observations)
    else:
        advantage = q - agents.judged(agents.target_policy, batch.observations).values.amax(dim=-1)
    if config.advantage_weighting == "clamped":
        return torch.exp(config.advantage_scale * advantage).clamp(max=LARGEST_WEIGHT)
    weights = losses.range_weights(advantage, config.advantage_scale)
    return weights / weights.mean(dim=-1, keepdim=True)


def information_loss(agents: DMPOAgents, batch: Batch, config: DMPOConfig) -> Tensor:
    """-E[log g(z|s, mu(s, z))], z uniform: how badly an action tells its sub-policy. [P]  [DMPO]

    "published" takes the softmax of what has passed through one, and never the last sub-policy.
    """
    published, count = config.information == "published", config.sub_policies
    chosen = agents.streams.integers(count - 1 if published else count, batch.rewards.shape[1])
    latents = one_hot(chosen, count, batch.observations.dtype)
    logits = agents.guess(batch.observations, agents.policy(batch.observations, latents))
    if published:
        logits = torch.softmax(logits, dim=-1)
    return -(torch.log_softmax(logits, dim=-1) * latents).sum(dim=-1).mean(dim=-1)


def sampled_latents(agents: DMPOAgents, probabilities: Tensor, temperature: float) -> Tensor:
    """Soft one-hot latents by the Gumbel-softmax, differentiable in the probabilities. [P, B, K]  [DMPO]"""
    uniform = agents.streams.uniform(*probabilities.shape[1:]).to(probabilities.dtype)
    gumbel = -torch.log(-torch.log(uniform + SMALLEST) + SMALLEST)
    return torch.softmax((torch.log(probabilities + SMALLEST) + gumbel) / temperature, dim=-1)


class Imitation(NamedTuple):
    """The weighted bound's two parts. [P] each"""

    error: Tensor  # squared, of the decoded action
    divergence: Tensor  # of the encoder from the prior, in nats


def imitation(
    agents: DMPOAgents, batch: Batch, weights: Tensor, prior: Tensor, temperature: float
) -> Imitation:
    """E[w |mu(s, z) - a|^2], z ~ q(z|s, a), and E[w KL(q(.|s, a) || p(.|s))]; p is [P, B, K]. [DMPO]"""
    probabilities = torch.softmax(agents.encoder(batch.observations, batch.actions), dim=-1)
    latents = sampled_latents(agents, probabilities, temperature)
    error = (agents.policy(batch.observations, latents) - batch.actions).square().sum(dim=-1)
    ratio = torch.log((probabilities + SMALLEST) / (prior + SMALLEST))
    divergence = (probabilities * ratio).sum(dim=-1)
    return Imitation((weights * error).mean(dim=-1), (weights * divergence).mean(dim=-1))


class DMPO(Method):
    """DMPO offline; with `information`, info-DMPO."""

    Config: ClassVar[type[Any]] = DMPOConfig
    Agents: ClassVar[Any] = DMPOAgents
    measures: ClassVar[Mapping[str, str]] = {
        "latent_divergence": "mean weighted divergence of the encoder from the softmax of Q [nats]",
        "sub_policies_used": "mean number of sub-policies that are the best in a state of a batch [1]",
        "information_loss": "mean negative log probability of the sub-policy given its action [nats]",
    }

    def update(self, batch: Batch, step: int) -> Metrics:
        """V, critics, at every `policy_delay`th time sub-policies and encoder, and then targets. [DMPO]"""
        agents, config = self.agents, self.config
        if config.learns_values:
            agents.step(value_loss(agents, batch, config))
        critics, q = losses.critic_loss(agents, batch, td_target(agents, batch, config))
        agents.step(critics)
        agents.count_update()
        if agents.made % config.policy_delay == 0:
            self._update_actor(batch)
            agents.move_targets(config.target_update_rate)
        return {**losses.measured(critic_loss=critics, q_mean=q.mean(dim=(1, 2))), **agents.noted()}

    def _update_actor(self, batch: Batch) -> None:
        """Sub-policies and encoder, by the critics as they are now."""
        agents, config = self.agents, self.config
        weights = value_weights(agents, batch, config)
        information = torch.zeros_like(weights[:, 0])
        if agents.information_optimiser is not None:
            information = information_loss(agents, batch, config)
            agents.step_by(agents.information_optimiser, information)
        values = agents.judged(agents.policy, batch.observations).values
        prior = torch.softmax(values, dim=-1)
        found = imitation(agents, batch, weights, prior, config.encoder_temperature)
        loss = found.error + config.divergence_weight * found.divergence
        agents.step(loss)
        used = one_hot(values.argmax(dim=-1), config.sub_policies, values.dtype).amax(dim=1).sum(dim=-1)
        agents.note_actor(loss, weights.amax(dim=-1), found.divergence, used, information)
