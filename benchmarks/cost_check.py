"""Compare what `snakemake cost` says of a configuration with what a finished run of it took.

    python -m benchmarks.cost_check config/smoke.yaml results/smoke --output cost_smoke.json

Every job that has left a file in `benchmarks/` of the run counts: the processor time that Snakemake sampled
and the most memory it saw, beside the model's at the speed of this machine now. Jobs of less than a few
seconds are sampled coarsely, and a machine that was busier during the run than it is now was slower.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from algorithms.training.acceleration import prepare_process
from storage.files import write_json
from storage.provenance import hardware, versions
from workflow.configuration import read
from workflow.cost.estimate import Estimate
from workflow.cost.machine import Model, calibrate
from workflow.plan import Plan


def compare(configuration: Path, results: Path) -> list[dict[str, Any]]:
    """One row a job that has been measured."""
    found = []
    for name, job in Estimate(Plan(read(configuration)), Model(calibrate())).jobs.items():
        path = results / "benchmarks" / f"{name}.jsonl"
        if path.exists():
            measured = json.loads(path.read_text().splitlines()[-1])
            found.append(
                {
                    "job": name,
                    "stage": job.stage,
                    "model_s": job.seconds,
                    "processor_s": measured["cpu_time"],
                    "clock_s": measured["s"],
                    "model_gb": job.memory_gb,
                    "measured_gb": measured["max_rss"] * 2**20 / 1e9,
                }
            )
    return found


def by_stage(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of times and largest memories of each stage, and of all."""
    stages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        stages[job["stage"]].append(job)
    stages["all"] = jobs
    return [
        {
            "stage": stage,
            "jobs": len(members),
            **{key: sum(job[key] for job in members) for key in ("model_s", "processor_s", "clock_s")},
            **{key: max(job[key] for job in members) for key in ("model_gb", "measured_gb")},
        }
        for stage, members in stages.items()
    ]


def main() -> None:
    """Print a line a stage, and write every job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configuration", type=Path)
    parser.add_argument("results", type=Path, help="the run's folder")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    prepare_process(threads=1)
    jobs = compare(arguments.configuration, arguments.results)
    if not jobs:
        parser.error(f"{arguments.results}/benchmarks has no file of a job of {arguments.configuration}")
    stages = by_stage(jobs)
    for row in stages:
        print(
            f"{row['stage']:12} {row['jobs']:4d} jobs: model {row['model_s']:8.0f} s,"
            f" took {row['processor_s']:8.0f} s of the processor, {row['clock_s']:8.0f} s of the clock,"
            f" ratio {row['model_s'] / row['processor_s']:.2f};"
            f" {row['model_gb']:.2f} GB, held {row['measured_gb']:.2f} GB"
        )
    if arguments.output:
        document = {
            "configuration": arguments.configuration.name,
            "stages": stages,
            "jobs": jobs,
            "hardware": hardware(),
            "versions": versions(),
        }
        write_json(arguments.output, document)


if __name__ == "__main__":
    main()
