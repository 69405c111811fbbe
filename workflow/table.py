"""The DAG as one table: a row a job, which the rules ask for its inputs, outputs, settings and fingerprint.

Which jobs there are, with which settings, is `workflow.plan`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from storage import UserError
from workflow.dataset_names import split_name
from workflow.figure_names import FILM, OFFLINE_FIGURE, SWEEP_FIGURE, TABLE_SCRIPTS
from workflow.jobs import Job, Json, agents_name, numbered
from workflow.outputs import RULES
from workflow.plan import Plan

SWEEP = "sweep_policy_lr"


class Table:
    """The jobs of one checked configuration, by `Job.name`."""

    def __init__(self, configuration: Json) -> None:
        self.plan = Plan(configuration)
        places, registered = self.plan.places, self.plan.data.registered
        self.results = places.results
        self.jobs: dict[str, Job] = {}
        self._every: dict[str, Any] = {"run": places.run}  # what all jobs are told
        if "watch" in configuration:
            self._every["watch"] = configuration["watch"]
        if registered:
            self._every["registered"] = registered
        if not places.recorded:
            self._data()
            self._training()
            self._measuring()
        self._judging()
        self._figures()
        self._pictures()
        for rule in ("plan", "cost"):
            self._add(rule, (), rule, {**configuration, "fingerprint": ""})

    def find(self, rule: str, names: Iterable[str] = ()) -> Job:
        """Return the job of a rule with these wildcards. UserError where the configuration has none such."""
        name = "/".join([rule, *names])
        if name not in self.jobs:
            raise UserError(f"The configuration has no job {name}: snakemake plan lists those it has.")
        return self.jobs[name]

    def needs(self, rule: str, names: Iterable[str] = ()) -> list[str]:
        """Return what a job needs. UserError where it has yet to run and what no job makes is missing."""
        job = self.find(rule, names)
        missing = (path for path in job.needs if path not in self._made and not _there(path, job))
        if (first := next(missing, None)) and not all(Path(path).exists() for path in job.outputs.values()):
            expected = next(text for place, text in _EXPECTED.items() if place in first)
            what = "is no file" if Path(first).exists() else "is missing"
            raise UserError(f"{first} {what}, which {job.name} needs: expected {expected}.")
        return job.needs

    @cached_property
    def _made(self) -> set[str]:
        return {path for job in self.jobs.values() for path in job.outputs.values()}

    def names(self, rule: str, place: int = 0) -> list[str]:
        """List the values of one wildcard of a rule."""
        return list(dict.fromkeys(j.names[place] for j in self.jobs.values() if j.rule == rule))

    def _add(
        self,
        rule: str,
        names: Sequence[str],
        step: str,
        settings: Json,
        inputs: Mapping[str, Sequence[str]] | None = None,
        about: Json | None = None,
        threads: int = 1,
    ) -> Job:
        about, module = {**self._every, **(about or {})}, f"workflow.steps.{step}"
        outputs = RULES[rule].left_by(self.results, names) if rule in RULES else {}
        job = Job(rule, names, module, settings, self.results, inputs or {}, outputs, about, threads)
        self.jobs[job.name] = job
        return job

    # --- data ---------------------------------------------------------------------------------------------

    def _data(self) -> None:
        data = self.plan.data
        for policy in data.trained_policies():
            settings, about = data.behaviour_policy(policy), {"dataset": policy}
            self._add("behaviour", [policy], "behaviour", settings, {}, about, self.plan.training_threads)
        for dataset in self.plan.configuration["datasets"]:
            inputs, about = {"behaviour": data.recorded_from(dataset)}, {"dataset": dataset}
            self._add("record", split_name(dataset), "record", data.recording(dataset), inputs, about)

    # --- training -----------------------------------------------------------------------------------------

    def _train(
        self, names: tuple[str, str, str], step: str, settings: Json, seeds: list[int], **inputs: list[str]
    ) -> None:
        about = {"dataset": names[0], "label": names[1], "seeds": seeds}
        self._add("train", names, step, settings, inputs, about, self.plan.training_threads)

    def _training(self) -> None:
        for dataset in self.plan.configuration["datasets"]:
            self._pretraining(dataset)
            self._fine_tuning(dataset)

    def _pretraining(self, dataset: str) -> None:
        training, data = self.plan.pretraining, [self.plan.places.dataset(dataset)]
        for label in self.plan.offline.trained(dataset):
            settings = training.settings(dataset, label)
            for group in training.groups(dataset, label):
                start = training.starting_files(dataset, label, group)
                names = (dataset, label, agents_name(group))
                self._train(names, "pretrain", settings, group, data=data, agents=start)

    def _fine_tuning(self, dataset: str) -> None:
        tuning, online = self.plan.fine_tuning, self.plan.online
        for label in [*online.names, *(online.variations if dataset in tuning.swept else [])]:
            data = tuning.offline_data(dataset, label)
            for seeds in tuning.seed_groups():
                settings = tuning.settings(dataset, label, seeds)
                members = tuning.member_files(dataset, label, seeds)
                names = (dataset, label, numbered("seeds", seeds))
                self._train(names, "fine_tune", settings, seeds, data=data, agents=members)

    # --- measuring ----------------------------------------------------------------------------------------

    def _measuring(self) -> None:
        measured = self.plan.measurements
        for dataset, label in measured.behaviour_pairs():
            self._behaviours(dataset, label)
        for dataset in measured.likelihood_datasets():
            inputs = {
                "data": [self.plan.places.dataset(dataset)],
                "agents": [self.plan.pretraining.agent_file(dataset, "cql", 0)],
            }
            settings, about = measured.likelihood(dataset), {"dataset": dataset}
            self._add("likelihood", [dataset], "likelihood", settings, inputs, about)
        if measured.gridworld_files():
            self._add("gridworld", (), "gridworld", measured.gridworld())

    def _behaviours(self, dataset: str, label: str) -> None:
        plan, agents = self.plan, self.plan.pretraining.agents
        inputs = {
            "data": [plan.places.dataset(dataset)],
            "agents": [plan.pretraining.agent_file(dataset, label, agent) for agent in agents],
            "behaviour": plan.data.recorded_from(dataset),
        }
        settings = plan.measurements.behaviours(dataset, label)
        about = {"dataset": dataset, "label": label, "seeds": agents}
        self._add("behaviours", [dataset, label], "behaviours", settings, inputs, about)

    # --- judging ------------------------------------------------------------------------------------------

    def _statistics(self, comparison: str, curves: list[str], offline: bool = False) -> list[str]:
        """Add the statistics of curves; their table."""
        settings = self.plan.judging.statistics(offline)
        job = self._add("statistics", [comparison], "statistics", settings, {"curves": curves})
        return [job.outputs["table"]]

    def _judging(self) -> None:
        judging = self.plan.judging
        judged = [] if self.plan.data.images else judging.curves()
        self.compared = self._statistics("statistics", judged) if judged else []
        inputs = {
            "statistics": self.compared,
            "curves": judging.claimed_curves(),
            "claims": [judging.claims] if judging.claims else [],
        }
        self._add("reproduction", (), "reproduction", judging.reproduction(), inputs)

    # --- figures ------------------------------------------------------------------------------------------

    def _figure(self, name: str, settings: Json, **inputs: list[str]) -> None:
        self._add("figure", [name], "figure", settings, inputs, {"figure": name.removesuffix(OFFLINE_FIGURE)})

    def _figures(self) -> None:
        figures = self.plan.figures
        for figure in figures.names():
            offline, curves = figure.endswith(OFFLINE_FIGURE), figures.curves(figure)
            statistics = self.compared if curves else []
            if offline:
                statistics = self._statistics(f"statistics{OFFLINE_FIGURE}", curves, offline=True)
            settings, files = figures.settings(offline), figures.files(figure)
            self._figure(figure, settings, statistics=statistics, curves=curves, files=files)
        if (swept := self.plan.fine_tuning.sweep_curves()) and not self.plan.places.recorded:
            statistics = self._statistics(SWEEP, swept)
            self._figure(SWEEP_FIGURE, figures.settings(), statistics=statistics, curves=swept)

    def _pictures(self) -> None:
        pictures, figures = self.plan.pictures, self.plan.figures.names()
        if self.plan.data.images or TABLE_SCRIPTS in figures:
            self._add("pictures", (), "pictures", pictures.settings())
        for task in self.plan.configuration["datasets"] if FILM in figures else []:
            inputs = {"members": pictures.filmed_members(task), "actors": pictures.filmed_actors(task)}
            self._add("film_agents", [task], "film_agents", pictures.film(task), inputs, {"dataset": task})


_EXPECTED = {
    "releases/authors/": "what the authors released, imported (docs/importing_released_checkpoints.md)",
    "releases/": "what the suite releases (releases/README.md), or `train` in its place",
    "results/reference/": "curves that are committed, or `curves: fresh`",
    "": "a file that is there",
}
"""What is to be done about a missing file, by a part of its path."""


def _there(path: str, job: Job) -> bool:
    """Whether an input exists; a user's own data file has to be a regular one."""
    return Path(path).is_file() if path == job.settings.get("file") else Path(path).exists()


HEADINGS = ("rule", "step", "label", "jobs", "datasets", "seeds", "starts from", "length")


def printed(jobs: Iterable[Job]) -> str:
    """Return table in a page: a line for the jobs of a rule that differ in dataset, seeds or figure alone."""
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        if job.rule not in ("plan", "cost"):
            key = (job.rule, job.step.rpartition(".")[2], str(job.about.get("label", "")))
            groups.setdefault(key, []).append(job)
    rows: list[tuple[str, ...]] = [HEADINGS, *((*key, *_extent(members)) for key, members in groups.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = sum(map(len, groups.values()))
    return "\n".join(
        [*lines, "", f"{total} jobs; the settings, inputs and outputs of each are a file in jobs/."]
    )


def _extent(jobs: Sequence[Job]) -> tuple[str, ...]:
    """How many jobs, datasets and seeds a line is of, what they start from, and how long they learn."""
    datasets = {each.about["dataset"] for each in jobs if "dataset" in each.about}
    seeds = {seed for each in jobs for seed in each.about.get("seeds", [])}
    starts = {path.split("/")[-3] for each in jobs for path in each.inputs.get("agents", [])}
    schedules: list[Mapping[str, Any]] = [each.settings.get("schedule", {}) for each in jobs]
    lengths = {(each[unit], unit) for each in schedules for unit in ("updates", "steps") if unit in each}
    counts = (str(len(found)) if found else "" for found in (jobs, datasets, seeds))
    said = ", ".join(f"{length:,} {unit}" for length, unit in sorted(lengths))
    return (*counts, ", ".join(sorted(starts)), said)
