"""RLPD's update as PyTorch is usually written: a module a critic, no product shared.

What is computed is `algorithms.methods.rlpd`'s: the two target critics are drawn before any is evaluated, and
the actor learns once, on the last slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.peers.rlkit_sac import Policy, move_targets, step


def critic(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear, LayerNorm, ReLU for each hidden layer, then one output."""
    sizes = [inputs, *widths]
    hidden = [
        layer
        for a, b in pairwise(sizes)
        for layer in (nn.Linear(a, b), nn.LayerNorm(b, eps=1e-6), nn.ReLU(inplace=True))
    ]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))


class PlainRLPD:
    """One agent and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int] = (256, 256),
        critics: int = 10,
        target_critics: int = 2,
        updates: int = 20,
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        learning_rate: float = 3e-4,
    ) -> None:
        self.policy = Policy(observation_size, action_size, widths)
        self.critics = nn.ModuleList(critic(observation_size + action_size, widths) for _ in range(critics))
        self.targets = deepcopy(self.critics)
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=learning_rate)
        self.policy_optimiser = torch.optim.Adam(self.policy.parameters(), lr=learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=learning_rate)
        self.target_critics, self.updates = target_critics, updates
        self.discount, self.target_update_rate = discount, target_update_rate
        self.target_entropy = -action_size / 2

    def update(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
    ) -> None:
        """An environment step's updates from tensors [U B, ...]; `rewards` and `masks` are [U B, 1]."""
        fields = (observations, actions, rewards, masks, next_observations)
        for part in zip(*(field.chunk(self.updates) for field in fields), strict=True):
            step(self.critic_loss(*part), self.critic_optimiser)
            move_targets(self.targets, self.critics, self.target_update_rate)
        last = observations.chunk(self.updates)[-1]
        new_actions, log_pi = self.policy(last).sample()
        q = torch.stack([each(torch.cat([last, new_actions], dim=1)) for each in self.critics]).mean(dim=0)
        step((self.log_alpha.exp().detach() * log_pi - q).mean(), self.policy_optimiser)
        step(self.log_alpha.exp() * (-log_pi.detach().mean() - self.target_entropy), self.alpha_optimiser)

    def critic_loss(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
    ) -> Tensor:
        """The critics' mean squared error to the target of the drawn ones."""
        with torch.no_grad():
            next_actions, log_pi = self.policy(next_observations).sample()
            chosen = torch.randperm(len(self.targets))[: self.target_critics].tolist()
            pairs = torch.cat([next_observations, next_actions], dim=1)
            lowest = torch.stack([self.targets[k](pairs) for k in chosen]).amin(dim=0)
            soft = lowest - self.log_alpha.exp() * log_pi
            target = rewards + self.discount * masks * soft
        pairs = torch.cat([observations, actions], dim=1)
        return torch.stack([(each(pairs) - target).square().mean() for each in self.critics]).mean()
