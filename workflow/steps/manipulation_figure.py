"""Draw one figure of the manipulation tasks: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

from algorithms.training.online import OnlineSchedule
from analysis.intervals import Bootstrap
from analysis.success import comparable
from paper_figures.index import MANIPULATION_FIGURES, write_figure
from paper_figures.manipulation_results import ManipulationResults, Updates
from storage.curves import read_curves
from storage.settings import build
from workflow import cli
from workflow.jobs import Job
from workflow.steps.statistics import bootstrap_settings


def updates(schedule: cli.Json) -> Updates:
    """When a schedule's updates are made. UserError for a setting that it has not."""
    online = build(OnlineSchedule, schedule, "schedules")
    return Updates(online.block_size, online.updates_per_episode, online.first_block_multiplier)


def main(job: Job) -> None:
    """Draw the job's figure: PDF, PNG, CSV and caption."""
    settings = {key: value for key, value in job.settings.items() if key != "fingerprint"}
    drawn = bootstrap_settings(settings["statistics"])
    results = ManipulationResults(
        **{key: value for key, value in settings.items() if key not in ("statistics", "schedules")},
        updates={label: updates(schedule) for label, schedule in settings["schedules"].items()},
        curves=comparable(read_curves(job.paths("curves"))),
        bootstrap=Bootstrap(**drawn, cache=job.cache),
        pictures=tuple(path for folder in job.paths("pictures") for path in sorted(folder.glob("*.png"))),
    )
    figure = MANIPULATION_FIGURES[job.about["figure"]]
    write_figure(figure, results, job.output("pdf").with_suffix(""))
