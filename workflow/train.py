"""Run one job of a plan alone, by the file that holds its settings.

    python -m workflow.train results/pilot/jobs/train/halfcheetah-random/cql/agents_0-3.json

Snakemake writes the files when it starts, and runs the same: the step that the file names.
"""

from __future__ import annotations

import importlib
import pkgutil

import workflow.steps
from storage import UserError
from workflow import cli
from workflow.jobs import Job


def main(job: Job) -> None:
    """Run the job's step. UserError where it names none."""
    known = [module.name for module in pkgutil.iter_modules(workflow.steps.__path__, "workflow.steps.")]
    if job.step not in known:
        raise UserError(f"step is {job.step!r}: expected one of {', '.join(known)}.")
    importlib.import_module(job.step).main(job)


if __name__ == "__main__":
    cli.run_job(main, __doc__)
