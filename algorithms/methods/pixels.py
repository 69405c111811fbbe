"""Learning from images: COG's CQL (Singh et al. 2020), and Off2On fine-tuning it ([P] 6.2, [S] D.2).

One update serves both phases. The agents look at a batch once, and everything after is SAC, CQL and Off2On
as for any other observation: critics on TD error (and, with CQL's objective, its penalty), actor, entropy
coefficient, targets. Pre-training has ensembles of one. [COG] marks COG's code, "ours" what small budgets
needed: all of it is off by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from algorithms.methods import cql, off2on, sac
from algorithms.methods.density_ratio import ImageDensityRatio
from algorithms.methods.interface import PRETRAINED, Method, Metrics, OfflineStart, Start
from algorithms.population.adam import AgentwiseAdam
from algorithms.population.agents import load_members, move_towards
from algorithms.population.checkpoints import section
from algorithms.population.encoders import (
    CONVOLUTIONS,
    EncoderName,
    Encoders,
    FeaturePolicy,
    ImageShape,
    OwnCritics,
    OwnPolicy,
)
from algorithms.population.networks import Critics, Policy, TanhGaussian, mixture_policy
from algorithms.population.streams import Streams
from algorithms.replay.augmentation import PADDING, crop, draw_offsets
from algorithms.replay.batch import Batch
from algorithms.replay.image_replay import ONLINE, PRIOR, RANDOM, TASK, drawn_sources
from algorithms.replay.stores import BalancedReplay, OnlineReplay
from storage import UserError
from storage.constraints import (
    BatchSize,
    Count,
    EnsembleSize,
    FewCount,
    LogStdRangeAroundZero,
    NotNegative,
    Positive,
    Rate,
    UpToHundred,
    Widths,
)


@dataclass(frozen=True)
class PixelConfig(cql.CQLConfig, off2on.EnsembleConfig):
    """The numbers of learning from images; the defaults are COG's, as [S] D.2 uses them."""

    encoder: EncoderName = "original"  # [COG], [S]; "shared" is ours
    hidden_widths: Widths = (1024, 512, 256)  # [COG], [S] of the critics, after the encoder
    policy_hidden_widths: Widths = (1024, 512, 256, 256, 256, 256)  # [COG] 1024-512-256, 256 x 3
    log_std_range: LogStdRangeAroundZero = (-5.0, 2.0)  # [COG]; 0, where fresh agents start, lies inside
    state_size: Literal[0, 10] = 0  # ours: how many numbers of the robot's state images carry, see `Encoders`
    padding: UpToHundred = PADDING  # [COG] pixels by which crops shift what learns sees, at most
    batch_size: BatchSize = 256  # [COG]
    policy_learning_rate: Rate = 1e-4  # [COG], [S] offline
    value_learning_rate: Rate = 3e-4  # [COG], [S] offline; shared encoders learn at this rate too
    conservative_weight: NotNegative = 1.0  # [COG] min_q_weight
    sampled_actions: FewCount = 1  # [COG] num_random
    cloning_updates: Count = 10_000  # [COG] policy_eval_start
    objective: Literal["sac", "cql"] = "cql"  # [S] Figures 15, 16; "sac" has no penalty
    clip_targets: bool = False  # ours: targets within [0, 1 / (1 - discount)], for rewards in [0, 1]
    cloning_data: Literal["all", "scripted"] = "all"  # ours: clone what is offline and not random alone
    cloning_teaches: bool = False  # ours: a shared encoder learns from cloning too, not from critics alone
    cloning_weight: NotNegative = 0.0  # ours: of a cloning term beside the actor's loss, after the warm start
    averaging_rate: Rate | None = None  # ours: evaluate a moving average of the weights, of this rate

    def __post_init__(self) -> None:
        """UserError for other critics than plain twins."""
        super().__post_init__()
        if (self.critics, self.critic_norm) != (2, "none"):
            raise UserError(
                f"critics is {self.critics} and critic_norm is {self.critic_norm}, expected 2 and none:"
                " agents that see images have plain twins"
            )


@dataclass(frozen=True)
class PixelFineTuningConfig(PixelConfig, off2on.Off2OnConfig):
    """Off2On's numbers of fine-tuning from images ([S] D.2), with its ablations' choices."""

    objective: Literal["sac", "cql"] = "sac"  # [P] 4.2: no penalty online
    ensemble_size: EnsembleSize = 4  # [S] D.2
    policy_learning_rate: Rate = 3e-5  # [S] D.2
    value_learning_rate: Rate = 1e-4  # [S] D.2
    weight_temperature: Positive = 2.5  # [S] D.2
    density_hidden_widths: Widths = (256, 128)  # [S] D.2, after an encoder of its own
    exploration_scale: NotNegative = 1.0  # ours: the share of the policy's deviation that collection uses


VARIANTS: dict[str, Mapping[str, Any]] = {
    f"{objective}_{agents}_{replay}": {
        "objective": objective,
        "ensemble_size": size,
        "replay": replay,
    }
    for objective in ("sac", "cql")
    for agents, size in (("single", 1), ("ensemble", 4))
    for replay in ("online_only", "balanced")
}
"""[S] Figures 15 and 16 as settings: "sac_ensemble_balanced" is Off2On, "cql_single_online_only" is CQL-ft,
COG's own fine-tuning (whose learning rates stay the offline ones)."""


class PixelAgents(off2on.EnsembleAgents):
    """S ensembles of N agents that see images: encoders, policy, twin critics, targets.

    `see` turns a batch of images into features, one row of them a member; all else reads features.
    """

    exported: ClassVar[tuple[str, ...]] = ("policy", "q", "encoder")

    encoder: Encoders | nn.Identity
    """The shared encoder; nothing where each network has its own."""
    averaged: nn.ModuleDict | None

    def __init__(
        self,
        seeds: Sequence[int],
        image_shape: ImageShape,
        action_size: int,
        config: PixelConfig,
        members: int = 1,
    ) -> None:
        self.image_shape = image_shape  # for `_make_networks`
        self.state_size, self.padding = config.state_size, config.padding
        self.cloning_teaches = config.cloning_teaches
        super().__init__(seeds, 0, action_size, config, members)
        self.averaging_rate = config.averaging_rate
        self.averaged = None
        if config.averaging_rate is not None:
            self.averaged = nn.ModuleDict(deepcopy(self._actors()))

    def _make_networks(self, observation_size: int, config: Any) -> None:
        count, action_size = self.count, self.action_size
        self.policy: Policy
        self.q: Critics
        self.target_q: Critics
        if config.encoder == "original":
            self.encoder = nn.Identity()
            sizes = (count, self.image_shape, action_size)
            widths, state_size = config.hidden_widths, config.state_size
            self.policy = OwnPolicy(*sizes, config.policy_hidden_widths, config.log_std_range, state_size)
            self.q, self.target_q = (OwnCritics(*sizes, widths, state_size) for _ in range(2))
        else:
            convolutions = CONVOLUTIONS[config.encoder]
            self.encoder = Encoders(count, self.image_shape, convolutions, config.state_size)
            features = (count, self.encoder.feature_size, action_size)
            self.policy = FeaturePolicy(*features, config.policy_hidden_widths, config.log_std_range)
            self.q, self.target_q = (Critics(*features, config.hidden_widths) for _ in range(2))

    def _optimiser(self, config: Any) -> AgentwiseAdam:
        """Adam as for vectors; a shared encoder learns with the critics."""
        optimiser = super()._optimiser(config)
        if isinstance(self.encoder, Encoders):
            optimiser.add_param_group({"params": self.encoder.parameters(), "lr": config.value_learning_rate})
        return optimiser

    def _actors(self) -> dict[str, nn.Module]:
        """The modules that acting needs."""
        return {"policy": self.policy, "encoder": self.encoder}

    def initialise(self) -> None:
        """Fresh networks, each drawn from its own stream, targets and averages equal to what they follow."""
        for network in (self.encoder, self.policy, self.q):
            if not isinstance(network, nn.Identity):
                network.initialise(self.streams)
        self.copy_targets()

    def copy_targets(self) -> None:
        """Set the target critics, and the averaged weights, equal to what they follow."""
        super().copy_targets()
        if self.averaged is not None:
            for name, module in self._actors().items():
                self.averaged[name].load_state_dict(module.state_dict())

    def move_targets(self, rate: float) -> None:
        """target <- (1 - rate) target + rate Q, and the averaged weights by their own rate."""
        super().move_targets(rate)
        if self.averaged is not None and self.averaging_rate is not None:
            for name, module in self._actors().items():
                move_towards(self.averaged[name], module, self.averaging_rate)

    def see(self, batch: Batch) -> Batch:
        """The batch with features for its images, each image cropped anew for each network and encoded once.

        Images are [S, B, H, W, C], features [S N, B, F], with gradient those of `observations` alone; F
        counts those of the policy, then those of the critics (of the targets, in `next_observations`) where
        each network has its own encoder.
        """
        observations = self._features(batch.observations, self.q)
        with torch.no_grad():
            next_observations = self._features(batch.next_observations, self.target_q)
        return batch._replace(observations=observations, next_observations=next_observations)

    def _features(self, images: Tensor, critics: Critics) -> Tensor:
        if isinstance(self.policy, OwnPolicy) and isinstance(critics, OwnCritics):
            for_policy = self.policy.encoder(self.cropped(images, self.members))
            for_critics = critics.features(self.cropped(images, 2 * self.members))
            return torch.cat([for_policy, for_critics], dim=-1)
        features: Tensor = self.encoder(self.cropped(images, self.members))
        return features

    def cropped(self, images: Tensor, viewers: int) -> Tensor:
        """Each run's images [S, B, ...] cropped at random for each of its viewers. [S viewers, B, ...]

        The row of the robot's state, where there is one, stays what it is.
        """
        offsets = draw_offsets(self.streams, viewers, images.shape[1], self.padding)
        if not self.state_size:
            return crop(images, offsets, self.padding)
        pictures, states = images[:, :, :-1], images[:, :, -1:]
        shown = crop(pictures, offsets, self.padding)
        return torch.cat([shown, states.repeat_interleave(viewers, dim=0)], dim=2)

    def imitating(self, policy: TanhGaussian, observations: Tensor) -> TanhGaussian:
        """`policy`, which is that in the features `observations` [S N, B, F], as cloning is to see it.

        That is with a gradient down to a shared encoder, if cloning teaches it.
        """
        if not (self.cloning_teaches and isinstance(self.policy, FeaturePolicy)):
            return policy
        return mixture_policy(self.policy.teaching(observations), self.members)

    def acting(self, images: Tensor, averaged: bool = False) -> TanhGaussian:
        """The ensembles' policies in the states [S, E, H, W, C], on averaged weights if asked and there."""
        actors: Any = self.averaged if averaged and self.averaged is not None else self._actors()
        policy, encoder = actors["policy"], actors["encoder"]
        if isinstance(policy, OwnPolicy):
            encoder = policy.encoder
        return mixture_policy(policy(encoder(self.for_members(images))), self.members)

    def exploit(self, observations: Tensor) -> Tensor:
        """Deterministic actions tanh(mean), on averaged weights where there are any. [COG]"""
        return self.acting(observations, averaged=True).mode()

    def sample(self, observations: Tensor, streams: Streams) -> Tensor:
        """Actions drawn from the policy that `exploit` acts by, with the numbers of `streams`."""
        policy = self.acting(observations, averaged=True)
        return policy.actions(streams.normal(*policy.mean.shape[1:]))

    def actor(self, run: int) -> dict[str, Tensor]:
        """What ensemble number `run` is evaluated with: its members' "policy.…" and "encoder.…", [N, ...]."""
        members = slice(self.members * run, self.members * (run + 1))
        actors: Any = self._actors() if self.averaged is None else self.averaged
        return {
            f"{name}.{key}": tensor[members].clone()
            for name, module in actors.items()
            for key, tensor in module.state_dict().items()
        }

    def load_actor(self, actor: Mapping[str, Tensor]) -> None:
        """Take over the networks of `actor`, for a population of one ensemble; it is to act, not to learn.

        UserError where they are of other sizes.
        """
        for name, module in self._actors().items():
            found = section(actor, f"{name}.")
            for key, own in module.state_dict().items():
                shape = tuple(found[key].shape) if key in found else None
                if shape != tuple(own.shape):
                    raise UserError(f"actor: {name}.{key} has shape {shape}, expected {tuple(own.shape)}")
            module.load_state_dict(found)
        self.copy_targets()


class PixelOff2OnAgents(PixelAgents):
    """Ensembles with density-ratio networks, which see images through encoders of their own."""

    def __init__(
        self,
        seeds: Sequence[int],
        image_shape: ImageShape,
        action_size: int,
        config: PixelFineTuningConfig,
    ) -> None:
        super().__init__(seeds, image_shape, action_size, config, config.ensemble_size)
        self.density = ImageDensityRatio(
            len(seeds),
            image_shape,
            action_size,
            config.density_hidden_widths,
            config.density_activation,
            config.encoder,
            config.state_size,
        )
        self.optimiser.add_param_group(
            {"params": self.density.parameters(), "lr": config.density_learning_rate}
        )

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over S N CQL agents, run by run; targets copied from critics, fresh density networks. [C]"""
        load_members(self, members)
        self.density.initialise(self.streams)


def td_target(agents: PixelAgents, batch: Batch, config: PixelConfig) -> Tensor:
    """The TD target of every member [S, N, B]: CQL's or SAC's backup, clipped if asked."""
    deterministic = config.objective == "cql" and config.deterministic_backup
    target = off2on.td_target(agents, batch, config, deterministic)
    return target.clamp(0.0, 1 / (1 - config.discount)) if config.clip_targets else target


def cloning_loss(policy: TanhGaussian, batch: Batch, sources: Tensor, config: PixelConfig) -> Tensor:
    """-E[log pi(a|s)] over the batch's actions that are to be imitated (none: 0). [S]

    `sources [S, B]` are `image_replay.drawn_sources`.
    """
    imitated = torch.ones_like(sources, dtype=torch.bool)
    if config.cloning_data == "scripted":
        imitated = (sources == PRIOR) | (sources == TASK)
    log_density = torch.where(imitated, policy.log_density(batch.actions), 0.0)
    return -log_density.sum(dim=-1) / imitated.sum(dim=-1).clamp(min=1)


def actor_loss(
    agents: PixelAgents,
    policy: TanhGaussian,
    batch: Batch,
    sources: Tensor,
    config: PixelConfig,
    cloning: bool,
) -> tuple[Tensor, Tensor]:
    """Off2On's actor loss, plus cloning if asked; alpha log pi(a|s) plus cloning alone in the warm start [S].

    And log pi(a|s) [S, B].
    """
    imitating = agents.imitating(policy, batch.observations)
    if not cloning:
        loss, log_density = off2on.actor_loss(agents, policy, batch)
        if config.cloning_weight:
            loss = loss + config.cloning_weight * cloning_loss(imitating, batch, sources, config)
        return loss, log_density
    _, log_density = policy.sample(agents.streams.normal(*batch.actions.shape[1:]))
    entropy_term = (agents.entropy_coefficient[:, None] * log_density).mean(dim=-1)
    return entropy_term + cloning_loss(imitating, batch, sources, config), log_density


def update(
    agents: PixelAgents, images: Batch, sources: Tensor, config: PixelConfig, step: int, *others: Tensor
) -> Metrics:
    """Update number `step` (from 0) of every ensemble on a batch of images, and down `others` too.

    All losses are computed on the old parameters, then all networks step, then the targets.
    """
    batch = agents.see(images)
    target = td_target(agents, batch, config)
    td_error, q = off2on.critic_loss(agents, batch, target, config)
    policy = agents.distribution(batch.observations)
    losses, metrics = [*others, td_error], {"td_error": td_error}
    if config.objective == "cql":
        penalty = cql.conservative_penalty(agents, policy, batch, q.flatten(0, 1), config)
        losses.append(config.conservative_weight * penalty)
        metrics["conservative_penalty"] = agents.per_run(penalty).mean(dim=(1, 2))
    cloning = step < config.cloning_updates
    actor, log_density = actor_loss(agents, policy, batch, sources, config, cloning)
    if step >= config.frozen_actor_updates:
        losses += [actor, sac.entropy_coefficient_loss(agents, log_density)]
    agents.step(*losses)
    agents.move_targets(config.target_update_rate)
    metrics |= {
        "actor_loss": actor,
        "q_mean": q.mean(dim=(1, 2, 3)),
        "entropy": -log_density.mean(dim=-1),
        "entropy_coefficient": agents.entropy_coefficient,
    }
    return {name: value.detach() for name, value in metrics.items()}


class PixelPretraining(Method):
    """COG's CQL: independent agents, fresh or handed on."""

    Config: ClassVar[type[Any]] = PixelConfig

    @classmethod
    def population(cls, start: OfflineStart | Start, config: PixelConfig, members: int) -> PixelAgents:
        """One agent a seed. UserError where the observations are no images."""
        return PixelAgents(start.seeds, _images(start), start.action_size, config)

    def update_images(self, batch: Batch, sources: Tensor, step: int) -> Metrics:
        """Update number `step` (from 0) of every agent; `sources [P, B]` are `image_replay.drawn_sources`."""
        return update(self.agents, batch, sources, self.config, step)

    def turning_points(self) -> tuple[int, ...]:
        """Where cloning ends, and where the actor begins to learn."""
        points: tuple[int, int] = self.config.turning_points
        return points


class PixelFineTuning(Method):
    """Off2On and its ablations on images, by configuration."""

    Config: ClassVar[type[Any]] = PixelFineTuningConfig
    replay: BalancedReplay | OnlineReplay

    @classmethod
    def population(
        cls, start: OfflineStart | Start, config: PixelFineTuningConfig, members: int
    ) -> PixelOff2OnAgents:
        """S ensembles of the configured size. UserError where the observations are no images."""
        return PixelOff2OnAgents(start.seeds, _images(start), start.action_size, config)

    @classmethod
    def make_replay(cls, start: Start, config: Any) -> BalancedReplay | OnlineReplay:
        """The replay that the configuration names. UserError for no data or an impossible fraction."""
        return off2on.make_replay(start, config)

    def explore(self, observations: Tensor) -> Tensor:
        """Actions for collection, with the configured share of the policy's deviation."""
        policy = self.agents.acting(observations)
        noise = self.agents.streams.normal(*policy.mean.shape[1:])
        actions: Tensor = policy.actions(self.config.exploration_scale * noise)
        return actions

    def learn(self) -> Metrics:
        """Draw, update, write the drawn transitions' priorities. [S] algorithm 2"""
        batch, indices = self.replay.sample(self.config.batch_size, self.draws)
        sources = drawn_sources(self.replay, indices)
        metrics = {
            "online_share": (sources == ONLINE).float().mean(dim=-1),
            "random_share": (sources == RANDOM).float().mean(dim=-1),
        }
        losses = []
        if isinstance(self.replay, BalancedReplay):
            drawn = off2on.density_batches(self.replay, self.config, self.draws)
            shifted, reference, online = (self._shifted(rows) for rows in (batch, *drawn))
            loss, priorities, weighing = off2on.density_update(
                self.agents.density, shifted, reference, online, self.config
            )
            self.replay.update_priorities(indices, priorities)
            losses.append(loss)
            metrics |= weighing
        return update(self.agents, batch, sources, self.config, PRETRAINED, *losses) | metrics

    def _shifted(self, batch: Batch) -> Batch:
        """The batch as the density networks see it, its observations cropped at random."""
        return batch._replace(observations=self.agents.cropped(batch.observations, 1))


def _images(start: Start | OfflineStart) -> ImageShape:
    if start.image_shape is None:
        raise UserError("learning from pixels was given observations that are no images")
    return start.image_shape
