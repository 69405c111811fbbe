"""Peak memory of the training processes with a dataset of a million transitions.

    python -m benchmarks.memory --output memory.json
    python -m benchmarks.memory --datasets FOLDER --dataset halfcheetah/random-local-v0

Each job runs in a process of its own, through the functions that the workflow calls, checkpoints and
evaluations included, and tells the most memory it ever held. Without `--datasets` the transitions are
random numbers of HalfCheetah's sizes; with it they are read from a Minari dataset, which counts too. The
online buffer and sum tree have room for 250,000 steps, and all but the last few are filled beforehand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.replay.batch import FIELDS, Batch
from algorithms.training.acceleration import prepare_process
from algorithms.training.fine_tuning import make_learner
from algorithms.training.jobs import Job
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule, run_online
from algorithms.training.worlds import world_of
from benchmarks.random_data import ENVIRONMENT, random_transitions
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE
from offline_data.minari_io import read_transitions
from offline_data.transitions import Transitions
from storage.files import write_json
from storage.provenance import hardware, versions

LIMIT_GB = 2.0
ONLINE_STEPS = 250_000  # room in the online buffer: the paper's run
LAST_STEPS = 200  # collected and learned from here


def make_job(folder: str, label: str) -> Job:
    """A job that keeps its state in a temporary folder."""
    return Job("memory", label, "halfcheetah-random", ENVIRONMENT, [0], "0" * 12, Path(folder))


def loading(transitions: Transitions) -> None:
    """Nothing but the dataset."""


def pretraining(transitions: Transitions) -> None:
    """CQL of one agent: evaluations before and after, a checkpoint."""
    schedule = OfflineSchedule(updates=50, evaluation_interval=50, checkpoint_interval=50)
    with tempfile.TemporaryDirectory() as folder:
        pretrain(CQL, CQLConfig(), schedule, transitions, make_job(folder, "cql"))


def fine_tuning(method: str, members: int) -> Callable[[Transitions], None]:
    """The last steps of a full-length online run of `method`."""

    def run(transitions: Transitions) -> None:
        config = find_method(method, "online").Config()
        sizes = (OBSERVATION_SIZE, ACTION_SIZE)
        agents = ActorCritics(range(members), *sizes, config)
        agents.initialise()
        pretrained = [one_agent(agents, index) for index in range(members)]
        whole, online = OnlineSchedule(steps=ONLINE_STEPS), find_method(method, "online")
        earlier = random_transitions(ONLINE_STEPS - LAST_STEPS)
        fields = (torch.from_numpy(getattr(earlier, name)).unsqueeze(0) for name in FIELDS)
        end = OnlineSchedule(
            steps=LAST_STEPS,
            block_size=LAST_STEPS,
            first_block_multiplier=1,
            evaluation_interval=LAST_STEPS,
            checkpoint_interval=LAST_STEPS,
        )
        with tempfile.TemporaryDirectory() as folder:
            job = make_job(folder, method)
            learner = make_learner(online, config, whole, transitions, pretrained, job, world_of(job))
            learner.replay.add(Batch(*fields))
            run_online(end, learner, job)

    return run


JOBS: dict[str, Callable[[Transitions], None]] = {
    "dataset alone": loading,
    "CQL, one agent": pretraining,
    "SAC-ft, one agent": fine_tuning("sac_ft", 1),
    "Off2On, ensemble of five": fine_tuning("off2on", 5),
}


def peak_gigabytes() -> float:
    """The most memory this process ever held (Linux). `getrusage` would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("/proc/self/status has no VmHWM line")


def measure(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one job in a process of its own; peak memory in GB."""
    command = [sys.executable, "-m", "benchmarks.memory", "--job", name, "--size", str(arguments.size)]
    if arguments.datasets:
        command += ["--datasets", str(arguments.datasets), "--dataset", arguments.dataset]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"{name} failed:\n{finished.stderr}")
    answer: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def run_job(name: str, arguments: argparse.Namespace) -> None:
    """What the job's process does."""
    prepare_process(threads=1)
    before = peak_gigabytes()
    if arguments.datasets:
        transitions = read_transitions(arguments.datasets, arguments.dataset)
    else:
        transitions = random_transitions(arguments.size)
    loaded = peak_gigabytes()
    JOBS[name](transitions)
    arrays = (getattr(transitions, field).nbytes for field in (*FIELDS, "episode_ends"))
    print(
        json.dumps(
            {
                "transitions": len(transitions.rewards),
                "dataset_gb": sum(arrays) / 1e9,
                "imports_gb": before,
                "after_loading_gb": loaded,
                "peak_gb": peak_gigabytes(),
            }
        )
    )


def main() -> None:
    """Measure each job, print a line each, and write everything if told where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000, help="transitions, where they are random")
    parser.add_argument("--datasets", type=Path, help="Minari folder with a recorded dataset")
    parser.add_argument("--dataset", default="halfcheetah/random-local-v0")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--job", choices=list(JOBS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(arguments.job, arguments)
        return

    results = {}
    for name in JOBS:
        results[name] = measure(name, arguments)
        print(f"{name:26} {results[name]['peak_gb']:.2f} GB (limit {LIMIT_GB} GB)", flush=True)
    if arguments.output:
        source = arguments.dataset if arguments.datasets else "random numbers"
        document = {"source": source, "jobs": results, "hardware": hardware(), "versions": versions()}
        write_json(arguments.output, document)


if __name__ == "__main__":
    main()
