"""Conservative Q-learning, CQL(H) (Kumar et al. 2020), as the paper pre-trains its ensemble ([P] eq. 3).

SAC whose critics also pay the penalty of `conservative`, where its numbers and their sources are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algorithms.methods import conservative, losses, sac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import ActorCritics
from algorithms.population.networks import TanhGaussian
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Needed
from algorithms.replay.replays import PlainReplayName
from storage.constraints import Rate

CQLConfig = conservative.CQLConfig


def td_target(agents: ActorCritics, batch: Batch, config: CQLConfig) -> Tensor:
    """r + discount mask min Q_target(s', a'), a' ~ pi(.|s'); the entropy term if asked for. [P, B]"""
    if not config.deterministic_backup:
        return conservative.clipped(sac.td_target(agents, batch, config), config)
    with torch.no_grad():
        noise = agents.streams.normal(*batch.actions.shape[1:])
        actions, _ = agents.distribution(batch.next_observations).sample(noise)
        next_q: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
        return conservative.clipped(batch.rewards + config.discount * batch.masks * next_q, config)


def actor_loss(
    agents: ActorCritics, policy: TanhGaussian, batch: Batch, config: CQLConfig, cloning: bool
) -> tuple[Tensor, Tensor]:
    """SAC's actor loss, or alpha log pi(a|s) - log pi(a_data|s) while cloning [P]; and log pi(a|s) [P, B]."""
    cloned = conservative.imitating(agents, policy, batch.observations)
    actions, log_density = policy.sample(agents.streams.normal(*batch.actions.shape[1:]))
    if cloning:
        entropy_term = (agents.entropy_coefficient[:, None] * log_density).mean(dim=-1)
        return entropy_term + conservative.cloning_loss(cloned, batch, config), log_density
    loss = sac.actor_loss(agents, batch.observations, actions, log_density)
    if config.cloning_weight:
        loss = loss + config.cloning_weight * conservative.cloning_loss(cloned, batch, config)
    return loss, log_density


def update(
    agents: Any,
    batch: Batch,
    config: Any,
    step: int,
    penalise: Callable[[Any, TanhGaussian, Batch, Tensor, Any], Tensor] = conservative.penalty,
    others: Sequence[Tensor] = (),
) -> Metrics:
    """Update number `step` (from 0) of every agent: critics on TD error plus penalty, actor, temperature.

    Another method may `penalise` otherwise, and have the losses of `others` [P] in the same step.
    """
    target = td_target(agents, batch, config)
    td_error, q = losses.critic_loss(agents, batch, target)
    policy = agents.distribution(batch.observations)
    penalty = penalise(agents, policy, batch, q, config)
    parts = [td_error, config.conservative_weight * penalty, *others]
    actor, log_density = actor_loss(agents, policy, batch, config, cloning=step < config.cloning_updates)
    if step >= config.frozen_actor_updates:
        parts += [actor, sac.entropy_coefficient_loss(agents, log_density)]
    agents.step(*parts)
    agents.move_targets(config.target_update_rate)
    found = losses.measured(td_error=td_error, conservative_penalty=penalty.mean(dim=-1))
    return found | sac.metrics(agents, q, actor, log_density)


class CQL(Method):
    """CQL offline: from nothing, or further from agents it trained before."""

    Config: ClassVar[type[Any]] = CQLConfig
    Agents: ClassVar[Any] = ActorCritics

    @classmethod
    def needed(cls, config: Any) -> Needed:
        """Return the source of transitions, if some of them alone are cloned."""
        return conservative.needed(config)

    def update(self, batch: Batch, step: int) -> Metrics:
        """Update number `step` (from 0) of every agent."""
        return update(self.agents, batch, self.config, step)

    def turning_points(self) -> tuple[int, ...]:
        """Return the updates at which cloning ends and the actor begins to learn."""
        return (self.config.cloning_updates, self.config.frozen_actor_updates)

    # Two warm starts that are not in the paper. With target rate 0.005 and discount 0.99 a critic needs some
    # 20,000 updates to reach its scale; regressing it on the data's own returns first, and the actor on the
    # data's actions, replaces most of them where minutes must do.

    def clone(self, batch: Batch) -> Metrics:
        """Make one step of every policy up the log likelihood of the data's actions."""
        loss = -self.agents.policy(batch.observations).log_density(batch.actions).mean(dim=-1)
        self.agents.step(loss)
        return losses.measured(actor_loss=loss)

    def fit_returns(self, batch: Batch, returns: Tensor) -> Metrics:
        """Make one step of every critic towards the discounted returns [P, B] that followed in the data."""
        error, q = losses.critic_loss(self.agents, batch, returns)
        self.agents.step(error)
        self.agents.copy_targets()
        return losses.measured(td_error=error, q_mean=q.mean(dim=(1, 2)))


@dataclass(frozen=True)
class CQLFineTuningConfig(CQLConfig):
    """CQL-ft's numbers beside CQL's."""

    policy_learning_rate: Rate = 3e-4  # [S] D.1: online 3e-4, 3e-5 or 5e-6, as SAC-ft and Off2On
    replay: PlainReplayName = "uniform"  # ours: [S] does not say which replay Figure 8's "CQL Reg" draws from


class CQLFineTuning(CQL):
    """CQL-ft: one CQL agent goes on with CQL's updates online, the penalty kept ([S] Figure 8)."""

    Config: ClassVar[type[Any]] = CQLFineTuningConfig
