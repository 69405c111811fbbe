"""The density ratio w(s, a) = d_online(s, a) / d_offline(s, a) that balances the replay ([P] 4.1).

Learned without likelihoods (Sinha et al. 2021) by the variational lower bound of a Jensen-Shannon
divergence; each of S runs has its own network.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.methods import losses
from algorithms.methods.interface import Metrics
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch

TINY = 1e-10  # [C] in the normaliser and in both logarithms


class DensityRatio(nn.Module):
    """S networks (s, a) -> w >= 0, `[S, B, obs]`, `[S, B, A]` -> `[S, B]`."""

    def __init__(
        self,
        runs: int,
        observation_size: int,
        action_size: int,
        hidden_widths: tuple[int, ...],
        activation: Literal["relu", "softplus"],
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(runs, observation_size + action_size, hidden_widths, 1)
        self.image_encoder: Any = None  # where what it is shown are images (`encoding`)
        self.activation = activation

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """w(s, a); [P] asks for "activation functions" that keep it from below zero, [C] takes ReLU."""
        raw = self.net(torch.cat([observations, actions], dim=-1)).squeeze(-1)
        return torch.relu(raw) if self.activation == "relu" else functional.softplus(raw)

    def initialise(self, streams: Streams) -> None:
        """w near 1: a small head on a bias of 1. [C] Its encoder of images is fresh too."""
        if self.image_encoder is not None:
            self.image_encoder.initialise(streams)
        self.net.initialise(3e-3, streams)
        with torch.no_grad():
            self.net.affine_maps()[-1].bias.fill_(1.0)


def density_ratio_loss(online_weights: Tensor, offline_weights: Tensor) -> Tensor:
    """-(E_online[f'(w)] - E_offline[f*(f'(w))]) for f of the Jensen-Shannon divergence. [S]  [P] eq. 4

    f'(w) = log(2 w / (w + 1)) and f*(f'(w)) = -log(2 / (w + 1)); weights are [S, B].
    """
    online_term = torch.log(2 * online_weights / (online_weights + 1) + TINY)
    offline_term = -torch.log(2 / (offline_weights + 1) + TINY)
    return offline_term.mean(dim=-1) - online_term.mean(dim=-1)


def priorities(
    weights: Tensor, offline_weights: Tensor, weight_temperature: float, priority_range: tuple[float, float]
) -> Tensor:
    """Self-normalised weights w^(1/T) / E_offline[w^(1/T)], clamped. [S, B]  [P] eq. 6

    `weights [S, B]` of the transitions drawn for learning; the expectation is the mean over
    `offline_weights [S, B']`, [C] the step's offline minibatch.
    """
    power = 1 / weight_temperature
    normaliser = offline_weights.pow(power).mean(dim=-1, keepdim=True) + TINY
    return (weights.pow(power) / normaliser).clamp(*priority_range)


def weighed(
    density: DensityRatio,
    batch: Batch,
    reference: Batch,
    online: Batch,
    weight_temperature: float,
    priority_range: tuple[float, float],
) -> tuple[Tensor, Tensor, Metrics]:
    """Compute the networks' loss [S], new priorities of `batch` [S, B] by the old parameters, and metrics.

    `online` is drawn uniformly from the online data, `reference` from the offline data (or, with
    `density_reference` "union", from both: [S] Figure 14; then the mean weight that priorities are divided
    by is the union's too, which is ours). [C]
    """
    old = density(reference.observations, reference.actions)
    new = density(online.observations, online.actions)
    loss = density_ratio_loss(new, old)
    with torch.no_grad():
        weights = density(batch.observations, batch.actions)
        found = priorities(weights, old, weight_temperature, priority_range)
    metrics = losses.measured(density_ratio_loss=loss, priority_mean=found.mean(dim=-1).float())
    metrics["priority_max"] = found.amax(dim=-1).float()
    metrics["online_weight_zero_fraction"] = (new.detach() == 0).float().mean(dim=-1)
    return loss, found, metrics
