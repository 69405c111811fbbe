"""Networks of mixtures: K policies of a state told apart by a latent, and posteriors over the latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.population.perceptrons import PopulationLinear, PopulationMLP


class SubPolicies(nn.Module):
    """P mixtures of K networks of a state, told apart by a latent of K numbers, mostly one of them 1.

    The latent is embedded in as many numbers as the state has. [DMPO]
    """

    def __init__(
        self, agents: int, observation_size: int, hidden_widths: Sequence[int], outputs: int, count: int
    ) -> None:
        super().__init__()
        self.embedding = PopulationLinear(agents, count, observation_size)
        self.net = PopulationMLP(agents, 2 * observation_size, hidden_widths, outputs)

    def forward(self, observations: Tensor, latents: Tensor) -> Tensor:
        """Compute outputs for latents [P, B, K] in the states [P, B, observation_size]. [P, B, outputs]"""
        embedded = torch.relu(torch.baddbmm(self.embedding.bias, latents, self.embedding.weight))
        outputs: Tensor = self.net(torch.cat([observations, embedded], dim=-1))
        return outputs

    def of_all(self, observations: Tensor) -> Tensor:
        """Compute the outputs of all K in each state. [P, B, K, outputs]"""
        agents, states = observations.shape[:2]
        embedded = torch.relu(self.embedding.weight + self.embedding.bias)  # of each latent that is one of K
        if torch.is_grad_enabled():
            each = embedded.unsqueeze(1).expand(-1, states, -1, -1).flatten(1, 2)
            repeated = observations.repeat_interleave(embedded.shape[1], dim=1)
            outputs = self.net(torch.cat([repeated, each], dim=-1))
        else:
            outputs = self.net.of_candidates(observations, embedded, everywhere=True)
        shaped: Tensor = outputs.reshape(agents, states, embedded.shape[1], -1)
        return shaped


class Mixture(SubPolicies):
    """P mixtures of K deterministic policies: `[P, B, observation_size]`, `[P, B, K]` -> actions."""

    def forward(self, observations: Tensor, latents: Tensor) -> Tensor:
        """mu(s, z) for the latents [P, B, K]. [P, B, action_size]"""
        return torch.tanh(super().forward(observations, latents))

    def of_all(self, observations: Tensor) -> Tensor:
        """mu(s, z) of every z. [P, B, K, action_size]"""
        return torch.tanh(super().of_all(observations))


class Encoder(nn.Module):
    """P posteriors over K latents: states and actions `[P, B, ...]` -> logits `[P, B, K]`."""

    def __init__(self, agents: int, inputs: int, hidden_widths: Sequence[int], count: int) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, inputs, hidden_widths, count)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.net(torch.cat([observations, actions], dim=-1))
        return logits
