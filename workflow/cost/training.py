"""What jobs that learn take: updates, steps of the simulator, evaluations, checkpoints.

Time is modelled from floating-point operations (`workflow.operations`, counted while each method runs for a
moment). Evaluation episodes count at full length, a bound for tasks in which agents fall.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from algorithms.training import acceleration, behaviour
from algorithms.training.offline import OfflineSchedule
from algorithms.training.online import OnlineSchedule
from workflow import chains, operations
from workflow.cost.gpu import CUDA_GB, H100
from workflow.cost.jobs import Job, state_gb
from workflow.cost.machine import BILLION, REDUCED, Model
from workflow.operations import Operations


class Chain(NamedTuple):
    """What a run is: where it acts, its members, what made them, its method and settings."""

    place: chains.Place
    members: int
    before: tuple[chains.Link, ...]
    last: chains.MethodAndConfig


class Learner(NamedTuple):
    """What so many agents of one kind do, side by side."""

    place: chains.Place
    agents: int
    does: Operations
    kind: str  # a key of the measured updates


class Training:
    """The jobs that learn, on a machine and on what they compute with."""

    def __init__(self, model: Model, device: acceleration.Compute) -> None:
        self.model, self.device = model, device

    @property
    def on_gpu(self) -> bool:
        """Whether what learns does so on a GPU."""
        return self.device.device == "cuda"

    def offline(
        self,
        place: chains.Place,
        links: tuple[chains.Link, ...],
        schedule: OfflineSchedule,
        agents: int,
        rows: int,
    ) -> Job:
        """Return the pre-training of `agents` agents side by side on `rows` transitions."""
        last = made(links)
        learner = Learner(place, agents, operations.of_agent(place, links[:-1], last), kind(*last))
        does = learner.does
        data, state = rows * place.row_bytes / BILLION, state_gb(agents * does.numbers)
        seconds = self.model.other("start_training") + self.file("read", rows, place)
        learning = schedule.updates * self._update(learner)
        count = float(schedule.updates * does.update)
        if schedule.cloning_warm_start or schedule.monte_carlo_warm_start:
            cloning, fitting = operations.of_warm_start(place, links[:-1], last)
            learning += schedule.cloning_warm_start * self._update(learner, agents * cloning)
            learning += schedule.monte_carlo_warm_start * self._update(learner, agents * fitting)
            count += schedule.cloning_warm_start * cloning + schedule.monte_carlo_warm_start * fitting
        total = schedule.updates + schedule.cloning_warm_start + schedule.monte_carlo_warm_start
        looks = 1 + -(-total // schedule.evaluation_interval)
        seconds += learning + self._looks(looks, learning, schedule.evaluation_episodes, learner)
        count += looks * evaluated(place, schedule.evaluation_episodes) * does.action
        seconds += total / schedule.checkpoint_interval * self.model.other("save_gb", state)
        memory, gpu = self._memory(learner, data + 2 * state)
        return Job("pretrain", seconds, memory, 2 * state, operations=agents * count, gpu_gb=gpu)

    def online(self, stage: str, chain: Chain, online: OnlineSchedule, runs: int, rows: int) -> Job:
        """Return `runs` runs side by side on `rows` offline transitions."""
        place, (method, config) = chain.place, chain.last
        learner = Learner(place, runs, operations.of_run(*chain), kind(method, config))
        does = learner.does
        steps, first = online.steps + online.initial_steps, min(online.block_size, online.steps)
        learned = max(0, online.steps - getattr(config, "warm_up_steps", 0))
        updates = learned + (online.first_block_multiplier - 1) * first
        if place.images:  # the schedule's steps are episodes
            steps, updates = steps * place.time_limit, updates * online.updates_per_episode
        data, collected = (n * place.row_bytes / BILLION for n in (rows, runs * steps))
        balanced = getattr(config, "replay", None) == "balanced"
        priorities = 8 * runs * (rows + steps) / BILLION if balanced else 0.0
        state = state_gb(runs * does.numbers)

        seconds = self.model.other("start_training") + self.file("read", rows, place)
        learning = updates * self._update(learner) + steps * self._step(runs, learner)
        looks = 1 + online.steps // online.evaluation_interval
        seconds += learning + self._looks(looks, learning, online.evaluation_episodes, learner)
        if online.diagnostics_interval and "action_auroc" in method.diagnostics:
            measured = self._update(learner, runs * operations.of_auroc(*chain))
            seconds += online.steps // online.diagnostics_interval * measured
        saved = state + priorities + collected / 2  # on average
        seconds += online.steps / online.checkpoint_interval * self.model.other("save_gb", saved)
        acted = steps + looks * evaluated(place, online.evaluation_episodes)
        count = runs * float(updates * does.update + acted * does.action)
        memory, gpu = self._memory(learner, data + 2 * (collected + priorities + state))
        return Job(stage, seconds, memory, state + priorities + collected, operations=count, gpu_gb=gpu)

    def file(self, what: str, rows: int, place: chains.Place) -> float:
        """Give the seconds to "read" or "write" so many rows, in episodes of full length."""
        amounts = {f"{what}_gb": rows * place.row_bytes / BILLION, f"{what}_episode": rows / place.time_limit}
        return sum(self.model.other(name, amount) for name, amount in amounts.items())

    def recorded_step(self, place: chains.Place, copies: int, acting: bool) -> float:
        """Seconds of a step of each of so many environments, with a behaviour policy's actions or without."""
        method = behaviour.METHOD
        does = operations.of_run(place, 0, (), (method, method.Config()))
        action = does.action if acting else 0
        return self.model.steps(place.environment, copies, kind(method), action, does.numbers)

    def _update(self, learner: Learner, count: float | None = None) -> float:
        """Seconds of an update of all agents, of `count` operations in all where it is another one."""
        does, agents = learner.does, learner.agents
        count = agents * does.update if count is None else count
        if self.on_gpu:
            return H100.update(does, count, agents, self.device)
        return self.model.update(learner.kind, count)

    def _step(self, copies: int, learner: Learner) -> float:
        """Seconds of a step of each of so many environments, and of their actions."""
        if self.on_gpu:
            shares = copies / min(copies, self.device.environment_threads)
            return self.model.simulated(learner.place.environment, shares) + H100.acting
        return self._step_on_core(copies, learner)

    def _step_on_core(self, copies: int, learner: Learner) -> float:
        environment, does = learner.place.environment, learner.does
        return self.model.steps(environment, copies, learner.kind, does.action, does.numbers)

    def _looks(self, count: int, learning: float, episodes: int, learner: Learner) -> float:
        """Seconds of so many evaluations that are not hidden behind so many of `learning`."""
        place, agents = learner.place, learner.agents
        length, copies = place.time_limit, agents * episodes
        if place.images:  # one episode after the other, by the mode and by drawn actions
            length, copies = evaluated(place, episodes), agents
        if self.on_gpu and self.device.evaluation_beside:
            return max(0.0, count * length * self._step_on_core(copies, learner) - learning)
        return count * length * self._step(copies, learner)

    def _memory(self, learner: Learner, data: float) -> tuple[float, float]:
        """GB of the host's and of a GPU's memory, with `data` of agents, buffers and offline data."""
        base = self.model.memory("training")
        if not self.on_gpu:
            return base + data, 0.0
        # All that an update makes, as if nothing of it were freed before its end.
        written = learner.agents * learner.does.kernels.written / BILLION
        return base + CUDA_GB + data, CUDA_GB + data + written


def evaluated(place: chains.Place, episodes: int) -> int:
    """Return the most steps of one agent's evaluation; from images it plays twice, by mode and drawn."""
    return place.time_limit * episodes * (2 if place.images else 1)


def made(links: tuple[chains.Link, ...]) -> chains.MethodAndConfig:
    """Return the method and settings that make the agents at a chain's end."""
    last = links[-1]
    if isinstance(last, str):
        raise TypeError(f"{last} is a file: expected agents that a job makes")
    return last


def kind(method: Any, config: Any = None) -> str:
    """Return the measured update that a method's resembles: that of the file it is in."""
    found = str(method.__module__.rpartition(".")[2])
    if getattr(config, "encoder", None) is not None:
        return f"{found}, images"
    return f"{found}{REDUCED}" if getattr(config, "reduced_precision_penalty", False) else found
