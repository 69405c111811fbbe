"""What the jobs of a plan take, and what one seed's training takes.

What learns on a GPU (`compute.device: cuda`) is estimated by `workflow.cost.gpu`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

import pandas as pd

from algorithms.catalogue import NOTHING
from algorithms.diagnostics.likelihood import LikelihoodConfig
from algorithms.training import acceleration, behaviour
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule
from algorithms.training.online import OnlineSchedule
from offline_data.image_episodes import SOURCES
from storage.files import read_json
from storage.settings import build
from workflow import chains, operations
from workflow.cost.jobs import HOUR, STAGES, Job
from workflow.cost.machine import BILLION, MEASURED, Model, Speed
from workflow.cost.training import Chain, Training, kind, made
from workflow.jobs import Job as Planned
from workflow.plan import Plan
from workflow.plan.data import policies_of
from workflow.table import Table

DENSITY = "fqe"
"""The measured update that a density model's resembles: perceptrons alone that fit data by squared errors."""


class Compute(NamedTuple):
    """What one seed's training takes."""

    offline_updates: int  # of each agent, all offline phases together
    pflop: float  # 10^15 floating-point operations of matrix products
    core_hours: float  # of a core of the machine that the model is for


class Estimate:
    """What the jobs of a plan take."""

    def __init__(self, plan: Plan, model: Model, device: acceleration.Compute | None = None) -> None:
        """`device` stands for what the configuration computes on."""
        self.plan, self.model = plan, model
        device = device or build(acceleration.Compute, plan.configuration.get("compute", {}), "compute")
        self.training = Training(model, device)

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
        chain = Chain(chains.Place(job.settings["environment"]), 0, (), (behaviour.METHOD, config))
        return self.training.online("behaviour", chain, online, 1, 0)

    def _record(self, job: Planned) -> Job:
        dataset = job.about["dataset"]
        entry, rows, place = self.plan.data.entry(dataset), self.transitions(dataset), self._place(dataset)
        size = rows * place.row_bytes / BILLION
        copies, simulated = entry.get("copies", 1), 0.0
        if place.images:
            simulated = rows * self.model.simulated(place.environment, 1)
        elif entry["recipe"] not in ("minari", "d4rl", "replay"):
            acting = bool(policies_of(entry)) and "copies" in entry
            simulated = rows / copies * self.training.recorded_step(place, copies, acting)
        seconds = self.model.other("start_training") + simulated + self.training.file("write", rows, place)
        memory = self.model.memory("training") + 2.5 * size  # the episodes, and what is made of them
        return Job("record", seconds, memory, self.model.measured["disk_share"] * size)

    # --- training -----------------------------------------------------------------------------------------

    def _pretrain(self, job: Planned) -> Job:
        dataset, label = job.about["dataset"], job.about["label"]
        schedule = build(OfflineSchedule, job.settings["schedule"], "schedule")
        had = chains.updates_before(self.plan, dataset, label)
        more = replace(schedule, updates=schedule.updates - had)
        return self._offline(dataset, self._links(dataset, label), more, len(job.about["seeds"]))

    def _offline(
        self, dataset: str, links: tuple[chains.Link, ...], schedule: OfflineSchedule, agents: int
    ) -> Job:
        """Return the pre-training of so many agents on a dataset."""
        rows = self.transitions(dataset)
        return self.training.offline(self._place(dataset), links, schedule, agents, rows)

    def _offline_schedule(self, dataset: str, label: str) -> OfflineSchedule:
        return build(OfflineSchedule, self.plan.pretraining.settings(dataset, label)["schedule"], "schedule")

    def _links(self, dataset: str, offline: str) -> tuple[chains.Link, ...]:
        """Return links that make an offline method's agents; those still to be imported count as its own."""
        found = chains.offline_links(self.plan, dataset, offline)
        return found or chains.offline_links(self.plan, dataset, offline, stored=False) or ()

    def _behaviours(self, job: Planned) -> Job:
        """Measures of estimated behaviours: fresh trajectories, and every agent's densities of them."""
        dataset, place = job.about["dataset"], chains.Place(job.settings["held_out"]["environment"])
        links, copies = self._links(dataset, job.about["label"]), job.settings["held_out"]["copies"]
        rows, of_row = job.settings["held_out"]["transitions"], place.row_bytes / BILLION
        known, last = self.transitions(dataset), made(links)
        densities = rows * operations.of_behaviours(place, links[:-1], last)
        seconds = self.model.other("start_training") + self.training.file("read", known, place)
        seconds += rows / copies * self.training.recorded_step(place, copies, acting=True)
        seconds += len(job.about["seeds"]) * self.model.update(kind(*last), densities)
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
        chain = Chain(chains.place_of(settings), members, links, (method, config))
        return self.training.online("fine_tune", chain, online, runs, rows)

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

    def _likelihood(self, job: Planned) -> Job:
        """Figure 1a's density model: its training, then draws for every evaluated pair."""
        config = build(LikelihoodConfig, job.settings["config"], "config")
        place, rows = chains.Place(job.settings["environment"]), self.transitions(job.about["dataset"])
        update, evaluation = operations.of_likelihood(place.environment, config)
        seconds = self.model.other("start_training") + self.training.file("read", rows, place)
        seconds += config.updates * self.model.update(DENSITY, update)
        seconds += self.model.update(DENSITY, evaluation)
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

    Core-hours are of the processor that `measured.json` names: the same wherever they are asked.
    """
    estimate = Estimate(plan, Model(Speed(**read_json(MEASURED)["speed"])), acceleration.Compute())
    pairs = product(plan.configuration["datasets"], plan.judging.labels())
    rows = [(dataset, label, *estimate.compute(dataset, label)) for dataset, label in pairs]
    return pd.DataFrame(rows, columns=["dataset", "method", *Compute._fields])


def share(job: Job, parts: float, updates: int = 0) -> Compute:
    """Return what one of so many parts of a job takes, with so many updates offline."""
    return Compute(updates, job.operations / parts / 1e15, job.seconds / parts / HOUR)


def _stage(job: Planned) -> str:
    """Return the stage that a job belongs to, one of `STAGES` where the model knows it."""
    stage = job.step.rpartition(".")[2]
    return "figures" if stage in ("figure", "reproduction") else stage


def redrawn(labels: int, datasets: int, runs: int, points: int) -> tuple[int, int]:
    """Intervals that `analysis.aggregate.statistics` draws, and the scores in the curves among them."""
    intervals = labels * (labels - 1) // 2 + labels * (datasets + 3)
    return intervals, 2 * labels * datasets * runs * points
