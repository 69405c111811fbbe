"""Draw one figure from what a run left: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import pandas as pd

from analysis.intervals import Bootstrap
from analysis.statistics import read_statistics
from analysis.success import comparable
from paper_figures.index import write
from paper_figures.results import Results, Updates
from storage.curves import read_curves
from storage.settings import build
from workflow import cli
from workflow.jobs import Job
from workflow.steps.statistics import bootstrap_settings


def updates(schedule: cli.Json, offline: Mapping[str, int]) -> Updates:
    """When a schedule's updates are made, after `offline` ones. UserError for a setting that it has not."""
    # Imports torch, which figures of vectors do without.
    kind = importlib.import_module("algorithms.training.online").OnlineSchedule
    online = build(kind, schedule, "schedules")
    return Updates(online.block_size, online.updates_per_episode, online.first_block_multiplier, offline)


def main(job: Job) -> None:
    """Draw the job's figure: PDF, PNG, CSV and caption."""
    table, settings = job.path("statistics"), job.settings

    def curves() -> pd.DataFrame:
        return comparable(read_curves(job.paths("curves")))

    results = Results(
        curves,
        compared=read_statistics(table) if table else None,
        bootstrap=Bootstrap(**bootstrap_settings(settings["statistics"]), cache=job.cache),
        # Of a folder its pictures.
        files=tuple(f for p in job.paths("files") for f in ([p] if p.suffix else sorted(p.glob("*.png")))),
        updates={
            label: updates(schedule, settings["offline_updates"][label])
            for label, schedule in settings["schedules"].items()
        },
        **settings["caption"],
    )
    write(job.about["figure"], results, job.output("pdf").with_suffix(""))
