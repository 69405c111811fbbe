"""The online loop ([S] algorithm 2 and D.1), the same for every method: evaluate, collect a block, learn.

S runs (seeds) learn side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from tqdm import tqdm

from algorithms.methods.interface import Method, Metrics
from algorithms.population import checkpoints
from algorithms.training.jobs import Job
from algorithms.training.log import LARGEST_Q
from algorithms.training.loop import Loop
from algorithms.training.measuring import Measured
from algorithms.training.probes import Probe
from algorithms.training.worlds import World, world_of
from storage import UserError
from storage.constraints import Count, FewCount, LargestQ, PositiveCount
from storage.files import exclusive


@dataclass(frozen=True)
class OnlineSchedule:
    """The online schedule, in environment steps, or in episodes where the world is collected from by those.

    UserError where the loop, which stops at ends of blocks alone, would never be at an interval's end.
    """

    steps: PositiveCount = 250_000  # [S] D.1: of each run
    block_size: PositiveCount = 1_000  # [C]: collect so many steps, then update as often; [P]: one by one
    # [S] D.1: updates after the first block, times this ([C]'s default is 10). Off2On's trainer has it, so
    # SAC-ft too, as its published curve shows (results/reference, multiplier); AWAC's, BCQ's and SAC's code
    # has none.
    first_block_multiplier: FewCount = 5
    updates_per_episode: PositiveCount = 1  # where a step is an episode; [COG] 100: 1,000 after every 10
    # [C]: each block begins with a new episode; false: it goes on with the last one's, as single steps would.
    fresh_episodes: bool = True
    initial_steps: Count = 0  # [C] rlkit's SAC: 1,000 collected by the untrained policy before step 0
    evaluation_interval: PositiveCount = 1_000  # [C]: each block, before it; a multiple of the block size
    evaluation_episodes: FewCount = 5  # [C]: 5,000 steps, five whole episodes of HalfCheetah
    checkpoint_interval: PositiveCount = 1_000  # steps; a multiple of the block size
    diagnostics_interval: Count = 0  # between what probes measure; a multiple of evaluations', 0 for never
    largest_q: LargestQ = LARGEST_Q  # ours: a mean of Q beyond it ends the run

    def __post_init__(self) -> None:
        for name in ("evaluation_interval", "checkpoint_interval"):
            if (interval := getattr(self, name)) % self.block_size:
                raise UserError(f"{name} is {interval}, expected a multiple of block_size, {self.block_size}")
        if self.diagnostics_interval % self.evaluation_interval:
            raise UserError(
                f"diagnostics_interval is {self.diagnostics_interval}, expected a multiple of"
                f" evaluation_interval, {self.evaluation_interval}"
            )


def check_schedule(schedule: OnlineSchedule, learner: Method, world: Any, environment: str) -> None:
    """UserError where a schedule does not suit what is collected from, of the class `world`, or a warm-up."""
    for name, expected in world.fixed.items():
        if (found := getattr(schedule, name)) != expected:
            raise UserError(
                f"{name} is {found}, expected {expected}: {environment} is collected from by {world.unit}s"
            )
    if (warm_up := learner.warm_up_steps()) % schedule.block_size:
        raise UserError(
            f"warm_up_steps is {warm_up}, expected a multiple of block_size, {schedule.block_size}"
        )
    if warm_up and schedule.initial_steps:
        # A method takes what has been collected for its warm-up's.
        raise UserError(
            f"initial_steps is {schedule.initial_steps}, expected 0 beside warm_up_steps, {warm_up}"
        )


class OnlineResult(NamedTuple):
    """The curve, and which collected transitions [S, steps] end an episode (or are cut by a block's end)."""

    curve: pd.DataFrame
    episode_ends: NDArray[np.bool_]


def run_online(
    schedule: OnlineSchedule,
    learner: Method,
    job: Job,
    reward_scale: float = 1.0,
    probes: Sequence[Probe] = (),
    world: World | None = None,
) -> OnlineResult:
    """Let `learner` (freshly made) learn online; resumes from `job.state_folder` if it can.

    Rewards enter the replay times `reward_scale`; returns in the curve are unscaled. `world` is the job's,
    unless there is one already. Raises UserError where a loss becomes non-finite, Q explodes, a checkpoint is
    damaged or of another configuration, or another process is training in the same folder.
    """
    with exclusive(job.state_folder):
        world = world_of(job) if world is None else world
        loop = OnlineLoop(schedule, learner, world, job, reward_scale, probes)
        loop.run()
    ends = world.episode_ends
    return OnlineResult(loop.log.frame(), np.concatenate(ends, axis=1) if ends else np.zeros((0, 0), bool))


class OnlineLoop(Loop):
    """The state of one online job: collect a block, then learn; a checkpoint holds the state between two."""

    phase: ClassVar[str] = "online"
    schedule: OnlineSchedule

    def __init__(
        self,
        schedule: OnlineSchedule,
        learner: Method,
        world: World,
        job: Job,
        reward_scale: float,
        probes: Sequence[Probe] = (),
    ) -> None:
        check_schedule(schedule, learner, type(world), job.environment)
        self.schedule, self.probes = schedule, probes
        super().__init__(learner, world, world.unit, learner.draws, job, (schedule.steps,))
        world.open(job.seeds, reward_scale, schedule.fresh_episodes)

    def _begin(self) -> None:
        super()._begin()
        if self.schedule.initial_steps:
            self.world.collect(self.learner, -self.schedule.initial_steps, self.schedule.initial_steps)

    def _collected(self) -> int:
        """Count the transitions of each run that have been collected until now."""
        return self.world.horizon * (self.schedule.initial_steps + self.step)

    def _update(self) -> Metrics:
        return self.learner.learn()

    def _advance(self, bar: tqdm[Any]) -> None:
        """Collect a block and make its updates, more after the first; the bar follows the updates."""
        block = min(self.schedule.block_size, self.schedule.steps - self.step)
        self.world.collect(self.learner, self.step, block)
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
        more = (self.schedule.first_block_multiplier - 1) * first_block
        return self.schedule.updates_per_episode * (learned + more)

    def _measurement(self) -> Callable[[], Measured]:
        play = super()._measurement()
        also: dict[str, ArrayLike] = {}
        for probe in self.probes:
            also |= probe.at(self.learner, self.step)
        return lambda: {**play(), **also}

    def _state(self) -> dict[str, Tensor]:
        replay = {f"replay.{k}": v for k, v in self.learner.replay.state().items()}
        return {**replay, **self.world.state()}

    def _restore_state(self, tensors: Mapping[str, Tensor]) -> None:
        self.learner.replay.restore(checkpoints.section(tensors, "replay."))
        if self.step % self.schedule.block_size and self.step != self.schedule.steps:
            raise UserError(f"its step is {self.step}, expected the end of a block")
        found, collected = self.learner.replay.online.size, self._collected()
        if found != collected:
            raise UserError(f"its replay holds {found} transitions a run, expected {collected}")
        self.world.restore(tensors, collected)
