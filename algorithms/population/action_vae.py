"""Conditional VAEs of actions given states, as BCQ's authors have them; [BCQ code] marks their code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.population.perceptrons import PopulationMLP

LATENTS_PER_ACTION = 2  # [BCQ code] latent numbers for each number of an action
ENCODER_LOG_STD_RANGE = (-4.0, 15.0)  # [BCQ code] "clamped for numerical stability"


class ActionVAE(nn.Module):
    """P conditional VAEs of actions given states; the prior of the latents is standard normal."""

    def __init__(
        self, agents: int, observation_size: int, action_size: int, hidden_widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.latent_size = LATENTS_PER_ACTION * action_size
        pair_size = observation_size + action_size
        self.encoder = PopulationMLP(agents, pair_size, hidden_widths, 2 * self.latent_size)
        self.decoder = PopulationMLP(agents, observation_size + self.latent_size, hidden_widths, action_size)

    def encode(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the latents of actions. [P, B, latent_size] each"""
        mean, log_std = self.encoder(torch.cat([observations, actions], dim=-1)).chunk(2, dim=-1)
        return mean, log_std.clamp(*ENCODER_LOG_STD_RANGE)

    def decode(self, observations: Tensor, latents: Tensor) -> Tensor:
        """Actions in [-1, 1]: [P, B, observation_size], [P, B, latent_size] -> [P, B, action_size]."""
        return torch.tanh(self.decoder(torch.cat([observations, latents], dim=-1)))

    def decode_candidates(self, observations: Tensor, latents: Tensor) -> Tensor:
        """`decode` n latents in each state, without gradients: [P, B n, latent_size] -> [P, B n, A]."""
        return torch.tanh(self.decoder.of_candidates(observations, latents))


def divergence_from_prior(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL( N(mean, std^2) || N(0, 1) ) of every component; the shape of `mean`."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
