"""The two training loops on images: CQL from a dataset, then episodes online ([S] D.2, [COG] cog_finetune).

They are `algorithms.training.offline` and `algorithms.training.online`, which count updates there and
episodes here: the curve of a fine-tuning run has the number of collected episodes as its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from algorithms.methods.interface import Metrics, OfflineStart, Start
from algorithms.methods.pixels import PixelConfig, PixelFineTuning, PixelFineTuningConfig, PixelPretraining
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.image_replay import ImageBuffer, ImageData, ImageEpisodes
from algorithms.training.episodes import MakeEnvironment, Stage, evaluate_success
from algorithms.training.jobs import Job
from algorithms.training.log import LARGEST_Q
from algorithms.training.measuring import Measured
from algorithms.training.offline import OfflineLoop, PretrainedAgents, StartingAgents
from algorithms.training.online import OnlineLoop, check_blocks
from storage import UserError
from storage.constraints import FewCount, LargestQ, PositiveCount
from storage.files import exclusive


@dataclass(frozen=True)
class PixelOfflineSchedule:
    """How long to pre-train and how often to look."""

    updates: PositiveCount = 500_000  # [S] D.2
    evaluation_interval: PositiveCount = 1_000  # [COG] an epoch
    evaluation_episodes: FewCount = 5  # [COG]
    checkpoint_interval: PositiveCount = 1_000
    largest_q: LargestQ = LARGEST_Q  # ours: a mean of Q beyond it ends the run


@dataclass(frozen=True)
class EpisodeSchedule:
    """The online schedule, in episodes. UserError where the loop would never be at an interval's end."""

    steps: PositiveCount = 1_000  # [S] D.2: episodes of each run
    block_size: PositiveCount = 10  # [COG] episodes between two rounds of updates
    updates_per_episode: PositiveCount = 100  # [COG] 1,000 after every 10
    first_block_multiplier: FewCount = 5  # [S] D.2: updates after the first block, times this
    evaluation_interval: PositiveCount = 10  # [COG] every block; a multiple of the block size
    evaluation_episodes: FewCount = 5  # [COG], of each kind
    checkpoint_interval: PositiveCount = 10  # episodes; a multiple of the block size
    largest_q: LargestQ = LARGEST_Q  # ours: a mean of Q beyond it ends the run

    def __post_init__(self) -> None:
        check_blocks(self)


class FineTunedAgents(NamedTuple):
    """What each run's ensemble is evaluated with at the end (`PixelAgents.actor`), and the runs' curve."""

    actors: list[dict[str, Tensor]]
    curve: pd.DataFrame


def pretrain_pixels(
    label: str,
    config: PixelConfig,
    schedule: PixelOfflineSchedule,
    episodes: ImageEpisodes,
    seeds: Sequence[int],
    job: Job,
    make: MakeEnvironment,
    starting: StartingAgents | None = None,
) -> PretrainedAgents:
    """Train one agent for each of `seeds`, side by side; resumes from `job.state_folder` if it can.

    `label`, `starting` and the errors are those of `offline.pretrain`; `make(job.environment)` makes the
    environments that agents are evaluated in.
    """
    with exclusive(job.state_folder):
        loop = _PixelLoop(label, config, schedule, episodes, seeds, job, make, starting)
        loop.run()
    return loop.result()


class _PixelLoop(OfflineLoop):
    """The offline loop on images."""

    headline = "success_deterministic"
    learner: PixelPretraining

    def __init__(
        self,
        label: str,
        config: PixelConfig,
        schedule: PixelOfflineSchedule,
        episodes: ImageEpisodes,
        seeds: Sequence[int],
        job: Job,
        make: MakeEnvironment,
        starting: StartingAgents | None,
    ) -> None:
        self.config = config
        self.stage = Stage(make, job.environment, len(seeds), job.compute.device)
        self.data = _fitting(ImageData(episodes, job.compute.device), self.stage, config, job)
        super().__init__(label, schedule, seeds, job, starting)

    def _make_learner(self, seeds: Sequence[int], agents: Sequence[Mapping[str, Tensor]]) -> PixelPretraining:
        shape, actions = self.data.image_shape, self.data.action_size
        start = OfflineStart(seeds, _values(shape), actions, agents, shape)
        return PixelPretraining.begin_offline(start, self.config)

    def _update(self) -> Metrics:
        indices = self.draws.integers(len(self.data), self.config.batch_size)
        return self.learner.update_images(self.data.gather(indices), self.data.source[indices], self.step)

    def _measurement(self) -> Callable[[], Measured]:
        episodes = self.schedule.evaluation_episodes
        return lambda: _success(self.stage, self.learner, self.seeds, self.step, episodes)


def fine_tune_pixels(
    label: str,
    config: PixelFineTuningConfig,
    online: EpisodeSchedule,
    episodes: ImageEpisodes,
    members: Sequence[Mapping[str, Tensor]],
    seeds: Sequence[int],
    job: Job,
    make: MakeEnvironment,
) -> FineTunedAgents:
    """Fine-tune online, one run for each of `seeds`, side by side.

    `members` are the pre-trained agents run by run, `config.ensemble_size` each. Labels, resuming and errors
    are those of `fine_tuning.fine_tune`; the curve's steps are episodes.
    """
    with exclusive(job.state_folder):
        loop = _EpisodeLoop(label, config, online, episodes, members, seeds, job, make)
        loop.run()
    agents = loop.learner.agents
    return FineTunedAgents([agents.actor(run) for run in range(len(seeds))], loop.log.frame())


class _EpisodeLoop(OnlineLoop):
    """The online loop by episodes."""

    headline = "success_deterministic"
    unit = "episode"
    learner: PixelFineTuning

    def __init__(
        self,
        label: str,
        config: PixelFineTuningConfig,
        online: EpisodeSchedule,
        episodes: ImageEpisodes,
        members: Sequence[Mapping[str, Tensor]],
        seeds: Sequence[int],
        job: Job,
        make: MakeEnvironment,
    ) -> None:
        device = job.compute.device
        self.stage = Stage(make, job.environment, len(seeds), device)
        self.updates_per_step = online.updates_per_episode
        horizon, shape, actions = self.stage.horizon, self.stage.image_shape, self.stage.action_size
        start = Start(
            seeds=[derived_seed(seed, label) for seed in seeds],
            draws=Streams([derived_seed(seed, label, "batches") for seed in seeds], device),
            observation_size=_values(shape),
            action_size=actions,
            offline=_fitting(ImageData(episodes, device), self.stage, config, job),
            buffer=ImageBuffer(len(seeds), online.steps, horizon, shape, actions, device),
            members=members,
            block_size=online.block_size * horizon,
            image_shape=shape,
        )
        learner = PixelFineTuning.begin(start, config)
        learner.agents.move_to(device)
        super().__init__(online, label, learner, seeds, job)

    def _collect(self, steps: int) -> None:
        for episode in range(self.step, self.step + steps):
            starts = [derived_seed(seed, "collection", episode) % 2**32 for seed in self.seeds]
            self.learner.replay.add(self.stage.play(self.learner.explore, starts))

    def _collected(self) -> int:
        return self.step * self.stage.horizon

    def _measurement(self) -> Callable[[], Measured]:
        episodes = self.schedule.evaluation_episodes
        return lambda: _success(self.stage, self.learner, self.seeds, self.step, episodes)


def _success(
    stage: Stage,
    learner: PixelPretraining | PixelFineTuning,
    seeds: Sequence[int],
    step: int,
    episodes: int,
) -> Measured:
    return dict(evaluate_success(stage, learner.exploit, learner.agents.sample, seeds, step, episodes))


def _fitting(data: ImageData, stage: Stage, config: PixelConfig, job: Job) -> ImageData:
    """The same data. UserError where images, actions or the state are not of the task's sizes."""
    if config.state_size != stage.state_size:
        raise UserError(
            f"state_size is {config.state_size}, expected {stage.state_size}, the numbers of the robot's"
            f" state in the images of {job.environment}: state_row in its dataset's settings adds them"
        )
    expected = (stage.image_shape, stage.action_size)
    found = (data.image_shape, data.action_size)
    if found != expected:
        raise UserError(
            f"{job.dataset} has images and actions of sizes {found}, expected {expected} for"
            f" {job.environment}"
        )
    return data


def _values(shape: tuple[int, int, int]) -> int:
    height, width, channels = shape
    return height * width * channels
