"""LBRAC-v (Zhang and Kashima, AAAI 2023): BRAC-v held to the policy of the trajectory of each transition.

It goes on in the networks that `multi_source` estimated behaviours with, where the learned policy has a
vector of its own. [MSBM] marks Altriaex/multi_source_behavior_modeling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algorithms.methods import behaviour_cloning, losses, multi_source
from algorithms.methods.interface import Metrics
from algorithms.population.networks import TanhGaussian
from algorithms.replay.batch import Batch
from storage.constraints import FewCount, NotNegative


@dataclass(frozen=True)
class LBRACConfig(multi_source.MultiSourceConfig):
    """LBRAC-v's numbers beside those of the phase before."""

    divergence_weight: NotNegative = 1.0  # [MSBM] alpha
    divergence_actions: FewCount = 10  # [MSBM] n, sampled in each state for an estimate


class LearnedAgents(multi_source.LatentAgents):
    """The same agents, which act by the policy that they learn."""

    learns_a_policy: ClassVar[bool] = True

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over estimated behaviours, the learned policy at the best of them. UserError if unfit."""
        super().start_from(members)
        self.begin_with_best()

    def learned(self, rows: int) -> Tensor:
        """Return the learned policy's number, for so many rows. int64 [P, rows]"""
        number = torch.full((self.count, 1), self.behaviours, device=self.percentiles.device)
        return number.expand(-1, rows)

    @torch.no_grad()
    def begin_with_best(self) -> None:
        """Give the learned policy the vectors of the best behaviour, of policies and of values. [MSBM]"""
        best = self.best_behaviour()
        twins = best.repeat_interleave(2, dim=0)
        for table, chosen in ((self.policies, best), (self.q.policies, twins)):
            index = chosen.unsqueeze(-1).expand(-1, -1, table.vectors.shape[-1])
            table.vectors[:, self.behaviours :] = table.vectors.gather(1, index)
        self.copy_targets()

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """Return the learned policy."""
        return self.of_numbers(observations, self.learned(1))


class LBRACV(multi_source.MultiSource):
    """LBRAC-v: a policy that climbs its values, held to the behaviour of each transition's trajectory."""

    Config: ClassVar[type[Any]] = LBRACConfig
    Agents: ClassVar[Any] = LearnedAgents

    def update(self, batch: Batch, step: int) -> Metrics:
        """Update targets, critics of learned policy and behaviours, then policies. [MSBM] brac_vqvae.py"""
        agents, config = self.agents, self.config
        agents.move_targets(config.target_update_rate)
        behaviours = agents.assigned(batch.extras["trajectory"])
        learned = agents.learned(behaviours.shape[1])
        both = torch.cat([learned, behaviours], dim=1)
        q = agents.q.values(agents.q.pairs(batch.observations, batch.actions), both)
        critics = 2 * losses.squared_error(q, self._targets(batch, both))  # each policy's mean, not both's
        agents.step(critics)
        vectors = agents.told_apart(both, batch.extras["trajectory"])
        policies = agents.policy.distribution(agents.policy.features(batch.observations), vectors)
        policy, behaviour, own = policies.chunk(3)
        actions = policy.actions(agents.streams.normal(*batch.actions.shape[1:]))
        apart = self._divergence(policy, behaviour)
        climb = agents.q.values(agents.q.pairs(batch.observations, actions, True), learned, True).amin(dim=1)
        found = multi_source.imitation(batch.actions, (behaviour, own), vectors.chunk(3, dim=1)[1:])
        actor = (config.divergence_weight * apart - climb).mean(dim=-1)
        loss = actor + found.reconstruction + config.commitment_weight * found.commitment
        agents.step(loss)
        q_mean = q.chunk(2, dim=-1)[0].mean(dim=(1, 2))
        means = losses.measured(q_mean=q_mean, divergence=apart.mean(dim=-1))
        described = multi_source.described(found, behaviours, config.policies)
        return losses.measured(critic_loss=critics, actor_loss=loss) | means | described

    @torch.no_grad()
    def _targets(self, batch: Batch, numbers: Tensor) -> Tensor:
        """Compute TD targets of the learned policy, less its divergence, and then of behaviours. [P, 2 B]"""
        agents, config, states = self.agents, self.config, batch.next_observations
        policies = agents.policy.distribution(agents.policy.features(states), agents.policies(numbers))
        noise = agents.streams.normal(*batch.actions.shape[1:])
        apart = self._divergence(*policies.chunk(2))
        noise = torch.cat([noise, agents.streams.normal(*batch.actions.shape[1:])], dim=1)
        value = multi_source.value_of(agents, states.repeat(1, 2, 1), policies.actions(noise), numbers)
        learned, behaviours = value.chunk(2, dim=1)
        values = learned - config.divergence_weight * apart, behaviours
        return torch.cat([multi_source.td_target(batch, each, config.discount) for each in values], dim=1)

    def _divergence(self, policy: TanhGaussian, behaviour: TanhGaussian) -> Tensor:
        """KL from the trajectory's behaviour, never below 0, with gradients to both policies. [P, B]

        max( mean_i[log pi(a_i|s) - log b(a_i|s)], 0 ), a_i ~ pi(.|s) kept inside the box for both densities:
        exactly 0 where the policy is the behaviour, as it is at the start. [MSBM] kl2
        """
        rows, action_size = policy.mean.shape[1:]
        noise = self.agents.streams.normal(rows, self.config.divergence_actions, action_size)
        ours, theirs = policy.per_candidate(), behaviour.per_candidate()
        actions = behaviour_cloning.inside(ours.actions(noise))
        return torch.relu(ours.log_ratio(theirs, actions).mean(dim=-1))
