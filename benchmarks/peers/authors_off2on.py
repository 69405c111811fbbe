"""Off2On as its authors compute it, restated (github.com/shlee94/Off2OnRL: rlkit/torch/sac/ours.py).

Kept: each twin's N critics as one network of einsum layers, fed with repeated rows; the N policies one
after the other; five optimisers, none fused; the gradients that the policy loss leaves in the critics, and
are thrown away; priorities and density-ratio loss from the same passes. The replay is left out on both
sides; the variance of the mixture is the authors', un-centred, with a floor where theirs turns negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.peers.rlkit_sac import Perceptron, Policy, TanhNormal, move_targets, step


class EnsembleLayer(nn.Module):
    """N affine maps by einsum: [N, B, in] -> [N, B, out]."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weights = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.biases = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, rows: Tensor) -> Tensor:
        """All members' outputs."""
        return torch.einsum("nbi,nio->nbo", rows, self.weights) + self.biases


class EnsembleCritic(nn.Module):
    """N critics: [N, B, obs] and [N, B, A] -> [N, B, 1]."""

    def __init__(self, members: int, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [observation_size + action_size, *widths]
        self.hidden = nn.ModuleList(EnsembleLayer(members, a, b) for a, b in pairwise(sizes))
        self.last = EnsembleLayer(members, sizes[-1], 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q(s, a) by each member."""
        rows = torch.cat([observations, actions], dim=-1)
        for layer in self.hidden:
            rows = torch.relu(layer(rows))
        q: Tensor = self.last(rows)
        return q


class EnsemblePolicy(nn.Module):
    """One Gaussian with the moments of the N policies' mixture."""

    def __init__(self, members: int, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.policies = nn.ModuleList(Policy(observation_size, action_size, widths) for _ in range(members))

    def forward(self, observations: Tensor) -> TanhNormal:
        """The action distribution in the states [B, obs]."""
        each = [policy(observations) for policy in self.policies]
        means = torch.stack([distribution.mean for distribution in each])
        stds = torch.stack([distribution.std for distribution in each])
        mean = means.mean(dim=0)
        variance = (means.square() + stds.square()).mean(dim=0) - mean.square()
        return TanhNormal(mean, variance.clamp(min=1e-12).sqrt().clamp(max=7.389056))


class AuthorsOff2On:
    """One ensemble, its density-ratio network and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        members: int = 5,
        widths: Sequence[int] = (256, 256),
        weight_temperature: float = 5.0,
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        learning_rate: float = 3e-4,
    ) -> None:
        self.policy = EnsemblePolicy(members, observation_size, action_size, widths)
        self.critics = [EnsembleCritic(members, observation_size, action_size, widths) for _ in range(2)]
        self.targets = [deepcopy(critic) for critic in self.critics]
        self.density = Perceptron(observation_size + action_size, widths, 1)
        nn.init.ones_(self.density.last.bias)
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=learning_rate)
        self.policy_optimiser = torch.optim.Adam(self.policy.parameters(), lr=learning_rate)
        self.critic_optimisers = [torch.optim.Adam(c.parameters(), lr=learning_rate) for c in self.critics]
        self.density_optimiser = torch.optim.Adam(self.density.parameters(), lr=learning_rate)
        self.members = members
        self.weight_temperature = weight_temperature
        self.discount = discount
        self.target_update_rate = target_update_rate
        self.target_entropy = -float(action_size)

    def update(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
        offline: tuple[Tensor, Tensor],
        online: tuple[Tensor, Tensor],
    ) -> Tensor:
        """One update from tensors [B, ...]; `rewards` and `masks` are [B, 1]. New priorities [B, 1].

        `offline` and `online` are observations and actions drawn uniformly from either side.
        """
        offline_weight = torch.relu(self.density(*offline))
        online_weight = torch.relu(self.density(*online))
        offline_term = -torch.log(2.0 / (offline_weight + 1) + 1e-10)
        online_term = torch.log(2 * online_weight / (online_weight + 1) + 1e-10)
        density_loss = (offline_term - online_term).mean()

        new_actions, log_pi = self.policy(observations).sample()
        alpha_loss = -(self.log_alpha * (log_pi + self.target_entropy).detach()).mean()
        alpha = self.log_alpha.exp()
        lowest = torch.min(
            *(critic(self.repeated(observations), self.repeated(new_actions)) for critic in self.critics)
        )
        policy_loss = (alpha * log_pi - lowest.mean(dim=0)).mean()

        q_data = [critic(self.repeated(observations), self.repeated(actions)) for critic in self.critics]
        next_actions, next_log_pi = self.policy(next_observations).sample()
        next_actions = self.repeated(next_actions)
        next_q = torch.min(
            *(target(self.repeated(next_observations), next_actions) for target in self.targets)
        )
        td_target = (rewards + masks * self.discount * (next_q - alpha * next_log_pi)).detach()
        q_losses = [(q - td_target).square().sum(dim=0).mean() for q in q_data]

        with torch.no_grad():
            power = 1 / self.weight_temperature
            weight = torch.relu(self.density(observations, actions))
            normaliser = (offline_weight**power).mean() + 1e-10
            priorities = (weight**power / normaliser).clamp(1e-3, 1e3)

        step(alpha_loss, self.alpha_optimiser)
        step(policy_loss, self.policy_optimiser)
        for loss, optimiser in zip(q_losses, self.critic_optimisers, strict=True):
            step(loss, optimiser)
        step(density_loss, self.density_optimiser)
        move_targets(self.targets, self.critics, self.target_update_rate)
        return priorities

    def repeated(self, rows: Tensor) -> Tensor:
        """The same rows for each member: [B, n] -> [N, B, n]."""
        return rows.unsqueeze(0).repeat(self.members, 1, 1)
