"""How speed and memory grow: agents learning side by side, batches, datasets, cores.

    OMP_NUM_THREADS=1 python -m benchmarks.scaling --output benchmarks/results/scaling.json

Updates are timed on one thread in processor time, after one to warm up; the sizes take turns, so that a
machine that becomes slower does so for all. Memory is the most a process of its own ever held. The DAG is the
smoke configuration's up to its statistics, run anew with each number of cores; what more cores would take is
estimated from the times its jobs took on one, started as soon as what they wait for is done.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from algorithms.methods import cql, sac
from algorithms.methods.cql import CQLConfig
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.replay.batch import Batch
from algorithms.replay.stores import OfflineData
from algorithms.training.acceleration import prepare_process
from benchmarks.memory import peak_gigabytes
from benchmarks.random_data import random_transitions
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE, Update, random_batch, timed
from storage.files import write_json
from storage.provenance import hardware, versions
from workflow.code_hash import ROOT
from workflow.configuration import read
from workflow.cost.estimate import Estimate
from workflow.cost.jobs import makespan
from workflow.cost.machine import Model, calibrate
from workflow.plan import Plan

POPULATIONS = (1, 2, 5, 10, 20, 40, 80)
BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
MEMORY_POPULATIONS = (1, 20, 40, 80)
MEMORY_ROWS = (10_000, 500_000, 1_000_000, 2_000_000)
CONFIGURATION = ROOT / "config" / "smoke.yaml"
TARGET = "results/smoke/statistics/statistics.json"
METHODS: dict[str, tuple[Any, Callable[[ActorCritics, Batch, Any], object]]] = {
    "CQL": (CQLConfig, lambda agents, batch, config: cql.update(agents, batch, config, step=10**9)),
    "SAC": (SACConfig, sac.update),
}


def update(method: str, agents: int, rows: int) -> Update:
    """One update of so many agents on a batch of so many rows each."""
    kind, step = METHODS[method]
    config = kind(batch_size=rows)
    population = ActorCritics(range(agents), OBSERVATION_SIZE, ACTION_SIZE, config)
    population.initialise()
    batch = random_batch(0, rows, agents)
    return lambda: step(population, batch, config)


def measure_updates(sizes: Sequence[tuple[int, int]], rounds: int) -> list[dict[str, Any]]:
    """Milliseconds an update of each method at each (agents, rows), round by round."""
    entries = [(method, agents, rows) for method in METHODS for agents, rows in sizes]
    updates = {entry: update(*entry) for entry in entries}
    found: dict[Any, list[float]] = {entry: [] for entry in entries}
    for turn in range(rounds + 1):
        for entry, work in updates.items():
            milliseconds = timed(work, 1 if entry[1] * entry[2] > 2048 else 4)["processor_ms"]
            if turn:
                found[entry].append(milliseconds)
    return [
        {
            "method": method,
            "agents": agents,
            "rows": rows,
            "processor_ms": times,
            "agent_updates_per_second": 1e3 * agents / statistics.median(times),
        }
        for (method, agents, rows), times in found.items()
    ]


def hold(agents: int, rows: int) -> None:
    """Learn twice from a dataset and tell the most memory that took; what a process of its own does."""
    prepare_process(threads=1)
    config = CQLConfig()
    data = OfflineData.from_transitions(random_transitions(rows))
    population = ActorCritics(range(agents), OBSERVATION_SIZE, ACTION_SIZE, config)
    population.initialise()
    for _ in range(2):
        batch = data.gather(torch.randint(rows, (agents, config.batch_size)))
        cql.update(population, batch, config, step=10**9)
    print(json.dumps(peak_gigabytes()))


def measure_memory() -> list[dict[str, Any]]:
    """Gigabytes against agents with little data, and against data with one agent."""
    sizes = [(agents, MEMORY_ROWS[0]) for agents in MEMORY_POPULATIONS]
    sizes += [(1, rows) for rows in MEMORY_ROWS[1:]]
    found = []
    for agents, rows in sizes:
        command = [sys.executable, "-m", "benchmarks.scaling", "--hold", str(agents), str(rows)]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append({"agents": agents, "rows": rows, "peak_gb": json.loads(told.stdout)})
    return found


def measure_dag(cores: Sequence[int]) -> dict[str, Any]:
    """Seconds of the clock with each number of cores, and those that the jobs' own times make."""
    found: dict[str, Any] = {"configuration": CONFIGURATION.name, "target": TARGET, "measured_s": {}}
    jobs = Estimate(Plan(read(CONFIGURATION)), Model(calibrate())).jobs
    jobs = {name: job for name, job in jobs.items() if job.stage not in ("likelihood", "figures")}
    found["model_s"] = {str(count): makespan(jobs, count) for count in (1, 2, 4, 8, 16, 32)}
    for count in cores:
        with tempfile.TemporaryDirectory() as folder:
            seconds, took = run_dag(Path(folder), count)
        found["measured_s"][str(count)] = seconds
        if count == 1:
            timed_jobs = {name: jobs[name]._replace(seconds=seconds) for name, seconds in took.items()}
            found["from_job_times_s"] = {str(c): makespan(timed_jobs, c) for c in (1, 2, 4, 8, 16, 32)}
    return found


def run_dag(folder: Path, cores: int) -> tuple[float, dict[str, float]]:
    """Run the DAG to its target in `folder`: seconds of all of it, and of each job."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), TARGET]
    command += ["--cores", str(cores), "--configfile", str(CONFIGURATION), "--quiet", "all"]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    seconds = time.perf_counter() - start
    benchmarks = folder / "results" / "smoke" / "benchmarks"
    took = {
        str(path.relative_to(benchmarks).with_suffix("")): json.loads(path.read_text())["s"]
        for path in benchmarks.rglob("*.jsonl")
    }
    return seconds, took


def main() -> None:
    """Measure the parts asked for and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("agents", "batches", "memory", "dag")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="of the DAG's runs")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--hold", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        hold(*arguments.hold)
        return
    prepare_process(threads=1)
    measures: dict[str, Callable[[], Any]] = {
        "agents": lambda: measure_updates([(agents, 256) for agents in POPULATIONS], arguments.rounds),
        "batches": lambda: measure_updates([(1, rows) for rows in BATCHES], arguments.rounds),
        "memory": measure_memory,
        "dag": lambda: measure_dag(arguments.cores),
    }
    document: dict[str, Any] = {"load_average": os.getloadavg()[0]}
    for part in arguments.parts:
        document[part] = measures[part]()
        print(f"{part}: {json.dumps(document[part])}", flush=True)
    if arguments.output:
        write_json(arguments.output, {**document, "hardware": hardware(), "versions": versions()})


if __name__ == "__main__":
    main()
