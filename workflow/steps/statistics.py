"""Compute rliable's statistics over the curves of all methods, datasets and seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.aggregate import statistics, write_statistics
from records.curves import read_curves, read_provenance
from workflow import command


def main(options: argparse.Namespace) -> None:
    """Read every curve, compute, write."""
    settings = {key: value for key, value in options.settings.items() if key != "fingerprint"}
    provenance = {
        "bootstrap": settings,
        "curves": {str(path): read_provenance(path)["configuration_hash"] for path in options.curves},
    }
    result = statistics(read_curves(options.curves), **settings, provenance=provenance)
    write_statistics(result, options.json, options.table)


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    command.settings_argument(arguments, "judging")
    arguments.add_argument("--json", type=Path, required=True, help="for what a person reads")
    arguments.add_argument("--table", type=Path, required=True, help="Parquet file for the whole table")
    command.run(main, arguments)
