"""AWAC as CORL computes it, restated (github.com/tinkoff-ai/CORL, algorithms/offline/awac.py).

Kept: two critics on their own; the policy evaluated in the batch's states once for the advantage and once
for its loss, and the critics on the data's actions likewise; three optimisers, none fused, critics stepping
before the policy; weights exp(A / lambda) up to 100; targets moved parameter by parameter; both losses read
at each update.

Sizes, temperature, weight decay and the tanh of the policy's mean are those of AWAC's authors, where CORL
has layers of its own choice: a race over different networks would say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from benchmarks.peers.corl_cql import Critic, multi_layer_perceptron
from benchmarks.peers.rlkit_sac import move_targets

LARGEST_WEIGHT = 100.0


class GaussianActor(nn.Module):
    """A Gaussian around tanh of a network, with one deviation for all states; its samples are clipped."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = multi_layer_perceptron(observation_size, widths, action_size)
        self.log_std = nn.Parameter(torch.zeros(action_size))

    def forward(self, observations: Tensor) -> Normal:
        """The distribution in the states [B, obs]."""
        std = self.log_std.clamp(-20.0, 2.0).exp()
        return Normal(torch.tanh(self.net(observations)), std)

    def sample(self, observations: Tensor) -> Tensor:
        """Actions [B, A], whose density is computed and thrown away as in CORL."""
        policy = self(observations)
        actions: Tensor = policy.rsample().clamp_(-1.0, 1.0)
        policy.log_prob(actions).sum(dim=-1)
        return actions


class CorlAWAC:
    """One agent and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int] = (256, 256),
        policy_widths: Sequence[int] = (256, 256, 256, 256),
        temperature: float = 2.0,
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        learning_rate: float = 3e-4,
        policy_weight_decay: float = 1e-4,
    ) -> None:
        self.actor = GaussianActor(observation_size, action_size, policy_widths)
        self.critics = [Critic(observation_size, action_size, widths) for _ in range(2)]
        self.targets = [deepcopy(critic) for critic in self.critics]
        self.actor_optimiser = torch.optim.Adam(
            self.actor.parameters(), lr=learning_rate, weight_decay=policy_weight_decay
        )
        self.critic_optimisers = [
            torch.optim.Adam(critic.parameters(), lr=learning_rate) for critic in self.critics
        ]
        self.temperature = temperature
        self.discount = discount
        self.target_update_rate = target_update_rate

    def update(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
    ) -> dict[str, float]:
        """One update from tensors [B, ...]; `rewards` and `masks` are [B]. Returns what it reports."""
        critic_loss = self.critic_loss(observations, actions, rewards, masks, next_observations)
        _step(critic_loss, *self.critic_optimisers)
        actor_loss = self.actor_loss(observations, actions)
        _step(actor_loss, self.actor_optimiser)
        move_targets(self.targets, self.critics, self.target_update_rate)
        return {"critic_loss": critic_loss.item(), "actor_loss": actor_loss.item()}

    def critic_loss(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
    ) -> Tensor:
        """TD error of both critics."""
        with torch.no_grad():
            next_actions = self.actor.sample(next_observations)
            next_q = torch.min(*(target(next_observations, next_actions) for target in self.targets))
            td_target = rewards + self.discount * masks * next_q
        first, second = (critic(observations, actions) for critic in self.critics)
        return functional.mse_loss(first, td_target) + functional.mse_loss(second, td_target)

    def actor_loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Weighted negative log likelihood of the data's actions."""
        with torch.no_grad():
            own = self.actor.sample(observations)
            value = torch.min(*(critic(observations, own) for critic in self.critics))
            q = torch.min(*(critic(observations, actions) for critic in self.critics))
            weights = torch.exp((q - value) / self.temperature).clamp_max(LARGEST_WEIGHT)
        density: Tensor = self.actor(observations).log_prob(actions).sum(dim=-1)
        return (-density * weights).mean()


def _step(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in optimisers:
        optimiser.step()
