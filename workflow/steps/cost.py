"""Print what a configuration costs, before anyone starts it: hours by stage, memory and disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.training import acceleration
from storage import UserError
from storage.provenance import hardware
from workflow import cli, cost, jobs
from workflow.plan import Plan


def main(options: argparse.Namespace) -> None:
    """Calibrate, estimate, print."""
    acceleration.prepare_process()
    plan = Plan(jobs.read(options.file).settings)
    if plan.images:
        raise UserError("the datasets are tasks with images: the model of the cost knows vectors alone")
    if plan.configuration.get("compute", {}).get("device") == "cuda":
        raise UserError("compute.device is cuda: the model of the cost knows CPUs alone; expected cpu")
    speed = cost.calibrate()
    print(
        f"{plan.run}: a core of {speed.product:.0f} GFLOP/s in products, {speed.small:.2f} us an operation.\n"
    )
    model = cost.Model(speed)
    print(cost.table(cost.Estimate(plan, model).jobs, options.cores))
    print(cost.origin(model.measured["hardware"], hardware()))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("file", type=Path, help="the job's file")
    arguments.add_argument("--cores", type=int, required=True, help="cores that jobs may use at once")
    cli.run(main, arguments)
