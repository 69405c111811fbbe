"""The online loop ([S] algorithm 2 and D.1), the same for every method: evaluate, collect a block, learn.

S runs (seeds) learn side by side.
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

from algorithms.methods.interface import Method, Metrics
from algorithms.population import checkpoints
from algorithms.population.streams import derived_seed
from algorithms.replay.batch import Batch
from algorithms.replay.extras import EPISODE_ENDS
from algorithms.training.evaluation import evaluation_of
from algorithms.training.jobs import Job
from algorithms.training.log import LARGEST_Q
from algorithms.training.loop import Loop, Schedule
from algorithms.training.measuring import Measured
from algorithms.training.probes import Probe
from envs.locomotion import EnvironmentBatch
from storage import UserError
from storage.constraints import Count, FewCount, LargestQ, PositiveCount
from storage.files import exclusive


@dataclass(frozen=True)
class OnlineSchedule:
    """The online schedule. UserError where the loop would never be at an interval's end."""

    steps: PositiveCount = 250_000  # [S] D.1: environment steps of each run
    block_size: PositiveCount = 1_000  # [C]: collect so many steps, then update as often; [P]: one by one
    # [S] D.1: updates after the first block, times this ([C]'s default is 10). Off2On's trainer has it, so
    # SAC-ft too, as its published curve shows (results/reference, multiplier); AWAC's, BCQ's and SAC's code
    # has none.
    first_block_multiplier: FewCount = 5
    # [C]: each block begins with a new episode; false: it goes on with the last one's, as single steps would.
    fresh_episodes: bool = True
    initial_steps: Count = 0  # [C] rlkit's SAC: 1,000 collected by the untrained policy before step 0
    evaluation_interval: PositiveCount = 1_000  # [C]: each block, before it; a multiple of the block size
    evaluation_episodes: FewCount = 5  # [C]: 5,000 steps, five whole episodes of HalfCheetah
    checkpoint_interval: PositiveCount = 1_000  # steps; a multiple of the block size
    diagnostics_interval: Count = 0  # between what probes measure; a multiple of evaluations', 0 for never
    largest_q: LargestQ = LARGEST_Q  # ours: a mean of Q beyond it ends the run

    def __post_init__(self) -> None:
        check_blocks(self)
        if self.diagnostics_interval % self.evaluation_interval:
            raise UserError(
                f"diagnostics_interval is {self.diagnostics_interval}, expected a multiple of"
                f" evaluation_interval, {self.evaluation_interval}"
            )


class OnlineResult(NamedTuple):
    """The curve, and which collected transitions [S, steps] end an episode (or are cut by a block's end)."""

    curve: pd.DataFrame
    episode_ends: NDArray[np.bool_]


def run_online(
    schedule: OnlineSchedule,
    label: str,
    learner: Method,
    seeds: Sequence[int],
    job: Job,
    reward_scale: float = 1.0,
    probes: Sequence[Probe] = (),
) -> OnlineResult:
    """Let `learner` (freshly made) learn online; resumes from `job.state_folder` if it can.

    Rewards enter the replay times `reward_scale`; returns in the curve are unscaled. `label` is what the
    curve calls the method. Raises UserError where a loss becomes non-finite, Q explodes, a checkpoint is
    damaged or of another configuration, or another process is training in the same folder.
    """
    with exclusive(job.state_folder):
        loop = _StepLoop(schedule, label, learner, seeds, job, reward_scale, probes)
        loop.run()
    return OnlineResult(loop.log.frame(), np.concatenate(loop.episode_ends, axis=1))


def collection_seed(seed: int) -> int:
    """What the environment that a run collects from is seeded with; an action log needs it."""
    return derived_seed(seed, "collection") % 2**32


class BlockSchedule(Schedule, Protocol):
    """An online schedule in steps of some unit; `OnlineSchedule` is one, in environment steps."""

    @property
    def steps(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def first_block_multiplier(self) -> int: ...


def check_blocks(schedule: BlockSchedule) -> None:
    """UserError where a loop, which stops at ends of blocks alone, would never be at an interval's end."""
    for name in ("evaluation_interval", "checkpoint_interval"):
        interval = getattr(schedule, name)
        if interval % schedule.block_size:
            raise UserError(f"{name} is {interval}, expected a multiple of block_size, {schedule.block_size}")


class OnlineLoop(Loop):
    """The state of one online job: collect a block, then learn; a checkpoint holds the state between two.

    A subclass has the world: what it collects from and how it measures.
    """

    phase: ClassVar[str] = "online"
    unit: ClassVar[str] = "step"
    updates_per_step: int = 1
    schedule: BlockSchedule

    def __init__(
        self,
        schedule: BlockSchedule,
        label: str,
        learner: Method,
        seeds: Sequence[int],
        job: Job,
        probes: Sequence[Probe] = (),
    ) -> None:
        if (warm_up := learner.warm_up_steps()) % schedule.block_size:
            raise UserError(
                f"warm_up_steps is {warm_up}, expected a multiple of block_size, {schedule.block_size}"
            )
        self.schedule, self.probes = schedule, probes
        super().__init__(label, learner, learner.draws, seeds, job, (schedule.steps,))

    def _collect(self, steps: int) -> None:
        """Add `steps` new steps of each run to the replay."""
        raise NotImplementedError

    def _collected(self) -> int:
        """Transitions of each run that have been collected until now."""
        raise NotImplementedError

    def _update(self) -> Metrics:
        return self.learner.learn()

    def _advance(self, bar: tqdm[Any]) -> None:
        """Collect a block and make its updates, more after the first; the bar follows the updates."""
        block = min(self.schedule.block_size, self.schedule.steps - self.step)
        self._collect(block)
        count = self._updates_until(self.step + block) - self._updates_until(self.step)
        if not count:
            bar.update(block)
        for done, metrics in enumerate(self._make(count)):
            for probe in self.probes:
                if looked_at := probe.of_update(metrics, done):
                    self.log.add_thinned(looked_at)
            bar.update(block * (done + 1) // count - block * done // count)
        self.step += block

    def _updates_until(self, step: int) -> int:
        learned = max(0, step - self.learner.warm_up_steps())
        first_block = min(learned, self.schedule.block_size)
        return self.updates_per_step * (learned + (self.schedule.first_block_multiplier - 1) * first_block)

    def _state(self) -> dict[str, Tensor]:
        return {f"replay.{k}": v for k, v in self.learner.replay.state().items()}

    def _restore_state(self, tensors: Mapping[str, Tensor]) -> None:
        self.learner.replay.restore(checkpoints.section(tensors, "replay."))
        if self.step % self.schedule.block_size and self.step != self.schedule.steps:
            raise UserError(f"its step is {self.step}, expected the end of a block")
        found, collected = self.learner.replay.online.size, self._collected()
        if found != collected:
            raise UserError(f"its replay holds {found} transitions a run, expected {collected}")


class _StepLoop(OnlineLoop):
    """The loop in MuJoCo's tasks, stepped as a batch."""

    headline = "normalised_score"
    measures_beside = True
    schedule: OnlineSchedule

    def __init__(
        self,
        schedule: OnlineSchedule,
        label: str,
        learner: Method,
        seeds: Sequence[int],
        job: Job,
        reward_scale: float,
        probes: Sequence[Probe],
    ) -> None:
        super().__init__(schedule, label, learner, seeds, job, probes)
        self.reward_scale = reward_scale
        starts, threads = [collection_seed(seed) for seed in seeds], job.compute.environment_threads
        self.environments = EnvironmentBatch(job.environment, starts, threads)
        self.episode_ends: list[NDArray[np.bool_]] = []

    def _begin(self) -> None:
        super()._begin()
        if self.schedule.initial_steps:
            self._collect(self.schedule.initial_steps)

    def _collect(self, steps: int) -> None:
        """Append `steps` transitions of each run; a cut episode is no terminal. [C]"""
        observations = self._first_observations()
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
        if self.schedule.fresh_episodes:
            ends[-1] = np.ones_like(ends[-1])
        ended = np.stack(ends, axis=1)
        self.episode_ends.append(ended)
        fields = (np.stack(field, axis=1).astype(np.float32) for field in zip(*rows, strict=True))
        ends_too = {EPISODE_ENDS: torch.from_numpy(ended)}
        self.learner.replay.add(Batch._make([*map(torch.from_numpy, fields), ends_too]))

    def _first_observations(self) -> NDArray[np.float64]:
        """Where a block begins: fresh resets, or where the last block ended."""
        if self.schedule.fresh_episodes or not self.episode_ends:
            return self.environments.reset()
        return self.environments.reset(np.zeros(len(self.seeds), dtype=np.bool_))

    def _collected(self) -> int:
        return self.schedule.initial_steps + self.step

    @torch.no_grad()
    def _explore(self, observations: NDArray[np.float64]) -> NDArray[np.float32]:
        shaped = torch.from_numpy(observations.astype(np.float32)).unsqueeze(1)
        actions = self.learner.explore(shaped.to(self.job.compute.device)).squeeze(1).cpu()
        explored: NDArray[np.float32] = actions.numpy()
        return explored

    def _measurement(self) -> Callable[[], Measured]:
        episodes, compute = self.schedule.evaluation_episodes, self.job.compute
        play = evaluation_of(self.learner, self.job.environment, self.seeds, self.step, episodes, compute)
        also: dict[str, ArrayLike] = {}
        for probe in self.probes:
            also |= probe.at(self.learner, self.step)
        return lambda: {**play(), **also}

    def _state(self) -> dict[str, Tensor]:
        ends = torch.from_numpy(np.concatenate(self.episode_ends, axis=1))
        return {**super()._state(), **self._environment_bytes(), "episode_ends": ends}

    def _environment_bytes(self) -> dict[str, Tensor]:
        return {
            f"environments.{name}": torch.from_numpy(np.ascontiguousarray(array).view(np.uint8))
            for name, array in self.environments.state().items()
        }

    def _restore_state(self, tensors: Mapping[str, Tensor]) -> None:
        super()._restore_state(tensors)
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
