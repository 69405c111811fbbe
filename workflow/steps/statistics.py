"""Compute rliable's statistics over the curves of all methods, datasets and seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.aggregate import statistics, write_statistics
from storage.curves import read_curves, read_provenance
from workflow import cli
from workflow.sections import Drawn
from workflow.settings import validated

_BOOTSTRAP = ("repetitions", "seed", "confidence")


def bootstrap_settings(settings: cli.Json) -> dict[str, Any]:
    """How intervals are drawn, of what `settings` say. UserError where a value does not fit."""
    drawn = {key: settings[key] for key in _BOOTSTRAP if key in settings}
    validated(Drawn, drawn, "--settings")
    return drawn


def origin(settings: cli.Json, curves: Sequence[Path]) -> dict[str, Any]:
    """How intervals were drawn, and of what: the provenance of whatever is computed from `curves`."""
    return {
        "bootstrap": settings,
        "curves": {str(path): read_provenance(path).get("configuration_hash") for path in curves},
    }


def main(options: argparse.Namespace) -> None:
    """Read every curve, compute, write."""
    settings = bootstrap_settings(options.settings)
    provenance = origin(settings, options.curves)
    result = statistics(read_curves(options.curves), **settings, provenance=provenance, cache=options.cache)
    write_statistics(result, options.json, options.table)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    cli.settings_argument(arguments, "judging")
    arguments.add_argument("--cache", type=Path, help="folder that keeps intervals for the next time")
    arguments.add_argument("--json", type=Path, required=True, help="for what a person reads")
    arguments.add_argument("--table", type=Path, required=True, help="Parquet file for the whole table")
    cli.run(main, arguments)
