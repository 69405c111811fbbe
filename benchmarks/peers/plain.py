"""Updates of today's baselines as PyTorch is usually written: a module a critic, an optimiser a network.

What is computed is `algorithms.methods`', with the numbers of the same configurations; critics that count for
nothing are not evaluated. Tensors are [B, ...], `rewards` and `masks` [B, 1].
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

from algorithms.methods import cal_ql, edac, iql, pex, rebrac, so2, wsrl
from benchmarks.peers.rlkit_sac import TanhNormal, move_targets, step

Rows = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Observations, actions, rewards, masks, next observations."""


def network(inputs: int, widths: Sequence[int], outputs: int, norm: str = "none") -> nn.Sequential:
    """Linear layers with ReLU between them, and layer norm before or after it."""
    sizes = [inputs, *widths]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
        if norm != "none":
            layers.insert(len(layers) - (norm == "before"), nn.LayerNorm(b, eps=1e-6))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def value(critic: nn.Module, *parts: Tensor) -> Tensor:
    """Q(s, a) or V(s). [B, 1]"""
    found: Tensor = critic(torch.cat(parts, dim=1))
    return found


def values(critics: Iterable[nn.Module], *parts: Tensor) -> Tensor:
    """Those of several critics. [K, B, 1]"""
    return torch.stack([value(critic, *parts) for critic in critics])


def repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times, one copy after the other: [B, n] -> [B times, n]."""
    return rows.repeat_interleave(times, dim=0)


def adam(modules: nn.Module | Sequence[nn.Parameter], rate: float) -> torch.optim.Adam:
    """An optimiser of one network, as it comes."""
    return torch.optim.Adam(modules.parameters() if isinstance(modules, nn.Module) else modules, lr=rate)


class TanhPolicy(nn.Module):
    """A tanh-Gaussian policy; the log deviation may be scaled and shifted by learned numbers."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        widths: Sequence[int],
        log_std_range: tuple[float, float],
        norm: str = "none",
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.net = network(observation_size, widths, 2 * action_size, norm)
        self.log_std_range = log_std_range
        self.scale = nn.Parameter(torch.ones(())) if scaled else None
        self.offset = nn.Parameter(torch.full((), -1.0)) if scaled else None

    def forward(self, observations: Tensor) -> TanhNormal:
        """The action distribution in the states [B, obs]."""
        mean, log_std = self.net(observations).chunk(2, dim=1)
        if self.scale is not None:
            log_std = self.scale * log_std + self.offset
        return TanhNormal(mean, log_std.clamp(*self.log_std_range).exp())


class ActorCritic:
    """One agent with tanh-Gaussian policy, critics, targets, temperature, and an optimiser of each."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: wsrl.WSRLConfig | cal_ql.CalQLConfig | edac.ManyCriticsConfig,
        policy_norm: str = "none",
        scaled: bool = False,
    ) -> None:
        widths = config.hidden_widths
        self.policy = TanhPolicy(
            observation_size, action_size, widths, config.log_std_range, policy_norm, scaled
        )
        self.critics = nn.ModuleList(
            network(observation_size + action_size, widths, 1, config.critic_norm)
            for _ in range(config.critics)
        )
        self.targets = deepcopy(self.critics)
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.alpha_optimiser = adam([self.log_alpha], config.policy_learning_rate)
        self.policy_optimiser = adam(self.policy, config.policy_learning_rate)
        self.critic_optimiser = adam(self.critics, config.value_learning_rate)
        self.discount, self.rate = config.discount, config.target_update_rate
        self.target_entropy = -float(action_size)

    def move(self) -> None:
        """The targets, a step."""
        move_targets(self.targets, self.critics, self.rate)

    def alpha(self) -> Tensor:
        """The temperature."""
        return self.log_alpha.exp()

    def actor_loss(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """alpha log pi less the smallest critic; and log pi."""
        actions, log_pi = self.policy(observations).sample()
        lowest = values(self.critics, observations, actions).amin(dim=0)
        return (self.alpha().detach() * log_pi - lowest).mean(), log_pi

    def alpha_loss(self, log_pi: Tensor) -> Tensor:
        """Of the temperature."""
        return self.alpha() * (-log_pi.detach().mean() - self.target_entropy)

    def best_target(self, rows: Rows, samples: int, drawn: Sequence[nn.Module]) -> Tensor:
        """r + discount mask max over actions of the smallest of the `drawn` targets. [B, 1]"""
        _, _, rewards, masks, following = rows
        with torch.no_grad():
            states = repeated(following, samples)
            actions, _ = self.policy(states).sample()
            q = values(drawn, states, actions).amin(dim=0).view(len(following), samples).amax(dim=1)
            return rewards + self.discount * masks * q.unsqueeze(1)

    def candidates(self, rows: Rows, samples: int) -> tuple[Tensor, Tensor]:
        """Uniform actions, pi(.|s) and pi(.|s') [B, 3 samples, A], and their log densities [B, 3 samples]."""
        observations, actions, *_, following = rows
        shape = (len(actions), samples, actions.shape[1])
        found, densities = [2 * torch.rand(shape) - 1], [torch.full(shape[:2], -shape[2] * math.log(2))]
        with torch.no_grad():
            for states in (observations, following):
                sample, density = self.policy(repeated(states, samples)).sample()
                found.append(sample.view(shape))
                densities.append(density.view(shape[:2]))
        return torch.cat(found, dim=1), torch.cat(densities, dim=1)


def of_candidates(critic: nn.Module, observations: Tensor, actions: Tensor) -> Tensor:
    """Q of several actions a state. [B, n]"""
    states = repeated(observations, actions.shape[1])
    return value(critic, states, actions.flatten(0, 1)).view(actions.shape[:2])


class PlainWSRL(ActorCritic):
    """WSRL with an output layer for each critic and an Adam that rests (both options of ours)."""

    def __init__(self, observation_size: int, action_size: int, config: wsrl.WSRLConfig) -> None:
        super().__init__(observation_size, action_size, config, config.policy_norm)
        self.config = config

    def alpha(self) -> Tensor:
        """The temperature, a softplus."""
        return functional.softplus(self.log_alpha)

    def drawn(self, critics: nn.ModuleList) -> list[nn.Module]:
        """Some critics, drawn anew."""
        count, replacement = self.config.target_critics, self.config.drawn_with_replacement
        total = len(critics)
        places = torch.randint(total, (count,)) if replacement else torch.randperm(total)[:count]
        return [critics[int(place)] for place in places]

    def pretrain(self, *rows: Tensor) -> None:
        """An update offline."""
        config, (observations, actions, *_, following) = self.config, rows
        target = self.best_target(rows, config.sampled_actions, self.drawn(self.targets))  # type: ignore[arg-type]
        td_error = (values(self.critics, observations, actions) - target).square().mean()
        proposed, densities = self.candidates(rows, config.sampled_actions)  # type: ignore[arg-type]
        gaps = [
            (of_candidates(critic, observations, proposed) - densities).logsumexp(dim=1).mean()
            - value(critic, observations, actions).mean()
            for critic in self.drawn(self.critics)
        ]
        actor, _ = self.actor_loss(observations)
        with torch.no_grad():
            _, log_pi = self.policy(repeated(following, config.sampled_actions)).sample()
        temperature = self.alpha_loss(log_pi)
        step(actor, self.policy_optimiser)
        step(td_error + config.conservative_weight * torch.stack(gaps).mean(), self.critic_optimiser)
        step(temperature, self.alpha_optimiser)
        self.move()

    def fine_tune(self, *rows: Tensor) -> None:
        """An environment step's updates."""
        parts = zip(*(field.chunk(self.config.updates_per_step) for field in rows), strict=True)
        for observations, actions, rewards, masks, following in parts:
            with torch.no_grad():
                next_actions, _ = self.policy(following).sample()
                lowest = values(self.drawn(self.targets), following, next_actions).amin(dim=0)
                target = rewards + self.discount * masks * lowest
            step(
                (values(self.critics, observations, actions) - target).square().mean(), self.critic_optimiser
            )
            self.move()
        actor, _ = self.actor_loss(rows[0])
        with torch.no_grad():
            _, log_pi = self.policy(rows[4]).sample()
        temperature = self.alpha_loss(log_pi)
        step(actor, self.policy_optimiser)
        step(temperature, self.alpha_optimiser)


class PlainCalQL(ActorCritic):
    """Cal-QL."""

    def __init__(self, observation_size: int, action_size: int, config: cal_ql.CalQLConfig) -> None:
        super().__init__(observation_size, action_size, config, scaled=True)
        self.config = config

    def update(self, returns: Tensor, *rows: Tensor) -> None:
        """An update; `returns` are the returns to go [B, 1]."""
        config, (observations, actions, *_) = self.config, rows
        target = self.best_target(rows, config.sampled_actions, self.targets)  # type: ignore[arg-type]
        td_errors = (values(self.critics, observations, actions) - target).square().mean(dim=(1, 2))
        critics = td_errors + config.conservative_weight * self.gaps(returns, *rows)
        actor, log_pi = self.actor_loss(observations)
        temperature = self.alpha_loss(log_pi)
        step(actor, self.policy_optimiser)
        step(critics.sum(), self.critic_optimiser)
        step(temperature, self.alpha_optimiser)
        self.move()

    def gaps(self, returns: Tensor, *rows: Tensor) -> Tensor:
        """Each critic's soft maximum, the policy's values from the returns up, less its value of the data."""
        n, (observations, actions, *_) = self.config.sampled_actions, rows
        proposed, densities = self.candidates(rows, n)  # type: ignore[arg-type]
        found = []
        for critic in self.critics:
            uniform, policys = of_candidates(critic, observations, proposed).split((n, 2 * n), dim=1)
            bound = torch.cat([uniform, torch.maximum(policys, returns)], dim=1)
            own = value(critic, observations, actions).mean()
            found.append((bound - densities).logsumexp(dim=1).mean() - own)
        return torch.stack(found)


class PlainEDAC(ActorCritic):
    """EDAC."""

    def __init__(self, observation_size: int, action_size: int, config: edac.EDACConfig) -> None:
        super().__init__(observation_size, action_size, config)
        self.config = config
        self.compared = min(config.critics, action_size) if config.diverse_critics == "action_size" else None

    def update(self, *rows: Tensor) -> None:
        """An update."""
        observations, actions, rewards, masks, following = rows
        with torch.no_grad():
            next_actions, log_pi = self.policy(following).sample()
            lowest = values(self.targets, following, next_actions).amin(dim=0) - self.alpha() * log_pi
            target = rewards + self.discount * masks * lowest
        td_error = (values(self.critics, observations, actions) - target).square().mean(dim=(1, 2)).sum()
        actor, log_pi = self.actor_loss(observations)
        temperature = self.alpha_loss(log_pi)
        diversity = self.config.diversity_weight * self.diversity(observations, actions)
        step(actor, self.policy_optimiser)
        step(td_error + diversity, self.critic_optimiser)
        step(temperature, self.alpha_optimiser)
        self.move()

    def diversity(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Mean pairwise cosine of the slopes of some critics in the action, times the critics."""
        units = []
        for place in torch.randperm(len(self.critics))[: self.compared]:
            free = actions.clone().requires_grad_()
            q = value(self.critics[int(place)], observations, free).sum()
            [slope] = torch.autograd.grad(q, free, create_graph=True)
            units.append(slope / (slope.norm(dim=1, keepdim=True) + 1e-10))
        stacked = torch.stack(units, dim=1)
        cosines = stacked @ stacked.transpose(1, 2) * (1 - torch.eye(len(units)))
        return cosines.sum(dim=(1, 2)).mean() / (len(units) - 1)


class PlainSO2(ActorCritic):
    """SO2."""

    def __init__(self, observation_size: int, action_size: int, config: so2.SO2Config) -> None:
        super().__init__(observation_size, action_size, config)
        self.config = config
        nn.init.constant_(self.log_alpha, math.log(0.2))

    def update(self, *rows: Tensor) -> None:
        """An environment step's updates."""
        config = self.config
        parts = list(zip(*(field.chunk(config.updates_per_step) for field in rows), strict=True))
        for observations, actions, rewards, masks, following in parts:
            with torch.no_grad():
                next_actions, log_pi = self.policy(following).sample()
                noise = config.target_noise * torch.randn_like(next_actions)
                limit = config.target_noise_limit
                near = (next_actions + noise.clamp(-limit, limit)).clamp(-1, 1)
                soft = values(self.targets, following, near) - self.alpha() * log_pi
                target = rewards + self.discount * masks * soft
            step(
                (values(self.critics, observations, actions) - target).square().mean(), self.critic_optimiser
            )
            self.move()
        step(self.actor_loss(parts[-1][0])[0], self.policy_optimiser)


class PlainIQL:
    """IQL."""

    def __init__(self, observation_size: int, action_size: int, config: iql.IQLConfig) -> None:
        widths, self.config = config.hidden_widths, config
        self.policy = network(observation_size, widths, action_size)
        self.log_std = nn.Parameter(torch.zeros(action_size))
        self.v = network(observation_size, widths, 1)
        self.critics = nn.ModuleList(network(observation_size + action_size, widths, 1) for _ in range(2))
        self.targets = deepcopy(self.critics)
        self.policy_optimiser = adam([*self.policy.parameters(), self.log_std], config.policy_learning_rate)
        self.v_optimiser = adam(self.v, config.value_learning_rate)
        self.critic_optimiser = adam(self.critics, config.value_learning_rate)

    def distribution(self, observations: Tensor) -> Independent:
        """The policy in the states [B, obs]."""
        std = self.log_std.clamp(*self.config.log_std_range).exp()
        return Independent(Normal(torch.tanh(self.policy(observations)), std), 1)

    def smaller_target(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The smaller target critic. [B, 1]"""
        with torch.no_grad():
            return values(self.targets, observations, actions).amin(dim=0)

    def value_loss(self, observations: Tensor, q: Tensor) -> Tensor:
        """Expectile regression on `q` [B, 1]."""
        advantage = q - value(self.v, observations)
        return ((self.config.expectile - (advantage < 0).float()).abs() * advantage.square()).mean()

    def imitation_loss(self, observations: Tensor, actions: Tensor, q: Tensor) -> Tensor:
        """Of actions by their advantage."""
        with torch.no_grad():
            advantage = q - value(self.v, observations)
            weights = (
                (self.config.inverse_temperature * advantage).exp().clamp(max=self.config.largest_weight)
            )
        log_pi = self.distribution(observations).log_prob(actions)  # type: ignore[no-untyped-call]
        return -(weights[:, 0] * log_pi).mean()

    def critic_losses(self, *rows: Tensor) -> Tensor:
        """Of each critic, towards what V says of the next state. [K]"""
        observations, actions, rewards, masks, following = rows
        with torch.no_grad():
            target = rewards + self.config.discount * masks * value(self.v, following)
        return (values(self.critics, observations, actions) - target).square().mean(dim=(1, 2))

    def update(self, *rows: Tensor) -> None:
        """An update."""
        observations, actions = rows[:2]
        q = self.smaller_target(observations, actions)
        step(self.value_loss(observations, q), self.v_optimiser)
        step(self.imitation_loss(observations, actions, q), self.policy_optimiser)
        step(self.critic_losses(*rows).sum(), self.critic_optimiser)
        move_targets(self.targets, self.critics, self.config.target_update_rate)


class PlainPEX(PlainIQL):
    """PEX: `policy` is the new one."""

    def __init__(self, observation_size: int, action_size: int, config: pex.PEXConfig) -> None:
        super().__init__(observation_size, action_size, config)
        self.acting = config.acting_inverse_temperature
        self.frozen = deepcopy(self.policy)

    def update(self, *rows: Tensor) -> None:
        """An update."""
        observations, actions = rows[:2]
        of_value = self.value_loss(observations, self.smaller_target(observations, actions))
        critics = self.critic_losses(*rows).mean()
        step(of_value, self.v_optimiser)
        step(critics, self.critic_optimiser)
        move_targets(self.targets, self.critics, self.config.target_update_rate)
        picked = self.act(observations)
        q = self.smaller_target(observations, picked)
        step(self.imitation_loss(observations, picked, q), self.policy_optimiser)

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """The frozen policy's mean or a sample of the new one, by a softmax over Q."""
        old, new = torch.tanh(self.frozen(observations)), self.distribution(observations).sample()
        q = torch.stack([values(self.critics, observations, each).amin(dim=0) for each in (old, new)])
        is_new = torch.distributions.Categorical(logits=self.acting * q.movedim(0, -1)).sample()
        return torch.where(is_new.bool(), new, old)


class PlainReBRAC:
    """ReBRAC."""

    def __init__(self, observation_size: int, action_size: int, config: rebrac.ReBRACConfig) -> None:
        widths, self.config = config.hidden_widths, config
        self.policy = network(observation_size, widths, action_size, config.policy_norm)
        inputs = observation_size + action_size
        self.critics = nn.ModuleList(network(inputs, widths, 1, config.critic_norm) for _ in range(2))
        self.target_policy, self.targets = deepcopy(self.policy), deepcopy(self.critics)
        self.policy_optimiser = adam(self.policy, config.policy_learning_rate)
        self.critic_optimiser = adam(self.critics, config.value_learning_rate)
        self.made = 0

    def update(self, next_actions: Tensor, *rows: Tensor) -> None:
        """An update; the actor's and the targets' every other time."""
        config, (observations, actions, rewards, masks, following) = self.config, rows
        with torch.no_grad():
            limit = config.target_noise_limit
            noise = (config.target_noise * torch.randn_like(actions)).clamp(-limit, limit)
            near = (torch.tanh(self.target_policy(following)) + noise).clamp(-1, 1)
            apart = (near - next_actions).square().sum(dim=1, keepdim=True)
            lowest = values(self.targets, following, near).amin(dim=0) - config.critic_penalty * apart
            target = rewards + config.discount * masks * lowest
        errors = (values(self.critics, observations, actions) - target).square()
        step(errors.mean(dim=(1, 2)).sum(), self.critic_optimiser)
        if self.made % config.policy_delay == 0:
            own = torch.tanh(self.policy(observations))
            q = values(self.critics, observations, own).amin(dim=0)
            apart = (own - actions).square().sum(dim=1)
            loss = config.actor_penalty * apart.mean() - q.mean() / q.detach().abs().mean()
            move_targets(
                [self.targets, self.target_policy], [self.critics, self.policy], config.target_update_rate
            )
            step(loss, self.policy_optimiser)
        self.made += 1
