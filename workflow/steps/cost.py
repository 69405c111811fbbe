"""Print what a configuration costs, before anyone starts it: hours by stage, memory and disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.training import acceleration
from storage.provenance import hardware
from workflow import cli, jobs
from workflow.cost import gpu, machine
from workflow.cost.estimate import Estimate
from workflow.cost.jobs import table
from workflow.plan import Plan


def main(options: argparse.Namespace) -> None:
    """Calibrate, estimate, print."""
    acceleration.prepare_process()
    plan = Plan(jobs.read(options.file).settings)
    jobs.with_scores(plan.data.registered)
    speed = machine.calibrate()
    print(
        f"{plan.places.run}: a core of {speed.product:.0f} GFLOP/s in products, {speed.small:.2f} us"
        f" an operation, {speed.update:.0f} us a small update.\n"
    )
    model = machine.Model(speed)
    estimate = Estimate(plan, model)
    print(table(estimate.jobs, options.cores))
    print(machine.origin(model.measured["hardware"], hardware()))
    if estimate.training.on_gpu:
        print(gpu.gpu_origin(gpu.H100, estimate.training.device))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("file", type=Path, help="the job's file")
    arguments.add_argument("--cores", type=int, required=True, help="cores that jobs may use at once")
    cli.run(main, arguments)
