"""CQL as CORL computes it: `ContinuousCQL.train`, restated (github.com/tinkoff-ai/CORL, offline/cql.py).

Kept: two critics on their own; states repeated for each of the 3 x 10 candidate actions; a pass a critic
for each kind of candidate; actions and log densities through `torch.distributions`; gradients that the
actor loss leaves in the critics, and are thrown away; an optimiser a network, none fused; targets moved
parameter by parameter; and the values it reports at each update, read one by one.

Its published default has three hidden layers of 256; the widths here are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution
from torch.nn import functional


def multi_layer_perceptron(inputs: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times: [B, n] -> [B, times, n]."""
    return rows.unsqueeze(1).repeat_interleave(times, dim=1)


class Actor(nn.Module):
    """A tanh-Gaussian policy whose log standard deviation is scaled and shifted by learned numbers."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = multi_layer_perceptron(observation_size, widths, 2 * action_size)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(-1.0))

    def forward(self, observations: Tensor, samples: int | None = None) -> tuple[Tensor, Tensor]:
        """Actions [B, A] and log densities [B]; with `samples`, so many in each state: [B, samples, A]."""
        if samples is not None:
            observations = repeated(observations, samples)
        mean, raw = self.net(observations).chunk(2, dim=-1)
        std = (self.scale * raw + self.shift).clamp(-20.0, 2.0).exp()
        squashed = TransformedDistribution(Normal(mean, std), TanhTransform(cache_size=1))
        actions = squashed.rsample()
        density: Tensor = squashed.log_prob(actions)  # type: ignore[no-untyped-call]
        return actions, density.sum(dim=-1)


class Critic(nn.Module):
    """Q(s, a) of one action in each state, or of several."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = multi_layer_perceptron(observation_size + action_size, widths, 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """[B, obs] and [B, A] -> [B], or [B, obs] and [B, n, A] -> [B, n]."""
        if actions.ndim == 2:
            joined: Tensor = self.net(torch.cat([observations, actions], dim=-1))
            return joined.squeeze(-1)
        states, candidates = actions.shape[:2]
        flat = repeated(observations, candidates).flatten(0, 1)
        q: Tensor = self.net(torch.cat([flat, actions.flatten(0, 1)], dim=-1))
        return q.reshape(states, candidates)


class CorlCQL:
    """One agent and its optimisers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int] = (256, 256),
        sampled_actions: int = 10,
        conservative_weight: float = 5.0,
        discount: float = 0.99,
        target_update_rate: float = 5e-3,
        policy_learning_rate: float = 1e-4,
        value_learning_rate: float = 3e-4,
    ) -> None:
        self.actor = Actor(observation_size, action_size, widths)
        self.critics = [Critic(observation_size, action_size, widths) for _ in range(2)]
        self.targets = [deepcopy(critic) for critic in self.critics]
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], lr=policy_learning_rate)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=policy_learning_rate)
        self.critic_optimisers = [
            torch.optim.Adam(critic.parameters(), lr=value_learning_rate) for critic in self.critics
        ]
        self.sampled_actions = sampled_actions
        self.conservative_weight = conservative_weight
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
    ) -> dict[str, float]:
        """One update from tensors [B, ...]; `rewards` and `masks` are [B]. Returns what it reports."""
        new_actions, log_pi = self.actor(observations)
        alpha_loss = -(self.log_alpha * (log_pi + self.target_entropy).detach()).mean()
        alpha = self.log_alpha.exp()
        lowest = torch.min(*(critic(observations, new_actions) for critic in self.critics))
        actor_loss = (alpha * log_pi - lowest).mean()
        report = {
            "log_pi": log_pi.mean().item(),
            "actor_loss": actor_loss.item(),
            "alpha_loss": alpha_loss.item(),
            "alpha": alpha.item(),
        }
        critic_loss = self.critic_loss(observations, actions, rewards, masks, next_observations, report)

        _step(alpha_loss, self.alpha_optimiser)
        _step(actor_loss, self.actor_optimiser)
        _step(critic_loss, *self.critic_optimisers)
        for target, critic in zip(self.targets, self.critics, strict=True):
            for old, new in zip(target.parameters(), critic.parameters(), strict=True):
                old.data.copy_((1 - self.target_update_rate) * old.data + self.target_update_rate * new.data)
        return report

    def critic_loss(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        masks: Tensor,
        next_observations: Tensor,
        report: dict[str, float],
    ) -> Tensor:
        """TD error plus penalty of both critics; adds what it reports to `report`."""
        n, action_size = self.sampled_actions, actions.shape[-1]
        q_data = [critic(observations, actions) for critic in self.critics]

        next_actions, _ = self.actor(next_observations)
        next_q = torch.min(*(target(next_observations, next_actions) for target in self.targets))
        td_target = (rewards + masks * self.discount * next_q.detach()).detach()
        td_errors = [functional.mse_loss(q, td_target) for q in q_data]

        uniform = actions.new_empty(len(actions), n, action_size).uniform_(-1, 1)
        current, current_density = (part.detach() for part in self.actor(observations, n))
        following, following_density = (part.detach() for part in self.actor(next_observations, n))
        uniform_density = action_size * math.log(0.5)

        losses = []
        passes = [
            [critic(observations, candidates) for critic in self.critics]
            for candidates in (uniform, current, following)
        ]
        for index, (q, td_error) in enumerate(zip(q_data, td_errors, strict=True), 1):
            q_uniform, q_current, q_following = (both[index - 1] for both in passes)
            everything = torch.cat([q_uniform, q.unsqueeze(1), q_following, q_current], dim=1)
            logits = torch.cat(
                [q_uniform - uniform_density, q_following - following_density, q_current - current_density],
                dim=1,
            )
            soft_maximum = torch.logsumexp(logits, dim=1)
            gap = torch.clamp(soft_maximum - q, -math.inf, math.inf).mean()
            losses.append(td_error + self.conservative_weight * gap)
            report |= {
                f"td_error_{index}": td_error.item(),
                f"q_{index}": q.mean().item(),
                f"q_spread_{index}": everything.std(dim=1).mean().item(),
                f"q_uniform_{index}": q_uniform.mean().item(),
                f"q_current_{index}": q_current.mean().item(),
                f"q_next_{index}": q_following.mean().item(),
                f"gap_{index}": gap.item(),
                f"penalty_{index}": (self.conservative_weight * gap).item(),
            }
        report["q_target"] = next_q.mean().item()
        return torch.stack(losses).sum()


def _step(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in optimisers:
        optimiser.step()
