"""What a job may take of memory, disk and time, by the model of the cost (`workflow.cost`)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from storage.files import read_json
from workflow.jobs import Job
from workflow.table import Table

if TYPE_CHECKING:
    from workflow.cost import Estimate

_MEMORY, _TIME = 1.5, 4.0
"""How many times the model's: it knows one processor alone, and clusters have slower ones."""
_SPARE_MB = 1000
_SHORTEST = {"figure": 10, "pictures": 10, "reproduction": 30}
"""Minutes at least, else an hour: members of a group of jobs ask for the sum of their times."""
_IMAGES_MB, _IMAGES_MINUTES = 8000, 720
"""Of a job on images, which the model does not know."""
_OTHERS_MB = 2000


def resources_of(table: Table, job: Job, attempt: int = 1) -> dict[str, int]:
    """`mem_mb`, `disk_mb` and `runtime` (minutes) of a job at its first, second or third attempt.

    Time need not grow: what a limit ends goes on where it stopped.
    """
    memory, disk, minutes = float(_OTHERS_MB), float(_SPARE_MB), float(_SHORTEST.get(job.rule, 60))
    estimated = _estimate(table).jobs.get(job.name)
    if estimated is not None:
        memory = _SPARE_MB + 1e3 * _MEMORY * estimated.memory_gb
        disk += 1e3 * _MEMORY * estimated.disk_gb
        minutes = max(minutes, _TIME * estimated.seconds / 60)
    elif job.rule in ("train", "record"):
        memory, disk, minutes = _IMAGES_MB, 10 * _SPARE_MB, _IMAGES_MINUTES
    rounded = {"mem_mb": memory * min(attempt, 3), "disk_mb": disk, "runtime": minutes}
    return {name: math.ceil(value) for name, value in rounded.items()}


@cache
def _estimate(table: Table) -> Estimate:
    """The costs of the table's jobs on the machine that was measured."""
    from workflow import cost  # torch takes a second to import

    speed = cost.Speed(**read_json(cost.MEASURED)["speed"])
    return cost.Estimate(table.plan, cost.Model(speed))
