"""RLPD (Ball et al. 2023): SAC from scratch, half of whose every batch comes from offline data.

Ten critics with layer norm, and twenty updates of them an environment step; nothing is pre-trained. The paper
is arXiv 2302.02948; settings and order of computation are its code's (github.com/ikostrikov/rlpd, c90fd4b),
marked [RLPD]. One setting serves all locomotion datasets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algorithms.methods import losses, sac
from algorithms.methods.interface import Metrics
from algorithms.population.agents import ActorCritics
from algorithms.population.passes import Norm
from algorithms.replay.batch import Batch, slices
from algorithms.replay.replays import check_fraction
from storage import UserError
from storage.constraints import Count, FewCount, UpToHundredEitherWay, Weight


@dataclass(frozen=True)
class ManyCriticsConfig(sac.SACConfig):
    """The numbers of many critics with many updates a step, beside SAC's, which are [RLPD]'s too."""

    critics: FewCount = 10  # [RLPD] README: num_qs
    critic_norm: Norm = "before"  # [RLPD] mlp.py: Dense, LayerNorm, ReLU, the last hidden layer's too
    target_critics: FewCount = 2  # [RLPD] README: num_min_qs, drawn anew each update
    drawn_with_replacement: bool = False  # [RLPD] ensemble.py; [WSRL] draws with replacement
    updates_per_step: FewCount = 20  # [RLPD] README: utd_ratio, of the critics; one of the actor
    warm_up_steps: Count = 5_000  # [RLPD] start_training: no updates, steps of the run
    entropy_backup: bool = True  # [RLPD] backup_entropy; off for AntMaze and Adroit
    target_entropy_per_dimension: UpToHundredEitherWay = -0.5  # [RLPD] sac_learner.py: -|A| / 2

    def __post_init__(self) -> None:
        """Raise UserError for more drawn critics than there are."""
        if self.target_critics > self.critics:
            raise UserError(
                f"target_critics is {self.target_critics}, expected at most critics, {self.critics}"
            )


@dataclass(frozen=True)
class RLPDConfig(ManyCriticsConfig):
    """RLPD's numbers beside those."""

    offline_fraction: Weight = 0.5  # [RLPD] of each batch

    def __post_init__(self) -> None:
        """Raise UserError for a share of a batch that is none of its rows."""
        super().__post_init__()
        check_fraction(self.offline_fraction, self.batch_size)


class RLPDAgents(ActorCritics):
    """Actor-critics of vectors with the paper's initialisation."""

    feature_networks: ClassVar[tuple[str, ...]] = ()

    def initialise_networks(self) -> None:
        """Xavier's uniform weights in all layers, the actor's two heads apart. [RLPD] default_init"""
        self.policy.net.initialise_xavier(self.streams, heads=2)
        self.q.net.initialise_xavier(self.streams)


@torch.no_grad()
def next_samples(
    agents: ActorCritics, next_observations: Tensor, config: ManyCriticsConfig
) -> tuple[Tensor, Tensor]:
    """Actions a' ~ pi(.|s') [P, R, A] in all rows of a step, and -alpha log pi(a'|s') [P, R].

    One pass serves all updates that the policy rests during. Without `entropy_backup` the bonus is zero.
    """
    noise = agents.streams.normal(next_observations.shape[1], agents.action_size)
    actions, log_density = agents.policy(next_observations).sample(noise)
    bonus = -agents.entropy_coefficient[:, None] * log_density
    return actions, bonus if config.entropy_backup else torch.zeros_like(bonus)


def td_target(
    agents: ActorCritics, batch: Batch, next_actions: Tensor, bonus: Tensor, chosen: Tensor, discount: float
) -> Tensor:
    """r + discount mask (min over the `chosen` of Q_target(s', a') + bonus), for all critics. [P, B]

    `chosen [P, M]` are the target critics that were drawn; only they are evaluated.
    """
    with torch.no_grad():
        lowest = agents.target_q.of_subset(batch.next_observations, next_actions, chosen).amin(dim=1)
    return batch.rewards + discount * batch.masks * (lowest + bonus)


def actor_loss(agents: ActorCritics, observations: Tensor, actions: Tensor, log_density: Tensor) -> Tensor:
    """E[alpha log pi(a|s) - mean over all critics of Q(s, a)], a ~ pi(.|s). [P]"""
    q: Tensor = agents.q(observations, actions, frozen=True).mean(dim=1)
    return (agents.entropy_coefficient[:, None] * log_density - q).mean(dim=-1)


def entropy_coefficient_loss(agents: ActorCritics, log_density: Tensor, target_entropy: float) -> Tensor:
    """alpha (E[-log pi(a|s)] - target entropy). [P]"""
    excess = (-log_density.detach()).mean(dim=-1) - target_entropy
    return agents.log_entropy_coefficient.exp() * excess


def update_critics(agents: ActorCritics, batch: Batch, config: ManyCriticsConfig, count: int) -> Metrics:
    """Make one update of the critics and their targets on each of `count` slices of `batch`."""
    next_actions, bonus = next_samples(agents, batch.next_observations, config)
    chosen = agents.streams.subsets(
        count, config.target_critics, config.critics, config.drawn_with_replacement
    )
    drawn = zip(
        slices(batch, count),
        next_actions.chunk(count, 1),
        bonus.chunk(count, 1),
        chosen.unbind(1),
        strict=True,
    )
    errors, means = [], []
    for part, actions, extra, own in drawn:
        target = td_target(agents, part, actions, extra, own, config.discount)
        loss, q = losses.mean_critic_loss(agents, part, target)
        agents.step(loss)
        agents.move_targets(config.target_update_rate)
        errors.append(loss.detach())
        means.append(q.detach().mean(dim=(1, 2)))
    return {
        "critic_loss": torch.stack(errors).mean(dim=0),
        "q_mean": torch.stack(means).mean(dim=0),
    }


def update_actor(agents: ActorCritics, observations: Tensor, config: RLPDConfig) -> Metrics:
    """Make one update of the actor, and of the entropy coefficient by the same actions."""
    noise = agents.streams.normal(observations.shape[1], agents.action_size)
    actions, log_density = agents.policy(observations).sample(noise)
    actor = actor_loss(agents, observations, actions, log_density)
    target_entropy = config.target_entropy_per_dimension * agents.action_size
    agents.step(actor, entropy_coefficient_loss(agents, log_density, target_entropy))
    return actor_metrics(agents, actor, log_density)


def actor_metrics(agents: ActorCritics, actor: Tensor, log_density: Tensor) -> Metrics:
    """Return the metrics of an actor's update. [P] each"""
    found = losses.measured(actor_loss=actor, entropy=-log_density.mean(dim=-1))
    return found | {"entropy_coefficient": agents.entropy_coefficient}


def update(agents: ActorCritics, batch: Batch, config: RLPDConfig) -> Metrics:
    """Update every agent for an environment step: critics on slices of `batch`, the actor on the last."""
    metrics = update_critics(agents, batch, config, config.updates_per_step)
    last = slices(batch, config.updates_per_step)[-1]
    return metrics | update_actor(agents, last.observations, config)


class RLPD(sac.SAC):
    """RLPD: from scratch, on offline data and what it collects."""

    Config: ClassVar[type[Any]] = RLPDConfig
    Agents: ClassVar[Any] = RLPDAgents
    algorithm = staticmethod(update)
    replays = "mixed"

    def explore(self, observations: Tensor) -> Tensor:
        """Choose uniform actions in the warm-up, then samples of the policy: [S, E, obs] -> [S, E, A]."""
        if self.warming_up():
            uniform: Tensor = self.agents.streams.uniform(observations.shape[1], self.agents.action_size)
            return 2 * uniform - 1
        return super().explore(observations)
