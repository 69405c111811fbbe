"""Draw one figure from statistics and curves: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from analysis.aggregate import read_statistics
from paper_figures.index import FIGURES, write
from paper_figures.results import Results
from storage.curves import read_curves
from workflow import cli


def main(options: argparse.Namespace) -> None:
    """Draw `options.figure` beside `options.output`."""
    settings = {key: value for key, value in options.settings.items() if key != "fingerprint"}
    results = Results(
        statistics=read_statistics(options.statistics),
        read_curves=partial(read_curves, options.curves),
        likelihoods=options.likelihoods,
        cache=options.cache,
        **settings,
    )
    write(options.figure, results, options.output.with_suffix(""))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figure", required=True, choices=FIGURES)
    arguments.add_argument("--statistics", type=Path, required=True, help="Parquet file of the statistics")
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    cli.settings_argument(arguments, "drawing")
    arguments.add_argument(
        "--likelihoods", type=Path, nargs="*", default=[], help="Parquet files of Figure 1a's log likelihoods"
    )
    arguments.add_argument("--cache", type=Path, help="folder that keeps intervals by content")
    arguments.add_argument("--output", type=Path, required=True, help="the PDF; the others lie beside it")
    cli.run(main, arguments)
