"""Fitted Q evaluation, FQE (Le et al. 2019): critics of a fixed policy, without pessimism.

The paper's ablation fine-tunes CQL's policies from such critics instead of CQL's ([P] Figure 1c, [S] Figure
13). [S] C: a randomly initialised Q, Bellman backups for the fixed CQL policy, 250,000 iterations. It
leaves three things open. Each twin regresses on its own target (ours): the smaller of the twins would
bring back the pessimism that the ablation removes. Next actions are samples, and no entropy is paid for:
the value is the policy's return (ours). Targets follow slowly, at SAC's rate (ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from algorithms.methods import losses, sac
from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import ActorCritics
from algorithms.replay.batch import Batch
from storage import UserError
from storage.constraints import BatchSize, Rate


@dataclass(frozen=True)
class FQEConfig(sac.SACConfig):
    """FQE's numbers; those of the policy and of the entropy coefficient have no effect, both are fixed."""

    batch_size: BatchSize = 256  # [S] C
    value_learning_rate: Rate = 3e-4  # [S] C, Adam
    target_update_rate: Rate = 5e-3  # ours: as SAC's


class FQEAgents(ActorCritics):
    """Actor-critics of vectors; the policy's encoder would be the critics' too."""

    feature_networks: ClassVar[tuple[str, ...]] = ()

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the policies of pre-trained agents, one a seed; critics fresh, from the agents' streams.

        UserError where the members are too few, too many, or of other sizes.
        """
        super().start_from(members)
        self.q.initialise(self.streams)
        self.copy_targets()


def td_target(agents: ActorCritics, batch: Batch, config: FQEConfig) -> Tensor:
    """r + discount mask Q_target(s', a') of each twin, one a' ~ pi(.|s') for both. [P, 2, B]"""
    with torch.no_grad():
        noise = agents.streams.normal(*batch.actions.shape[1:])
        actions, _ = agents.policy(batch.next_observations).sample(noise)
        next_q: Tensor = agents.target_q(batch.next_observations, actions)
        return batch.rewards.unsqueeze(1) + config.discount * batch.masks.unsqueeze(1) * next_q


def update(agents: ActorCritics, batch: Batch, config: FQEConfig) -> Metrics:
    """Make one step of every agent's critics, then of their targets; the policies stay as they are."""
    target = td_target(agents, batch, config)
    critics, q = losses.critic_loss(agents, batch, target)
    agents.step(critics)
    agents.move_targets(config.target_update_rate)
    return {"critic_loss": critics.detach(), "q_mean": q.detach().mean(dim=(1, 2))}


class FQE(Method):
    """FQE offline, from CQL's agents; it ends in agents of the same kind."""

    Config: ClassVar[type[Any]] = FQEConfig
    Agents: ClassVar[Any] = FQEAgents
    algorithm = staticmethod(update)

    @classmethod
    def begin_offline(cls, start: OfflineStart, config: Any) -> Self:
        """Begin with the policies of `start`'s agents. UserError where there are none, or of other sizes."""
        if not start.agents:
            raise UserError("fqe evaluates the policies of pre-trained agents, and none were given")
        return super().begin_offline(start, config)
