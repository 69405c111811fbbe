"""Behaviour estimation from multi-source data (Zhang and Kashima, AAAI 2023): who made which trajectory.

Each trajectory was made by one of K unknown policies. This phase, before LBRAC-v, learns those policies, and
which of them made which trajectory: a vector w_m for each trajectory m, e_k and h_k for the k-th policy and
its values, one policy network and one pair of critics for all of them, which are told whose by the vector. A
trajectory belongs to the policy whose vector has the largest cosine with its own.

[MSBM] marks Altriaex/multi_source_behavior_modeling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from algorithms.methods import behaviour_cloning, losses
from algorithms.methods.interface import Method, Metrics, OfflineStart, Start
from algorithms.population.agents import Population, learned
from algorithms.population.described import DescribedCritics, DescribedPolicy
from algorithms.population.embeddings import Embeddings, nearest
from algorithms.population.networks import TanhGaussian
from algorithms.population.rows import one_hot
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Extra
from storage import UserError
from storage.constraints import BatchSize, EnsembleSize, FewCount, NotNegative, Rate, Weight, Widths

BINS = 100  # [MSBM] of the trajectories' returns, by percentile


@dataclass(frozen=True)
class MultiSourceConfig:
    """The numbers of the phase that estimates behaviours."""

    hidden_widths: Widths = (300, 300, 300)  # [MSBM] critics; all but the last are the features of (s, a)
    policy_hidden_widths: Widths = (200, 200, 200)  # [MSBM] all but the last are the features of s
    policies: EnsembleSize = 10  # [MSBM] n_dic: K, at least as many as made the data
    embedding_size: FewCount = 8  # [MSBM] d
    commitment_weight: NotNegative = 0.1  # [MSBM] commit_coe
    batch_size: BatchSize = 256  # [MSBM]
    discount: Weight = 0.99  # [MSBM]
    target_update_rate: Rate = 1e-3  # [MSBM] tau, before every update
    policy_learning_rate: Rate = 5e-5  # [MSBM] of policies and trajectories
    value_learning_rate: Rate = 1e-4  # [MSBM]

    def __post_init__(self) -> None:
        """Raise UserError for networks that have no features to share."""
        for name in ("hidden_widths", "policy_hidden_widths"):
            if len(getattr(self, name)) < 2:
                raise UserError(
                    f"{name} is {list(getattr(self, name))}, expected at least two layers: the last comes"
                    " after a policy's vector, the others before"
                )


class LatentAgents(Population):
    """P agents that tell policies apart: networks, and vectors of M trajectories and of K + 1 policies.

    The policy of number K is the learned one; the K before are the behaviours.
    """

    exported: ClassVar[tuple[str, ...]] = ("policy", "q", "trajectories", "policies")

    learns_a_policy: ClassVar[bool] = False
    """Whether the policy of number K is learned."""

    percentiles: Tensor  # [M], of the trajectories' returns, 1 to 100

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        action_size: int,
        config: MultiSourceConfig,
        percentiles: Tensor,
    ) -> None:
        super().__init__(seeds, observation_size, action_size, config)
        self.trajectories = Embeddings(self.count, len(percentiles), config.embedding_size)
        of_policies = self.optimiser.param_groups[0]["params"]
        of_policies.extend(self.trajectories.parameters())
        self.register_buffer("percentiles", percentiles, persistent=False)

    def make_networks(self, observation_size: int, config: MultiSourceConfig) -> None:
        """Make policy and critics, and the vectors of policies."""
        self.behaviours = config.policies
        known, size, pair = config.policies + 1, config.embedding_size, observation_size + self.action_size
        widths = config.policy_hidden_widths
        self.policy = DescribedPolicy(self.count, observation_size, widths, size, 2 * self.action_size)
        self.q, self.target_q = (
            DescribedCritics(self.count, pair, config.hidden_widths, known, size) for _ in range(2)
        )
        self.policies = Embeddings(self.count, known, size)

    def groups(self, config: MultiSourceConfig) -> list[dict[str, Any]]:
        """Group what is learned: policies and their vectors, and critics."""
        return [
            learned(config.policy_learning_rate, self.policy, self.policies),
            learned(config.value_learning_rate, self.q),
        ]

    def told_apart(self, policies: Tensor, trajectories: Tensor) -> Tensor:
        """Return the vectors of policies and then of trajectories, by number: int64 -> [P, B, d]"""
        return torch.cat([self.policies(policies), self.trajectories(trajectories)], dim=1)

    @torch.no_grad()
    def assigned(self, trajectories: Tensor) -> Tensor:
        """Assign trajectories to behaviours by the largest cosine: int64 [P, B] -> [P, B]."""
        return nearest(self.trajectories(trajectories), self.policies.directions()[:, : self.behaviours])

    @torch.no_grad()
    def assignment(self) -> Tensor:
        """Assign each of the M trajectories to a behaviour: the matrix G, a row's 1 by its place. [P, M]"""
        return nearest(self.trajectories.directions(), self.policies.directions()[:, : self.behaviours])

    @torch.no_grad()
    def best_behaviour(self) -> Tensor:
        """Return the behaviour whose trajectories have the highest mean percentile of return. int64 [P, 1]

        One that has none is not looked at ([MSBM] takes its mean of nothing).
        """
        made = one_hot(self.assignment(), self.behaviours, self.percentiles.dtype)  # [P, M, K]
        counts = made.sum(dim=1)
        means = (made * self.percentiles.unsqueeze(-1)).sum(dim=1) / counts.clamp(min=1)
        unused = torch.full_like(means, -torch.inf)
        return torch.where(counts > 0, means, unused).argmax(dim=-1, keepdim=True)

    def handed_over(self, index: int) -> dict[str, Tensor]:
        """Return the behaviour that made each trajectory. int64 [1, M]"""
        return {"assignment": self.assignment()[index : index + 1]}

    def of_numbers(self, observations: Tensor, policies: Tensor) -> TanhGaussian:
        """Return the policies by number, int64 [P, B] or [P, 1], in the states [P, B, observation_size]."""
        numbers = policies.expand(-1, observations.shape[1])
        return self.policy.distribution(self.policy.features(observations), self.policies(numbers))

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """Return the best behaviour."""
        return self.of_numbers(observations, self.best_behaviour())


class Imitation(NamedTuple):
    """Losses of how well the data's actions are described. [P] each"""

    reconstruction: Tensor  # negative log density under the trajectory's vector, and under its behaviour's
    commitment: Tensor  # negative cosine of the two vectors


def imitation(actions: Tensor, policies: Sequence[TanhGaussian], vectors: Sequence[Tensor]) -> Imitation:
    """E[-log pi(a|s; w_m) - log pi(a|s; e)] and E[-<w_m, e>], e of the trajectory's behaviour. [MSBM]

    `actions [P, B, A]` are the data's, `vectors` the behaviours' and the trajectories', [P, B, d] each, and
    `policies` theirs in the same states.
    """
    behaviour, own = policies
    inner = behaviour_cloning.inside(actions)
    likelihood = behaviour.log_density(inner) + own.log_density(inner)
    cosine = (vectors[0] * vectors[1]).sum(dim=-1)
    return Imitation(-likelihood.mean(dim=-1), -cosine.mean(dim=-1))


def td_target(batch: Batch, value: Tensor, discount: float) -> Tensor:
    """r + discount mask value. [P, B]"""
    return batch.rewards + discount * batch.masks * value


@torch.no_grad()
def value_of(agents: LatentAgents, states: Tensor, actions: Tensor, numbers: Tensor) -> Tensor:
    """min Q_target(s, a) of the policies of these numbers. [P, B]"""
    smaller: Tensor = agents.target_q.values(agents.target_q.pairs(states, actions), numbers).amin(dim=1)
    return smaller


class MultiSource(Method):
    """The behaviours that made the data, and which of them made which trajectory."""

    Config: ClassVar[type[Any]] = MultiSourceConfig
    Agents: ClassVar[Any] = LatentAgents
    extras: ClassVar[tuple[Extra, ...]] = ("trajectory",)

    @classmethod
    def population(cls, start: OfflineStart | Start, config: Any, members: int) -> Population:
        """Make agents with a vector for each of the data's trajectories. UserError where K is too large."""
        percentiles = _percentiles(start)
        if config.policies > len(percentiles):
            raise UserError(
                f"policies is {config.policies}, and the trajectories of the data are {len(percentiles)}:"
                " expected at most as many policies"
            )
        sizes = (start.observation_size, start.action_size)
        agents: Population = cls.Agents(start.seeds, *sizes, config, percentiles)
        return agents

    def update(self, batch: Batch, step: int) -> Metrics:
        """Update targets, critics, then policies and trajectories. [MSBM] bc_vqvae.py"""
        agents, config = self.agents, self.config
        agents.move_targets(config.target_update_rate)
        behaviours = agents.assigned(batch.extras["trajectory"])
        with torch.no_grad():
            following = agents.of_numbers(batch.next_observations, behaviours)
        actions = following.actions(agents.streams.normal(*batch.actions.shape[1:]))
        value = value_of(agents, batch.next_observations, actions, behaviours)
        q = agents.q.values(agents.q.pairs(batch.observations, batch.actions), behaviours)
        critics = losses.squared_error(q, td_target(batch, value, config.discount))
        agents.step(critics)
        vectors = agents.told_apart(behaviours, batch.extras["trajectory"])
        policies = agents.policy.distribution(agents.policy.features(batch.observations), vectors)
        found = imitation(batch.actions, policies.chunk(2), vectors.chunk(2, dim=1))
        loss = found.reconstruction + config.commitment_weight * found.commitment
        agents.step(loss)
        means = losses.measured(critic_loss=critics, actor_loss=loss, q_mean=q.mean(dim=(1, 2)))
        return means | described(found, behaviours, config.policies)


def described(found: Imitation, behaviours: Tensor, policies: int) -> Metrics:
    """Return both phases' metrics of the behaviours, of a batch's numbers [P, B]. [P] each"""
    return {
        "reconstruction_loss": found.reconstruction.detach(),
        "commitment": -found.commitment.detach(),
        "behaviours_used": one_hot(behaviours, policies, torch.float32).amax(dim=1).sum(dim=-1),
    }


def _percentiles(start: OfflineStart | Start) -> Tensor:
    """Of each trajectory's return, from 1 to 100. [M]. UserError where the data have no two trajectories."""
    returns = np.asarray(getattr(start, "returns", ()), dtype=np.float64)
    if len(returns) < 2:
        raise UserError(
            f"the trajectories of the data are {len(returns)}, and the method tells them apart: expected at"
            " least 2"
        )
    edges = np.quantile(returns, np.arange(BINS) / BINS)
    return torch.from_numpy(np.digitize(returns, edges).astype(np.float32))
