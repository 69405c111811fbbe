"""Latent-policy AWAC: a baseline of DMPO (Osa et al. 2023), after the latent policy of LAPO.

A conditional VAE with continuous latents imitates the data's actions by weights that grow with their
advantage; a policy chooses its latents by their value. [DMPO] marks that paper's code,
github.com/TakaOsa/DMPO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algorithms.methods import iql, losses, rebrac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.action_vae import ActionVAE, divergence_from_prior
from algorithms.population.agents import Population, learned
from algorithms.population.networks import Critics
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from storage.constraints import BatchSize, NotNegative, Positive, Rate, UpToTwo, Weight, Widths


@dataclass(frozen=True)
class LatentAWACConfig:
    """The method's numbers, [DMPO]'s."""

    hidden_widths: Widths = (256, 256)  # [DMPO] of all networks but the VAE's
    generator_hidden_widths: Widths = (256, 256)  # [DMPO]
    batch_size: BatchSize = 256  # [DMPO]
    discount: Weight = 0.99  # [DMPO]
    target_update_rate: Rate = 5e-3  # [DMPO] tau, every update
    policy_learning_rate: Rate = 3e-4  # [DMPO] of VAE and latent policy
    value_learning_rate: Rate = 3e-4  # [DMPO] of critics and V
    advantage_scale: NotNegative = 5.0  # [DMPO] whatever is given on its command line
    latent_limit: Positive = 2.0  # [DMPO] max_latent
    latent_noise: UpToTwo = 0.1  # [DMPO] of the latents that V judges
    latent_noise_limit: UpToTwo = 0.2  # [DMPO]


class LinearVAE(ActionVAE):
    """P conditional VAEs whose actions pass no tanh; encoders say means and log variances. [DMPO]"""

    def encode(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the latents of actions. [P, B, latent_size] each"""
        mean, log_variance = self.encoder(torch.cat([observations, actions], dim=-1)).chunk(2, dim=-1)
        return mean, log_variance / 2

    def decode(self, observations: Tensor, latents: Tensor) -> Tensor:
        """Actions: [P, B, observation_size], [P, B, latent_size] -> [P, B, action_size]."""
        decoded: Tensor = self.decoder(torch.cat([observations, latents], dim=-1))
        return decoded


class LatentPolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> latents within `limit` `[P, B, latent_size]`."""

    def __init__(
        self, agents: int, observation_size: int, latent_size: int, hidden_widths: Sequence[int], limit: float
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, latent_size)
        self.limit = limit

    def forward(self, observations: Tensor) -> Tensor:
        """Choose the latents."""
        return self.limit * torch.tanh(self.net(observations))


class LatentAWACAgents(Population):
    """P agents: VAE, latent policy, value function and twin critics, targets of all but V."""

    exported: ClassVar[tuple[str, ...]] = ("vae", "policy", "v", "q")
    targets: ClassVar[Mapping[str, str]] = {
        "target_q": "q", "target_policy": "policy", "target_vae": "vae",
    }  # fmt: skip
    steps_together: ClassVar[bool] = False

    def make_networks(self, observation_size: int, config: LatentAWACConfig) -> None:
        """Make VAE, latent policy, V, critics and the targets of all but V."""
        sizes, widths = (self.count, observation_size, self.action_size), config.hidden_widths
        generator = (*sizes, config.generator_hidden_widths)
        self.vae, self.target_vae = LinearVAE(*generator), LinearVAE(*generator)
        latent = (self.count, observation_size, self.vae.latent_size, widths, config.latent_limit)
        self.policy, self.target_policy = LatentPolicy(*latent), LatentPolicy(*latent)
        self.v = iql.Value(self.count, observation_size, widths)
        self.q, self.target_q = Critics(*sizes, widths), Critics(*sizes, widths)
        self.target_vae.requires_grad_(False)

    def groups(self, config: LatentAWACConfig) -> list[dict[str, Any]]:
        """Group what is learned: VAE with latent policy, and V with the critics."""
        return [
            learned(config.policy_learning_rate, self.vae, self.policy),
            learned(config.value_learning_rate, self.v, self.q),
        ]

    def initialise_networks(self) -> None:
        """Initialise networks as PyTorch does, each drawn from its own stream."""
        for net in (self.vae.encoder, self.vae.decoder, self.policy.net, self.v.net, self.q.net):
            net.initialise_default(self.streams)

    def distribution(self, observations: Tensor) -> rebrac.Deterministic:
        """Decode the latents of the policy, by what is handed on ([DMPO]: by the target decoder)."""
        return rebrac.Deterministic(self.vae.decode(observations, self.policy(observations)), 0.0)


@torch.no_grad()
def target_value(agents: LatentAWACAgents, states: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """min Q_target of the target networks' action in each state, `noise` added to its latents. [P, B]"""
    actions = agents.target_vae.decode(states, agents.target_policy(states) + noise)
    value: Tensor = agents.target_q(states, actions).amin(dim=1)
    return value


def value_losses(
    agents: LatentAWACAgents, batch: Batch, config: LatentAWACConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the critics towards r + discount mask V(s'), and of V towards `target_value`. [P]

    Its latents have clipped noise. And the Q values [P, 2, B].  [DMPO]
    """
    with torch.no_grad():
        target = batch.rewards + config.discount * batch.masks * agents.v(batch.next_observations)
    critics, q = losses.critic_loss(agents, batch, target)
    noise = config.latent_noise * agents.streams.normal(len(target[0]), agents.vae.latent_size)
    noise = noise.clamp(-config.latent_noise_limit, config.latent_noise_limit)
    error = agents.v(batch.observations) - target_value(agents, batch.observations, noise)
    return critics, error.square().mean(dim=-1), q


@torch.no_grad()
def advantage_weights(agents: LatentAWACAgents, batch: Batch, config: LatentAWACConfig) -> Tensor:
    """How much each of the data's actions is to be imitated. [P, B]  [DMPO]

    By A(s, a) = r + discount mask Q_target(s', a') - V(s), a' the target networks', without noise.
    """
    following = target_value(agents, batch.next_observations)
    advantage = batch.rewards + config.discount * batch.masks * following - agents.v(batch.observations)
    weights = losses.range_weights(advantage, config.advantage_scale)
    return weights / weights.mean(dim=-1, keepdim=True)


def vae_loss(agents: LatentAWACAgents, batch: Batch, weights: Tensor) -> Tensor:
    """E[w (|a_decoded - a|^2 + KL(latents || prior))], both summed over components. [P]  [DMPO]"""
    mean, log_std = agents.vae.encode(batch.observations, batch.actions)
    latents = mean + log_std.exp() * agents.streams.normal(*mean.shape[1:])
    error = (agents.vae.decode(batch.observations, latents) - batch.actions).square().sum(dim=-1)
    divergence = divergence_from_prior(mean, log_std).sum(dim=-1)
    return (weights * (error + divergence)).mean(dim=-1)


def actor_loss(agents: LatentAWACAgents, batch: Batch) -> Tensor:
    """-E[Q1(s, a)], a the target decoder's of the policy's latents, which alone learn. [P]  [DMPO]"""
    actions = agents.target_vae.decode(batch.observations, agents.policy(batch.observations))
    return -agents.q.first(batch.observations, actions).mean(dim=-1)


class LatentAWAC(Method):
    """Latent-policy AWAC offline."""

    Config: ClassVar[type[Any]] = LatentAWACConfig
    Agents: ClassVar[Any] = LatentAWACAgents

    def update(self, batch: Batch, step: int) -> Metrics:
        """Critics and V, then the VAE, then the latent policy, then targets. [DMPO]"""
        agents, config = self.agents, self.config
        critics, of_v, q = value_losses(agents, batch, config)
        agents.step(critics, of_v)
        weights = advantage_weights(agents, batch, config)
        generator = vae_loss(agents, batch, weights)
        agents.step(generator)
        actor = actor_loss(agents, batch)
        agents.step(actor)
        agents.move_targets(config.target_update_rate)
        found = losses.measured(critic_loss=critics, vae_loss=generator, actor_loss=actor)
        return found | losses.measured(q_mean=q.mean(dim=(1, 2)), advantage_weight_max=weights.amax(dim=-1))
