"""WSRL (Zhou et al. 2025): offline agents fine-tuned without their data, after a warm-up in which none learn.

Offline it is CQL with ten critics of which two are drawn; online SAC goes on with all that an agent learned
with, targets, temperature and Adam's moments too, on what it collects alone. The paper is arXiv 2412.07762;
settings and order of computation are its code's (github.com/zhouzypaul/wsrl, 891ee35) for locomotion, marked
[WSRL]. That commit itself was not at hand. Its agents (sac.py, cql.py), networks and training state were read
in the first commits of copies of it (hzgyy/wsrl 4b56659, zhangchangxina/offline-to-online-closed-loop
690f326), the temperature's multiplier and the optimiser in the code that it comes from (rail-berkeley/serl
aeeccd7).

The code does what the paper does not say in two places, each a setting: its critics have one output layer,
and its Adam also moves what an update has no loss of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.methods import conservative, losses, rlpd, sac
from algorithms.methods.interface import Method, Metrics
from algorithms.population.agents import ActorCritics
from algorithms.population.networks import Policy, TanhGaussian
from algorithms.population.passes import Norm
from algorithms.population.rows import of_subsets
from algorithms.population.soft_maximum import plain
from algorithms.replay.batch import Batch, slices
from storage import UserError
from storage.constraints import (
    Count,
    FewCount,
    NotNegative,
    Positive,
    Rate,
    UpToHundredEitherWay,
    WideLogStdRangeAroundZero,
)

LOG_STD_RANGE = (math.log(1e-5), math.log(10.0))  # [WSRL] actor_critic_nets.py: of the deviation, 1e-5 to 10


@dataclass(frozen=True)
class WSRLConfig(rlpd.ManyCriticsConfig):
    """WSRL's numbers; of both phases but where they say otherwise."""

    initial_entropy_coefficient: Positive = 1.0  # [WSRL] online it goes on as it was
    policy_learning_rate: Rate = 1e-4  # [WSRL] cql_config.py, of the temperature too
    policy_norm: Norm = "before"  # [WSRL] mlp.py
    log_std_range: WideLogStdRangeAroundZero = LOG_STD_RANGE  # [WSRL] actor_critic_nets.py
    drawn_with_replacement: bool = True  # [WSRL] sac.py and cql.py: jax.random.randint
    # [WSRL] sac.py: one output layer of all critics, as `ensemblize` has the hidden ones alone; false: ten
    shared_critic_output: bool = True
    # [WSRL] sac.py: what an online update leaves out has the loss 0, and Adam moves it by its moments, the
    # actor with every update of the critics; false: it rests
    idle_adam_steps: bool = True
    updates_per_step: FewCount = 4  # [WSRL] launch_wsrl_finetune.sh: utd 4, a batch of 1,024 in slices of 256
    # [WSRL] finetune.py: the policy acts and nothing is learned (by its comparison, in one step more)
    warm_up_steps: Count = 5_000
    entropy_backup: bool = False  # [WSRL] sac_config.py
    target_entropy_per_dimension: UpToHundredEitherWay = -1.0  # [WSRL] an early copy's SAC agent has -0.5
    conservative_weight: NotNegative = 5.0  # [WSRL] offline
    sampled_actions: FewCount = 10  # [WSRL] offline: of each kind, and of the target's maximum
    importance_sampling: bool = True  # [WSRL] offline


class WSRLAgents(ActorCritics):
    """Actor-critics with layer norm in the policy too, whose temperature is a softplus."""

    handed_on_whole: ClassVar[bool] = True
    feature_networks: ClassVar[tuple[str, ...]] = ()

    def make_networks(self, observation_size: int, config: WSRLConfig) -> None:
        """Make SAC's networks, with layer norm in the policy too."""
        super().make_networks(observation_size, config)
        sizes = (self.count, observation_size, self.action_size)
        widths = config.policy_hidden_widths or config.hidden_widths
        self.policy = Policy(*sizes, widths, config.log_std_range, config.policy_norm)
        self.shared_critic_output, self.idle_adam_steps = config.shared_critic_output, config.idle_adam_steps
        with torch.no_grad():  # the inverse of softplus
            self.log_entropy_coefficient.fill_(math.log(math.expm1(config.initial_entropy_coefficient)))

    def initialise(self) -> None:
        """Orthogonal weights of gain sqrt(2), 0.01 in the last hidden layer. [WSRL] kernel_scale_final"""
        for network, heads in ((self.policy.net, 2), (self.q.net, 1)):
            gains = [math.sqrt(2)] * len(network.affine_maps())
            gains[-2] = 1e-2
            network.initialise_orthogonal(gains, self.streams, heads)
        if self.shared_critic_output:
            for parameter in self._critic_outputs():
                own = self._of_each_critic(parameter.detach())
                own.copy_(own[:, :1].clone().expand_as(own))
        self.copy_targets()

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over agents that were handed on. UserError where critics that are to share a layer do not."""
        super().start_from(members)
        if not self.shared_critic_output:
            return
        for parameter in self._critic_outputs():
            own = self._of_each_critic(parameter.detach())
            # Equal copies may be rounded apart by their places in Adam's vectors.
            if not torch.allclose(own, own[:, :1].expand_as(own), rtol=0, atol=1e-3):
                raise UserError(
                    "shared_critic_output is true, and the pre-trained agents' critics have output layers of"
                    " their own: expected false"
                )

    def _critic_outputs(self) -> list[nn.Parameter]:
        """Return weight and bias of the critics' output layers. [K P, ...]"""
        return list(self.q.net.affine_maps()[-1].parameters())

    def _of_each_critic(self, rows: Tensor) -> Tensor:
        """Return the rows [K P, ...] as [P, K, ...]."""
        return rows.view(self.count, -1, *rows.shape[1:])

    def settle_gradients(self) -> None:
        """Zeros where no loss has reached, and all critics' sum for an output layer that they share."""
        if self.idle_adam_steps:
            for group in self.optimiser.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
        if self.shared_critic_output:
            # Equal copies that all move by the sum of their gradients are one layer.
            for parameter in self._critic_outputs():
                if parameter.grad is not None:
                    own = self._of_each_critic(parameter.grad)
                    own.copy_(own.sum(dim=1, keepdim=True).expand_as(own))

    @property
    def entropy_coefficient(self) -> Tensor:
        """alpha, the softplus of its parameter, without gradient. [S]  [WSRL]"""
        return functional.softplus(self.log_entropy_coefficient.detach())


@torch.no_grad()
def td_target(agents: WSRLAgents, batch: Batch, config: WSRLConfig) -> Tensor:
    """r + discount mask max_j min over the drawn of Q_target(s', a_j), without an entropy term. [P, B]

    The a_j are `sampled_actions` samples of pi(.|s'). [WSRL] cql_max_target_backup
    """
    rows, action_size = batch.actions.shape[1:]
    n = config.sampled_actions
    policy = agents.policy(batch.next_observations).per_candidate()
    actions = policy.actions(agents.streams.normal(rows, n, action_size))
    q = agents.target_q.of_candidates(batch.next_observations, actions, _drawn(agents, config))
    best = q.amin(dim=1).amax(dim=2)
    return batch.rewards + config.discount * batch.masks * best


def _drawn(agents: WSRLAgents, config: WSRLConfig) -> Tensor:
    """Draw some critics of each agent. int64 [P, target_critics]"""
    drawn = agents.streams.subsets(1, config.target_critics, config.critics, config.drawn_with_replacement)
    return drawn.squeeze(1)


def conservative_penalty(
    agents: WSRLAgents, policy: TanhGaussian, batch: Batch, q_data: Tensor, config: WSRLConfig
) -> Tensor:
    """CQL's penalty (`conservative.penalty`) of critics that are drawn for it, their mean. [P]

    `q_data [P, K, B]` is Q of the data's actions by all critics; those of the same drawn ones count, which
    are drawn anew after the target's. [WSRL] cql.py, _get_cql_q_diff
    """
    actions, log_density = conservative.proposals(agents, policy, batch, config)
    chosen = _drawn(agents, config)
    soft_maximum = plain(agents.q.of_candidates(batch.observations, actions, chosen), log_density)
    own = of_subsets(q_data.mean(dim=-1).flatten(), chosen).reshape(chosen.shape)
    return (soft_maximum - own).mean(dim=1)


def actor_loss(
    agents: WSRLAgents, policy: TanhGaussian, observations: Tensor, config: WSRLConfig
) -> tuple[Tensor, Tensor]:
    """E[alpha log pi(a|s) - min over all critics of Q(s, a)], a ~ pi(.|s) [P]; and log pi(a|s) [P, B]."""
    actions, log_density = policy.sample(agents.streams.normal(observations.shape[1], agents.action_size))
    return sac.actor_loss(agents, observations, actions, log_density), log_density


def temperature_loss(agents: WSRLAgents, batch: Batch, number: int, config: WSRLConfig) -> Tensor:
    """alpha (E[-log pi(a|s')] - target entropy), of `number` new actions in each next state. [P]

    [WSRL] sac.py, temperature_loss_fn: drawn as the target's are, and not the actor's own.
    """
    rows, action_size = batch.actions.shape[1:]
    with torch.no_grad():
        policy: TanhGaussian = agents.policy(batch.next_observations).per_candidate()
        _, log_density = policy.sample(agents.streams.normal(rows, number, action_size))
        excess = -log_density.mean(dim=(1, 2)) - config.target_entropy_per_dimension * action_size
    return functional.softplus(agents.log_entropy_coefficient) * excess


def pretrain(agents: WSRLAgents, batch: Batch, config: WSRLConfig) -> Metrics:
    """Make one offline step of every agent: losses on the old parameters, then targets."""
    target = td_target(agents, batch, config)
    td_error, q = losses.mean_critic_loss(agents, batch, target)
    policy: TanhGaussian = agents.policy(batch.observations)
    penalty = conservative_penalty(agents, policy, batch, q, config)
    actor, log_density = actor_loss(agents, policy, batch.observations, config)
    temperature = temperature_loss(agents, batch, config.sampled_actions, config)
    agents.step(td_error, config.conservative_weight * penalty, actor, temperature)
    agents.move_targets(config.target_update_rate)
    found = losses.measured(td_error=td_error, conservative_penalty=penalty, q_mean=q.mean(dim=(1, 2)))
    return found | rlpd.actor_metrics(agents, actor, log_density)


def fine_tune(agents: WSRLAgents, batch: Batch, config: WSRLConfig) -> Metrics:
    """Update every agent for an environment step: critics on slices of `batch`, the actor on all of it.

    Targets move with each update of the critics and not with the actor's. [WSRL] sac.py, update_high_utd
    """
    # Slice by slice, as the policy may move in between.
    each = [rlpd.update_critics(agents, part, config, 1) for part in slices(batch, config.updates_per_step)]
    metrics = {name: torch.stack([part[name] for part in each]).mean(dim=0) for name in each[0]}
    policy: TanhGaussian = agents.policy(batch.observations)
    actor, log_density = actor_loss(agents, policy, batch.observations, config)
    agents.step(actor, temperature_loss(agents, batch, 1, config))
    return metrics | rlpd.actor_metrics(agents, actor, log_density)


class WSRL(Method):
    """WSRL: offline CQL with drawn critics, online SAC from where that ended, without the offline data."""

    Config: ClassVar[type[Any]] = WSRLConfig
    Agents: ClassVar[Any] = WSRLAgents
    replays = "online_only"  # [WSRL] offline_data_ratio 0

    def update(self, batch: Batch, step: int) -> Metrics:
        """Make an offline update of every agent."""
        return pretrain(self.agents, batch, self.config)

    def update_online(self, batch: Batch) -> Metrics:
        """Make an environment step's updates."""
        return fine_tune(self.agents, batch, self.config)
