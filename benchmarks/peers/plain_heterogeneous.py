"""Updates of DMPO and LBRAC-v as PyTorch is usually written: a module a network, an optimiser a group.

What is computed is `algorithms.methods`', with the numbers of the same configurations. Tensors are [B, ...],
`rewards` and `masks` [B, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional

from algorithms.methods import behaviour_cloning, dmpo, lbrac, losses
from algorithms.population import described
from benchmarks.peers.plain import adam, network, repeated, value, values
from benchmarks.peers.rlkit_sac import move_targets, step


class PlainMixture(nn.Module):
    """K sub-policies, told apart by a latent that is embedded in as many numbers as the state has."""

    def __init__(self, observation_size: int, action_size: int, widths: Sequence[int], count: int) -> None:
        super().__init__()
        self.count = count
        self.embedding = nn.Linear(count, observation_size)
        self.net = network(2 * observation_size, widths, action_size)

    def forward(self, observations: Tensor, latents: Tensor) -> Tensor:
        """mu(s, z). [B, A]"""
        embedded = functional.relu(self.embedding(latents))
        return torch.tanh(self.net(torch.cat([observations, embedded], dim=1)))

    def of_all(self, observations: Tensor) -> Tensor:
        """mu(s, z) of every z, a state's in a row. [B K, A]"""
        latents = torch.eye(self.count).repeat(len(observations), 1)
        actions: Tensor = self(repeated(observations, self.count), latents)
        return actions


class PlainDMPO:
    """DMPO without V and without the information's bound."""

    def __init__(self, observation_size: int, action_size: int, config: dmpo.DMPOConfig) -> None:
        widths, count, self.config = config.hidden_widths, config.sub_policies, config
        pair = observation_size + action_size
        self.policy = PlainMixture(observation_size, action_size, widths, count)
        self.encoder = network(pair, widths, count)
        self.critics = nn.ModuleList(network(pair, widths, 1) for _ in range(2))
        self.target_policy, self.targets = deepcopy(self.policy), deepcopy(self.critics)
        learned = [*self.policy.parameters(), *self.encoder.parameters()]
        self.policy_optimiser = adam(learned, config.policy_learning_rate)
        self.critic_optimiser = adam(self.critics, config.value_learning_rate)
        self.made = 0

    @torch.no_grad()
    def judged(self, policy: PlainMixture, observations: Tensor) -> tuple[Tensor, Tensor]:
        """All sub-policies' actions [B, K, A], and the smaller critic of each [B, K]."""
        actions, shape = policy.of_all(observations), (len(observations), policy.count)
        q = values(self.critics, repeated(observations, policy.count), actions).amin(dim=0)
        return actions.view(*shape, -1), q.view(shape)

    def update(self, *rows: Tensor) -> None:
        """An update; that of sub-policies, encoder and targets every other time."""
        config, (observations, actions, rewards, masks, following) = self.config, rows
        with torch.no_grad():
            every, q = self.judged(self.target_policy, following)
            best = every[torch.arange(len(every)), q.argmax(dim=1)]
            limit = config.target_noise_limit
            noise = (config.target_noise * torch.randn_like(best)).clamp(-limit, limit)
            lowest = values(self.targets, following, (best + noise).clamp(-1, 1)).amin(dim=0)
            target = rewards + config.discount * masks * lowest
        errors = (values(self.critics, observations, actions) - target).square()
        step(errors.mean(dim=(1, 2)).sum(), self.critic_optimiser)
        self.made += 1
        if self.made % config.policy_delay == 0:
            step(self.imitation_loss(observations, actions), self.policy_optimiser)
            move_targets(
                [self.targets, self.target_policy], [self.critics, self.policy], config.target_update_rate
            )

    def imitation_loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Of the data's actions, weighted by their advantage."""
        config = self.config
        with torch.no_grad():
            own = values(self.critics, observations, actions).amin(dim=0)[:, 0]
            advantage = own - self.judged(self.target_policy, observations)[1].amax(dim=1)
            weights = losses.range_weights(advantage, config.advantage_scale)
            weights = weights / weights.mean()
            prior = torch.softmax(self.judged(self.policy, observations)[1], dim=1)
        probabilities = torch.softmax(value(self.encoder, observations, actions), dim=1)
        smallest = dmpo.SMALLEST
        gumbel = -torch.log(-torch.log(torch.rand_like(probabilities) + smallest) + smallest)
        logits = (torch.log(probabilities + smallest) + gumbel) / config.encoder_temperature
        error = (self.policy(observations, torch.softmax(logits, dim=1)) - actions).square().sum(dim=1)
        ratio = torch.log((probabilities + smallest) / (prior + smallest))
        divergence = (probabilities * ratio).sum(dim=1)
        return (weights * error).mean() + config.divergence_weight * (weights * divergence).mean()


class PlainDescribed(nn.Module):
    """A network whose last hidden layer is also told whose it is, by a vector."""

    def __init__(self, inputs: int, widths: Sequence[int], size: int, outputs: int) -> None:
        super().__init__()
        *hidden, features, last = widths
        self.body = nn.Sequential(network(inputs, hidden, features), nn.ReLU())
        self.norm = nn.LayerNorm(features, eps=described.NORM_EPSILON)
        self.head = network(features + size, (last,), outputs)

    def features(self, *inputs: Tensor) -> Tensor:
        """What the head sees of the inputs."""
        features: Tensor = self.norm(self.body(torch.cat(inputs, dim=1)))
        return features

    def of(self, features: Tensor, vectors: Tensor) -> Tensor:
        """The head's outputs."""
        return value(self.head, features, vectors)


class PlainCritic(PlainDescribed):
    """A critic with its vectors of policies."""

    def __init__(self, inputs: int, widths: Sequence[int], size: int, policies: int) -> None:
        super().__init__(inputs, widths, size, 1)
        self.policies = nn.Embedding(policies, size)

    def q(self, features: Tensor, numbers: Tensor) -> Tensor:
        """Of the policies by number. [B, 1]"""
        return self.of(features, directions(self.policies, numbers))


def directions(table: nn.Embedding, numbers: Tensor | None = None) -> Tensor:
    """Vectors by number, or all, of length 1."""
    return functional.normalize(table.weight if numbers is None else table(numbers), dim=1)


Gaussian = tuple[Tensor, Tensor]
"""Mean and deviation before tanh. [B, A] each"""


def log_density(policy: Gaussian, actions: Tensor) -> Tensor:
    """Of actions [..., B, A] inside the box. [..., B]"""
    before = torch.atanh(actions)
    slope = torch.log1p(-actions.square()).sum(dim=-1)
    density: Tensor = Independent(Normal(*policy), 1).log_prob(before) - slope  # type: ignore[no-untyped-call]
    return density


class PlainLBRAC:
    """LBRAC-v."""

    def __init__(
        self, observation_size: int, action_size: int, config: lbrac.LBRACConfig, trajectories: int
    ) -> None:
        self.config, size, self.learned = config, config.embedding_size, config.policies
        self.policy = PlainDescribed(observation_size, config.policy_hidden_widths, size, 2 * action_size)
        self.policies = nn.Embedding(config.policies + 1, size)
        self.trajectories = nn.Embedding(trajectories, size)
        self.critics = nn.ModuleList(
            PlainCritic(observation_size + action_size, config.hidden_widths, size, config.policies + 1)
            for _ in range(2)
        )
        self.targets = deepcopy(self.critics)
        of_policies = nn.ModuleList([self.policy, self.policies, self.trajectories])
        self.policy_optimiser = adam(of_policies, config.policy_learning_rate)
        self.critic_optimiser = adam(self.critics, config.value_learning_rate)

    def gaussian(self, features: Tensor, vectors: Tensor) -> Gaussian:
        """The policy of the vectors."""
        mean, log_std = self.policy.of(features, vectors).chunk(2, dim=1)
        return mean, log_std.clamp(*described.LOG_STD_RANGE).exp()

    def divergence(self, policy: Gaussian, behaviour: Gaussian) -> Tensor:
        """KL of the two by samples of the first, not below 0. [B]"""
        mean, std = policy
        noise = torch.randn(self.config.divergence_actions, *mean.shape)
        actions = behaviour_cloning.inside(torch.tanh(mean + std * noise))
        gap = log_density(policy, actions) - log_density(behaviour, actions)
        return functional.relu(gap.mean(dim=0))

    def lowest(self, critics: nn.ModuleList, numbers: Tensor, *pairs: Tensor) -> Tensor:
        """The smaller critic's value of the policies by number. [B]"""
        q = torch.stack([critic.q(critic.features(*pairs), numbers) for critic in critics])  # type: ignore[operator,union-attr]
        return q.amin(dim=0)[:, 0]

    @torch.no_grad()
    def td_targets(self, rows: Sequence[Tensor], own: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Of the learned policy and of the behaviours. [B, 1] each"""
        _, _, rewards, masks, following = rows
        features = self.policy.features(following)
        policy, behaviour = (self.gaussian(features, directions(self.policies, n)) for n in (own, made))
        found = []
        for (mean, std), numbers in ((policy, own), (behaviour, made)):
            actions = torch.tanh(mean + std * torch.randn_like(mean))
            found.append(self.lowest(self.targets, numbers, following, actions))
        found[0] = found[0] - self.config.divergence_weight * self.divergence(policy, behaviour)
        first, second = (rewards + self.config.discount * masks * each.unsqueeze(1) for each in found)
        return first, second

    def update(self, trajectory: Tensor, *rows: Tensor) -> None:
        """An update; `trajectory` are the numbers [B] of the transitions' trajectories."""
        observations, actions = rows[:2]
        move_targets(self.targets, self.critics, self.config.target_update_rate)
        with torch.no_grad():
            behaviours = directions(self.policies)[: self.config.policies]
            made = (directions(self.trajectories, trajectory) @ behaviours.T).argmax(dim=1)
        own = torch.full_like(made, self.learned)
        target, behaviours_target = self.td_targets(rows, own, made)
        errors = []
        for critic in self.critics:
            features = critic.features(observations, actions)  # type: ignore[operator]
            errors.append((critic.q(features, own) - target).square().mean())  # type: ignore[operator]
            errors.append((critic.q(features, made) - behaviours_target).square().mean())  # type: ignore[operator]
        step(torch.stack(errors).sum(), self.critic_optimiser)
        step(self.policy_loss(observations, actions, own, made, trajectory), self.policy_optimiser)

    def policy_loss(
        self, observations: Tensor, actions: Tensor, own: Tensor, made: Tensor, trajectory: Tensor
    ) -> Tensor:
        """Of the learned policy, the behaviours and the vectors."""
        config, features = self.config, self.policy.features(observations)
        policy, behaviour = (self.gaussian(features, directions(self.policies, n)) for n in (own, made))
        sampled = torch.tanh(policy[0] + policy[1] * torch.randn_like(policy[0]))
        climb = self.lowest(self.critics, own, observations, sampled)
        loss = (config.divergence_weight * self.divergence(policy, behaviour) - climb).mean()
        vectors, data = directions(self.trajectories, trajectory), behaviour_cloning.inside(actions)
        likelihood = log_density(behaviour, data) + log_density(self.gaussian(features, vectors), data)
        cosine = (vectors * directions(self.policies, made)).sum(dim=1)
        return loss - likelihood.mean() - config.commitment_weight * cosine.mean()
