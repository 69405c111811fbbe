"""What a configuration costs before anyone starts it: time of each stage, memory and disk of its jobs.

Time is modelled from floating-point operations (`workflow.operations`, counted while each method runs for a
moment), steps of the simulator and what else a job does, with rates that were measured once (`cost.json`,
which names the command and the processor) and are scaled by two short calibrations on the machine at hand.
Evaluation episodes count at full length, a bound for tasks in which agents fall. Tasks with images have
rates of their own.

What learns on a GPU (`compute.device: cuda`) is estimated from its kernels, its bytes and its operations with
the numbers of `H100`, which are a data sheet's and experience's: nothing has been measured there.
"""

from __future__ import annotations

import heapq
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from algorithms.catalogue import NOTHING
from algorithms.diagnostics.likelihood import LikelihoodConfig
from algorithms.training import acceleration, behaviour
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule
from algorithms.training.online import OnlineSchedule
from envs import tabletop
from offline_data.image_episodes import SOURCES
from storage.files import read_json
from storage.settings import build
from workflow import chains, operations
from workflow.jobs import Job as Planned
from workflow.jobs import Json
from workflow.operations import Operations
from workflow.plan import Plan
from workflow.plan.data import policies_of
from workflow.table import Table

MEASURED = Path(__file__).parent / "cost.json"
TABLETOP = "Tabletop"
"""The measured step of all tasks of the robot's table, which share scene and motion."""
FLOAT = chains.FLOAT
ADAM = 4  # a parameter, its gradient and Adam's two moments
Chain = tuple[chains.Place, int, tuple[chains.Link, ...], chains.MethodAndConfig]
"""What a run is: where it acts, its members, what made them, its method and settings."""
STAGES = (
    "behaviour", "record", "pretrain", "fine_tune", "behaviours", "likelihood", "statistics", "figures",
)  # fmt: skip
BILLION, HOUR = 1e9, 3600.0
PRODUCT_SIZE = 1024
SMALL_OPERATIONS, SMALL_UPDATES = 20_000, 100
WITHOUT_AVX512 = 3
"""How many times the estimate a run took on two cores of an EPYC of family 25, with AVX2."""


class Speed(NamedTuple):
    """What this machine does on one core."""

    product: float  # GFLOP/s of a float32 product of PRODUCT_SIZE
    small: float  # microseconds an operation on a tensor of 32 numbers
    update: float  # microseconds an update of a perceptron of 32-32 units


class Compute(NamedTuple):
    """What one seed's training takes."""

    offline_updates: int  # of each agent, all offline phases together
    pflop: float  # 10^15 floating-point operations of matrix products
    core_hours: float  # of a core of the machine that the model is for


class Job(NamedTuple):
    """One job of the DAG; one core."""

    stage: str
    seconds: float
    memory_gb: float
    disk_gb: float  # that stays
    after: tuple[str, ...] = ()  # jobs it waits for
    operations: float = 0.0  # floating-point, of training
    gpu_gb: float = 0.0  # of a GPU's memory; jobs that take some take turns


@dataclass(frozen=True)
class GPU:
    """What a GPU does, in seconds, bytes and operations."""

    name: str
    launch: float  # of one kernel among others of a graph
    launch_alone: float  # of one that the host launches
    bytes_per_second: float
    operations_per_second: float  # float32
    tf32_operations_per_second: float
    acting: float  # seconds of an action that the host waits for

    def update(self, does: Operations, count: float, agents: int, compute: acceleration.Compute) -> float:
        """Return seconds of one update of `agents` agents, `count` operations in all.

        Kernels are launched one after the other, the random numbers of each agent by themselves; what they
        read and write, or their operations, take the time beside.
        """
        launch = self.launch if compute.updates_per_graph else self.launch_alone
        launches = does.kernels.launches + (agents - 1) * does.kernels.draws
        rate = self.tf32_operations_per_second if compute.tf32 else self.operations_per_second
        return launches * launch + max(agents * does.kernels.traffic / self.bytes_per_second, count / rate)


H100 = GPU("H100", 2.2e-6, 10e-6, 2.7e12, 50e12, 300e12, 0.45e-3)
CUDA_GB = 1.5
"""Of a GPU's memory that a process takes before it has any data."""


def calibrate() -> Speed:
    """Return what a few rounds take, a second in all, in processor time: others may use the machine.

    It hardly slows a product, a simulator or one small operation in a loop, whose best rounds count; but it
    slows updates, which leave the core's nearest caches: of what stands for them the median counts.
    """
    left, right = torch.rand(2, PRODUCT_SIZE, PRODUCT_SIZE)
    small = torch.rand(32)
    widths = [(32, 32), (32, 32), (32, 8)]
    network = torch.nn.Sequential(
        *(layer for width in widths for layer in (torch.nn.Linear(*width), torch.nn.ReLU()))
    )
    optimiser, rows = torch.optim.Adam(network.parameters()), torch.rand(32, 32)

    def multiply() -> None:
        for _ in range(5):
            left @ right

    def operate() -> None:
        for _ in range(SMALL_OPERATIONS):
            small + small

    def learn() -> None:
        for _ in range(SMALL_UPDATES):
            optimiser.zero_grad()
            network(rows).square().mean().backward()
            optimiser.step()

    product, dispatch = min(_rounds(multiply)) / 5, min(_rounds(operate)) / SMALL_OPERATIONS
    update = statistics.median(_rounds(learn)) / SMALL_UPDATES
    return Speed(2 * PRODUCT_SIZE**3 / product / BILLION, 1e6 * dispatch, 1e6 * update)


def _rounds(work: Callable[[], None]) -> list[float]:
    times = []
    for _ in range(5):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


@dataclass
class Model:
    """Seconds of what jobs are made of, on a machine of this speed."""

    speed: Speed
    measured: Mapping[str, Any] = field(default_factory=lambda: read_json(MEASURED))

    def __post_init__(self) -> None:
        before = Speed(**self.measured["speed"])
        self.products = self.speed.product / before.product  # how many times as fast as where it was measured
        self.rest = before.small / self.speed.small
        self.updates = before.update / self.speed.update

    def update(self, kind: str, count: float) -> float:
        """One update of `count` operations; `kind` is a key of the measured updates, or slower than any."""
        found = self._rates(kind)
        products = count / BILLION / found["gflop_per_second"] / self.products
        return float(products + found["overhead_ms"] / 1e3 / self.updates)

    def _rates(self, kind: str) -> Mapping[str, float]:
        measured: Mapping[str, Mapping[str, float]] = self.measured["updates"]
        return measured.get(kind) or {
            "gflop_per_second": min(rates["gflop_per_second"] for rates in measured.values()),
            "overhead_ms": max(rates["overhead_ms"] for rates in measured.values()),
        }

    def simulated(self, environment: str, copies: float) -> float:
        """Give the seconds of a step of each of `copies` environments; one not measured is as the slowest."""
        tasks = self.measured["environments"]
        name = TABLETOP if environment in tabletop.ENVIRONMENTS else environment.rpartition("-")[0]
        known = tasks.get(name)
        task = known or max(tasks.values(), key=lambda each: float(each["batch_us"] + each["copy_us"]))
        return float(task["batch_us"] + copies * task["copy_us"]) / 1e6 / self.rest

    def steps(self, environment: str, copies: int, kind: str, acting: float, numbers: float) -> float:
        """Give the seconds of a step of each of `copies` environments and of their actions.

        An action of `kind` takes `acting` operations.

        A policy's weights are read once for all copies, which takes longer than to multiply one row by them.
        An action with more operations than its `numbers` weights have in one row has many rows.
        """
        simulated = self.simulated(environment, copies) + self.measured["acting_us"] / 1e6 / self.updates
        rate = self._rates(kind)["gflop_per_second"]
        one_row = acting <= 2 * numbers
        reading = acting / BILLION / self.measured["acting_gflop_per_second"] if one_row else 0.0
        return float(simulated + (copies * acting / BILLION / rate + reading) / self.products)

    def other(self, what: str, amount: float = 1.0) -> float:
        """`amount` of something else: starts, gigabytes read and written, bootstrap repetitions."""
        return float(amount * self.measured["seconds"][what]) / self.rest

    def memory(self, what: str) -> float:
        """Gigabytes that a process of some kind has before it has any data."""
        return float(self.measured["memory_gb"][what])


def state_gb(numbers: int) -> float:
    """Agents of so many numbers with their optimiser and targets, in GB."""
    return numbers * FLOAT * (ADAM + 1) / BILLION


def agent_bytes(job: Job, agents: int) -> float:
    """Return the size of an agent's file, of so many that a pre-training job leaves beside their state."""
    return job.disk_gb * BILLION / 2 / (ADAM + 1) / agents


class Estimate:
    """What the jobs of a plan take."""

    def __init__(self, plan: Plan, model: Model, device: acceleration.Compute | None = None) -> None:
        """`device` stands for what the configuration computes on."""
        self.plan, self.model = plan, model
        self.device = device or build(acceleration.Compute, plan.configuration.get("compute", {}), "compute")

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """The jobs that `snakemake` runs for the configuration, by their names, each after what it needs."""
        table = Table(self.plan.configuration)
        makers = {path: job.name for job in table.jobs.values() for path in job.outputs.values()}
        left = [f"figure/{figure}" for figure in self.plan.figures.names()] + ["reproduction"]
        found = dict[str, Job]()
        while left:
            name = left.pop()
            stage = _stage(table.jobs[name])
            if name not in found and stage in STAGES:
                after = tuple(
                    dict.fromkeys(makers[path] for path in table.jobs[name].needs if path in makers)
                )
                found[name] = getattr(self, f"_{stage}")(table.jobs[name])._replace(after=after)
                left += after
        return {name: found[name] for name in table.jobs if name in found}

    # --- data ---------------------------------------------------------------------------------------------

    def transitions(self, dataset: str) -> int:
        """How many transitions a dataset has; an estimate where a file or a run decides."""
        entry = self.plan.data.entry(dataset)
        if "scripts" in entry:
            episodes: int = sum(entry["scripts"][source] for source in SOURCES)
            return episodes * self._place(dataset).time_limit
        if "transitions" in entry:
            return int(entry["transitions"])
        if "behaviour_policy" in entry:
            policy = self.plan.configuration["behaviour_policies"][entry["behaviour_policy"]]
            return int(policy.get("schedule", {}).get("steps", OnlineSchedule.steps))
        return 1_000_000

    def _place(self, dataset: str) -> chains.Place:
        return chains.place_of(self.plan.data.world(dataset))

    def _behaviour(self, job: Planned) -> Job:
        config = build(behaviour.METHOD.Config, job.settings.get("sac", {}), "sac")
        online = build(OnlineSchedule, job.settings.get("schedule", {}), "schedule")
        chain = (chains.Place(job.settings["environment"]), 0, (), (behaviour.METHOD, config))
        return self._online("behaviour", chain, online, 1, 0)

    def _record(self, job: Planned) -> Job:
        dataset = job.about["dataset"]
        entry, rows, place = self.plan.data.entry(dataset), self.transitions(dataset), self._place(dataset)
        size = rows * place.row_bytes / BILLION
        copies, simulated = entry.get("copies", 1), 0.0
        if place.images:
            simulated = rows * self.model.simulated(place.environment, 1)
        elif entry["recipe"] not in ("minari", "d4rl", "replay"):
            acting = bool(policies_of(entry)) and "copies" in entry
            simulated = rows / copies * self._recorded_step(place, copies, acting)
        seconds = self.model.other("start_training") + simulated + self._file("write", rows, place)
        memory = self.model.memory("training") + 2.5 * size  # the episodes, and what is made of them
        return Job("record", seconds, memory, self.model.measured["disk_share"] * size)

    def _file(self, what: str, rows: int, place: chains.Place) -> float:
        """Give the seconds to "read" or "write" so many rows, in episodes of full length."""
        amounts = {f"{what}_gb": rows * place.row_bytes / BILLION, f"{what}_episode": rows / place.time_limit}
        return sum(self.model.other(name, amount) for name, amount in amounts.items())

    def _recorded_step(self, place: chains.Place, copies: int, acting: bool) -> float:
        """Seconds of a step of each of so many environments, with a behaviour policy's actions or without."""
        method = behaviour.METHOD
        does = operations.of_run(place, 0, (), (method, method.Config()))
        return self.model.steps(
            place.environment, copies, _kind(method), does.action if acting else 0, does.numbers
        )

    # --- what training is made of -------------------------------------------------------------------------

    @property
    def on_gpu(self) -> bool:
        """Whether what learns does so on a GPU."""
        return self.device.device == "cuda"

    def _update(self, kind: str, does: Operations, agents: int, operations: float | None = None) -> float:
        """Seconds of an update of so many agents, of `operations` in all where it is another one."""
        count = agents * does.update if operations is None else operations
        if self.on_gpu:
            return H100.update(does, count, agents, self.device)
        return self.model.update(kind, count)

    def _steps(self, environment: str, copies: int, kind: str, does: Operations) -> float:
        """Seconds of a step of each of so many environments."""
        if not self.on_gpu:
            return self.model.steps(environment, copies, kind, does.action, does.numbers)
        shares = copies / min(copies, self.device.environment_threads)
        return self.model.simulated(environment, shares) + H100.acting

    def _looks(
        self,
        count: int,
        learning: float,
        agents: int,
        episodes: int,
        kind: str,
        chain: tuple[chains.Place, Operations],
    ) -> float:
        """Seconds of so many evaluations that are not hidden behind so many of `learning`."""
        place, does = chain
        length, copies = place.time_limit, agents * episodes
        if place.images:  # one episode after the other, by the mode and by drawn actions
            length, copies = evaluated(place, episodes), agents
        if self.on_gpu and self.device.evaluation_beside:
            beside = self.model.steps(place.environment, copies, kind, does.action, does.numbers)
            return max(0.0, count * length * beside - learning)
        return count * length * self._steps(place.environment, copies, kind, does)

    def _memory(self, does: Operations, agents: int, data: float) -> tuple[float, float]:
        """GB of the host's and of a GPU's memory, with `data` of agents, buffers and offline data."""
        base = self.model.memory("training")
        if not self.on_gpu:
            return base + data, 0.0
        # All that an update makes, as if nothing of it were freed before its end.
        return base + CUDA_GB + data, CUDA_GB + data + agents * does.kernels.written / BILLION

    # --- training -----------------------------------------------------------------------------------------

    def _pretrain(self, job: Planned) -> Job:
        dataset, label = job.about["dataset"], job.about["label"]
        schedule = build(OfflineSchedule, job.settings["schedule"], "schedule")
        had = chains.updates_before(self.plan, dataset, label)
        more = replace(schedule, updates=schedule.updates - had)
        return self._offline(dataset, self._links(dataset, label), more, len(job.about["seeds"]))

    def _offline_schedule(self, dataset: str, label: str) -> OfflineSchedule:
        return build(OfflineSchedule, self.plan.pretraining.settings(dataset, label)["schedule"], "schedule")

    def _links(self, dataset: str, offline: str) -> tuple[chains.Link, ...]:
        """Return links that make an offline method's agents; those still to be imported count as its own."""
        found = chains.offline_links(self.plan, dataset, offline)
        return found or chains.offline_links(self.plan, dataset, offline, stored=False) or ()

    def _offline(
        self, dataset: str, links: tuple[chains.Link, ...], schedule: OfflineSchedule, agents: int
    ) -> Job:
        place, last = self._place(dataset), _made(links)
        does, kind = operations.of_agent(place, links[:-1], last), _kind(*last)
        rows, state = self.transitions(dataset), state_gb(agents * does.numbers)
        data = rows * place.row_bytes / BILLION
        seconds = self.model.other("start_training") + self._file("read", rows, place)
        learning = schedule.updates * self._update(kind, does, agents)
        count = float(schedule.updates * does.update)
        if schedule.cloning_warm_start or schedule.monte_carlo_warm_start:
            cloning, fitting = operations.of_warm_start(place, links[:-1], last)
            learning += schedule.cloning_warm_start * self._update(kind, does, agents, agents * cloning)
            learning += schedule.monte_carlo_warm_start * self._update(kind, does, agents, agents * fitting)
            count += schedule.cloning_warm_start * cloning + schedule.monte_carlo_warm_start * fitting
        total = schedule.updates + schedule.cloning_warm_start + schedule.monte_carlo_warm_start
        looks = 1 + -(-total // schedule.evaluation_interval)
        chain = (place, does)
        seconds += learning + self._looks(looks, learning, agents, schedule.evaluation_episodes, kind, chain)
        count += looks * evaluated(place, schedule.evaluation_episodes) * does.action
        seconds += total / schedule.checkpoint_interval * self.model.other("save_gb", state)
        memory, gpu = self._memory(does, agents, data + 2 * state)
        return Job("pretrain", seconds, memory, 2 * state, operations=agents * count, gpu_gb=gpu)

    def _behaviours(self, job: Planned) -> Job:
        """Measures of estimated behaviours: fresh trajectories, and every agent's densities of them."""
        dataset, place = job.about["dataset"], chains.Place(job.settings["held_out"]["environment"])
        links, copies = self._links(dataset, job.about["label"]), job.settings["held_out"]["copies"]
        rows, of_row = job.settings["held_out"]["transitions"], place.row_bytes / BILLION
        known, last = self.transitions(dataset), _made(links)
        densities = rows * operations.of_behaviours(place, links[:-1], last)
        seconds = self.model.other("start_training") + self._file("read", known, place)
        seconds += rows / copies * self._recorded_step(place, copies, acting=True)
        seconds += len(job.about["seeds"]) * self.model.update(_kind(*last), densities)
        memory = self.model.memory("training") + (known + 2.5 * rows) * of_row
        return Job("behaviours", seconds, memory, 0.0)

    def _fine_tune(self, job: Planned) -> Job:
        return self._run(job.about["dataset"], job.about["label"], len(job.about["seeds"]))

    def _run(self, dataset: str, label: str, runs: int) -> Job:
        """Return the job of `runs` runs side by side."""
        settings = self.plan.fine_tuning.settings(dataset, label)
        method = find_method(settings["method"], "online")
        config = build(method.Config, settings["config"], "config")
        online = build(OnlineSchedule, settings["schedule"], "schedule")
        members, source = self.plan.online.ensemble_size(label), self.plan.online.starts_from(label)
        links = self._links(dataset, source) if source != NOTHING else ()
        rows = self.transitions(dataset) if self.plan.online.replays_offline(label) else 0
        chain = (chains.place_of(settings), members, links, (method, config))
        return self._online("fine_tune", chain, online, runs, rows)

    def compute(self, dataset: str, label: str) -> Compute:
        """Return one seed's: of its fine-tuning, and of the pre-training of all agents it starts from.

        Agents that are there already count as what it took to make them, as far as `pretraining` says.
        """
        offline = []
        source, members, runs = label, 1, 1
        if self.plan.online.names:
            runs = len(self.plan.fine_tuning.seed_groups()[0])
            source, members = self.plan.online.starts_from(label), self.plan.online.ensemble_size(label)
        online = [share(self._run(dataset, label, runs), runs)] if self.plan.online.names else []
        agents = self.plan.configuration["pretraining"]["agents_per_job"]
        while source != NOTHING:
            links = chains.offline_links(self.plan, dataset, source, stored=False) or ()
            had = chains.updates_before(self.plan, dataset, source, stored=False)
            schedule = self._offline_schedule(dataset, source)
            more = replace(schedule, updates=schedule.updates - had)
            job = self._offline(dataset, links, more, agents)
            offline.append(share(job, agents / members, more.updates))
            source = self.plan.offline.starts_from(source)
        return Compute(*map(sum, zip(*offline, *online, strict=True)))

    def _online(self, stage: str, chain: Chain, online: OnlineSchedule, runs: int, rows: int) -> Job:
        """Return `runs` runs side by side on `rows` offline transitions."""
        place, _, _, (method, config) = chain
        does, kind = operations.of_run(*chain), _kind(method, config)
        steps, first = online.steps + online.initial_steps, min(online.block_size, online.steps)
        learned = max(0, online.steps - getattr(config, "warm_up_steps", 0))
        updates = learned + (online.first_block_multiplier - 1) * first
        if place.images:  # the schedule's steps are episodes
            steps, updates = steps * place.time_limit, updates * online.updates_per_episode
        data, collected = (n * place.row_bytes / BILLION for n in (rows, runs * steps))
        balanced = getattr(config, "replay", None) == "balanced"
        priorities = 8 * runs * (rows + steps) / BILLION if balanced else 0.0
        state = state_gb(runs * does.numbers)

        seconds = self.model.other("start_training") + self._file("read", rows, place)
        learning = updates * self._update(kind, does, runs)
        learning += steps * self._steps(place.environment, runs, kind, does)
        looks = 1 + online.steps // online.evaluation_interval
        episodes = online.evaluation_episodes
        seconds += learning + self._looks(looks, learning, runs, episodes, kind, (place, does))
        if online.diagnostics_interval and "action_auroc" in method.diagnostics:
            measured = self._update(kind, does, runs, runs * operations.of_auroc(*chain))
            seconds += online.steps // online.diagnostics_interval * measured
        saved = state + priorities + collected / 2  # on average
        seconds += online.steps / online.checkpoint_interval * self.model.other("save_gb", saved)
        acted = steps + looks * evaluated(place, online.evaluation_episodes)
        count = runs * float(updates * does.update + acted * does.action)
        memory, gpu = self._memory(does, runs, data + 2 * (collected + priorities + state))
        return Job(stage, seconds, memory, state + priorities + collected, operations=count, gpu_gb=gpu)

    def _likelihood(self, job: Planned) -> Job:
        """Figure 1a's density model: its training, then draws for every evaluated pair."""
        config = build(LikelihoodConfig, job.settings["config"], "config")
        place, rows = chains.Place(job.settings["environment"]), self.transitions(job.about["dataset"])
        update, evaluation = operations.of_likelihood(place.environment, config)
        seconds = self.model.other("start_training") + self._file("read", rows, place)
        seconds += config.updates * self.model.update("likelihood", update)
        seconds += self.model.update("likelihood", evaluation)
        memory = self.model.memory("training") + rows * place.row_bytes / BILLION
        return Job("likelihood", seconds, memory, 0.0)

    # --- judging ------------------------------------------------------------------------------------------

    def _statistics(self, _: Planned) -> Job:
        """Intervals of every label and dataset."""
        repetitions = self.plan.configuration["statistics"].get("repetitions", 2000)
        runs, labels = len(self.plan.judging.seeds), self.plan.judging.labels()
        points = max(map(self._points, labels))
        intervals, scores = redrawn(len(labels), len(self.plan.configuration["datasets"]), runs, points)
        seconds = self.model.other("start_drawing")
        seconds += self.model.other("thousand_intervals", repetitions * intervals / 1e3)
        seconds += self.model.other("million_scores", repetitions * scores / 1e6)
        return Job("statistics", seconds, self.model.memory("drawing"), 0.0)

    def _figures(self, _: Planned) -> Job:
        seconds = self.model.other("start_drawing") + self.model.other("figure")
        return Job("figures", seconds, self.model.memory("drawing"), 0.0)

    def _points(self, label: str) -> int:
        """Points of a curve."""
        dataset = next(iter(self.plan.configuration["datasets"]))
        if not self.plan.online.names:
            offline = self._offline_schedule(dataset, label)
            return 1 + offline.updates // offline.evaluation_interval
        online = build(OnlineSchedule, self.plan.fine_tuning.settings(dataset, label)["schedule"], "schedule")
        return 1 + online.steps // online.evaluation_interval


def seed_compute(plan: Plan) -> pd.DataFrame:
    """Return a row a dataset and judged label: columns dataset, method and `Compute`'s.

    Core-hours are of the processor that `cost.json` names, so that they are the same wherever they are asked.
    """
    estimate = Estimate(plan, Model(Speed(**read_json(MEASURED)["speed"])), acceleration.Compute())
    pairs = product(plan.configuration["datasets"], plan.judging.labels())
    rows = [(dataset, label, *estimate.compute(dataset, label)) for dataset, label in pairs]
    return pd.DataFrame(rows, columns=["dataset", "method", *Compute._fields])


def share(job: Job, parts: float, updates: int = 0) -> Compute:
    """Return what one of so many parts of a job takes, with so many updates offline."""
    return Compute(updates, job.operations / parts / 1e15, job.seconds / parts / HOUR)


def evaluated(place: chains.Place, episodes: int) -> int:
    """Return the most steps of one agent's evaluation; from images it plays twice, by mode and drawn."""
    return place.time_limit * episodes * (2 if place.images else 1)


def _stage(job: Planned) -> str:
    """Return the stage that a job belongs to, one of `STAGES` where the model knows it."""
    stage = job.step.rpartition(".")[2]
    return "figures" if stage in ("figure", "reproduction") else stage


def _made(links: tuple[chains.Link, ...]) -> chains.MethodAndConfig:
    """Return the method and settings that make the agents at a chain's end."""
    last = links[-1]
    if isinstance(last, str):
        raise TypeError(f"{last} is a file: expected agents that a job makes")
    return last


def redrawn(labels: int, datasets: int, runs: int, points: int) -> tuple[int, int]:
    """Intervals that `analysis.aggregate.statistics` draws, and the scores in the curves among them."""
    intervals = labels * (labels - 1) // 2 + labels * (datasets + 3)
    return intervals, 2 * labels * datasets * runs * points


def origin(measured: Json, here: Json) -> str:
    """On which processor the rates were measured, and what the present one lacks of its instructions.

    `measured` and `here` are `hardware` of provenances. The calibrations see what an instruction set does to
    the estimate; what else older processors have less of, such as caches, they do not.
    """
    said = (
        f"Rates measured on {_processor(measured)},\n"
        "scaled to this core by a product and an operation timed alone: jobs at once share caches, memory\n"
        "and, as hardware threads, the core itself."
    )
    wide, ours = (str(each["cpu_instructions"]).split() for each in (measured, here))
    missing = [name for name in wide if name not in ours]
    if not missing:
        return said
    found = "no finished run has been compared on such a one."
    if "avx2" in ours and "avx512f" in missing:
        found = f"a run on such a one took {WITHOUT_AVX512:g} times the estimate."
    return f"{said}\nThis processor, {_processor(here)}, lacks {' '.join(missing)}:\n{found}"


def gpu_origin(gpu: GPU, compute: acceleration.Compute) -> str:
    """Say how the time of what learns on a GPU was come by."""
    form = "captured in graphs" if compute.updates_per_graph else "launched one by one"
    return (
        f"What learns on a GPU is estimated, not measured: its kernels ({form}), bytes and operations\n"
        f"were counted here, and take the time that an {gpu.name} is said to need. Expect a factor of two."
    )


def _processor(hardware: Json) -> str:
    """Its name, and its model where the system says it: many share a name in a cloud."""
    model = f" ({hardware['cpu_model']})" if hardware["cpu_model"] else ""
    return f"{hardware['cpu'] or 'an unnamed processor'}{model}"


def _kind(method: Any, config: Any = None) -> str:
    """Return the measured update that a method's resembles: that of the file it is in."""
    kind = str(method.__module__.rpartition(".")[2])
    if getattr(config, "encoder", None) is not None:
        return f"{kind}, images"
    return f"{kind}, bfloat16" if getattr(config, "reduced_precision_penalty", False) else kind


def makespan(jobs: Mapping[str, Job], cores: int) -> float:
    """Seconds until all jobs are done on `cores` cores, each started as soon as it can be, in their order.

    Jobs that need a GPU take turns at one.
    """
    waiting = {name: {before for before in job.after if before in jobs} for name, job in jobs.items()}
    running: list[tuple[float, int, str]] = []
    order = {name: place for place, name in enumerate(jobs)}
    now = 0.0
    while waiting or running:
        ready = [name for name, before in waiting.items() if not before]
        taken = any(jobs[name].gpu_gb for *_, name in running)
        on_gpu = [name for name in ready if jobs[name].gpu_gb]
        waits = set(on_gpu if taken else on_gpu[1:])
        for name in [name for name in ready if name not in waits][: cores - len(running)]:
            del waiting[name]
            heapq.heappush(running, (now + jobs[name].seconds, order[name], name))
        now, _, done = heapq.heappop(running)
        for before in waiting.values():
            before.discard(done)
    return now


def table(jobs: Mapping[str, Job], cores: int) -> str:
    """Print a line a stage, then the whole on so many cores, as text; a GPU has a column where it is used."""
    everything = list(jobs.values())
    on_gpu = any(job.gpu_gb for job in everything)
    heading = (
        f"{'stage':12} {'jobs':>5} {'core-hours':>11} {'longest, h':>11} {'memory, GB':>11} {'disk, GB':>9}"
    )
    lines = [heading + (f" {'of a GPU, GB':>13}" if on_gpu else "")]

    def line(stage: str, members: Sequence[Job], longest: float, memory: float) -> None:
        total, disk = sum(job.seconds for job in members) / HOUR, sum(job.disk_gb for job in members)
        cells = (
            f"{stage:12} {len(members):5d} {total:11.2f} {longest / HOUR:11.3f} {memory:11.2f} {disk:9.2f}"
        )
        of_gpu = max(job.gpu_gb for job in members)
        lines.append(cells + (f" {of_gpu:13.2f}" if on_gpu else ""))

    for stage in STAGES:
        if members := [job for job in everything if job.stage == stage]:
            line(stage, members, max(job.seconds for job in members), max(job.memory_gb for job in members))
    line("all", everything, makespan(jobs, cores), _at_once(everything, cores))
    said = f"The last line: hours from start to end, memory at once, on {cores} of {os.cpu_count()} cores"
    lines.append(said + (" and one GPU." if on_gpu else "."))
    return "\n".join(lines)


def _at_once(jobs: Sequence[Job], cores: int) -> float:
    """GB of the largest jobs that can run together."""
    turns = sorted((job.memory_gb for job in jobs if job.gpu_gb), reverse=True)[:1]
    others = sorted((job.memory_gb for job in jobs if not job.gpu_gb), reverse=True)
    return sum(sorted([*turns, *others], reverse=True)[:cores])
