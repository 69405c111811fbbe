"""The conservative part of CQL(H) (Kumar et al. 2020), which several methods take into their own losses.

Critics also pay for how far a soft maximum of Q over all actions stands above Q of the data's actions, and
the actor may imitate the data. The paper gives no CQL hyper-parameters; the defaults are the official CQL
code's for D4RL MuJoCo, which the authors say they follow ([S] D.1), marked [CQL]. From images it is COG's
(Singh et al. 2020), whose numbers config/manipulation.yaml has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from algorithms.methods import sac
from algorithms.population.agents import ActorCritics
from algorithms.population.encoding import teaching
from algorithms.population.networks import TanhGaussian
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Needed
from offline_data.image_episodes import PRIOR, TASK
from storage import UserError
from storage.constraints import Candidates, Count, FewCount, NotNegative, Rate


@dataclass(frozen=True)
class CQLConfig(sac.SACConfig):
    """CQL's numbers beside SAC's."""

    policy_learning_rate: Rate = 1e-4  # [CQL] README: 1e-4 or 3e-4
    conservative_weight: NotNegative = 5.0  # [CQL] README: min_q_weight 5 or 10, no Lagrange multiplier
    sampled_actions: FewCount = 10  # [CQL] num_random
    importance_sampling: bool = True  # [CQL] README: min_q_version 3; false is its version 2
    deterministic_backup: bool = True  # [CQL] the target has no entropy term
    cloning_updates: Count = 0  # [CQL] policy_eval_start: the actor imitates the data so long (there 40,000)
    frozen_actor_updates: Count = 0  # ours, for small budgets: the actor rests while the critics settle
    # ours, for speed: unbiased gradient through so many candidates
    penalty_gradient_actions: Candidates | None = None
    reduced_precision_penalty: bool = False  # ours, for speed: the penalty's hidden layers in bfloat16
    cloning_data: Literal["all", "scripted"] = "all"  # ours: clone what is offline and not random alone
    cloning_weight: NotNegative = 0.0  # ours: of a cloning term beside the actor's loss, after the warm start
    clip_targets: bool = False  # ours: targets within [0, 1 / (1 - discount)], for rewards in [0, 1]

    def __post_init__(self) -> None:
        """Raise UserError for a choice that critics with layer norm do not have."""
        check_penalty(self)


def check_penalty(config: Any) -> None:
    """Raise UserError for a choice that critics with layer norm do not have.

    `config` has the settings of `CQLConfig` that the penalty is computed by; so has `gradient_draws`'.
    """
    if config.critic_norm != "none" and (config.penalty_gradient_actions or config.reduced_precision_penalty):
        raise UserError(
            f"critic_norm is {config.critic_norm}, expected none beside penalty_gradient_actions or"
            " reduced_precision_penalty"
        )


def clipped(target: Tensor, config: CQLConfig) -> Tensor:
    """Clip the target, if asked, to what rewards in [0, 1] can sum up to."""
    return target.clamp(0.0, 1 / (1 - config.discount)) if config.clip_targets else target


@torch.no_grad()
def proposals(agents: ActorCritics, policy: TanhGaussian, batch: Batch, config: Any) -> tuple[Tensor, Tensor]:
    """Draw candidate actions for the soft maximum and the log weight that each is divided by.

    `sampled_actions` (n) each of the uniform distribution on the action box, pi(.|s) and pi(.|s'); all
    are judged in s, and divided by the density they were drawn with. Without importance sampling they are
    divided by nothing, and the data's action is one candidate more ([CQL] min_q_version 2).
    Returns [P, B, m, A] and [P, B, m] with m = 3 n or 3 n + 1, for an ensemble one row a run.
    """
    rows, action_size = batch.actions.shape[1:]
    n = config.sampled_actions
    uniform = 2 * agents.streams.uniform(rows, n, action_size) - 1
    uniform_density = uniform.new_full(uniform.shape[:-1], -action_size * math.log(2))
    actions, densities = [uniform], [uniform_density]
    for distribution in (policy, agents.distribution(batch.next_observations)):
        noise = agents.streams.normal(rows, n, action_size)
        sample, density = distribution.per_candidate().sample(noise)
        actions.append(sample)
        densities.append(density)
    if config.importance_sampling:
        return torch.cat(actions, dim=2), torch.cat(densities, dim=2)
    candidates = torch.cat([*actions, agents.for_members(batch.actions).unsqueeze(2)], dim=2)
    return candidates, candidates.new_zeros(candidates.shape[:-1])


def penalty(
    agents: ActorCritics, policy: TanhGaussian, batch: Batch, q_data: Tensor, config: CQLConfig
) -> Tensor:
    """Measure how far Q's soft maximum stands above Q of the data's action. [P, K]

    E_s[ log sum_a exp Q(s, a) - Q(s, a_data) ], the sum estimated by importance sampling (CQL, appendix
    F; [CQL] min_q_version 3) or taken over the candidates as they are. `q_data [P, K, B]` is Q of the
    data's actions.
    """
    actions, log_density = proposals(agents, policy, batch, config)
    return soft_maximum(agents, batch, actions, log_density, config) - q_data.mean(dim=-1)


def soft_maximum(
    agents: ActorCritics, batch: Batch, actions: Tensor, log_density: Tensor, config: CQLConfig
) -> Tensor:
    """Average over states of log sum_j exp(Q(s, a_j) - log_density_j). [P, K]

    Of the candidates `actions [P, B, m, A]`, for an ensemble one row a run, so many carry the gradient as
    the configuration says.
    """
    return agents.q.soft_maximum(
        agents.for_members(batch.observations),
        agents.for_members(actions),
        agents.for_members(log_density),
        gradient_draws(agents, batch, config),
        config.reduced_precision_penalty,
    )


def gradient_draws(agents: ActorCritics, batch: Batch, config: Any) -> Tensor | None:
    """Draw the candidates that carry the gradient, by numbers in [0, 1); None for all of them.

    (i + u) / n for each i below n = `penalty_gradient_actions`, one u a state and critic. [P, critics, B, n]
    """
    if (count := config.penalty_gradient_actions) is None:
        return None
    offsets = agents.streams.uniform(config.critics, len(batch.actions[0]), 1)
    places = torch.arange(count, dtype=offsets.dtype, device=offsets.device)
    draws: Tensor = agents.for_members((places + offsets) / count)
    return draws


def imitating(agents: ActorCritics, policy: TanhGaussian, observations: Tensor) -> TanhGaussian:
    """`policy`, that in `observations`, with a gradient down to a shared encoder if cloning teaches it."""
    if agents.encoding is None or not (agents.encoding.shared and agents.encoding.config.cloning_teaches):
        return policy
    # Past what keeps its gradient from features.
    return agents.together(agents.policy.forward(teaching(agents.policy, observations)))


def cloning_loss(policy: TanhGaussian, batch: Batch, config: CQLConfig) -> Tensor:
    """-E[log pi(a|s)] over the batch's actions that are to be imitated (none: 0). [P]"""
    log_density = policy.log_density(batch.actions)
    if config.cloning_data == "all":
        return -log_density.mean(dim=-1)
    source = batch.extras["source"]
    imitated = (source == PRIOR) | (source == TASK)
    return -torch.where(imitated, log_density, 0.0).sum(dim=-1) / imitated.sum(dim=-1).clamp(min=1)


def needed(config: CQLConfig) -> Needed:
    """Return the source of transitions, where not all are cloned."""
    if config.cloning_data == "all":
        return Needed((), config.discount)
    cloned = (PRIOR, TASK) if config.cloning_updates or config.cloning_weight else ()
    return Needed(("source",), config.discount, cloned)
