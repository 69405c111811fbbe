"""Draw one figure of the manipulation tasks: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.training.pixel_training import EpisodeSchedule
from analysis.aggregate import Bootstrap
from analysis.success import comparable
from paper_figures.index import MANIPULATION_FIGURES, write_figure
from paper_figures.manipulation_results import ManipulationResults, Updates
from storage.curves import read_curves
from workflow import cli
from workflow.settings import build
from workflow.steps.statistics import bootstrap_settings


def updates(schedule: cli.Json) -> Updates:
    """When a schedule's updates are made. UserError for a setting that it has not."""
    online = build(EpisodeSchedule, schedule, "schedules")
    return Updates(online.block_size, online.updates_per_episode, online.first_block_multiplier)


def main(options: argparse.Namespace) -> None:
    """Draw `options.figure` beside `options.output`."""
    settings = {key: value for key, value in options.settings.items() if key != "fingerprint"}
    drawn = bootstrap_settings(settings["statistics"])
    results = ManipulationResults(
        **{key: value for key, value in settings.items() if key not in ("statistics", "schedules")},
        updates={label: updates(schedule) for label, schedule in settings["schedules"].items()},
        curves=comparable(read_curves(options.curves)),
        bootstrap=Bootstrap(**drawn, cache=options.cache),
        pictures=tuple(path for folder in options.pictures for path in sorted(folder.glob("*.png"))),
    )
    write_figure(MANIPULATION_FIGURES[options.figure], results, options.output.with_suffix(""))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figure", required=True, choices=MANIPULATION_FIGURES)
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    arguments.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders of pictures")
    cli.settings_argument(arguments, "drawing")
    arguments.add_argument("--cache", type=Path, help="folder that keeps intervals by content")
    arguments.add_argument("--output", type=Path, required=True, help="the PDF; the others lie beside it")
    cli.run(main, arguments)
