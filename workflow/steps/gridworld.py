"""Sweep over the gridworlds in which ReDS is explained, as `python -m workflow.gridworld` does."""

from __future__ import annotations

from algorithms.discrete.networks import NetworkConfig
from algorithms.discrete.sweep import SweepConfig
from storage.settings import build
from workflow.gridworld import solve
from workflow.jobs import Job


def main(job: Job) -> None:
    """Solve, write, draw."""
    settings = job.settings
    networks = settings.get("networks")
    sizes = None if networks is None else build(NetworkConfig, networks, "gridworld.networks")
    sweep = build(SweepConfig, settings["sweep"], "gridworld.sweep")
    solve(sweep, sizes, settings["map"], job.output("curves").parent)
