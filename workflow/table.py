"""The DAG as one table: a row a job, which the rules ask for its inputs, outputs, settings and fingerprint.

Which jobs there are, with which settings, is `workflow.plan`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from storage import UserError
from workflow.jobs import Job, Json, numbered
from workflow.outputs import RULES
from workflow.plan import FILM, OFFLINE_FIGURE, TABLE_SCRIPTS, Plan, agents_name, split_name

SWEEP = "sweep_policy_lr"
SWEEP_FIGURE = "policy_learning_rate"


class Table:
    """The jobs of one checked configuration, by `Job.name`."""

    def __init__(self, configuration: Json) -> None:
        self.plan = Plan(configuration)
        self.results = self.plan.results
        self.jobs: dict[str, Job] = {}
        self._every: dict[str, Any] = {"run": self.plan.run}  # what all jobs are told
        if "watch" in configuration:
            self._every["watch"] = configuration["watch"]
        if self.plan.registered:
            self._every["registered"] = self.plan.registered
        if not self.plan.recorded:
            self._data()
            self._training()
            if self.plan.gridworld_curves():
                self._add("gridworld", (), "gridworld", self.plan.gridworld())
        self._judging()
        self._figures()
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
        plan = self.plan
        for policy in plan.trained_policies():
            settings, about = plan.behaviour_policy(policy), {"dataset": policy}
            self._add("behaviour", [policy], "behaviour", settings, {}, about, plan.training_threads)
        for dataset in plan.configuration["datasets"]:
            inputs, about = {"behaviour": plan.recorded_from(dataset)}, {"dataset": dataset}
            self._add("record", split_name(dataset), "record", plan.recording(dataset), inputs, about)

    # --- training -----------------------------------------------------------------------------------------

    def _train(
        self, names: tuple[str, str, str], step: str, settings: Json, seeds: list[int], **inputs: list[str]
    ) -> None:
        about = {"dataset": names[0], "label": names[1], "seeds": seeds}
        self._add("train", names, step, settings, inputs, about, self.plan.training_threads)

    def _training(self) -> None:
        plan = self.plan
        for dataset in plan.configuration["datasets"]:
            data = [plan.dataset_folder(dataset)]
            for label in plan.offline_phases(dataset):
                settings = plan.pretraining(dataset, label)
                for group in plan.agent_groups(dataset, label):
                    start = plan.starting_files(dataset, label, group)
                    names = (dataset, label, agents_name(group))
                    self._train(names, "pretrain", settings, group, data=data, agents=start)
            swept = dataset in plan.configuration.get(SWEEP, {}).get("datasets", [])
            for label in [*plan.methods, *(plan.variations if swept else [])]:
                data = plan.offline_data(dataset, label)
                for seeds in plan.seed_groups():
                    settings = plan.fine_tuning(dataset, label, seeds)
                    members = plan.member_files(dataset, label, seeds)
                    names = (dataset, label, numbered("seeds", seeds))
                    self._train(names, "fine_tune", settings, seeds, data=data, agents=members)
        for dataset, label in plan.measured_behaviours():
            self._behaviours(dataset, label)
        for dataset in plan.likelihoods():
            inputs = {
                "data": [plan.dataset_folder(dataset)],
                "agents": [plan.agent_file(dataset, "cql", 0)],
            }
            settings, about = plan.likelihood(dataset), {"dataset": dataset}
            self._add("likelihood", [dataset], "likelihood", settings, inputs, about)

    def _behaviours(self, dataset: str, label: str) -> None:
        plan = self.plan
        agents = list(range(plan.configuration["pretraining"]["agents"]))
        inputs = {
            "data": [plan.dataset_folder(dataset)],
            "agents": [plan.agent_file(dataset, label, agent) for agent in agents],
            "behaviour": plan.recorded_from(dataset),
        }
        settings = plan.behaviours(dataset, label)
        about = {"dataset": dataset, "label": label, "seeds": agents}
        self._add("behaviours", [dataset, label], "behaviours", settings, inputs, about)

    # --- judging ------------------------------------------------------------------------------------------

    def _statistics(self, comparison: str, curves: list[str], offline: bool = False) -> list[str]:
        """Add the statistics of curves; their table."""
        settings = self.plan.judging(offline)
        job = self._add("statistics", [comparison], "statistics", settings, {"curves": curves})
        return [job.outputs["table"]]

    def _judging(self) -> None:
        plan = self.plan
        judged = [] if plan.images else plan.curves()
        self.compared = self._statistics("statistics", judged) if judged else []
        inputs = {
            "statistics": self.compared,
            "curves": plan.claimed_curves(),
            "claims": [plan.claims] if plan.claims else [],
        }
        self._add("reproduction", (), "reproduction", plan.reproduction(), inputs)

    # --- figures ------------------------------------------------------------------------------------------

    def _figure(self, name: str, settings: Json, **inputs: list[str]) -> None:
        self._add("figure", [name], "figure", settings, inputs, {"figure": name.removesuffix(OFFLINE_FIGURE)})

    def _figures(self) -> None:
        plan = self.plan
        for figure in plan.figures():
            offline, curves = figure.endswith(OFFLINE_FIGURE), plan.figure_curves(figure)
            statistics = self.compared if curves else []
            if offline:
                statistics = self._statistics(f"statistics{OFFLINE_FIGURE}", curves, offline=True)
            files = plan.figure_files(figure)
            self._figure(figure, plan.drawing(offline), statistics=statistics, curves=curves, files=files)
        if (swept := plan.sweep_curves()) and not plan.recorded:
            statistics = self._statistics(SWEEP, swept)
            self._figure(SWEEP_FIGURE, plan.drawing(), statistics=statistics, curves=swept)
        if plan.images or TABLE_SCRIPTS in plan.figures():
            self._add("pictures", (), "pictures", plan.pictures())
        for task in plan.configuration["datasets"] if FILM in plan.figures() else []:
            inputs = {"members": plan.filmed_members(task), "actors": plan.filmed_actors(task)}
            self._add("film_agents", [task], "film_agents", plan.film(task), inputs, {"dataset": task})


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
