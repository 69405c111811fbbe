"""What the offline and the online loop share: rows of a curve, checkpoints, and going on from the last one.

Killed at any moment, a job goes on from its last checkpoint and ends with the same bits. Asked to end, it
writes a checkpoint first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from tqdm import tqdm

from algorithms.methods.interface import Method, Metrics
from algorithms.population import checkpoints
from algorithms.population.streams import Streams
from algorithms.training.cuda_graphs import Enough, Updates
from algorithms.training.jobs import Job, progress_bar
from algorithms.training.log import TrainingLog
from algorithms.training.measuring import Measured, Measuring, measured_steps
from algorithms.training.stopping import STATUS, StopRequest
from algorithms.training.worlds import World


class Loop:
    """The state of one training job: learner, batches' random streams, log, and the present step.

    A subclass says how far the loop goes in one stretch, and what else a checkpoint keeps.
    """

    phase: ClassVar[str]
    schedule: Any  # its intervals, in its own unit, and the Q that ends it

    def __init__(
        self,
        learner: Method,
        world: World,
        unit: str,
        draws: Streams,
        job: Job,
        ends: Sequence[int],
        first_step: int = 0,
    ) -> None:
        """Begin or resume; `unit` is what a step is, `draws` draw the batches.

        A row of the curve ends at each of `ends`, whose last is the loop's.
        """
        self.learner, self.world, self.unit = learner, world, unit
        self.draws, self.job = draws, job
        self.ends, self.step, self.first_step = ends, first_step, first_step
        self.log = TrainingLog(
            job.run,
            job.label,
            job.dataset,
            job.seeds,
            self.schedule.largest_q,
            phase=self.phase,
            unit=self.unit,
        )
        self.measuring = Measuring(
            self.log, job.compute.evaluation_beside and world.measures_beside, job.watch
        )
        streams = (draws, learner.agents.streams)
        self.updates = Updates(self._update, streams, job.compute.updates_per_graph)
        self.checkpoint = job.state_folder / "checkpoint.safetensors"
        self.resumed = checkpoints.to_resume(self.checkpoint)
        self.saved = first_step  # as if: nothing is lost there
        self.stop = StopRequest()

    def _update(self) -> Metrics:
        """Make one update of every agent."""
        raise NotImplementedError

    def _advance(self, bar: tqdm[Any]) -> None:
        """Learn up to the next step at which anything else is due, or a shorter stretch.

        Where `stop` is asked for, up to the next step that a checkpoint can hold.
        """
        raise NotImplementedError

    def _measurement(self) -> Callable[[], Measured]:
        """Return a function that measures how good the agents are now."""
        episodes = self.schedule.evaluation_episodes
        return self.world.measurement(self.learner, self.job.seeds, self.step, episodes)

    def _updates_until(self, step: int) -> int:
        """Count the updates that have been made when `step` is reached."""
        return step

    def _state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps besides the agents and the streams of the batches."""
        return {}

    def _restore_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `_state()`. UserError where it is not this run's."""

    def _begin(self) -> None:
        """Do what comes before the first update."""
        self._evaluate()

    def run(self) -> None:
        """Run to the last step; SystemExit, after a checkpoint, where SIGTERM comes before."""
        with self.stop:
            if self.resumed:
                self._restore()
            else:
                self._begin()
            with progress_bar(self.job, total=self.ends[-1], initial=self.step, unit=self.unit) as bar:
                while self.step < self.ends[-1] and not self.stop.asked:
                    before = self.step
                    self._advance(bar)
                    if self.step > before:
                        self._look(bar)
            if self.step > self.saved:
                self._save()
        if self.step < self.ends[-1]:
            raise SystemExit(STATUS)

    def _look(self, bar: tqdm[Any]) -> None:
        """Do what is due at the present step: a row of the curve, a checkpoint."""
        if self.step % self.schedule.evaluation_interval == 0 or self.step in self.ends:
            self._evaluate()
            bar.set_postfix({self.world.headline: self.measuring.shown(self.world.headline)})
        if self.step == self.ends[-1]:
            self.measuring.finish()
        if self.step % self.schedule.checkpoint_interval == 0 or self.step == self.ends[-1]:
            self._save()

    def _make(self, count: int, enough: Enough = lambda: False) -> Iterator[Metrics]:
        """Make `count` updates, or what is `enough`, and log each; its metrics."""
        made = self._updates_until(self.step)
        updates = self.updates.make(count, enough, made=made, period=self.learner.period())
        for number, metrics in enumerate(updates, made + 1):
            self.log.add(metrics, number)
            yield metrics

    def _evaluate(self) -> None:
        """Begin a row of the curve."""
        self.measuring.begin(self.step, self._measurement())

    def _save(self) -> None:
        awaited = self.measuring.awaited(self.step)
        tensors = {f"agents.{k}": v for k, v in self.learner.agents.training_state().items()}
        tensors |= {"draws": self.draws.state(), **self._state()}
        manifest = {
            "configuration_hash": self.job.configuration_hash,
            "step": self.step,
            "updates": self._updates_until(self.step),
            "log": self.log.state(),
            "awaited": awaited,
        }
        checkpoints.save(self.checkpoint, tensors, manifest)
        self.saved = self.step

    def _restore(self) -> None:
        tensors, manifest = checkpoints.load_for(self.checkpoint, self.job.configuration_hash)
        with checkpoints.restoring(self.checkpoint):
            self.learner.agents.restore_training_state(checkpoints.section(tensors, "agents."))
            checkpoints.fit(tensors, {"draws": self.draws.state()})
            self.draws.restore(tensors["draws"])
            self.step = checkpoints.whole_number(manifest, "step", self.first_step + 1, self.ends[-1])
            updates = self._updates_until(self.step)
            checkpoints.whole_number(manifest, "updates", updates, updates)
            self._restore_state(tensors)
            interval = self.schedule.evaluation_interval
            steps = measured_steps(self.first_step, self.step, interval, self.ends)
            awaited = self.measuring.restore(manifest, steps, updates - self._updates_until(steps[-1]))
        self.saved = self.step
        self.measuring.go_on(awaited, self._measurement)
