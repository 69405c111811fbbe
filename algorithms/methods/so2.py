"""SO2 (Zhang et al. 2024): EDAC's agents go on as SAC with noisy targets and ten critic updates a step.

Each critic learns from its own target, at an action near the policy's; only the actor takes the smallest of
all critics, and EDAC's diversity is no longer asked for. The paper is arXiv 2312.07685; settings and order of
computation are its code's (github.com/opendilab/SO2, 36f8274, the branch that reproduces it), marked [SO2].

Of each batch a tenth is collected, and nine tenths are from a store that begins as the dataset and in which
what is collected takes the place of random offline transitions; which, is drawn anew for each batch (in [SO2]
they are gone once replaced). Targets begin equal to the critics, as there: what it loads as EDAC's targets
are EDAC's critics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from algorithms.methods import edac, losses, sac
from algorithms.methods.interface import Method, Metrics, Start
from algorithms.population.agents import InitialCoefficient
from algorithms.replay.batch import Batch, slices
from algorithms.replay.replays import RingReplay, check_fraction
from storage.constraints import BatchSize, Count, FewCount, LogStdRange, Rate, UpToTwo, Weight


@dataclass(frozen=True)
class SO2Config(edac.ManyCriticsConfig):
    """SO2's numbers beside those of EDAC's networks."""

    log_std_range: LogStdRange = (-20.0, 2.0)  # [SO2] ding's ReparameterizationHead
    batch_size: BatchSize = 2560  # [SO2] serial_entry_offline2online.py: 256 / concat_online_ratio
    policy_learning_rate: Rate = 1e-3  # [SO2] halfcheetah_sac_default_config.py
    value_learning_rate: Rate = 1e-3  # [SO2] halfcheetah_sac_default_config.py
    initial_entropy_coefficient: InitialCoefficient = 0.2  # [SO2] alpha, which stays: auto_alpha False
    target_noise: UpToTwo = 0.3  # [SO2] train.py: noise_sigma
    target_noise_limit: UpToTwo = 0.6  # [SO2] train.py: noise_range
    updates_per_step: FewCount = 10  # [SO2] train.py: update_per_collect, of the critics; one of the actor
    online_fraction: Weight = 0.1  # [SO2] train.py: concat_online_ratio, of each batch
    warm_up_steps: Count = 5_000  # [SO2] train.py: random_collect_size, by the policy, without updates

    def __post_init__(self) -> None:
        """Raise UserError for a share of a batch that is none of its rows."""
        check_fraction(self.online_fraction, self.batch_size, "online_fraction")


@torch.no_grad()
def td_targets(agents: edac.EDACAgents, batch: Batch, config: SO2Config) -> Tensor:
    """r + discount mask (Q_target_i(s', a' + noise) - alpha log pi(a'|s')) of each critic i. [P, K, B]

    a' ~ pi(.|s'); the noise is normal and clipped, and so is the sum.
    """
    shape = batch.actions.shape[1:]
    actions, log_density = agents.policy(batch.next_observations).sample(agents.streams.normal(*shape))
    noise = config.target_noise * agents.streams.normal(*shape)
    limit = config.target_noise_limit
    near = (actions + noise.clamp(-limit, limit)).clamp(-1, 1)
    q: Tensor = agents.target_q(batch.next_observations, near)
    soft_value = q - (agents.entropy_coefficient[:, None] * log_density).unsqueeze(1)
    rewards, masks = (each.unsqueeze(1) for each in (batch.rewards, batch.masks))
    targets: Tensor = rewards + config.discount * masks * soft_value
    return targets


def update(agents: edac.EDACAgents, batch: Batch, config: SO2Config) -> Metrics:
    """Update every agent for an environment step: critics on slices of `batch`, the actor on the last."""
    parts = slices(batch, config.updates_per_step)
    found, means = [], []
    for part in parts:
        loss, q = losses.mean_critic_loss(agents, part, td_targets(agents, part, config))
        agents.step(loss)
        agents.move_targets(config.target_update_rate)
        found.append(loss.detach())
        means.append(q.detach().mean(dim=(1, 2)))
    observations = parts[-1].observations
    noise = agents.streams.normal(observations.shape[1], agents.action_size)
    actions, log_density = agents.policy(observations).sample(noise)
    actor = sac.actor_loss(agents, observations, actions, log_density)
    agents.step(actor)
    return {
        "critic_loss": torch.stack(found).mean(dim=0),
        "q_mean": torch.stack(means).mean(dim=0),
        "actor_loss": actor.detach(),
        "entropy": -log_density.detach().mean(dim=-1),
        "entropy_coefficient": agents.entropy_coefficient,
    }


class SO2(Method):
    """SO2: from one EDAC agent."""

    Config: ClassVar[type[Any]] = SO2Config
    Agents: ClassVar[Any] = edac.EDACAgents
    algorithm = staticmethod(update)

    @classmethod
    def make_replay(cls, start: Start, config: Any) -> RingReplay:
        """Make a replay of what is collected and the store that it replaces. UserError without data."""
        share = 1 - config.online_fraction
        return RingReplay(start.offline_data(), start.buffer, share, config.warm_up_steps)
