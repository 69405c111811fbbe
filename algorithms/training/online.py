"""The online loop ([S] algorithm 2 and D.1), the same for every method: evaluate, collect a block, learn.

S runs (seeds) learn side by side. Killed at any moment, it goes on from its last checkpoint and ends
with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from tqdm import tqdm

from algorithms.methods.interface import Method
from algorithms.population import checkpoints
from algorithms.population.streams import derived_seed
from algorithms.replay.batch import Batch
from algorithms.training.cuda_graphs import Updates
from algorithms.training.evaluation import evaluation_of
from algorithms.training.jobs import Job, progress_bar
from algorithms.training.log import LARGEST_Q, TrainingLog
from algorithms.training.measuring import Measured, Measuring, measured_steps
from envs.locomotion import EnvironmentBatch
from storage import UserError
from storage.files import exclusive

LOGGING_STRIDE = 100
"""A method's `logged_thinly` are recorded in one update of so many, the first after new data among them.

[C] logs the share of offline samples so, and [P] Figures 4a and 9 show it ([I], validated by simulation)."""


@dataclass(frozen=True)
class OnlineSchedule:
    """The online schedule. UserError where the loop would never be at an interval's end."""

    steps: int = 250_000  # [S] D.1: environment steps of each run
    block_size: int = 1_000  # [C]: collect so many steps, then as many updates; [P] alternates single ones
    # [S] D.1: updates after the first block, times this ([C]'s default is 10). Off2On's trainer has it, so
    # SAC-ft too, as its published curve shows (results/reference, multiplier); AWAC's, BCQ's and SAC's code
    # has none.
    first_block_multiplier: int = 5
    initial_steps: int = 0  # [C] rlkit's SAC: 1,000 collected by the untrained policy before step 0
    evaluation_interval: int = 1_000  # [C]: every block, before collecting; a multiple of the block size
    evaluation_episodes: int = 5  # [C]: 5,000 steps, five whole episodes of HalfCheetah
    checkpoint_interval: int = 1_000  # steps; a multiple of the block size
    auroc_interval: int = 0  # [S] E.1: 10,000 for Figure 10; a multiple of the evaluation's, 0 for never
    largest_q: float = LARGEST_Q  # ours: a mean of Q beyond it ends the run

    def __post_init__(self) -> None:
        for name in ("evaluation_interval", "checkpoint_interval"):
            interval = getattr(self, name)
            if interval % self.block_size:
                raise UserError(f"{name} is {interval}, expected a multiple of block_size, {self.block_size}")
        if self.auroc_interval % self.evaluation_interval:
            raise UserError(
                f"auroc_interval is {self.auroc_interval}, expected a multiple of evaluation_interval,"
                f" {self.evaluation_interval}"
            )


Measure = Callable[[int], Mapping[str, ArrayLike]]
"""What else is measured at an evaluation: from its step to metrics, [S] each."""
Probe = Callable[[Method], Measure]
"""Makes of a learner, before its first step, what else is measured of it."""


class OnlineResult(NamedTuple):
    """The curve, and which collected transitions [S, steps] end an episode (or are cut by a block's end)."""

    curve: pd.DataFrame
    episode_ends: NDArray[np.bool_]


def run_online(
    config: OnlineSchedule,
    method: str,
    learner: Method,
    seeds: Sequence[int],
    job: Job,
    reward_scale: float = 1.0,
    measure: Measure | None = None,
) -> OnlineResult:
    """Let `learner` (freshly made) learn online; resumes from `job.state_folder` if it can.

    Rewards enter the replay times `reward_scale`; returns in the curve are unscaled. `measure` is called
    at each evaluation, again for some after a resume, and may only look. Raises UserError
    where a loss becomes non-finite, Q explodes, a checkpoint is damaged or of another configuration, or
    another process is training in the same folder.
    """
    with exclusive(job.state_folder):
        loop = _OnlineLoop(config, method, learner, seeds, job, reward_scale, measure)
        loop.run()
    return OnlineResult(loop.log.frame(), np.concatenate(loop.episode_ends, axis=1))


def collection_seed(seed: int) -> int:
    """What the environment that a run collects from is seeded with; an action log needs it."""
    return derived_seed(seed, "collection") % 2**32


class Schedule(Protocol):
    """An online schedule in steps of some unit; `OnlineSchedule` is one, in environment steps."""

    @property
    def steps(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def first_block_multiplier(self) -> int: ...
    @property
    def evaluation_interval(self) -> int: ...
    @property
    def evaluation_episodes(self) -> int: ...
    @property
    def checkpoint_interval(self) -> int: ...
    @property
    def largest_q(self) -> float: ...


class OnlineLoop:
    """The state of one online job: learner, log, steps and updates made.

    A subclass has the world: what it collects from, how it measures, and what of it a checkpoint keeps.
    """

    headline: ClassVar[str]
    """The measured metric that the progress bar shows."""
    measures_beside: ClassVar[bool] = False
    """Whether what `_measurement` returns may be called while the runs collect and learn."""
    unit: ClassVar[str] = "step"
    updates_per_step: int = 1

    def __init__(
        self, config: Schedule, method: str, learner: Method, seeds: Sequence[int], job: Job
    ) -> None:
        self.config, self.learner, self.seeds, self.job = config, learner, seeds, job
        self.log = TrainingLog(
            job.run, method, job.dataset, seeds, config.largest_q, phase="online", unit=self.unit
        )
        beside = job.compute.evaluation_beside and self.measures_beside
        self.measuring = Measuring(self.log, beside)
        self.step = self.updates_made = 0
        streams = (learner.draws, learner.agents.streams)
        self.updates = Updates(learner.learn, streams, job.compute.updates_per_graph)
        self.checkpoint = job.state_folder / "checkpoint.safetensors"
        self.resumed = checkpoints.to_resume(self.checkpoint)

    def _begin(self) -> None:
        """What comes before the first block."""
        self._evaluate()

    def _collect(self, steps: int) -> None:
        """Add `steps` new steps of each run to the replay."""
        raise NotImplementedError

    def _collected(self) -> int:
        """Transitions of each run that have been collected until now."""
        raise NotImplementedError

    def _measurement(self) -> Callable[[], Measured]:
        """What measures, when called, how good the runs are now."""
        raise NotImplementedError

    def _world(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the world."""
        return {}

    def _restore_world(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `_world()`."""

    def run(self) -> None:
        """From the present step to the last; a checkpoint holds the state between two blocks."""
        if self.resumed:
            self._restore()
        else:
            self._begin()
        with progress_bar(self.job, total=self.config.steps, initial=self.step, unit=self.unit) as bar:
            while self.step < self.config.steps:
                block = min(self.config.block_size, self.config.steps - self.step)
                self._collect(block)
                self._learn(block, bar)
                if self._due(self.config.evaluation_interval):
                    self._evaluate()
                    bar.set_postfix({self.headline: self.measuring.shown(self.headline)})
                if self.step == self.config.steps:
                    self.measuring.finish()
                if self._due(self.config.checkpoint_interval):
                    self._save()

    def _due(self, interval: int) -> bool:
        return self.step % interval == 0 or self.step == self.config.steps

    def _learn(self, block: int, bar: tqdm[Any]) -> None:
        """Updates for the steps of the last block, more after the first; the bar follows the updates."""
        count = block * self.updates_per_step
        count *= self.config.first_block_multiplier if self.step == 0 else 1
        for done, metrics in enumerate(self.updates.make(count)):
            self.updates_made += 1
            self.log.add(metrics, self.updates_made)
            thinly = {to: metrics[name] for name, to in self.learner.logged_thinly.items() if name in metrics}
            if done % LOGGING_STRIDE == 0 and thinly:
                self.log.add_thinned(thinly)
            bar.update(block * (done + 1) // count - block * done // count)
        self.step += block

    def _evaluate(self) -> None:
        """Begin a row of the curve."""
        self.measuring.begin(self.step, self._measurement())

    def _save(self) -> None:
        awaited = self.measuring.awaited(self.step)
        tensors = {f"agents.{k}": v for k, v in self.learner.agents.training_state().items()}
        tensors |= {f"replay.{k}": v for k, v in self.learner.replay.state().items()}
        tensors |= {"draws": self.learner.draws.state(), **self._world()}
        manifest = {
            "configuration_hash": self.job.configuration_hash,
            "step": self.step,
            "updates": self.updates_made,
            "log": self.log.state(),
            "awaited": awaited,
        }
        checkpoints.save(self.checkpoint, tensors, manifest)

    def _restore(self) -> None:
        tensors, manifest = checkpoints.load_for(self.checkpoint, self.job.configuration_hash)
        with checkpoints.restoring(self.checkpoint):
            self.learner.agents.restore_training_state(checkpoints.section(tensors, "agents."))
            self.learner.replay.restore(checkpoints.section(tensors, "replay."))
            checkpoints.fit(tensors, {"draws": self.learner.draws.state()})
            self.learner.draws.restore(tensors["draws"])
            self._restore_counts(manifest)
            self._restore_world(tensors)
            interval, last = self.config.evaluation_interval, self.config.steps
            steps = measured_steps(0, self.step, interval, [last])
            since = self.updates_made - self._updates_until(steps[-1])
            awaited = self.measuring.restore(manifest, steps, since)
        self.measuring.go_on(awaited, self._measurement)

    def _restore_counts(self, manifest: Mapping[str, Any]) -> None:
        """Steps and updates. UserError where no run of this schedule has them, with so much in its replay."""
        self.step = checkpoints.whole_number(manifest, "step", 1, self.config.steps)
        if self.step % self.config.block_size and self.step != self.config.steps:
            raise UserError(f"its step is {self.step}, expected the end of a block")
        self.updates_made = self._updates_until(self.step)
        if manifest["updates"] != self.updates_made:
            raise UserError(f"its updates are {manifest['updates']!r}, expected {self.updates_made}")
        found, collected = self.learner.replay.online.size, self._collected()
        if found != collected:
            raise UserError(f"its replay holds {found} transitions a run, expected {collected}")

    def _updates_until(self, step: int) -> int:
        """Updates that have been made when `step` is reached."""
        first_block = min(step, self.config.block_size)
        return self.updates_per_step * (step + (self.config.first_block_multiplier - 1) * first_block)


class _OnlineLoop(OnlineLoop):
    """The loop in MuJoCo's tasks, stepped as a batch."""

    headline = "normalised_score"
    measures_beside = True
    config: OnlineSchedule

    def __init__(
        self,
        config: OnlineSchedule,
        method: str,
        learner: Method,
        seeds: Sequence[int],
        job: Job,
        reward_scale: float,
        measure: Measure | None,
    ) -> None:
        super().__init__(config, method, learner, seeds, job)
        self.reward_scale, self.measure = reward_scale, measure
        starts, threads = [collection_seed(seed) for seed in seeds], job.compute.environment_threads
        self.environments = EnvironmentBatch(job.environment, starts, threads)
        self.episode_ends: list[NDArray[np.bool_]] = []

    def _begin(self) -> None:
        super()._begin()
        if self.config.initial_steps:
            self._collect(self.config.initial_steps)

    def _collect(self, steps: int) -> None:
        """Append `steps` transitions of each run, from a fresh reset; a cut episode is no terminal. [C]"""
        observations = self.environments.reset()
        rows: list[tuple[NDArray[Any], ...]] = []
        ends = []
        for _ in range(steps):
            actions = self._explore(observations)
            # A Gaussian that is not squashed may leave the box: what is executed and charged for is clipped,
            # what is learned from is not. [C] rlkit's NormalizedBoxEnv
            spec = self.environments.specification
            executed = np.clip(actions.astype(np.float64), spec.action_low, spec.action_high)
            outcome = self.environments.step(executed)
            rewards = outcome.rewards * self.reward_scale
            masks = 1.0 - outcome.terminations
            rows.append((observations, actions, rewards, masks, outcome.observations))
            ended = outcome.terminations | outcome.truncations
            ends.append(ended)
            observations = self.environments.reset(ended) if ended.any() else outcome.observations
        ends[-1] = np.ones_like(ends[-1])
        self.episode_ends.append(np.stack(ends, axis=1))
        fields = (np.stack(field, axis=1).astype(np.float32) for field in zip(*rows, strict=True))
        self.learner.replay.add(Batch(*map(torch.from_numpy, fields)))

    def _collected(self) -> int:
        return self.config.initial_steps + self.step

    @torch.no_grad()
    def _explore(self, observations: NDArray[np.float64]) -> NDArray[np.float32]:
        shaped = torch.from_numpy(observations.astype(np.float32)).unsqueeze(1)
        actions = self.learner.explore(shaped.to(self.job.compute.device)).squeeze(1).cpu()
        explored: NDArray[np.float32] = actions.numpy()
        return explored

    def _measurement(self) -> Callable[[], Measured]:
        episodes, compute = self.config.evaluation_episodes, self.job.compute
        play = evaluation_of(self.learner, self.job.environment, self.seeds, self.step, episodes, compute)
        also = {} if self.measure is None else self.measure(self.step)
        return lambda: {**play(), **also}

    def _world(self) -> dict[str, Tensor]:
        ends = torch.from_numpy(np.concatenate(self.episode_ends, axis=1))
        return {**self._environment_bytes(), "episode_ends": ends}

    def _environment_bytes(self) -> dict[str, Tensor]:
        return {
            f"environments.{name}": torch.from_numpy(np.ascontiguousarray(array).view(np.uint8))
            for name, array in self.environments.state().items()
        }

    def _restore_world(self, tensors: Mapping[str, Tensor]) -> None:
        ends = torch.zeros(len(self.seeds), self._collected(), dtype=torch.bool)
        checkpoints.fit(tensors, {**self._environment_bytes(), "episode_ends": ends})
        saved = checkpoints.section(tensors, "environments.")
        self.environments.restore(
            {
                name: saved[name].numpy().view(like.dtype).reshape(like.shape)
                for name, like in self.environments.state().items()
            }
        )
        self.episode_ends = [tensors["episode_ends"].numpy()]
