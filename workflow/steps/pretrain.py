"""Pre-train agents by one method, side by side, from one dataset or each job's own; resumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic, one_by_one
from algorithms.training.custom import try_offline_method
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, Part, StartingAgents, pretrain_together
from storage import UserError
from storage.curves import write_curves
from storage.provenance import collect
from storage.settings import build
from workflow import cli, paths
from workflow.jobs import Job
from workflow.training_process import loop_job, prepare


def starting_agents(files: Sequence[Path], method: str) -> StartingAgents | None:
    """Return the agents to start from, None where there are none; UserError where their updates differ."""
    if not files:
        return None
    loaded = [checkpoints.load(path) for path in files]
    updates = [_updates(path, manifest, method) for path, (_, manifest) in zip(files, loaded, strict=True)]
    if len(set(updates)) > 1:
        raise UserError(f"The starting agents have had {updates} updates: expected as many of each.")
    return StartingAgents([tensors for tensors, _ in loaded], updates[0])


def _updates(path: Path, manifest: cli.Json, method: str) -> int:
    """How many updates of `method` an agent has had. UserError where its manifest does not say."""
    try:
        settings = manifest["configuration"]
        updates = settings["schedule"]["updates"] if settings["method"] == method else 0
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its manifest does not say how it was trained: it lacks {error}") from error
    if type(updates) is not int or updates < 0:
        raise UserError(f"{path}: its manifest says {updates!r} updates: expected a whole number from 0 on")
    return updates


ALIKE = ("method", "config", "schedule", "compute")
"""What settings of jobs side by side have in common."""


def main(*jobs: Job) -> None:
    """Train, write one safetensors file an agent, and the curve, of each job.

    Several jobs' agents learn side by side. UserError where the jobs differ in more than their data.
    """
    settings = jobs[0].settings
    for job in jobs:
        if any(job.settings.get(key) != settings.get(key) for key in ALIKE):
            raise UserError(f"{job.name} and {jobs[0].name} side by side: expected equal {', '.join(ALIKE)}")
    compute = prepare(settings)
    recordings = [paths.read_for(job.settings, job.required("data")) for job in jobs]
    name = settings["method"]
    method = find_method(name, "offline")
    config = build(method.Config, settings["config"], "config")
    starts = [starting_agents(job.paths("agents"), name) for job in jobs]
    if ":" in name:
        agents = starts[0].agents if starts[0] else ()
        try_offline_method(name, method, config, recordings[0], agents)
        compute = one_by_one(compute)
    schedule = build(OfflineSchedule, settings["schedule"], "schedule")
    parts = [
        Part(transitions, loop_job(job, job.about["label"], job.about["seeds"], compute), start)
        for job, transitions, start in zip(jobs, recordings, starts, strict=True)
    ]
    for job, trained in zip(jobs, pretrain_together(method, config, schedule, parts), strict=True):
        provenance = collect(job.settings, job.about["seeds"], arithmetic())
        checkpoints.save_numbered(
            job.output("agents"), "agent", job.about["seeds"], trained.agents, provenance
        )
        write_curves(job.output("curves"), trained.curve, provenance)
