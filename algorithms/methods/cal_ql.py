"""Cal-QL (Nakamoto et al. 2023): CQL that pushes no value below what the data's own policy got from there.

Where CQL lowers Q of the policy's actions, a value below the transition's discounted return-to-go counts as
that return and is left alone, so that Q begins online at a scale which online returns do not contradict. The
paper is arXiv 2303.05479; settings and order of computation are its code's
(github.com/nakamotoo/Cal-QL, ac6eafe), marked [CALQL], without the Lagrange multiplier. Both phases are one
update. [CALQL] has no settings for locomotion and refuses its dense rewards; here they are the code's
defaults, with half of an online batch from the data and rewards as they are (ours).

A return-to-go is the sum of discounted rewards to the end of the recorded episode, as [CALQL] would have it
for dense rewards; where a time limit cut the episode it lacks what would have come. [CALQL] collects whole
episodes before it learns from them; in shorter blocks the return of an episode that goes on is what it has
given so far. A port of it (tinkoff-ai/CORL, finetune/cal_ql.py) switches the bound off where fine-tuning
begins: another method online.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algorithms.methods import conservative, losses, sac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import ActorCritics
from algorithms.population.networks import Critics, Policy, TanhGaussian
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Extra
from algorithms.replay.replays import check_fraction
from storage.constraints import Candidates, FewCount, NotNegative, Positive, Rate, Weight


@dataclass(frozen=True)
class CalQLConfig(sac.SACConfig):
    """Cal-QL's numbers beside SAC's, of both phases."""

    policy_learning_rate: Rate = 1e-4  # [CALQL] policy_lr, of the temperature too
    initial_entropy_coefficient: Positive = 1.0  # [CALQL] log_alpha; online it goes on as it was
    conservative_weight: NotNegative = 5.0  # [CALQL] cql_min_q_weight, no Lagrange multiplier
    sampled_actions: FewCount = 10  # [CALQL] cql_n_actions, of each kind, and of the target's maximum
    importance_sampling: bool = True  # [CALQL] cql_importance_sample
    # ours, for speed: unbiased gradient through so many candidates
    penalty_gradient_actions: Candidates | None = None
    reduced_precision_penalty: bool = False  # ours, for speed: the penalty's hidden layers in bfloat16
    offline_fraction: Weight = 0.5  # [CALQL] scripts: mixing_ratio, of each batch online

    def __post_init__(self) -> None:
        """Raise UserError for a share of a batch that is none of its rows, or what layer norm lacks."""
        conservative.check_penalty(self)
        check_fraction(self.offline_fraction, self.batch_size)


class ScaledPolicy(Policy):
    """P policies whose log deviation is a learned scale times the network's plus a learned offset. [CALQL]"""

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: tuple[float, float],
    ) -> None:
        super().__init__(agents, observation_size, action_size, hidden_widths, log_std_range)
        self.log_std_scale = nn.Parameter(torch.ones(agents, 1, 1))  # [CALQL] log_std_multiplier
        self.log_std_offset = nn.Parameter(torch.full((agents, 1, 1), -1.0))

    def forward(self, observations: Tensor) -> TanhGaussian:
        """Return the action distribution in each state."""
        mean, log_std = self.net(observations).chunk(2, dim=-1)
        scaled = self.log_std_scale * log_std + self.log_std_offset
        return TanhGaussian(mean, scaled.clamp(*self.log_std_range))

    def initialise(self, streams: Streams) -> None:
        """Initialise with near-zero mean, log deviation near -1."""
        _initialise(self, streams)
        nn.init.ones_(self.log_std_scale)
        nn.init.constant_(self.log_std_offset, -1.0)


class OrthogonalCritics(Critics):
    """Critics with the paper's initialisation."""

    def initialise(self, streams: Streams) -> None:
        """Initialise with near-zero values."""
        _initialise(self, streams)


def _initialise(network: Policy | Critics, streams: Streams) -> None:
    """Orthogonal weights of gain sqrt(2), 0.01 in the last layer. [CALQL] model.py, orthogonal_init"""
    hidden = [math.sqrt(2)] * (len(network.net.affine_maps()) - 1)
    network.net.initialise_orthogonal([*hidden, 1e-2], streams)


class CalQLAgents(ActorCritics):
    """Actor-critics that go on online with all that they learned with."""

    handed_on_whole: ClassVar[bool] = True
    policy_class: ClassVar[type[Policy]] = ScaledPolicy
    critics_class: ClassVar[type[Critics]] = OrthogonalCritics


@torch.no_grad()
def td_target(agents: CalQLAgents, batch: Batch, config: CalQLConfig) -> Tensor:
    """r + discount mask max over actions a' ~ pi(.|s') of min Q_target(s', a'). [P, B]

    [CALQL] cql_max_target_backup, without an entropy term
    """
    rows, action_size = batch.actions.shape[1:]
    policy = agents.policy(batch.next_observations).per_candidate()
    actions = policy.actions(agents.streams.normal(rows, config.sampled_actions, action_size))
    best = agents.target_q.of_candidates(batch.next_observations, actions).amin(dim=1).amax(dim=2)
    return batch.rewards + config.discount * batch.masks * best


def calibrated_penalty(
    agents: CalQLAgents, policy: TanhGaussian, batch: Batch, q_data: Tensor, config: CalQLConfig
) -> tuple[Tensor, Tensor]:
    """CQL's penalty (`conservative.penalty`) where Q of pi's actions counts as its return-to-go if lower.

    Returns the penalty [P, K], and the share of those values that the return replaced [P, K] ([CALQL]
    bound_rate). Those of uniform actions (and, without importance sampling, of the data's) are none of them.
    """
    actions, log_density = conservative.proposals(agents, policy, batch, config)
    n, bounds = config.sampled_actions, torch.full_like(log_density, -math.inf)
    bounds[..., n : 3 * n] = batch.extras["returns_to_go"].unsqueeze(-1)
    soft_maximum, below = agents.q.bounded_soft_maximum(
        batch.observations,
        actions,
        log_density,
        bounds,
        conservative.gradient_draws(agents, batch, config),
        config.reduced_precision_penalty,
    )
    return soft_maximum - q_data.mean(dim=-1), below / (2 * n)


def update(agents: CalQLAgents, batch: Batch, config: CalQLConfig) -> Metrics:
    """Make one step of every agent: losses on the old parameters, then targets. [CALQL]"""
    target = td_target(agents, batch, config)
    td_error, q = losses.critic_loss(agents, batch, target)
    policy: TanhGaussian = agents.policy(batch.observations)
    penalty, bound = calibrated_penalty(agents, policy, batch, q, config)
    actions, log_density = policy.sample(agents.streams.normal(*batch.actions.shape[1:]))
    actor = sac.actor_loss(agents, batch.observations, actions, log_density)
    temperature = sac.entropy_coefficient_loss(agents, log_density)
    agents.step(td_error, config.conservative_weight * penalty, actor, temperature)
    agents.move_targets(config.target_update_rate)
    found = losses.measured(td_error=td_error, conservative_penalty=penalty.mean(dim=-1))
    return found | {"bound_share": bound.mean(dim=-1)} | sac.metrics(agents, q, actor, log_density)


class CalQL(Method):
    """Cal-QL, offline and online: one update, half of an online batch from the data."""

    Config: ClassVar[type[Any]] = CalQLConfig
    Agents: ClassVar[Any] = CalQLAgents
    algorithm = staticmethod(update)
    replays = "mixed"
    extras: ClassVar[tuple[Extra, ...]] = ("returns_to_go",)
    measures: ClassVar[Mapping[str, str]] = {
        "bound_share": "share of Q of the policy's actions below the return-to-go that replaced it [1]"
    }
