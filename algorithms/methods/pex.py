"""Policy expansion, PEX (Zhang et al. 2023): IQL's policy is kept as it is, and a new one learns beside it.

In each state both propose an action, and a softmax over their Q picks. The new policy imitates the actions
that are picked so, with IQL's weights; V and critics go on as in IQL, on batches that are half offline. The
paper is arXiv 2302.00935; settings and order of computation are its code's (github.com/Haichao-Zhang/PEX,
b0ae11e), marked [PEX]; its networks were read in a copy (felix-thu/RPEX, bb96a2e). Frozen policy, V and
critics are an IQL agent's, the new policy and Adam's moments are fresh.

As [PEX] the new policy's actions are not clipped before they are learned from. In two places [PEX] does
something else. Its targets go on as they were offline; here, as for IQL-ft, they begin equal to the critics.
It leaves a tenth of the choices at an evaluation to chance; here both policies give their mean and the better
one acts, as all methods are judged by deterministic actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algorithms.methods import awac, iql, losses
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import learned, load_network, rows_of_agent
from algorithms.replay.batch import Batch
from algorithms.replay.replays import check_fraction
from storage import UserError
from storage.constraints import Count, NotNegative, Positive, Share, Weight


@dataclass(frozen=True)
class PEXConfig(iql.IQLFineTuningConfig):
    """PEX's numbers, beside those that are IQL's online."""

    expectile: Share = 0.9  # [PEX] README: locomotion
    inverse_temperature: Positive = 10.0  # [PEX] README: locomotion, beta, of advantages in units of reward
    acting_inverse_temperature: NotNegative = 10.0  # [PEX] inv_temperature, of the softmax over Q
    offline_fraction: Weight = 0.5  # [PEX] util.py: of each batch
    warm_up_steps: Count = 5_000  # [PEX] initial_collection_steps, without updates

    def __post_init__(self) -> None:
        """Raise UserError for a share of a batch that is none of its rows, or a policy that waits."""
        check_fraction(self.offline_fraction, self.batch_size)
        if self.policy_delay != 1:
            raise UserError(f"policy_delay is {self.policy_delay}, expected 1: PEX's policy never waits")


class PEXAgents(iql.IQLAgents):
    """P IQL agents whose `policy` is frozen, and a new policy for each."""

    feature_networks: ClassVar[tuple[str, ...]] = ()

    def make_networks(self, observation_size: int, config: Any) -> None:
        """Make IQL's networks and a new policy."""
        super().make_networks(observation_size, config)
        sizes = (observation_size, self.action_size, config.hidden_widths)
        self.new_policy = iql.GaussianPolicy(self.count, *sizes, config.log_std_range)
        self.acting_inverse_temperature = config.acting_inverse_temperature

    def groups(self, config: Any) -> list[dict[str, Any]]:
        """Group what is learned: the new policy, and V with the critics."""
        _, values = super().groups(config)
        return [learned(config.policy_learning_rate, self.new_policy), values]

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over IQL's agents, beside a fresh policy, or agents of this method, whose new policy goes on.

        UserError where they are neither.
        """
        for index, member in enumerate(members):
            if member and not any(name.startswith("v.") for name in member):
                raise UserError(f"pre-trained agent {index} has no value function: pex expects agents of iql")
        # [PEX] Xavier's uniform weights in the policy, its deviation 1; what is carried over replaces them.
        self.new_policy.net.initialise_xavier(self.streams)
        super().start_from(members)

    def handed_over(self, index: int) -> dict[str, Tensor]:
        """Return the new policy."""
        tensors = self.new_policy.state_dict().items()
        return {f"new_policy.{name}": rows_of_agent(self, tensor, index) for name, tensor in tensors}

    def carry_over(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the new policies of agents that have been fine-tuned; those of IQL have none."""
        if any(name.startswith("new_policy.") for member in members for name in member):
            load_network(self, "new_policy", members)

    @torch.no_grad()
    def explore(self, observations: Tensor) -> Tensor:
        """Choose the frozen policy's mean or a sample of the new one: [S, E, obs] -> [S, E, A].

        Drawn with probabilities proportional to exp(inverse temperature min Q(s, a)). [PEX] select_action
        """
        rows = observations.shape[1]
        new = self.new_policy(observations).actions(self.streams.normal(rows, self.action_size))
        old, advantage = self._beside(new, observations)
        is_new = self.streams.uniform(rows) < torch.sigmoid(self.acting_inverse_temperature * advantage)
        return torch.where(is_new.unsqueeze(-1), new, old)

    def exploit(self, observations: Tensor) -> Tensor:
        """Choose the better one of the two policies' means: [S, E, obs] -> [S, E, A]."""
        new = self.new_policy(observations).mode()
        old, advantage = self._beside(new, observations)
        return torch.where((advantage > 0).unsqueeze(-1), new, old)

    def _beside(self, new: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frozen policy's mean [S, E, A], and min Q of `new` less min Q of that [S, E]."""
        old = self.policy(observations).mode()
        q_new, q_old = (self.q(observations, actions).amin(dim=1) for actions in (new, old))
        return old, q_new - q_old


def update(agents: PEXAgents, batch: Batch, config: PEXConfig) -> Metrics:
    """Make one step of every agent: V and critics on the old V, targets, then the new policy. [PEX]"""
    value = iql.value_loss(agents, batch, iql.smaller_target_q(agents, batch), config.expectile)
    critics, q_data = losses.critic_loss(agents, batch, iql.td_target(agents, batch, config))
    critics = critics / 2  # [PEX] the twins' mean
    agents.step(value, critics)
    agents.move_targets(config.target_update_rate)
    own = batch._replace(actions=agents.explore(batch.observations))
    weights = iql.advantage_weights(agents, own, iql.smaller_target_q(agents, own), config)
    actor = awac.actor_loss(agents.new_policy(batch.observations), own, weights)
    agents.optimiser.param_groups[0]["lr"] = iql.policy_rate(agents, config)
    agents.step(actor)
    agents.count_update()
    found = losses.measured(critic_loss=critics, actor_loss=actor, q_mean=q_data.mean(dim=(1, 2)))
    return found | {"advantage_weight_max": weights.amax(dim=-1)}


class PEX(Method):
    """PEX: from one IQL agent, half of a batch from its data."""

    Config: ClassVar[type[Any]] = PEXConfig
    Agents: ClassVar[Any] = PEXAgents
    algorithm = staticmethod(update)
    replays = "mixed"
