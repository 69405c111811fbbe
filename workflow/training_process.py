"""What a training step does first: its process is prepared, and the loop told what its settings say."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.jobs import Job as LoopJob
from storage.settings import build
from workflow import cli
from workflow.jobs import Job
from workflow.watching import watch_of


def prepare(settings: cli.Json) -> Compute:
    """Prepare the process; what it computes on. UserError where that is not there or cannot be."""
    compute = build(Compute, settings.get("compute", {}), "compute")
    prepare_process(compute)
    return compute


def loop_job(job: Job, label: str, seeds: Sequence[int], compute: Compute) -> LoopJob:
    """Make the training loop's description of its job; another fingerprint has another state."""
    return LoopJob(
        job.about["run"],
        label,
        job.about["dataset"],
        job.settings["environment"],
        seeds,
        job.fingerprint,
        job.state / job.fingerprint,
        compute,
        _make(job.settings),
        watch_of(job),
    )


def _make(settings: cli.Json) -> Callable[[str], Any] | None:
    """Return what makes a task's environments with images; imports their simulator, which no other job needs.

    Their code is part of the fingerprint of their data.
    """
    if "options" not in settings:
        return None
    return partial(importlib.import_module("envs.manipulation").make, **settings["options"])
