"""Run a job of a configuration, by the file with its settings, or several that pre-train side by side.

    python -m workflow.train results/pilot/jobs/train/halfcheetah-random/cql/agents_0-3.json

Snakemake writes the files when it starts, and runs the same: the step that the file names.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

import workflow.steps
from storage import UserError
from workflow import cli, jobs
from workflow.jobs import SIDE_BY_SIDE


def main(options: argparse.Namespace) -> None:
    """Run the step of the jobs in `options.files`. UserError where one names none, or several have no one."""
    found = [jobs.read(file) for file in options.files]
    known = [module.name for module in pkgutil.iter_modules(workflow.steps.__path__, "workflow.steps.")]
    for job in found:
        if job.step not in known:
            raise UserError(f"step is {job.step!r}: expected one of {', '.join(known)}.")
        if len(found) > 1 and job.step != SIDE_BY_SIDE:
            raise UserError(f"{job.name} runs alone: expected one file, or several of {SIDE_BY_SIDE}.")
        jobs.with_scores(job.about.get("registered", {}))
    importlib.import_module(found[0].step).main(*found)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "files", type=Path, nargs="+", help="the job's file, results/<name>/jobs/<rule>/<job>.json"
    )
    cli.run(main, arguments)
