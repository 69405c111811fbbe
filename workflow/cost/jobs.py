"""What a job takes in time, memory and disk, and what many take on so many cores."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from workflow.chains import FLOAT
from workflow.cost.machine import BILLION

ADAM = 4  # a parameter, its gradient and Adam's two moments
STAGES = (
    "behaviour", "record", "pretrain", "fine_tune", "behaviours", "likelihood", "statistics", "figures",
)  # fmt: skip
HOUR = 3600.0


class Job(NamedTuple):
    """One job of the DAG; one core."""

    stage: str
    seconds: float
    memory_gb: float
    disk_gb: float  # that stays
    after: tuple[str, ...] = ()  # jobs it waits for
    operations: float = 0.0  # floating-point, of training
    gpu_gb: float = 0.0  # of a GPU's memory; jobs that take some take turns


def state_gb(numbers: int) -> float:
    """Agents of so many numbers with their optimiser and targets, in GB."""
    return numbers * FLOAT * (ADAM + 1) / BILLION


def agent_bytes(job: Job, agents: int) -> float:
    """Return the size of an agent's file, of so many that a pre-training job leaves beside their state."""
    return job.disk_gb * BILLION / 2 / (ADAM + 1) / agents


def makespan(jobs: Mapping[str, Job], cores: int) -> float:
    """Seconds until all jobs are done on `cores` cores, each started as soon as it can be, in their order.

    Jobs that need a GPU take turns at one.
    """
    waiting = {name: {before for before in job.after if before in jobs} for name, job in jobs.items()}
    running: list[tuple[float, int, str]] = []
    order = {name: place for place, name in enumerate(jobs)}
    now = 0.0
    while waiting or running:
        ready = [name for name, before in waiting.items() if not before]
        taken = any(jobs[name].gpu_gb for *_, name in running)
        on_gpu = [name for name in ready if jobs[name].gpu_gb]
        waits = set(on_gpu if taken else on_gpu[1:])
        for name in [name for name in ready if name not in waits][: cores - len(running)]:
            del waiting[name]
            heapq.heappush(running, (now + jobs[name].seconds, order[name], name))
        now, _, done = heapq.heappop(running)
        for before in waiting.values():
            before.discard(done)
    return now


def table(jobs: Mapping[str, Job], cores: int) -> str:
    """Print a line a stage, then the whole on so many cores, as text; a GPU has a column where it is used."""
    everything = list(jobs.values())
    on_gpu = any(job.gpu_gb for job in everything)
    heading = (
        f"{'stage':12} {'jobs':>5} {'core-hours':>11} {'longest, h':>11} {'memory, GB':>11} {'disk, GB':>9}"
    )
    lines = [heading + (f" {'of a GPU, GB':>13}" if on_gpu else "")]

    def line(stage: str, members: Sequence[Job], longest: float, memory: float) -> None:
        total, disk = sum(job.seconds for job in members) / HOUR, sum(job.disk_gb for job in members)
        cells = (
            f"{stage:12} {len(members):5d} {total:11.2f} {longest / HOUR:11.3f} {memory:11.2f} {disk:9.2f}"
        )
        of_gpu = max(job.gpu_gb for job in members)
        lines.append(cells + (f" {of_gpu:13.2f}" if on_gpu else ""))

    for stage in STAGES:
        if members := [job for job in everything if job.stage == stage]:
            line(stage, members, max(job.seconds for job in members), max(job.memory_gb for job in members))
    line("all", everything, makespan(jobs, cores), _at_once(everything, cores))
    said = f"The last line: hours from start to end, memory at once, on {cores} of {os.cpu_count()} cores"
    lines.append(said + (" and one GPU." if on_gpu else "."))
    return "\n".join(lines)


def _at_once(jobs: Sequence[Job], cores: int) -> float:
    """GB of the largest jobs that can run together."""
    turns = sorted((job.memory_gb for job in jobs if job.gpu_gb), reverse=True)[:1]
    others = sorted((job.memory_gb for job in jobs if not job.gpu_gb), reverse=True)
    return sum(sorted([*turns, *others], reverse=True)[:cores])
