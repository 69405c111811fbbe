"""The offline loop ([S] A, algorithm 1), the same for every method: independent agents from one dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData, Recordings
from algorithms.training.jobs import Job
from algorithms.training.log import LARGEST_Q
from algorithms.training.loop import Loop
from algorithms.training.measuring import Measured
from algorithms.training.worlds import check_sizes, measurement_of, world_of
from storage import UserError
from storage.constraints import Count, FewCount, LargestQ, PositiveCount
from storage.files import exclusive
from storage.provenance import configuration_hash


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


class Part(NamedTuple):
    """The agents of one of several jobs that learn side by side: their data, and what they start from."""

    transitions: Recordings
    job: Job
    starting: StartingAgents | None = None


def stream_seed(seed: int, label: str, updates: int) -> int:
    """Derive the seed of a random stream of an agent that has had so many updates before.

    Agents trained further are not to see the batches of their first updates again.
    """
    return derived_seed(seed, label + (f" from {updates}" if updates else ""))


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
    networks are kept; targets, entropy coefficient and optimiser begin anew, unless the method hands its
    agents on whole, and so do random streams; `schedule.updates` counts the updates they have had.

    Raises UserError where the data are not of the environment's sizes, a loss becomes non-finite, Q explodes,
    a checkpoint is damaged or of another configuration, another process is training in the same folder, or
    the starting agents are of other sizes or have had all updates already.
    """
    [trained] = pretrain_together(method, config, schedule, [Part(transitions, job, starting)])
    return trained


def pretrain_together(
    method: type[Method], config: Any, schedule: OfflineSchedule, parts: Sequence[Part]
) -> list[PretrainedAgents]:
    """Train the agents of several jobs in one population; returns each job's, in their order.

    An agent draws from its own job's data and acts in its own job's environment: it learns what it would
    learn without the others, but for rounding. The state lies beside that of the first job.

    Raises UserError as `pretrain` does, and for data of several sizes, trajectories or images, or agents
    that have had different numbers of updates.
    """
    job = _together([part.job for part in parts])
    with exclusive(job.state_folder):
        loop = OfflineLoop(method, config, schedule, parts, job)
        loop.run()
    return loop.result()


def _together(jobs: Sequence[Job]) -> Job:
    """Return the one job that several are."""
    first, *others = jobs
    if not others:
        return first
    fingerprint = joint_hash([job.configuration_hash for job in jobs])
    return first._replace(
        dataset=" and ".join(dict.fromkeys(job.dataset for job in jobs)),
        seeds=[seed for job in jobs for seed in job.seeds],
        configuration_hash=fingerprint,
        state_folder=first.state_folder.parent / fingerprint,
        watch=partial(_watch_each, jobs),
    )


def joint_hash(hashes: Sequence[str]) -> str:
    """Return the hash of jobs that learn side by side; it names the folder of their state."""
    return configuration_hash({"jobs": list(hashes)}) if len(hashes) > 1 else hashes[0]


def _watch_each(jobs: Sequence[Job], curve: pd.DataFrame) -> None:
    for job, own in zip(jobs, _curves(jobs, curve), strict=True):
        if job.watch is not None:
            job.watch(own)


def _curves(jobs: Sequence[Job], curve: pd.DataFrame) -> list[pd.DataFrame]:
    """Split a curve, in which each metric of a step has a row for every agent in turn, into the jobs'."""
    ends = np.cumsum([len(job.seeds) for job in jobs])
    owners = np.searchsorted(ends, np.arange(len(curve)) % ends[-1], side="right")
    return [
        curve[owners == number]
        .assign(run=job.run, method=job.label, dataset=job.dataset)
        .reset_index(drop=True)
        for number, job in enumerate(jobs)
    ]


class OfflineLoop(Loop):
    """The state of one pre-training job."""

    phase: ClassVar[str] = "offline"
    schedule: OfflineSchedule

    def __init__(
        self,
        method: type[Method],
        config: Any,
        schedule: OfflineSchedule,
        parts: Sequence[Part],
        job: Job,
    ) -> None:
        """`job` is that of all `parts`."""
        self.config, self.schedule, self.jobs = config, schedule, [part.job for part in parts]
        # Agents of one environment are measured in one batch.
        groups = [list(group) for _, group in groupby(self.jobs, lambda each: each.environment)]
        self.worlds = [(world_of(group[0]), [s for each in group for s in each.seeds]) for group in groups]
        needed = method.needed(config)
        if schedule.monte_carlo_warm_start and "returns_to_go" not in needed.names:
            needed = needed._replace(names=(*needed.names, "returns_to_go"))
        recordings = [part.transitions for part in parts]
        self.data = OfflineData.joined(recordings, job.compute.device, needed)
        for world, _ in self.worlds:
            check_sizes(self.data, world, recordings[0].metadata.get("dataset_id", "the dataset"))
        counts = [len(each.seeds) for each in self.jobs]
        lengths = [len(recording) for recording in recordings]
        self.rows = [length for length, count in zip(lengths, counts, strict=True) for _ in range(count)]
        self.first_rows: Tensor | None = None
        if len(parts) > 1:
            first_rows = np.repeat(np.cumsum([0, *lengths[:-1]]), counts)
            self.first_rows = torch.from_numpy(first_rows).unsqueeze(1).to(job.compute.device)
        # Updates after which other metrics follow; the last is that of a warm start.
        self.warm_start = schedule.cloning_warm_start + schedule.monte_carlo_warm_start
        phase_ends = (schedule.cloning_warm_start, self.warm_start)
        first_step = self._first_step(parts)
        self._check_start(schedule, first_step, self.warm_start)
        seeds = [(each.label, seed) for each in self.jobs for seed in each.seeds]
        draws = [stream_seed(seed, f"{label} batches", first_step) for label, seed in seeds]
        own = [stream_seed(seed, label, first_step) for label, seed in seeds]
        agents = [agent for part in parts if part.starting for agent in part.starting.agents]
        returns = recordings[0].returns() if len(parts) == 1 else ()  # by trajectory: of one dataset
        start = OfflineStart(own, *self.data.sizes, agents, returns, first_step)
        learner = method.begin_offline(start, config)
        learner.agents.move_to(job.compute.device)
        self.turning_points = (*phase_ends, *(self.warm_start + step for step in learner.turning_points()))
        ends = (*phase_ends, self.warm_start + schedule.updates)
        streams = Streams(draws, job.compute.device)
        super().__init__(learner, self.worlds[0][0], "update", streams, job, ends, first_step)

    def _measurement(self) -> Callable[[], Measured]:
        return measurement_of(self.learner, self.worlds, self.step, self.schedule.evaluation_episodes)

    def _update(self) -> Metrics:
        indices = self.draws.integers(self.rows, self.config.batch_size)
        if self.first_rows is not None:
            indices = indices + self.first_rows
        batch = self.learner.agents.encode(self.data.gather(indices))
        if self.step < self.schedule.cloning_warm_start:
            return self.learner.clone(batch)
        if self.step < self.warm_start:
            return self.learner.fit_returns(batch, batch.extras["returns_to_go"])
        return self.learner.update(batch, self.step - self.warm_start)

    @staticmethod
    def _first_step(parts: Sequence[Part]) -> int:
        """Return how many updates the agents have had. UserError where not all have had as many."""
        found = {part.starting and part.starting.updates for part in parts}
        if len(found) > 1:
            raise UserError(
                f"agents side by side have had {sorted(map(str, found))} updates (None: they are fresh):"
                " expected as many of each"
            )
        return found.pop() or 0

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

    def result(self) -> list[PretrainedAgents]:
        """Return each job's agents as they are now, and their curve."""
        agents = iter([one_agent(self.learner.agents, index) for index in range(len(self.job.seeds))])
        curves = _curves(self.jobs, self.log.frame())
        return [
            PretrainedAgents([next(agents) for _ in job.seeds], curve)
            for job, curve in zip(self.jobs, curves, strict=True)
        ]
