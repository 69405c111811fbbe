"""CQL's update from images as PyTorch is usually written: `nn.Conv2d`, a module a critic, autograd.

What is computed is `algorithms.methods.cql`'s with a shared encoder, averaged weights and a cloning term.
Tensors are [B, ...]: images uint8 [B, H, W, C], `rewards` and `masks` [B, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.methods.cql import CQLConfig
from algorithms.population.encoders import CONVOLUTIONS
from benchmarks.peers.plain import ActorCritic, adam, repeated, values
from benchmarks.peers.rlkit_sac import move_targets

Seen = tuple[Tensor, Tensor]
"""Images and states."""


class PlainCQLFromImages(ActorCritic):
    """One agent, its encoder and an optimiser of each network."""

    def __init__(self, image: Sequence[int], state_size: int, action_size: int, config: CQLConfig) -> None:
        layers: list[nn.Module] = []
        channels = image[2]
        for convolution in CONVOLUTIONS["shared"]:
            layers += [nn.Conv2d(channels, convolution.channels, 3, convolution.stride, 1), nn.ReLU()]
            channels = convolution.channels
        self.encoder = nn.Sequential(*layers)
        size = self.seen((torch.zeros(1, *image, dtype=torch.uint8), torch.zeros(1, state_size))).shape[1]
        super().__init__(size, action_size, config)  # type: ignore[arg-type]
        self.config = config
        self.acting = nn.ModuleList([self.encoder, self.policy])
        self.averaged = deepcopy(self.acting)
        self.encoder_optimiser = adam(self.encoder, config.value_learning_rate)

    def seen(self, shown: Seen) -> Tensor:
        """Features of the images, and the states."""
        images, states = shown
        maps = self.encoder(images.permute(0, 3, 1, 2).float() / 255)
        return torch.cat([maps.permute(0, 2, 3, 1).flatten(1), states], dim=1)

    def update(
        self, shown: Seen, actions: Tensor, rewards: Tensor, masks: Tensor, following: Seen
    ) -> tuple[float, float]:
        """One step of all; the losses of critics and policy."""
        config = self.config
        features = self.seen(shown)
        with torch.no_grad():
            next_features = self.seen(following)
            next_actions, _ = self.policy(next_features).sample()
            lowest = values(self.targets, next_features, next_actions).amin(dim=0)
            target = (rewards + config.discount * masks * lowest).clamp(0, 1 / (1 - config.discount))
        q = values(self.critics, features, actions)
        critic_loss = sum(functional.mse_loss(each, target) for each in q)
        rows = (features.detach(), actions, rewards, masks, next_features)
        tried, densities = self.candidates(rows, config.sampled_actions)
        per_state = repeated(features, tried.shape[1])
        judged = values(self.critics, per_state, tried.flatten(0, 1)).view(len(q), *densities.shape)
        excess = torch.logsumexp(judged - densities, dim=2) - q.squeeze(2)
        critic_loss = critic_loss + config.conservative_weight * excess.mean(dim=1).sum()
        self.critics.requires_grad_(False)
        policy_loss, log_pi = self.actor_loss(features.detach())
        self.critics.requires_grad_(True)
        if config.cloning_weight:
            policy_loss = policy_loss + config.cloning_weight * self.cloning_loss(features, actions)
        optimisers = (
            self.encoder_optimiser,
            self.policy_optimiser,
            self.critic_optimiser,
            self.alpha_optimiser,
        )
        for optimiser in optimisers:
            optimiser.zero_grad()
        (critic_loss + policy_loss + self.alpha_loss(log_pi)).backward()
        for optimiser in optimisers:
            optimiser.step()
        self.move()
        if config.averaging_rate:
            move_targets(self.averaged, self.acting, config.averaging_rate)
        return critic_loss.item(), policy_loss.item()

    def cloning_loss(self, features: Tensor, actions: Tensor) -> Tensor:
        """-E[log pi(a|s)], a the data's; it teaches the encoder too."""
        distribution = self.policy(features)
        before = torch.atanh(actions.clamp(-1 + 1e-6, 1 - 1e-6))
        slope = torch.log(1 - actions.square() + 1e-6).sum(dim=1)
        likelihood: Tensor = distribution.gaussian.log_prob(before) - slope
        return -likelihood.mean()
