"""SAC as the authors' rlkit computes it, restated (github.com/shlee94/Off2OnRL, rlkit/torch/sac/sac.py).

Kept: two critics on their own; a policy with two heads, whose sample is drawn through a distribution; the
gradients that the actor loss leaves in the critics, and are thrown away; four optimisers, none fused;
targets moved parameter by parameter. What it reports is computed once an epoch there, so it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional


class Perceptron(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        sizes = [inputs, *widths]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(sizes[-1], outputs)

    def features(self, *inputs: Tensor) -> Tensor:
        """The last hidden layer's activations."""
        rows = torch.cat(inputs, dim=1)
        for layer in self.hidden:
            rows = functional.relu(layer(rows))
        return rows

    def forward(self, *inputs: Tensor) -> Tensor:
        """[B, ...] each -> [B, outputs]"""
        outputs: Tensor = self.last(self.features(*inputs))
        return outputs


class TanhNormal:
    """tanh of a Gaussian, sampled with its log density from the value before tanh."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std
        self.gaussian = Independent(Normal(mean, std), 1)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Reparametrised actions [B, A] and log densities [B, 1]."""
        standard = Independent(Normal(torch.zeros_like(self.mean), torch.ones_like(self.std)), 1)
        before = self.mean + self.std * standard.sample()
        slope = 2.0 * (math.log(2.0) - before - functional.softplus(-2.0 * before))
        density: Tensor = self.gaussian.log_prob(before) - slope.sum(dim=1)  # type: ignore[no-untyped-call]
        return torch.tanh(before), density.unsqueeze(-1)


class Policy(nn.Module):
    """A tanh-Gaussian policy with a head for the mean and one for the log standard deviation."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = Perceptron(observation_size, widths, action_size)
        self.log_std = nn.Linear(widths[-1], action_size)

    def forward(self, observations: Tensor) -> TanhNormal:
        """The action distribution in the states [B, obs]."""
        features = self.net.features(observations)
        return TanhNormal(self.net.last(features), self.log_std(features).clamp(-20.0, 2.0).exp())


class RlkitSAC:
    """One agent and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int] = (256, 256),
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        learning_rate: float = 3e-4,
    ) -> None:
        self.policy = Policy(observation_size, action_size, widths)
        self.critics = [Perceptron(observation_size + action_size, widths, 1) for _ in range(2)]
        self.targets = [deepcopy(critic) for critic in self.critics]
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=learning_rate)
        self.policy_optimiser = torch.optim.Adam(self.policy.parameters(), lr=learning_rate)
        self.critic_optimisers = [torch.optim.Adam(c.parameters(), lr=learning_rate) for c in self.critics]
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
    ) -> None:
        """One update from tensors [B, ...]; `rewards` and `masks` are [B, 1]."""
        new_actions, log_pi = self.policy(observations).sample()
        alpha_loss = -(self.log_alpha * (log_pi + self.target_entropy).detach()).mean()
        alpha = self.log_alpha.exp()
        lowest = torch.min(*(critic(observations, new_actions) for critic in self.critics))
        policy_loss = (alpha * log_pi - lowest).mean()

        q_data = [critic(observations, actions) for critic in self.critics]
        next_actions, next_log_pi = self.policy(next_observations).sample()
        next_q = torch.min(*(target(next_observations, next_actions) for target in self.targets))
        td_target = (rewards + masks * self.discount * (next_q - alpha * next_log_pi)).detach()
        q_losses = [(q - td_target).square().mean() for q in q_data]

        step(alpha_loss, self.alpha_optimiser)
        step(policy_loss, self.policy_optimiser)
        for loss, optimiser in zip(q_losses, self.critic_optimisers, strict=True):
            step(loss, optimiser)
        move_targets(self.targets, self.critics, self.target_update_rate)


def step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One step of one optimiser down one loss."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def move_targets(targets: Iterable[nn.Module], sources: Iterable[nn.Module], rate: float) -> None:
    """target <- (1 - rate) target + rate source, parameter by parameter."""
    for target, source in zip(targets, sources, strict=True):
        for old, new in zip(target.parameters(), source.parameters(), strict=True):
            old.data.copy_(old.data * (1.0 - rate) + new.data * rate)
