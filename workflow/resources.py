"""What a job may take of memory, disk and time, for profiles and the local scheduler, by its rule."""

from __future__ import annotations

from typing import NamedTuple

from workflow.jobs import Job


class Resources(NamedTuple):
    """MB of memory and of disk, and minutes."""

    mem_mb: int = 2000
    disk_mb: int = 1000
    runtime: int = 60


_OF_RULE = {
    "behaviour": Resources(2000, 2000, 720),
    "record": Resources(4000, 10_000, 240),
    "train": Resources(4000, 2000, 720),
    "likelihood": Resources(runtime=240),
    # Members of a group, which asks for the sum of their times.
    "figure": Resources(runtime=10),
    "pictures": Resources(runtime=10),
    "reproduction": Resources(runtime=30),
}
_IMAGES = Resources(8000, 10_000, 720)


def resources_of(job: Job, attempt: int = 1) -> dict[str, int]:
    """`mem_mb`, `disk_mb` and `runtime` of a job; memory twice and three times at further attempts.

    Time need not grow: what a limit ends goes on where it stopped. So a limit has to leave room for one
    checkpoint_interval, and the attempts together for the whole job.
    """
    images = job.rule == "train" and "options" in job.settings
    found = _IMAGES if images else _OF_RULE.get(job.rule, Resources())
    return found._replace(mem_mb=found.mem_mb * min(attempt, 3))._asdict()
