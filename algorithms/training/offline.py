"""The offline loop ([S] A, algorithm 1), the same for every method: independent agents from one dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from torch import Tensor
from tqdm import tqdm

from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData, Recordings
from algorithms.training.jobs import Job
from algorithms.training.log import LARGEST_Q
from algorithms.training.loop import Loop
from algorithms.training.worlds import check_sizes, world_of
from storage import UserError
from storage.constraints import Count, FewCount, LargestQ, PositiveCount
from storage.files import exclusive


@dataclass(frozen=True)
class OfflineSchedule:
    """Length and intervals of pre-training, in updates."""

    updates: PositiveCount = 1_000_000  # [S] D.1: 1000 epochs of 1000; of agents trained further, in all
    cloning_warm_start: Count = 0  # updates of the policy alone, before the first CQL update (ours)
    monte_carlo_warm_start: Count = 0  # updates of the critics alone towards returns, after cloning (ours)
    evaluation_interval: PositiveCount = 5_000
    evaluation_episodes: FewCount = 5  # [C] 5,000 steps, five whole episodes of HalfCheetah
    checkpoint_interval: PositiveCount = 5_000
    largest_q: LargestQ = LARGEST_Q  # ours: a mean of Q beyond it ends the run


class StartingAgents(NamedTuple):
    """Agents to start from, as `one_agent`'s tensors in the order of the seeds.

    `updates` is how many each has had of the method that goes on with them: none if another trained them.
    """

    agents: Sequence[Mapping[str, Tensor]]
    updates: int


class PretrainedAgents(NamedTuple):
    """The trained agents in the order of their seeds, each as `one_agent`'s tensors, and their curve."""

    agents: list[dict[str, Tensor]]
    curve: pd.DataFrame


def pretrain(
    method: type[Method],
    config: Any,
    schedule: OfflineSchedule,
    transitions: Recordings,
    job: Job,
    starting: StartingAgents | None = None,
) -> PretrainedAgents:
    """Train one agent for each of `job.seeds`, side by side; resumes from `job.state_folder` if it can.

    `config` is of the class `method.Config`. `starting` are agents to start from, instead of fresh ones:
    networks are kept; targets, entropy coefficient, optimiser and random streams begin anew, and
    `schedule.updates` counts the updates they have had.

    Raises UserError where the data are not of the environment's sizes, a loss becomes non-finite, Q explodes,
    a checkpoint is damaged or of another configuration, another process is training in the same folder, or
    the starting agents are of other sizes or have had all updates already.
    """
    with exclusive(job.state_folder):
        loop = OfflineLoop(method, config, schedule, transitions, job, starting)
        loop.run()
    return loop.result()


class OfflineLoop(Loop):
    """The state of one pre-training job."""

    phase: ClassVar[str] = "offline"
    schedule: OfflineSchedule

    def __init__(
        self,
        method: type[Method],
        config: Any,
        schedule: OfflineSchedule,
        transitions: Recordings,
        job: Job,
        starting: StartingAgents | None,
    ) -> None:
        self.config, self.schedule = config, schedule
        world = world_of(job)
        needed = method.needed(config)
        if schedule.monte_carlo_warm_start and "returns_to_go" not in needed.names:
            needed = needed._replace(names=(*needed.names, "returns_to_go"))
        self.data = OfflineData.from_transitions(transitions, job.compute.device, needed)
        check_sizes(self.data, world, transitions.metadata.get("dataset_id", "the dataset"))
        # Updates after which other metrics follow; the last is that of a warm start.
        self.warm_start = schedule.cloning_warm_start + schedule.monte_carlo_warm_start
        phase_ends = (schedule.cloning_warm_start, self.warm_start)
        first_step = starting.updates if starting else 0
        self._check_start(schedule, first_step, self.warm_start)
        # Agents trained further are not to see the batches of their first updates again.
        again = f" from {first_step}" if first_step else ""
        draws = [derived_seed(seed, f"{job.label} batches" + again) for seed in job.seeds]
        own = [derived_seed(seed, job.label + again) for seed in job.seeds]
        agents = starting.agents if starting else ()
        start = OfflineStart(own, *self.data.sizes, agents, returns=transitions.returns())
        learner = method.begin_offline(start, config)
        learner.agents.move_to(job.compute.device)
        self.turning_points = (*phase_ends, *(self.warm_start + step for step in learner.turning_points()))
        ends = (*phase_ends, self.warm_start + schedule.updates)
        streams = Streams(draws, job.compute.device)
        super().__init__(learner, world, "update", streams, job, ends, first_step)

    def _update(self) -> Metrics:
        indices = self.draws.integers(len(self.data), self.config.batch_size)
        batch = self.learner.agents.encode(self.data.gather(indices))
        if self.step < self.schedule.cloning_warm_start:
            return self.learner.clone(batch)
        if self.step < self.warm_start:
            return self.learner.fit_returns(batch, batch.extras["returns_to_go"])
        return self.learner.update(batch, self.step - self.warm_start)

    @staticmethod
    def _check_start(schedule: OfflineSchedule, first_step: int, warm_start: int) -> None:
        if first_step >= schedule.updates:
            raise UserError(
                f"updates is {schedule.updates}: expected more than {first_step}, the updates that"
                " the agents to train further have had"
            )
        if first_step and warm_start:
            raise UserError("A warm start is for fresh agents: expected none beside agents to train further")

    def _advance(self, bar: tqdm[Any]) -> None:
        """Update to the next step at which more than an update is to be done."""
        if self.step in self.turning_points:
            self.updates.begin_anew()
        intervals = (self.schedule.evaluation_interval, self.schedule.checkpoint_interval)
        regular = [(self.step // interval + 1) * interval for interval in intervals]
        others = [step for step in (*self.ends, *self.turning_points) if step > self.step]
        for _ in self._make(min([*regular, *others]) - self.step, lambda: self.stop.asked):
            self.step += 1
            bar.update()

    def result(self) -> PretrainedAgents:
        """Return the agents as they are now, and their curve."""
        agents = [one_agent(self.learner.agents, index) for index in range(len(self.job.seeds))]
        return PretrainedAgents(agents, self.log.frame())
