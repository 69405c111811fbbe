"""Compute rliable's statistics over the curves of all methods, datasets and seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.aggregate import statistics, write_statistics
from records.curves import read_curves, read_provenance
from workflow import command
from workflow.configuration import check_section

BOOTSTRAP = ("repetitions", "seed", "confidence")


def origin(settings: command.Json, curves: Sequence[Path]) -> dict[str, Any]:
    """How intervals were drawn, and of what: the provenance of whatever is computed from `curves`."""
    return {
        "bootstrap": settings,
        "curves": {str(path): read_provenance(path).get("configuration_hash") for path in curves},
    }


def main(options: argparse.Namespace) -> None:
    """Read every curve, compute, write."""
    settings = {key: options.settings[key] for key in BOOTSTRAP if key in options.settings}
    check_section(settings, "--settings", "statistics")
    provenance = origin(settings, options.curves)
    result = statistics(read_curves(options.curves), **settings, provenance=provenance, cache=options.cache)
    write_statistics(result, options.json, options.table)


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    command.settings_argument(arguments, "judging")
    arguments.add_argument("--cache", type=Path, help="folder that keeps intervals for the next time")
    arguments.add_argument("--json", type=Path, required=True, help="for what a person reads")
    arguments.add_argument("--table", type=Path, required=True, help="Parquet file for the whole table")
    command.run(main, arguments)
