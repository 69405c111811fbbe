"""What a training step does first: its process is prepared for what its settings say it computes on."""

from __future__ import annotations

from algorithms.training.acceleration import Compute, prepare_process
from workflow import cli
from workflow.settings import build


def prepare(settings: cli.Json) -> Compute:
    """Prepare the process; what it computes on. UserError where that is not there or cannot be."""
    compute = build(Compute, settings.get("compute", {}), "compute")
    prepare_process(compute)
    return compute
