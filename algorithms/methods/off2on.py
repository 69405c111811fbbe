"""Off2On (Lee et al. 2021): balanced replay and a pessimistic Q-ensemble ([P] section 4, [S] algorithm 2).

S runs learn side by side, each an ensemble of N CQL agents fine-tuned as one: one policy with the
moments of the N policies' mixture, N twin critics with a target each. Where paper and code differ, the
configuration names both and the default follows the code ([C]). Images are seen through the agents' encoders
and the density networks' own ([S] D.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from algorithms.methods import conservative, sac
from algorithms.methods.density_ratio import DensityRatio, weighed
from algorithms.methods.interface import Method, Metrics, Start
from algorithms.population.agents import ActorCritics, learned, load_members
from algorithms.population.networks import TanhGaussian, mixture_policy
from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay
from algorithms.replay.batch import Batch
from algorithms.replay.extras import ONLINE, Needed
from algorithms.replay.replays import OnlineReplay
from algorithms.replay.stores import OfflineData
from offline_data.image_episodes import RANDOM
from storage.constraints import (
    BatchSize,
    EnsembleSize,
    NotNegative,
    Positive,
    PositiveRange,
    Rate,
    Share,
    Widths,
)


@dataclass(frozen=True)
class Off2OnConfig(conservative.CQLConfig):
    """Off2On's numbers beside SAC's, and CQL's if its penalty stays."""

    policy_learning_rate: Rate = 3e-4  # [S] D.1, SAC's
    conservative_weight: NotNegative = 0.0  # [P] 4.2: no penalty online; [S] Figures 15, 16 have CQL's too
    critic_regression: Literal["per_member", "mean"] = "per_member"  # [C]; [P] eq. 1 and 5 read as "mean"
    ensemble_size: EnsembleSize = 5  # [S] D.1: N = 5 locomotion, 4 manipulation
    replay: Literal["balanced", "uniform", "online_only"] = "balanced"  # [P] Figure 4c compares the three
    initial_online_fraction: Share = 0.75  # [S] D.1: rho, 0.5 or 0.75 by dataset
    weight_temperature: Positive = 5.0  # [S] D.1: T, 2.5 for manipulation
    density_hidden_widths: Widths = (256, 256)  # [S], [C]
    density_reference: Literal["offline", "union"] = "offline"  # [P] w = d_on / d_off; [S] Figure 14 has both
    density_learning_rate: Rate = 3e-4  # [S], [C]
    density_batch_size: BatchSize = 256  # [C]: of each kind; [P] eq. 6's expectation is over all of them
    density_activation: Literal["relu", "softplus"] = "relu"  # [C]; [P] leaves it open
    priority_range: PositiveRange = (1e-3, 1e3)  # [C]; not in [P]
    exploration_scale: NotNegative = 1.0  # ours: the share of the policy's deviation that collection uses
    cloning_rows: Literal["drawn", "offline"] = "drawn"  # ours: of the cloning term; offline: a batch more


class Off2OnAgents(ActorCritics):
    """S ensembles of N members, each with one policy, entropy coefficient and density-ratio network."""

    image_networks: ClassVar[tuple[str, ...]] = ("density",)

    def make_networks(self, observation_size: int, config: Off2OnConfig) -> None:
        """Make CQL's networks and the density-ratio networks."""
        super().make_networks(observation_size, config)
        self.exploration_scale = config.exploration_scale
        sizes = (len(self.streams), observation_size, self.action_size)
        self.density = DensityRatio(*sizes, config.density_hidden_widths, config.density_activation)

    def groups(self, config: Off2OnConfig) -> list[dict[str, Any]]:
        """Group what is learned: CQL's networks, and the density-ratio networks."""
        return [*super().groups(config), learned(config.density_learning_rate, self.density)]

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over S N CQL agents, run by run; targets copied from critics, fresh density networks. [C]"""
        load_members(self, members)
        self.density.initialise(self.streams)

    def together(self, policies: TanhGaussian) -> TanhGaussian:
        """Return the ensemble's policy [S, B, A], of its members' [S N, B, A]."""
        return mixture_policy(policies, self.members)

    def explore(self, observations: Tensor) -> Tensor:
        """Choose actions for collection, with the configured share of the policy's deviation."""
        policy = self.distribution(observations)
        noise = self.streams.normal(*policy.mean.shape[1:])
        return policy.actions(self.exploration_scale * noise)


def td_target(agents: Off2OnAgents, batch: Batch, config: Off2OnConfig) -> Tensor:
    """r + discount mask (min Q_target_i(s', a') - alpha log pi(a'|s')) of each member. [S, N, B]

    One a' of the mixture policy serves all members. With `critic_regression` "mean" the members share
    the target of the mean over i. [C]; [P] eq. 1. Beside CQL's penalty it is CQL's.
    """
    with torch.no_grad():
        noise = agents.streams.normal(*batch.actions.shape[1:])
        actions, log_density = agents.distribution(batch.next_observations).sample(noise)
        next_q: Tensor = agents.target_q(
            agents.for_members(batch.next_observations), agents.for_members(actions)
        )
        values = agents.per_run(next_q.amin(dim=1))
        if config.critic_regression == "mean":
            values = values.mean(dim=1, keepdim=True).expand_as(values)
        if not (config.conservative_weight and config.deterministic_backup):
            values = values - (agents.entropy_coefficient[:, None] * log_density).unsqueeze(1)
        bootstrap = config.discount * batch.masks.unsqueeze(1) * values
        return conservative.clipped(batch.rewards.unsqueeze(1) + bootstrap, config)


def critic_loss(
    agents: Off2OnAgents, batch: Batch, target: Tensor, config: Off2OnConfig
) -> tuple[Tensor, Tensor]:
    """Squared TD error, summed over members and twins, averaged over the batch [S]; Q [S, N, 2, B]."""
    q = agents.q(agents.for_members(batch.observations), agents.for_members(batch.actions))
    q = agents.per_run(q)
    if config.critic_regression == "mean":
        error = q.mean(dim=1) - target.mean(dim=1).unsqueeze(1)
        return error.square().mean(dim=-1).sum(dim=-1), q
    error = q - target.unsqueeze(2)
    return error.square().mean(dim=-1).sum(dim=(1, 2)), q


def actor_loss(
    agents: Off2OnAgents,
    policy: TanhGaussian,
    batch: Batch,
    config: Off2OnConfig,
    offline: Batch | None = None,
) -> tuple[Tensor, Tensor]:
    """E[alpha log pi(a|s) - mean_i min(Q_i1, Q_i2)(s, a)], a of the mixture `policy` [S]; log pi [S, B].

    And cloning by its weight, if it has any: of the batch, or of the `offline` one, encoded like it.
    """
    rows = batch if offline is None else offline
    imitator = policy if offline is None else agents.distribution(rows.observations)
    cloned = conservative.imitating(agents, imitator, rows.observations)
    actions, log_density = policy.sample(agents.streams.normal(*batch.actions.shape[1:]))
    observations = agents.for_members(batch.observations)
    q = agents.per_run(agents.q(observations, agents.for_members(actions), frozen=True).amin(dim=1))
    loss = (agents.entropy_coefficient[:, None] * log_density - q.mean(dim=1)).mean(dim=-1)
    if config.cloning_weight:
        loss = loss + config.cloning_weight * conservative.cloning_loss(cloned, rows, config)
    return loss, log_density


def actor_critic_update(
    agents: Off2OnAgents,
    batch: Batch,
    config: Off2OnConfig,
    *others: Tensor,
    offline: Batch | None = None,
) -> Metrics:
    """Make one step of every ensemble on `batch`: critics, actor, entropy coefficient, then the targets.

    All losses, the `others` too ([S]: the density networks'), are computed on the old parameters, then all
    networks step. [C] What is cloned is of `offline`, if given.
    """
    batch = agents.encode(batch)
    if offline is not None:
        offline = agents.encode(offline)
    target = td_target(agents, batch, config)
    critics, q = critic_loss(agents, batch, target, config)
    policy = agents.distribution(batch.observations)
    losses, metrics = [*others, critics], {"critic_loss": critics}
    if config.conservative_weight:
        penalty = conservative.penalty(agents, policy, batch, q.flatten(0, 1), config)
        losses.append(config.conservative_weight * penalty)
        metrics = {
            "td_error": critics,
            "conservative_penalty": agents.per_run(penalty).mean(dim=(1, 2)),
        }
    actor, log_density = actor_loss(agents, policy, batch, config, offline)
    agents.step(*losses, actor, sac.entropy_coefficient_loss(agents, log_density))
    agents.move_targets(config.target_update_rate)
    metrics |= {
        "actor_loss": actor,
        "q_mean": q.mean(dim=(1, 2, 3)),
        "entropy": -log_density.mean(dim=-1),
        "entropy_coefficient": agents.entropy_coefficient,
    }
    return {name: value.detach() for name, value in metrics.items()}


def update(
    agents: Off2OnAgents,
    batch: Batch,
    reference: Batch,
    online: Batch,
    config: Off2OnConfig,
    offline: Batch | None = None,
) -> tuple[Tensor, Metrics]:
    """Make one step of every ensemble; returns the new priorities of `batch` [S, B], and metrics.

    `batch` comes from the balanced replay, `reference` and `online` are `weighed`'s; `offline`, if given, is
    what is cloned.
    """
    drawn, old, new = (agents.cropped(rows) for rows in (batch, reference, online))
    how = (config.weight_temperature, config.priority_range)
    loss, new_priorities, weighing = weighed(agents.density, drawn, old, new, *how)
    return new_priorities, actor_critic_update(agents, batch, config, loss, offline=offline) | weighing


def density_batches(replay: BalancedReplay, config: Off2OnConfig, draws: Streams) -> tuple[Batch, Batch]:
    """Draw the density networks' batches: the reference and the online one of `weighed`."""
    union = config.density_reference == "union"
    sample_reference = replay.sample_union if union else replay.sample_offline
    reference = sample_reference(config.density_batch_size, draws)
    return reference, replay.sample_online(config.density_batch_size, draws)


def shares_of_sources(batch: Batch) -> Metrics:
    """Measure the shares of online and of random samples in a batch, if it has sources ([S] Figure 17)."""
    if "source" not in batch.extras:
        return {}
    named = {"online_share": ONLINE, "random_share": RANDOM}
    return {n: (batch.extras["source"] == kind).float().mean(dim=-1) for n, kind in named.items()}


class Off2On(Method):
    """Off2On; with a plain replay, its ablations of [P] Figure 4c."""

    Config: ClassVar[type[Any]] = Off2OnConfig
    Agents: ClassVar[Any] = Off2OnAgents
    diagnostics: ClassVar[tuple[str, ...]] = ("action_auroc",)

    offline: OfflineData | None = None

    @classmethod
    def needed(cls, config: Any) -> Needed:
        """Return the source of transitions, if some of them alone are cloned."""
        return conservative.needed(config)

    @classmethod
    def make_replay(cls, start: Start, config: Any) -> OnlineReplay:
        """Make the replay that the configuration names. UserError for no data or an impossible fraction."""
        if config.replay != "balanced":
            return super().make_replay(start, config)
        fraction = config.initial_online_fraction
        return BalancedReplay(start.offline_data(), start.buffer, fraction, start.block_size)

    @classmethod
    def begin(cls, start: Start, config: Any) -> Self:
        """Begin as any method does, with the offline data at hand where the cloned rows are theirs."""
        method = super().begin(start, config)
        if config.cloning_weight and config.cloning_rows == "offline":
            method.offline = start.offline_data()
        return method

    def learn(self) -> Metrics:
        """Draw, update, write the drawn transitions' priorities. [S] algorithm 2"""
        batch, indices = self.replay.sample(self.config.batch_size, self.draws)
        share = {"offline_fraction": self.replay.offline_share(indices), **shares_of_sources(batch)}
        offline = None
        if self.offline is not None:
            offline = self.offline.sample(self.config.batch_size, self.draws)
        if not isinstance(self.replay, BalancedReplay):
            return actor_critic_update(self.agents, batch, self.config, offline=offline) | share
        drawn = density_batches(self.replay, self.config, self.draws)
        new_priorities, metrics = update(self.agents, batch, *drawn, self.config, offline)
        self.replay.update_priorities(indices, new_priorities)
        return metrics | share
