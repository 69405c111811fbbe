"""Run one job of a configuration, by the file that holds its settings.

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


def main(options: argparse.Namespace) -> None:
    """Run the step of the job in `options.file`. UserError where it names none."""
    job = jobs.read(options.file)
    known = [module.name for module in pkgutil.iter_modules(workflow.steps.__path__, "workflow.steps.")]
    if job.step not in known:
        raise UserError(f"step is {job.step!r}: expected one of {', '.join(known)}.")
    jobs.with_scores(job.about.get("registered", {}))
    importlib.import_module(job.step).main(job)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("file", type=Path, help="the job's file, results/<name>/jobs/<rule>/<job>.json")
    cli.run(main, arguments)
