"""Print the jobs that a configuration consists of, in a page."""

from __future__ import annotations

from workflow.jobs import Job
from workflow.table import Table, printed


def main(job: Job) -> None:
    """Print the table of the configuration that the job's settings are."""
    print(printed(Table(job.settings).jobs.values()))
