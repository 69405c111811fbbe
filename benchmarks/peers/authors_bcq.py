"""BCQ as its authors compute it, restated (github.com/sfujim/BCQ: continuous_BCQ), as D4RL's evaluations run.

Kept: the next states repeated ten times before every network; twin critics one after the other; the
generator's graph, and the gradients that the perturbation's loss leaves in generator and critics, which
are thrown away; an optimiser a network, none fused; targets moved parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.rlkit_sac import Perceptron, move_targets, step


class Generator(nn.Module):
    """The conditional VAE; the encoder's last layer has a head for the mean and one for the deviation."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.latent_size = 2 * action_size
        self.encoder = Perceptron(observation_size + action_size, widths, self.latent_size)
        self.log_std = nn.Linear(widths[-1], self.latent_size)
        self.decoder = Perceptron(observation_size + self.latent_size, widths, action_size)

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructed actions, and the latents' mean and standard deviation."""
        features = self.encoder.features(observations, actions)
        mean = self.encoder.last(features)
        std = self.log_std(features).clamp(-4.0, 15.0).exp()
        return self.decode(observations, mean + std * torch.randn_like(std)), mean, std

    def decode(self, observations: Tensor, latents: Tensor | None = None) -> Tensor:
        """Actions for latents, or for clipped samples of the prior."""
        if latents is None:
            latents = torch.randn(len(observations), self.latent_size).clamp(-0.5, 0.5)
        return torch.tanh(self.decoder(observations, latents))


class Perturbation(nn.Module):
    """Moves actions by at most `limit`."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int], limit: float) -> None:
        super().__init__()
        self.net = Perceptron(observation_size + action_size, widths, action_size)
        self.limit = limit

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Perturbed actions in the box."""
        return (self.limit * torch.tanh(self.net(observations, actions)) + actions).clamp(-1.0, 1.0)


class AuthorsBCQ:
    """One agent and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int] = (400, 300),
        generator_widths: Sequence[int] = (750, 750),
        candidates: int = 10,
        limit: float = 0.05,
        minimum_weight: float = 0.75,
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        learning_rate: float = 1e-3,
    ) -> None:
        self.generator = Generator(observation_size, action_size, generator_widths)
        self.perturbation = Perturbation(observation_size, action_size, widths, limit)
        self.critics = nn.ModuleList(Perceptron(observation_size + action_size, widths, 1) for _ in range(2))
        self.target_perturbation = deepcopy(self.perturbation)
        self.targets = deepcopy(self.critics)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=learning_rate)
        self.perturbation_optimiser = torch.optim.Adam(self.perturbation.parameters(), lr=learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=learning_rate)
        self.candidates = candidates
        self.minimum_weight = minimum_weight
        self.discount = discount
        self.target_update_rate = target_update_rate

    def update(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
    ) -> None:
        """One update from tensors [B, ...]; `rewards` and `masks` are [B, 1]."""
        step(self.generator_loss(observations, actions), self.generator_optimiser)
        target = self.td_target(rewards, masks, next_observations)
        step(self.critic_loss(observations, actions, target), self.critic_optimiser)
        step(self.perturbation_loss(observations), self.perturbation_optimiser)
        move_targets(self.targets, self.critics, self.target_update_rate)
        move_targets([self.target_perturbation], [self.perturbation], self.target_update_rate)

    def generator_loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Squared error of the reconstruction and half the divergence from the prior."""
        reconstructed, mean, std = self.generator(observations, actions)
        divergence = -0.5 * (1 + torch.log(std.pow(2)) - mean.pow(2) - std.pow(2)).mean()
        return functional.mse_loss(reconstructed, actions) + 0.5 * divergence

    @torch.no_grad()
    def td_target(self, rewards: Tensor, masks: Tensor, next_observations: Tensor) -> Tensor:
        """The best of the candidates' lambda-weighted values. [B, 1]"""
        repeated = next_observations.repeat_interleave(self.candidates, 0)
        perturbed = self.target_perturbation(repeated, self.generator.decode(repeated))
        first, second = (target(repeated, perturbed) for target in self.targets)
        weight = self.minimum_weight
        value = weight * torch.min(first, second) + (1 - weight) * torch.max(first, second)
        best = value.reshape(len(rewards), -1).max(1)[0].reshape(-1, 1)
        return rewards + masks * self.discount * best

    def critic_loss(self, observations: Tensor, actions: Tensor, target: Tensor) -> Tensor:
        """TD error of both critics."""
        first, second = (critic(observations, actions) for critic in self.critics)
        return functional.mse_loss(first, target) + functional.mse_loss(second, target)

    def perturbation_loss(self, observations: Tensor) -> Tensor:
        """-Q1 of perturbed samples."""
        perturbed = self.perturbation(observations, self.generator.decode(observations))
        q: Tensor = self.critics[0](observations, perturbed)
        return -q.mean()
