"""ReBRAC (Tarasov et al. 2023): TD3 whose actor and critics both pay for actions that are not the data's.

Deterministic policy, twin critics with layer norm, three hidden layers; the actor and all targets move with
every second update of the critics. The paper is arXiv 2305.09836; settings and order of computation are its
code's (github.com/tinkoff-ai/ReBRAC, src/algorithms), marked [REBRAC]; its weights of the two penalties
differ from dataset to dataset (configs/rebrac). Its fine-tuning (rebrac_finetune.py, which CORL has too) has
settings for AntMaze and Adroit alone: half of a batch is from the data, the critics pay nothing, and the
actor's penalty decays.

TD3+BC (arXiv 2106.06860, [TD3BC] its code, github.com/sfujim/TD3_BC) is the same without the critics' penalty
and their norm. Here its actor climbs the smaller of the two Q, as ReBRAC's, where the authors' climbs the
first; networks begin and targets move as ReBRAC's, and states are not normalised.

[REBRAC] reads D4RL, which leaves out the last step of an episode that timed out. In recordings of ours it is
kept; where an episode ends, its next action unknown (of a D4RL file that of the last step read, which
[REBRAC] knows), the critics' penalty is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from algorithms.methods import losses
from algorithms.methods.interface import Method, Metrics, Start
from algorithms.population.agents import CountedAgents
from algorithms.population.networks import Critics
from algorithms.population.passes import Norm
from algorithms.population.perceptrons import PopulationMLP
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Extra
from algorithms.replay.replays import check_fraction
from storage.constraints import BatchSize, FewCount, NotNegative, PositiveCount, Rate, UpToTwo, Weight, Widths

HIDDEN_BIAS = 0.1  # [REBRAC] networks.py, as EDAC's


@dataclass(frozen=True)
class TD3Config:
    """The numbers of both phases."""

    hidden_widths: Widths = (256, 256, 256)  # [REBRAC] critic_n_hiddens, actor_n_hiddens
    critic_norm: Norm = "after"  # [REBRAC] critic_ln: Dense, ReLU, LayerNorm
    policy_norm: Norm = "none"  # [REBRAC] actor_ln
    batch_size: BatchSize = 1024  # [REBRAC] rebrac.py
    discount: Weight = 0.99  # [REBRAC]
    target_update_rate: Rate = 5e-3  # [REBRAC] tau
    policy_learning_rate: Rate = 1e-3  # [REBRAC] rebrac.py
    value_learning_rate: Rate = 1e-3  # [REBRAC] rebrac.py
    policy_delay: FewCount = 2  # [REBRAC] policy_freq: critics' updates an update of actor and targets
    target_noise: UpToTwo = 0.2  # [REBRAC] policy_noise, of the target's actions
    target_noise_limit: UpToTwo = 0.5  # [REBRAC] noise_clip
    exploration_noise: UpToTwo = 0.0  # [REBRAC] expl_noise is 0.03 by default, CORL's settings have 0
    normalise_q: bool = True  # [REBRAC] the actor's Q is divided by the batch's mean of |Q|
    actor_penalty: NotNegative = 1.0  # [REBRAC] actor_bc_coef, beta1; from 0.001 to 0.1 for locomotion


@dataclass(frozen=True)
class ReBRACConfig(TD3Config):
    """ReBRAC's numbers offline."""

    critic_penalty: NotNegative = 1.0  # [REBRAC] critic_bc_coef, beta2; from 0 to 0.5 for locomotion


@dataclass(frozen=True)
class ReBRACFineTuningConfig(TD3Config):
    """ReBRAC-ft's numbers."""

    batch_size: BatchSize = 256  # [REBRAC] rebrac_finetune.py, of the updates offline before it too
    policy_learning_rate: Rate = 3e-4  # [REBRAC] rebrac_finetune.py, likewise
    value_learning_rate: Rate = 3e-4  # [REBRAC] rebrac_finetune.py, likewise
    offline_fraction: Weight = 0.5  # [REBRAC] 1 - mixing_ratio
    decay_updates: PositiveCount = 1_000_000  # [REBRAC] num_online_updates: the actor's penalty falls so long
    smallest_decay: Weight = 0.5  # CORL's min_decay_coef, of the penalty at first; [REBRAC] 0

    def __post_init__(self) -> None:
        """Raise UserError for a share of a batch that is none of its rows."""
        check_fraction(self.offline_fraction, self.batch_size)


@dataclass(frozen=True)
class TD3BCConfig(TD3Config):
    """TD3+BC's numbers."""

    hidden_widths: Widths = (256, 256)  # [TD3BC]
    critic_norm: Norm = "none"  # [TD3BC]
    batch_size: BatchSize = 256  # [TD3BC]
    policy_learning_rate: Rate = 3e-4  # [TD3BC]
    value_learning_rate: Rate = 3e-4  # [TD3BC]
    actor_penalty: NotNegative = 0.4  # [TD3BC] 1 / alpha, of the mean square over an action's numbers


class Deterministic(NamedTuple):
    """One action in each state, and normal noise around it for collection."""

    action: Tensor  # [..., action_size], in [-1, 1]
    deviation: float

    def actions(self, noise: Tensor) -> Tensor:
        """Add noise to the action and clip it to the box; `noise` is standard normal, [..., action_size]."""
        return (self.action + self.deviation * noise).clamp(-1, 1)

    def mode(self) -> Tensor:
        """Return the action."""
        return self.action


class DeterministicPolicy(nn.Module):
    """P policies: `[P, B, observation_size]` -> actions in [-1, 1] `[P, B, action_size]`."""

    def __init__(
        self, agents: int, observation_size: int, action_size: int, hidden_widths: Sequence[int], norm: Norm
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, action_size, norm)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the action in each state."""
        return torch.tanh(self.net(observations))


class ReBRACAgents(CountedAgents):
    """P agents: deterministic policy, twin critics, targets of both. They are handed on with all of it."""

    exported: ClassVar[tuple[str, ...]] = ("policy", "q")
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q", "target_policy": "policy"}
    handed_on_whole: ClassVar[bool] = True

    actor_measures: ClassVar[tuple[str, ...]] = ("actor_loss",)

    def make_networks(self, observation_size: int, config: TD3Config) -> None:
        """Make policy and critics, and the targets of both."""
        super().make_networks(observation_size, config)
        self.exploration_noise = config.exploration_noise
        sizes = (self.count, observation_size, self.action_size, config.hidden_widths)
        self.policy, self.target_policy = (DeterministicPolicy(*sizes, config.policy_norm) for _ in range(2))
        self.q, self.target_q = (Critics(*sizes, norm=config.critic_norm) for _ in range(2))

    def initialise(self) -> None:
        """Initialise weights within 1 / sqrt(inputs), near-zero actions and values. [REBRAC] networks.py"""
        self.policy.net.initialise_fan_in(1e-3, self.streams, HIDDEN_BIAS)
        self.q.net.initialise_fan_in(3e-3, self.streams, HIDDEN_BIAS)
        self.copy_targets()

    def distribution(self, observations: Tensor) -> Deterministic:
        """Return the policy in the states [P, B, observation_size]."""
        return Deterministic(self.policy(observations), self.exploration_noise)


@torch.no_grad()
def td_target(agents: ReBRACAgents, batch: Batch, config: TD3Config, critic_penalty: float) -> Tensor:
    """r + discount mask (min Q_target(s', a') - penalty |a' - a'_data|^2), a' near target policy's. [P, B]

    The noise on a' is normal and clipped. Without a penalty the data's next action is not asked for.
    """
    noise = config.target_noise * agents.streams.normal(*batch.actions.shape[1:])
    limit = config.target_noise_limit
    actions = (agents.target_policy(batch.next_observations) + noise.clamp(-limit, limit)).clamp(-1, 1)
    value: Tensor = agents.target_q(batch.next_observations, actions).amin(dim=1)
    if critic_penalty:
        apart = (actions - batch.extras["next_actions"]).square().sum(dim=-1)
        value = value - critic_penalty * batch.extras["continues"] * apart
    return batch.rewards + config.discount * batch.masks * value


def actor_loss(
    agents: ReBRACAgents, batch: Batch, config: TD3Config, actor_penalty: Tensor | float
) -> Tensor:
    """E[penalty |pi(s) - a_data|^2 - min Q(s, pi(s)) / E|min Q(s, pi(s))|], the divisor a constant. [P]"""
    actions = agents.policy(batch.observations)
    apart = (actions - batch.actions).square().sum(dim=-1).mean(dim=-1)
    q: Tensor = agents.q(batch.observations, actions, frozen=True).amin(dim=1)
    scale = q.detach().abs().mean(dim=-1) if config.normalise_q else 1.0
    loss: Tensor = actor_penalty * apart - q.mean(dim=-1) / scale
    return loss


def update(
    agents: ReBRACAgents,
    batch: Batch,
    config: TD3Config,
    critic_penalty: float,
    actor_penalty: Tensor | float,
) -> Metrics:
    """Make one step of every agent's critics; at every `policy_delay`th, of targets and then actor.

    The target policy moves towards the policy before its step, the target critics towards those after theirs.
    """
    critics, q = losses.critic_loss(agents, batch, td_target(agents, batch, config, critic_penalty))
    agents.step(critics)
    if agents.made % config.policy_delay == 0:
        actor = actor_loss(agents, batch, config, actor_penalty)
        agents.move_targets(config.target_update_rate)
        agents.step(actor)
        agents.note_actor(actor)
    agents.count_update()
    return losses.measured(critic_loss=critics, **agents.noted(), q_mean=q.mean(dim=(1, 2)))


class ReBRAC(Method):
    """ReBRAC offline."""

    Config: ClassVar[type[Any]] = ReBRACConfig
    Agents: ClassVar[Any] = ReBRACAgents
    extras: ClassVar[tuple[Extra, ...]] = ("next_actions", "continues")

    def update(self, batch: Batch, step: int) -> Metrics:
        """Make one step of every agent."""
        return update(self.agents, batch, self.config, self.config.critic_penalty, self.config.actor_penalty)


class TD3BC(ReBRAC):
    """TD3+BC (Fujimoto and Gu 2021): the actor alone pays, by the mean square over an action's numbers."""

    Config: ClassVar[type[Any]] = TD3BCConfig
    extras: ClassVar[tuple[Extra, ...]] = ()

    def update(self, batch: Batch, step: int) -> Metrics:
        """One step of every agent."""
        penalty = self.config.actor_penalty / batch.actions.shape[-1]
        return update(self.agents, batch, self.config, 0.0, penalty)


class ReBRACFineTuning(ReBRAC):
    """ReBRAC-ft: from one ReBRAC agent, half of a batch from its data, the penalties going."""

    Config: ClassVar[type[Any]] = ReBRACFineTuningConfig
    replays = "mixed"
    extras: ClassVar[tuple[Extra, ...]] = ()

    @classmethod
    def begin(cls, start: Start, config: Any) -> Self:
        """Begin the online phase, whose updates are counted anew."""
        learner = super().begin(start, config)
        learner.agents.count_from(0)
        return learner

    def update(self, batch: Batch, step: int) -> Metrics:
        """Make one step of every agent."""
        left = 1 - self.agents.updates / self.config.decay_updates
        penalty = self.config.actor_penalty * left.clamp(min=self.config.smallest_decay)
        return update(self.agents, batch, self.config, 0.0, penalty)
