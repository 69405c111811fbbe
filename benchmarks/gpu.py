"""What a GPU does in an hour: updates beside the peers' on the same GPU, and whole loops.

    OMP_NUM_THREADS=1 python -m benchmarks.gpu --seconds 300 --output benchmarks/results/gpu.json

Updates: CORL's CQL (one agent, as it comes) and a CQL in JAX (jitted in blocks, one agent and twenty side
by side; left out where JAX is not installed) beside 1 and 20 agents of ours, one update launched at a time
and in captured blocks, in float32, with TF32 and with the bfloat16 penalty; the authors' Off2On and rlkit's
SAC beside runs of four seeds. Ours and JAX's read a dataset of a million transitions, and ours keep the log
that a loop keeps; the other peers learn from one batch that is there already. A rate is that of the clock,
in agent-updates a second (of an ensemble: of ensembles).

Loops: pre-training of 20 agents and Off2On of four seeds as a job runs them, evaluation, collection and
checkpoints included, each twice, one twice as long as the other: the difference is what a longer run costs,
from which the published lengths are estimated (a little low online, where checkpoints grow with the buffer).

Each contender runs in a process of its own, since a capture that fails spoils its process, the most telling
first, until --seconds have passed; a line is printed and the file written after each. `--device cpu` tries
the same commands where there is no GPU, with nothing captured.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.interface import OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS
from algorithms.replay.stores import OfflineData
from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.cuda_graphs import WARM_UP, Updates
from algorithms.training.fine_tuning import fine_tune, make_learner
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule
from algorithms.training.worlds import world_of
from benchmarks.contenders import authors_off2on, corl_cql, rlkit_sac
from benchmarks.random_data import ENVIRONMENT, random_transitions
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE, Update, random_batch
from storage import UserError
from storage.files import read_json, write_json
from storage.provenance import hardware, versions

OFFLINE_UPDATES, ONLINE_STEPS = 1_000_000, 250_000  # [S] D.1
AGENTS, SEEDS, MEMBERS = 20, 4, 5  # [S] D.1
LOOPS = ("pre-training", "fine-tuning")
DIVERGED = 1e30  # what is learned here means nothing
TARGETS = {"agent-updates beside CORL's": 60.0, "pre-training, hours": 0.75, "fine-tuning, hours": 0.25}

NETWORK_BYTES, START_BYTES, ROW_BYTES = 10 * 2**20, 2**30, 168  # an agent, the process, a transition
ACTIVATION_BYTES, ACTIVATIONS = 7680 * 256 * 4, 10  # of a critic in the penalty, and how many of them at once

MakeUpdates = Callable[[int], None]
"""So many updates, one after the other."""


class Contender(NamedTuple):
    """Who is timed."""

    name: str
    agents: int  # that an update is of
    tf32: bool
    make: Callable[[], MakeUpdates]
    networks: int = 1  # agents and members of ensembles
    penalised: bool = True  # whether critics judge the penalty's candidates

    def most_bytes(self, rows: int) -> int:
        """An upper bound on what it holds of a GPU's memory, estimated from the sizes."""
        activations = 2 * self.agents * ACTIVATIONS * ACTIVATION_BYTES if self.penalised else 0
        return START_BYTES + rows * ROW_BYTES + self.networks * NETWORK_BYTES + activations


class Sizes(NamedTuple):
    """How much is measured."""

    device: str
    rows: int  # transitions of the dataset
    per_graph: int  # updates captured together
    rounds: int
    updates: int  # of each contender in a round
    loop_updates: int  # of the shorter pre-training
    loop_steps: int  # of the shorter fine-tuning


def peer(make: Callable[[], Update], device: str) -> Callable[[], MakeUpdates]:
    """A peer's update, its networks and its batch on `device`."""

    def made() -> MakeUpdates:
        with torch.device(device):
            update = make()

        def run(count: int) -> None:
            for _ in range(count):
                update()

        return run

    return made


def logged(updates: Updates, seeds: Sequence[int]) -> MakeUpdates:
    """Updates and what a loop does with their metrics."""
    log = TrainingLog("benchmark", "method", "data", seeds, DIVERGED, phase="online", unit="step")

    def run(count: int) -> None:
        for step, metrics in enumerate(updates.make(count)):
            log.add(metrics, step)

    return run


def our_cql(agents: int, compute: Compute, rows: int, **numbers: Any) -> MakeUpdates:
    """CQL past every warm start, from a dataset of `rows`."""
    seeds, config = range(agents), CQLConfig(**numbers)
    learner = CQL.begin_offline(OfflineStart(seeds, OBSERVATION_SIZE, ACTION_SIZE, []), config)
    learner.agents.move_to(compute.device)
    data = OfflineData.from_transitions(random_transitions(rows), compute.device)
    draws = Streams(seeds, compute.device)

    def update() -> dict[str, torch.Tensor]:
        return learner.update(data.gather(draws.integers(len(data), config.batch_size)), 10**9)

    return logged(Updates(update, (draws, learner.agents.streams), compute.updates_per_graph), seeds)


def our_online(method: str, compute: Compute, rows: int) -> MakeUpdates:
    """An online method of `SEEDS` runs, with a block collected beside a dataset of `rows`."""
    seeds, config = range(SEEDS), find_method(method, "online").Config()
    online, data = OnlineSchedule(steps=1000), None if method == "sac" else random_transitions(rows)
    members = [] if method == "sac" else trained_members()
    job = Job("benchmark", method, "random", ENVIRONMENT, seeds, "0" * 12, Path(), compute)
    kind = find_method(method, "online")
    learner = make_learner(kind, config, online, data, members, job, world_of(job))
    block = random_batch(0, online.steps, SEEDS)
    learner.replay.add(block.map(lambda field: field.to(compute.device)))
    streams = (learner.draws, learner.agents.streams)
    return logged(Updates(learner.learn, streams, compute.updates_per_graph), seeds)


def trained_members() -> list[dict[str, torch.Tensor]]:
    """Agents for `SEEDS` ensembles, fresh ones: what they know changes no time."""
    start = OfflineStart(range(SEEDS * MEMBERS), OBSERVATION_SIZE, ACTION_SIZE, [])
    learner = CQL.begin_offline(start, CQLConfig())
    return [one_agent(learner.agents, index) for index in range(SEEDS * MEMBERS)]


def jax_cql(agents: int, tf32: bool, rows: int, per_block: int) -> MakeUpdates:
    """The CQL in JAX, from a dataset of `rows`."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # read when JAX first sees the GPU
    from benchmarks.peers.jax_cql import make_updates

    data = random_transitions(rows)
    return make_updates([getattr(data, name) for name in FIELDS], agents, per_block, tf32)


def contenders(sizes: Sizes) -> list[Contender]:
    """Who is timed on a device, the most telling first; captured ones on a GPU alone."""
    device, rows, per_graph = sizes.device, sizes.rows, sizes.per_graph
    on_gpu = device == "cuda"
    eager = Compute("cuda") if on_gpu else Compute()
    captured = Compute("cuda", updates_per_graph=per_graph) if on_gpu else eager
    members, per_block = SEEDS * MEMBERS, max(1, per_graph)

    def ours(suffix: str, compute: Compute, tf32: bool) -> list[Contender]:
        return [
            Contender(
                f"CQL, {AGENTS} agents{suffix}", AGENTS, tf32, lambda: our_cql(AGENTS, compute, rows), AGENTS
            ),
            Contender(f"CQL, 1 agent{suffix}", 1, tf32, lambda: our_cql(1, compute, rows)),
            Contender(
                f"Off2On, {SEEDS} seeds{suffix}",
                SEEDS,
                tf32,
                lambda: our_online("off2on", compute, rows),
                members,
                penalised=False,
            ),
            Contender(
                f"SAC, {SEEDS} seeds{suffix}",
                SEEDS,
                tf32,
                lambda: our_online("sac", compute, rows),
                SEEDS,
                penalised=False,
            ),
        ]

    def in_jax(agents: int, tf32: bool, suffix: str) -> Contender:
        name = f"JAX CQL, {agents} agent{'s' * (agents > 1)}{suffix}"
        return Contender(name, agents, tf32, lambda: jax_cql(agents, tf32, rows, per_block), agents)

    peers = [
        Contender("CORL's CQL", 1, False, peer(corl_cql, device)),
        Contender("the authors' Off2On", 1, False, peer(authors_off2on, device), MEMBERS, penalised=False),
        Contender("rlkit's SAC", 1, False, peer(rlkit_sac, device), penalised=False),
    ]
    if not on_gpu:
        return [*ours("", eager, False), *peers, in_jax(AGENTS, False, ""), in_jax(1, False, "")]
    reduced = Contender(
        f"CQL, {AGENTS} agents, captured, TF32, bfloat16 penalty",
        AGENTS,
        True,
        lambda: our_cql(AGENTS, captured, rows, reduced_precision_penalty=True),
        AGENTS,
    )
    fast = ours(", captured, TF32", captured, True)
    return [
        fast[0],
        peers[0],
        in_jax(AGENTS, True, ", TF32"),
        fast[1],
        in_jax(1, True, ", TF32"),
        reduced,
        *fast[2:],
        *peers[1:],
        *ours(", captured", captured, False),
        in_jax(AGENTS, False, ""),
        *ours(", launched one by one", eager, False),
    ]


def measure_updates(entry: Contender, sizes: Sizes) -> dict[str, Any]:
    """Milliseconds of the clock an update of a contender, round by round."""
    choose_precision(sizes.device, entry.tf32)
    run = entry.make()
    run(WARM_UP + sizes.per_graph)  # and here a block is captured
    times = [
        1e3 * clocked(lambda: run(sizes.updates), sizes.device) / sizes.updates for _ in range(sizes.rounds)
    ]
    peak = torch.cuda.max_memory_allocated() if sizes.device == "cuda" else None
    return {
        "name": entry.name,
        "agents": entry.agents,
        "clock_ms": times,
        "agent_updates_per_second": 1e3 * entry.agents / statistics.median(times),
        "pytorch_peak_bytes": peak,
    }


def choose_precision(device: str, tf32: bool) -> None:
    """Of a GPU's products from here on."""
    if device == "cuda":
        prepare_process(Compute("cuda", tf32=tf32))


def clocked(work: Callable[[], object], device: str) -> float:
    """Seconds of the clock until the device has done `work`."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait for a GPU; a CPU has nothing left to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_loop(name: str, sizes: Sizes) -> dict[str, Any]:
    """Seconds of a short and a twice as long run of a phase, and hours of one of the published length."""
    on_gpu = sizes.device == "cuda"
    compute = Compute("cuda", True, sizes.per_graph, 8, evaluation_beside=True) if on_gpu else Compute()
    prepare_process(compute)
    transitions, members = random_transitions(sizes.rows), trained_members()

    def offline(length: int, job: Job) -> object:
        interval = min(sizes.loop_updates, 5_000)  # the published schedule's
        schedule = OfflineSchedule(
            length, evaluation_interval=interval, checkpoint_interval=interval, largest_q=DIVERGED
        )
        return pretrain(
            CQL, CQLConfig(), schedule, transitions, job._replace(label="cql", seeds=range(AGENTS))
        )

    def online(length: int, job: Job) -> object:
        method, schedule = find_method("off2on", "online"), OnlineSchedule(length, largest_q=DIVERGED)
        job = job._replace(label="off2on", seeds=range(SEEDS))
        return fine_tune(method, method.Config(), schedule, transitions, members, job)

    phases: dict[str, tuple[Callable[[int, Job], object], int, int]] = {
        "pre-training": (offline, sizes.loop_updates, OFFLINE_UPDATES),
        "fine-tuning": (online, sizes.loop_steps, ONLINE_STEPS),
    }
    phase, length, published = phases[name]
    seconds = []
    for factor in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            job = Job("benchmark", "", "random", ENVIRONMENT, [], "0" * 12, Path(folder), compute)
            seconds.append(clocked(lambda: phase(factor * length, job), compute.device))  # noqa: B023
    hours = (seconds[0] + (seconds[1] - seconds[0]) * (published / length - 1)) / 3600
    return {"name": name, "length": length, "seconds": seconds, "published_hours": hours}


def line(found: dict[str, Any]) -> str:
    """What was found of a contender or a loop, in a line."""
    if "failed" in found:
        return f"{found['name']:50} {found['failed']}"
    if "published_hours" in found:
        first, second = found["seconds"]
        return (
            f"{found['name']:50} {found['length']} in {first:.1f} s, twice as many in {second:.1f} s:"
            f" {found['published_hours']:.2f} h at the published length"
        )
    times = found["clock_ms"]
    return (
        f"{found['name']:50} {statistics.median(times):9.3f} ms ({min(times):.3f}-{max(times):.3f})"
        f" {found['agent_updates_per_second']:10.0f} agent-updates/s"
    )


def measure_apart(name: str, sizes: Sizes, seconds: float) -> dict[str, Any]:
    """`measured` in a process of its own, which has so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "found.json")
        command = [sys.executable, "-m", "benchmarks.gpu", "--contender", name, "--output", str(output)]
        for key, value in sizes._asdict().items():
            command += [f"--{key.replace('_', '-')}", str(value)]
        try:
            status = subprocess.run(command, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return {"name": name, "failed": f"was not done in the {seconds:.0f} s that were left"}
        if status:
            return {"name": name, "failed": f"failed with status {status}; its process said why"}
        found: dict[str, Any] = read_json(output)
        return found


def measured(name: str, sizes: Sizes) -> dict[str, Any]:
    """What a contender or a loop takes, in this process."""
    if name in LOOPS:
        return measure_loop(name, sizes)
    return measure_updates(next(entry for entry in contenders(sizes) if entry.name == name), sizes)


def survey(parts: Sequence[str], sizes: Sizes, seconds: float, output: Path | None) -> dict[str, Any]:
    """Measure one after the other, as long as there is time; written after each."""
    deadline = time.monotonic() + seconds
    document: dict[str, Any] = {"sizes": sizes._asdict(), "targets": TARGETS}
    document |= {"hardware": hardware(), "versions": versions()}
    if sizes.device == "cuda":
        document["gpu"] = torch.cuda.get_device_name()
    entries = contenders(sizes)
    if importlib.util.find_spec("jax") is None:
        print("JAX is not installed: its CQL is left out")
        entries = [entry for entry in entries if not entry.name.startswith("JAX")]
    most = max(entry.most_bytes(sizes.rows) for entry in entries) / 1e9
    print(f"At most {most:.1f} GB of the device's memory at once, estimated from the sizes", flush=True)
    names = {"updates": [entry.name for entry in entries], "loops": list(LOOPS)}
    for part, name in [(one, name) for one in parts for name in names[one]]:
        left = deadline - time.monotonic()
        if left <= 0:
            found = {"name": name, "failed": "was left out: the time is up"}
        else:
            found = measure_apart(name, sizes, left)
        document.setdefault(part, []).append(found)
        print(line(found), flush=True)
        if output:
            write_json(output, document)
    return document


def main() -> None:
    """Measure the parts asked for and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("updates", "loops"), default=("updates", "loops"))
    parser.add_argument("--seconds", type=float, default=3600.0, help="for everything")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rows", type=int, default=1_000_000, help="transitions of the dataset")
    parser.add_argument("--per-graph", type=int, default=20, help="updates captured together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=500, help="updates of each contender in a round")
    parser.add_argument("--loop-updates", type=int, default=20_000, help="of the shorter pre-training")
    parser.add_argument("--loop-steps", type=int, default=5_000, help="of the shorter fine-tuning")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--contender", help=argparse.SUPPRESS)  # the one that a process of its own measures
    arguments = parser.parse_args()
    sizes = Sizes(**{name: getattr(arguments, name) for name in Sizes._fields})
    if sizes.device == "cpu":
        sizes = sizes._replace(per_graph=0)
    try:
        prepare_process(Compute(sizes.device))  # type: ignore[arg-type]
    except UserError as error:
        raise SystemExit(f"benchmarks.gpu: {error}") from error
    if arguments.contender:
        write_json(arguments.output, measured(arguments.contender, sizes))
    else:
        survey(arguments.parts, sizes, arguments.seconds, arguments.output)


if __name__ == "__main__":
    main()
