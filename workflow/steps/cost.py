"""Print what a configuration costs, before anyone starts it: hours by stage, memory and disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.training import acceleration
from storage.provenance import hardware
from workflow import cli, cost, jobs
from workflow.plan import Plan


def main(options: argparse.Namespace) -> None:
    """Calibrate, estimate, print."""
    acceleration.prepare_process()
    plan = Plan(jobs.read(options.file).settings)
    jobs.with_scores(plan.data.registered)
    speed = cost.calibrate()
    print(
        f"{plan.places.run}: a core of {speed.product:.0f} GFLOP/s in products, {speed.small:.2f} us"
        f" an operation, {speed.update:.0f} us a small update.\n"
    )
    model = cost.Model(speed)
    estimate = cost.Estimate(plan, model)
    print(cost.table(estimate.jobs, options.cores))
    print(cost.origin(model.measured["hardware"], hardware()))
    if estimate.on_gpu:
        print(cost.gpu_origin(cost.H100, estimate.device))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("file", type=Path, help="the job's file")
    arguments.add_argument("--cores", type=int, required=True, help="cores that jobs may use at once")
    cli.run(main, arguments)
