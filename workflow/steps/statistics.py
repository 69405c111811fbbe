"""Compute rliable's statistics over the curves of all methods, datasets and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.aggregate import statistics
from analysis.statistics import write_statistics
from storage.curves import read_curves, read_provenance
from storage.settings import validated
from workflow import cli
from workflow.jobs import Job
from workflow.sections import Drawn

_BOOTSTRAP = ("repetitions", "seed", "confidence")


def bootstrap_settings(settings: cli.Json) -> dict[str, Any]:
    """How intervals are drawn, of what `settings` say. UserError where a value does not fit."""
    drawn = {key: settings[key] for key in _BOOTSTRAP if key in settings}
    validated(Drawn, drawn, "settings")
    return drawn


def origin(settings: cli.Json, curves: Sequence[Path]) -> dict[str, Any]:
    """How intervals were drawn, and of what: the provenance of whatever is computed from `curves`."""
    return {
        "bootstrap": settings,
        "curves": {str(path): read_provenance(path).get("configuration_hash") for path in curves},
    }


def main(job: Job) -> None:
    """Read every curve, compute, write."""
    settings, files = bootstrap_settings(job.settings), job.paths("curves")
    provenance = origin(settings, files)
    result = statistics(read_curves(files), **settings, provenance=provenance, cache=job.cache)
    write_statistics(result, job.output("json"), job.output("table"))
