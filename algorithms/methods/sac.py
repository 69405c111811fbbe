"""Soft actor-critic (Haarnoja et al. 2018) with a learned entropy coefficient, for a population of agents.

From scratch it is the paper's SAC baseline and the source of behaviour policies; started from one CQL
agent over offline and online data it is SAC-ft ([P] eq. 1 and 2). Settings follow rlkit, which the
authors built on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from algorithms.methods import losses
from algorithms.methods.interface import Method, Metrics, Replays, Start
from algorithms.population.agents import ActorCritics, InitialCoefficient
from algorithms.population.encoding import EncoderConfig
from algorithms.population.networks import LOG_STD_RANGE
from algorithms.population.passes import Norm
from algorithms.replay.batch import Batch
from algorithms.replay.replays import PlainReplayName
from storage import UserError
from storage.constraints import BatchSize, FewCount, LogStdRangeAroundZero, Rate, Weight, Widths


@dataclass(frozen=True)
class SACConfig:
    """SAC's numbers; the defaults are rlkit's examples/sac.py, named by [S] D.1 as the SAC baseline."""

    hidden_widths: Widths = (256, 256)  # [S] D.1, [C]
    policy_hidden_widths: Widths | None = None  # the critics'; [COG] from images others
    log_std_range: LogStdRangeAroundZero = LOG_STD_RANGE  # [C]; 0, where fresh agents start, lies inside
    batch_size: BatchSize = 256  # [C]
    discount: Weight = 0.99  # [C]
    target_update_rate: Rate = 5e-3  # [C] tau, every step
    policy_learning_rate: Rate = 3e-4  # [S] D.1; fine-tuning chooses from 3e-4, 3e-5, 5e-6
    value_learning_rate: Rate = 3e-4  # [S] D.1
    initial_entropy_coefficient: InitialCoefficient = 1.0  # [C] log_alpha is 0 (again); "carried": ours
    critics: FewCount = 2  # [C] twins
    critic_norm: Norm = "none"  # [C]; layer norm before or after the critics' activations
    averaging_rate: Rate | None = None  # ours: evaluate a moving average of the weights, of this rate
    encoder: EncoderConfig | None = None  # of images


def td_target(agents: ActorCritics, batch: Batch, config: SACConfig) -> Tensor:
    """r + discount mask (min Q_target(s', a') - alpha log pi(a'|s')), a' ~ pi(.|s'). [P, B]  [P] eq. 1"""
    with torch.no_grad():
        noise = agents.streams.normal(*batch.actions.shape[1:])
        actions, log_density = agents.distribution(batch.next_observations).sample(noise)
        next_q = agents.target_q(batch.next_observations, actions).amin(dim=1)
        soft_value: Tensor = next_q - agents.entropy_coefficient[:, None] * log_density
        return batch.rewards + config.discount * batch.masks * soft_value


def actor_loss(agents: ActorCritics, observations: Tensor, actions: Tensor, log_density: Tensor) -> Tensor:
    """E[alpha log pi(a|s) - min Q(s, a)], a ~ pi(.|s). [P]  [P] eq. 2"""
    q: Tensor = agents.q(observations, actions, frozen=True).amin(dim=1)
    return (agents.entropy_coefficient[:, None] * log_density - q).mean(dim=-1)


def entropy_coefficient_loss(agents: ActorCritics, log_density: Tensor) -> Tensor:
    """-log alpha E[log pi(a|s) + target entropy], target entropy -|A|. [P]  [C] ours.py"""
    excess = (log_density - agents.action_size).detach().mean(dim=-1)
    return -agents.log_entropy_coefficient * excess


def update(agents: ActorCritics, batch: Batch, config: SACConfig) -> Metrics:
    """Make one step of every agent: critics, actor, temperature on the old parameters, then targets."""
    target = td_target(agents, batch, config)
    critics, q = losses.critic_loss(agents, batch, target)
    noise = agents.streams.normal(*batch.actions.shape[1:])
    actions, log_density = agents.distribution(batch.observations).sample(noise)
    actor = actor_loss(agents, batch.observations, actions, log_density)
    agents.step(critics, actor, entropy_coefficient_loss(agents, log_density))
    agents.move_targets(config.target_update_rate)
    return losses.measured(critic_loss=critics) | metrics(agents, q, actor, log_density)


def metrics(agents: ActorCritics, q: Tensor, actor: Tensor, log_density: Tensor) -> Metrics:
    """Return the metrics of an update, of `q` [P, K, B] and log pi(a|s) [P, B]. [P] each"""
    means = {"q_mean": q.mean(dim=(1, 2)), "entropy": -log_density.mean(dim=-1)}
    found = losses.measured(actor_loss=actor, **means)
    return found | {"entropy_coefficient": agents.entropy_coefficient}


class SAC(Method):
    """SAC from scratch: no offline data, no pre-trained agent."""

    Config: ClassVar[type[Any]] = SACConfig
    Agents: ClassVar[Any] = ActorCritics
    algorithm: ClassVar[Any] = staticmethod(update)
    replays: ClassVar[Replays] = "online_only"

    @classmethod
    def begin(cls, start: Start, config: Any) -> Self:
        """Begin with fresh agents. UserError where pre-trained ones are given."""
        if start.members:
            name, given = cls.__name__.lower(), len(start.members)
            raise UserError(f"{name} starts from scratch, and {given} pre-trained agents were given")
        replay = cls.make_replay(start, config)
        agents = cls.population(start, config, 1)
        agents.initialise()
        return cls(agents, config, replay, start.draws)


@dataclass(frozen=True)
class SACFineTuningConfig(SACConfig):
    """SAC-ft's numbers beside SAC's."""

    replay: PlainReplayName = "uniform"  # "online_only" is the other curve of [P] Figure 1b


class SACFineTuning(Method):
    """SAC-ft: SAC's updates from one CQL agent, its targets copied from the critics; the penalty is gone."""

    Config: ClassVar[type[Any]] = SACFineTuningConfig
    Agents: ClassVar[Any] = ActorCritics
    algorithm: ClassVar[Any] = staticmethod(update)
