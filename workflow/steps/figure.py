"""Draw one figure from statistics and curves: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.aggregate import read_statistics
from paper_figures import figure_03, learning_curves, sample_efficiency
from records.curves import read_curves
from records.files import atomic_path
from workflow import command

FIGURES = ("learning_curves", "sample_efficiency", "figure_03")


def main(options: argparse.Namespace) -> None:
    """Draw `options.figure` beside `options.output`."""
    result, settings = read_statistics(options.statistics), options.settings
    path, size = options.output.with_suffix(""), settings["ensemble_size"]
    match options.figure:
        case "learning_curves":
            drawn = learning_curves.write(read_curves(options.curves), result, path, ensemble_size=size)
            caption = learning_curves.caption(drawn, demonstration=settings["demonstration"])
        case "sample_efficiency":
            drawn = sample_efficiency.write(result, path, ensemble_size=size)
            caption = sample_efficiency.caption(drawn)
        case "figure_03":
            drawn = figure_03.write(result, path, ensemble_size=size)
            caption = figure_03.caption(
                drawn,
                members_shared=settings["members_shared"],
                pretraining_updates=settings["pretraining_updates"],
            )
    with atomic_path(path.with_suffix(".txt")) as temporary:
        temporary.write_text(caption + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("--figure", required=True, choices=FIGURES)
    arguments.add_argument("--statistics", type=Path, required=True, help="Parquet file of the statistics")
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    command.settings_argument(arguments, "drawing")
    arguments.add_argument("--output", type=Path, required=True, help="the PDF; the others lie beside it")
    command.run(main, arguments)
