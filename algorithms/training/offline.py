"""The offline loop ([S] A, algorithm 1), the same for every method: independent agents from one dataset.

Killed at any moment, it goes on from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import pandas as pd
import torch
from torch import Tensor

from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population import checkpoints
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData
from algorithms.training.cuda_graphs import Updates
from algorithms.training.evaluation import evaluation_of
from algorithms.training.jobs import Job, check_sizes, progress_bar
from algorithms.training.log import LARGEST_Q, TrainingLog
from algorithms.training.measuring import Measured, Measuring, measured_steps
from offline_data.transitions import Transitions
from storage import UserError
from storage.files import exclusive


@dataclass(frozen=True)
class OfflineSchedule:
    """How long to pre-train and how often to look."""

    updates: int = 1_000_000  # [S] D.1: 1000 epochs of 1000; of agents trained further, in all
    cloning_warm_start: int = 0  # updates of the policy alone, before the first CQL update (ours)
    monte_carlo_warm_start: int = 0  # updates of the critics alone towards returns, after cloning (ours)
    evaluation_interval: int = 5_000
    evaluation_episodes: int = 5  # [C] 5,000 steps, five whole episodes of HalfCheetah
    checkpoint_interval: int = 5_000
    largest_q: float = LARGEST_Q  # ours: a mean of Q beyond it ends the run


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
    label: str,
    method: type[Method],
    config: Any,
    schedule: OfflineSchedule,
    transitions: Transitions,
    seeds: Sequence[int],
    job: Job,
    starting: StartingAgents | None = None,
) -> PretrainedAgents:
    """Train one agent for each of `seeds`, side by side; resumes from `job.state_folder` if it can.

    `label` is what the curve calls the method; `config` is of the class `method.Config`. `starting` are
    agents to start from, instead of fresh ones: networks are kept; targets, entropy coefficient, optimiser
    and random streams begin anew, and `schedule.updates` counts the updates they have had.

    Raises UserError where the data are not of the environment's sizes, a loss becomes non-finite, Q explodes,
    a checkpoint is damaged or of another configuration, another process is training in the same folder, or
    the starting agents are of other sizes or have had all updates already.
    """
    with exclusive(job.state_folder):
        training = _Training(label, method, config, schedule, transitions, seeds, job, starting)
        training.run()
    return training.result()


class Schedule(Protocol):
    """How long to pre-train and how often to look; `OfflineSchedule` is one."""

    @property
    def updates(self) -> int: ...
    @property
    def evaluation_interval(self) -> int: ...
    @property
    def evaluation_episodes(self) -> int: ...
    @property
    def checkpoint_interval(self) -> int: ...
    @property
    def largest_q(self) -> float: ...


class OfflineLoop:
    """The state of one pre-training job: agents, random streams, log and the number of updates made.

    A subclass makes its data before, and one update and one measurement after.
    """

    headline: ClassVar[str]
    """The measured metric that the progress bar shows."""
    measures_beside: ClassVar[bool] = False
    """Whether what `_measurement` returns may be called while the agents learn."""

    def __init__(
        self,
        label: str,
        schedule: Schedule,
        seeds: Sequence[int],
        job: Job,
        starting: StartingAgents | None,
    ) -> None:
        self.schedule, self.seeds, self.job = schedule, seeds, job
        self.first_step = starting.updates if starting else 0
        self._check_start()
        # Agents trained further are not to see the batches of their first updates again.
        again = f" from {self.first_step}" if self.first_step else ""
        self.agent_seeds = [derived_seed(seed, label + again) for seed in seeds]
        draws = [derived_seed(seed, f"{label} batches" + again) for seed in seeds]
        self.draws = Streams(draws, job.compute.device)
        self.log = TrainingLog(
            job.run, label, job.dataset, seeds, schedule.largest_q, phase="offline", unit="update"
        )
        beside = job.compute.evaluation_beside and self.measures_beside
        self.measuring = Measuring(self.log, beside)
        self.step = self.first_step
        self.checkpoint = job.state_folder / "checkpoint.safetensors"
        self.learner = self._begin(starting.agents if starting else ())
        self.learner.agents.move_to(job.compute.device)
        streams = (self.draws, self.learner.agents.streams)
        self.updates = Updates(self._update, streams, job.compute.updates_per_graph)
        if checkpoints.to_resume(self.checkpoint):
            self._restore()

    @property
    def warm_start(self) -> int:
        """Updates before the method's first."""
        return 0

    def _begin(self, agents: Sequence[Mapping[str, Tensor]]) -> Method:
        """The learner before its first update, from `agents` or (where they are none) fresh ones."""
        raise NotImplementedError

    def _update(self) -> Metrics:
        """Update number `step` of every agent."""
        raise NotImplementedError

    def _measurement(self) -> Callable[[], Measured]:
        """What measures, when called, how good the agents are now."""
        raise NotImplementedError

    def _phase_ends(self, total: int) -> tuple[int, ...]:
        """Steps at which a row of the curve ends because other metrics follow."""
        return (total,)

    def _turning_points(self) -> Sequence[int]:
        """Steps from which on an update does something else than before."""
        return ()

    def _check_start(self) -> None:
        if self.first_step >= self.schedule.updates:
            raise UserError(
                f"updates is {self.schedule.updates}: expected more than {self.first_step}, the updates that"
                " the agents to train further have had"
            )

    def run(self) -> None:
        """From the present step to the last."""
        total = self.warm_start + self.schedule.updates
        phase_ends, turning_points = self._phase_ends(total), self._turning_points()
        if self.step == self.first_step:
            self._evaluate()
        with progress_bar(self.job, total=total, initial=self.step, unit="update") as bar:
            while self.step < total:
                if self.step in turning_points:
                    self.updates.begin_anew()
                stop = self._next_stop((*phase_ends, *turning_points))
                for metrics in self.updates.make(stop - self.step):
                    self.step += 1
                    self.log.add(metrics, self.step)
                    bar.update()
                if self.step % self.schedule.evaluation_interval == 0 or self.step in phase_ends:
                    self._evaluate()
                    bar.set_postfix({self.headline: self.measuring.shown(self.headline)})
                if self.step == total:
                    self.measuring.finish()
                if self.step % self.schedule.checkpoint_interval == 0 or self.step == total:
                    self._save()

    def _next_stop(self, others: Sequence[int]) -> int:
        """The next step at which more than an update is to be done; the last is among the `others`."""
        intervals = (self.schedule.evaluation_interval, self.schedule.checkpoint_interval)
        regular = [(self.step // interval + 1) * interval for interval in intervals]
        return min([*regular, *(step for step in others if step > self.step)])

    def result(self) -> PretrainedAgents:
        """The agents as they are now, and their curve."""
        agents = [one_agent(self.learner.agents, index) for index in range(len(self.seeds))]
        return PretrainedAgents(agents, self.log.frame())

    def _evaluate(self) -> None:
        """Begin a row of the curve."""
        self.measuring.begin(self.step, self._measurement())

    def _save(self) -> None:
        awaited = self.measuring.awaited(self.step)
        tensors = {**self.learner.agents.training_state(), "draws": self.draws.state()}
        manifest = {
            "configuration_hash": self.job.configuration_hash,
            "step": self.step,
            "log": self.log.state(),
            "awaited": awaited,
        }
        checkpoints.save(self.checkpoint, tensors, manifest)

    def _restore(self) -> None:
        tensors, manifest = checkpoints.load_for(self.checkpoint, self.job.configuration_hash)
        with checkpoints.restoring(self.checkpoint):
            self.learner.agents.restore_training_state(tensors)
            checkpoints.fit(tensors, {"draws": self.draws.state()})
            self.draws.restore(tensors["draws"])
            total = self.warm_start + self.schedule.updates
            self.step = checkpoints.whole_number(manifest, "step", self.first_step + 1, total)
            interval, ends = self.schedule.evaluation_interval, self._phase_ends(total)
            steps = measured_steps(self.first_step, self.step, interval, ends)
            awaited = self.measuring.restore(manifest, steps, self.step - steps[-1])
        self.measuring.go_on(awaited, self._measurement)


class _Training(OfflineLoop):
    """The loop on vectors in MuJoCo's tasks, with its warm starts."""

    headline = "normalised_score"
    measures_beside = True
    schedule: OfflineSchedule

    def __init__(
        self,
        label: str,
        method: type[Method],
        config: Any,
        schedule: OfflineSchedule,
        transitions: Transitions,
        seeds: Sequence[int],
        job: Job,
        starting: StartingAgents | None,
    ) -> None:
        self.method, self.config = method, config
        check_sizes(transitions, job.environment)
        self.data = OfflineData.from_transitions(transitions, job.compute.device)
        self.sizes = (transitions.observations.shape[1], transitions.actions.shape[1])
        self.returns = torch.empty(0)
        if schedule.monte_carlo_warm_start:
            returns = torch.from_numpy(transitions.discounted_returns(config.discount))
            self.returns = returns.to(job.compute.device)
        super().__init__(label, schedule, seeds, job, starting)

    @property
    def warm_start(self) -> int:
        return self.schedule.cloning_warm_start + self.schedule.monte_carlo_warm_start

    def _check_start(self) -> None:
        super()._check_start()
        if self.first_step and self.warm_start:
            raise UserError("A warm start is for fresh agents: expected none beside agents to train further")

    def _begin(self, agents: Sequence[Mapping[str, Tensor]]) -> Method:
        return self.method.begin_offline(OfflineStart(self.agent_seeds, *self.sizes, agents), self.config)

    def _phase_ends(self, total: int) -> tuple[int, ...]:
        # Each phase has metrics of its own.
        return (self.schedule.cloning_warm_start, self.warm_start, total)

    def _turning_points(self) -> Sequence[int]:
        own = [self.warm_start + step for step in self.learner.turning_points()]
        return (self.schedule.cloning_warm_start, self.warm_start, *own)

    def _update(self) -> Metrics:
        indices = self.draws.integers(len(self.data), self.config.batch_size)
        batch = self.data.gather(indices)
        if self.step < self.schedule.cloning_warm_start:
            return self.learner.clone(batch)
        if self.step < self.warm_start:
            return self.learner.fit_returns(batch, self.returns[indices])
        return self.learner.update(batch, self.step - self.warm_start)

    def _measurement(self) -> Callable[[], Measured]:
        episodes, compute = self.schedule.evaluation_episodes, self.job.compute
        return evaluation_of(self.learner, self.job.environment, self.seeds, self.step, episodes, compute)
