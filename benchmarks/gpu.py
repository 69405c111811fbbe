"""What a GPU does in an hour: updates beside the peers' on the same GPU, and whole loops.

    OMP_NUM_THREADS=1 python -m benchmarks.gpu --output benchmarks/results/gpu.json

Updates: CORL's CQL (one agent, as it comes) beside 1 and 20 agents of ours, one update launched at a time and
in captured blocks, in float32, with TF32 and with the bfloat16 penalty; the authors' Off2On and rlkit's SAC
beside runs of four seeds. Ours read a dataset of a million transitions and keep the log that a loop keeps;
the peers learn from one batch that is there already. The contenders take turns; a rate is that of the clock,
in agent-updates a second (of an ensemble: of ensembles).

Loops: pre-training of 20 agents and Off2On of four seeds as a job runs them, evaluation, collection and
checkpoints included, each twice, one twice as long as the other: the difference is what a longer run costs,
from which the published lengths are reckoned (a little low online, where checkpoints grow with the buffer).

`--device cpu` tries the same commands where there is no GPU, with nothing captured.
"""

from __future__ import annotations

import argparse
import statistics
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
from algorithms.replay.stores import OfflineData
from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.cuda_graphs import WARM_UP, Updates
from algorithms.training.fine_tuning import fine_tune, make_learner
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule
from benchmarks.contenders import authors_off2on, corl_cql, rlkit_sac
from benchmarks.memory import ENVIRONMENT, random_transitions
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE, Update, random_batch
from storage import UserError
from storage.files import write_json
from storage.provenance import hardware, versions

OFFLINE_UPDATES, ONLINE_STEPS = 1_000_000, 250_000  # [S] D.1
AGENTS, SEEDS, MEMBERS = 20, 4, 5  # [S] D.1
DIVERGED = 1e30  # what is learned here means nothing
TARGETS = {"agent-updates beside CORL's": 60.0, "pre-training, hours": 0.75, "fine-tuning, hours": 0.25}

MakeUpdates = Callable[[int], None]
"""So many updates, one after the other."""


class Contender(NamedTuple):
    """Who is timed."""

    name: str
    agents: int  # that an update is of
    tf32: bool
    make: Callable[[], MakeUpdates]


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
    learner = make_learner(
        method,
        find_method(method, "online"),
        config,
        online,
        data,
        members,
        seeds,
        ENVIRONMENT,
        compute.device,
    )
    block = random_batch(0, online.steps, SEEDS)
    learner.replay.add(block.map(lambda field: field.to(compute.device)))
    streams = (learner.draws, learner.agents.streams)
    return logged(Updates(learner.learn, streams, compute.updates_per_graph), seeds)


def trained_members() -> list[dict[str, torch.Tensor]]:
    """Agents for `SEEDS` ensembles, fresh ones: what they know changes no time."""
    start = OfflineStart(range(SEEDS * MEMBERS), OBSERVATION_SIZE, ACTION_SIZE, [])
    learner = CQL.begin_offline(start, CQLConfig())
    return [one_agent(learner.agents, index) for index in range(SEEDS * MEMBERS)]


def contenders(device: str, rows: int, per_graph: int) -> list[Contender]:
    """Who is timed on `device`; captured ones on a GPU alone."""
    eager = Compute("cuda") if device == "cuda" else Compute()
    found = [
        Contender("CORL's CQL", 1, False, peer(corl_cql, device)),
        Contender("CQL, 1 agent", 1, False, lambda: our_cql(1, eager, rows)),
        Contender("CQL, 20 agents", AGENTS, False, lambda: our_cql(AGENTS, eager, rows)),
        Contender("the authors' Off2On", 1, False, peer(authors_off2on, device)),
        Contender("Off2On, 4 seeds", SEEDS, False, lambda: our_online("off2on", eager, rows)),
        Contender("rlkit's SAC", 1, False, peer(rlkit_sac, device)),
        Contender("SAC, 4 seeds", SEEDS, False, lambda: our_online("sac", eager, rows)),
    ]
    if device == "cpu":
        return found
    captured = Compute("cuda", updates_per_graph=per_graph)
    reduced = {"reduced_precision_penalty": True}
    for tf32, suffix in ((False, "captured"), (True, "captured, TF32")):
        found += [
            Contender(f"CQL, 1 agent, {suffix}", 1, tf32, lambda: our_cql(1, captured, rows)),
            Contender(f"CQL, 20 agents, {suffix}", AGENTS, tf32, lambda: our_cql(AGENTS, captured, rows)),
            Contender(
                f"Off2On, 4 seeds, {suffix}", SEEDS, tf32, lambda: our_online("off2on", captured, rows)
            ),
            Contender(f"SAC, 4 seeds, {suffix}", SEEDS, tf32, lambda: our_online("sac", captured, rows)),
        ]
    name = "CQL, 20 agents, captured, TF32, bfloat16 penalty"
    return [*found, Contender(name, AGENTS, True, lambda: our_cql(AGENTS, captured, rows, **reduced))]


def measure_updates(device: str, rows: int, per_graph: int, rounds: int, count: int) -> list[dict[str, Any]]:
    """Milliseconds of the clock an update of each contender, round by round."""
    entries = contenders(device, rows, per_graph)
    made = {}
    for entry in entries:
        choose_precision(device, entry.tf32)
        made[entry] = entry.make()
        made[entry](WARM_UP + per_graph)  # and here a block is captured
    times: dict[Contender, list[float]] = {entry: [] for entry in entries}
    for _ in range(rounds):
        for entry in entries:
            choose_precision(device, entry.tf32)
            seconds = clocked(lambda entry=entry: made[entry](count), device)  # type: ignore[misc]
            times[entry].append(1e3 * seconds / count)
    return [
        {
            "name": entry.name,
            "agents": entry.agents,
            "clock_ms": times[entry],
            "agent_updates_per_second": 1e3 * entry.agents / statistics.median(times[entry]),
        }
        for entry in entries
    ]


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


def measure_loops(compute: Compute, rows: int, updates: int, steps: int) -> list[dict[str, Any]]:
    """Seconds of a short and a twice as long run of each phase, and hours of one of the published length."""
    transitions, members = random_transitions(rows), trained_members()

    def offline(length: int, job: Job) -> object:
        interval = min(updates, 5_000)  # the published schedule's
        schedule = OfflineSchedule(
            length, evaluation_interval=interval, checkpoint_interval=interval, largest_q=DIVERGED
        )
        agents = range(AGENTS)
        return pretrain("cql", CQL, CQLConfig(), schedule, transitions, agents, job)

    def online(length: int, job: Job) -> object:
        method, schedule = find_method("off2on", "online"), OnlineSchedule(length, largest_q=DIVERGED)
        config, seeds = method.Config(), range(SEEDS)
        return fine_tune("off2on", method, config, schedule, transitions, members, seeds, job)

    found = []
    phases = [
        ("pre-training", offline, updates, OFFLINE_UPDATES),
        ("fine-tuning", online, steps, ONLINE_STEPS),
    ]
    for name, phase, length, published in phases:
        seconds = []
        for factor in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                job = Job("benchmark", "random", ENVIRONMENT, "0" * 12, Path(folder), compute)
                seconds.append(clocked(lambda: phase(factor * length, job), compute.device))  # noqa: B023
        more = seconds[1] - seconds[0]
        hours = (seconds[0] + more * (published / length - 1)) / 3600
        found.append({"name": name, "length": length, "seconds": seconds, "published_hours": hours})
    return found


def report(document: dict[str, Any]) -> None:
    """Print a line a contender and a line a loop."""
    for entry in document.get("updates", []):
        times = entry["clock_ms"]
        print(
            f"{entry['name']:50} {statistics.median(times):9.3f} ms ({min(times):.3f}-{max(times):.3f})"
            f" {entry['agent_updates_per_second']:10.0f} agent-updates/s"
        )
    for loop in document.get("loops", []):
        first, second = loop["seconds"]
        print(
            f"{loop['name']:50} {loop['length']} in {first:.1f} s, twice as many in {second:.1f} s:"
            f" {loop['published_hours']:.2f} h at the published length"
        )


def main() -> None:
    """Measure the parts asked for and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("loops", "updates"), default=("loops", "updates"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rows", type=int, default=1_000_000, help="transitions of the dataset")
    parser.add_argument("--per-graph", type=int, default=50, help="updates captured together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=500, help="updates of each contender in a round")
    parser.add_argument("--loop-updates", type=int, default=20_000, help="of the shorter pre-training")
    parser.add_argument("--loop-steps", type=int, default=5_000, help="of the shorter fine-tuning")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args()
    device, per_graph = arguments.device, arguments.per_graph if arguments.device == "cuda" else 0
    compute = Compute("cuda", True, per_graph, 8, evaluation_beside=True) if device == "cuda" else Compute()
    try:
        prepare_process(compute)
    except UserError as error:
        raise SystemExit(f"benchmarks.gpu: {error}") from error

    rows, rounds, count = arguments.rows, arguments.rounds, arguments.updates
    lengths = arguments.loop_updates, arguments.loop_steps
    measures: dict[str, Callable[[], Any]] = {
        "loops": lambda: measure_loops(compute, rows, *lengths),
        "updates": lambda: measure_updates(device, rows, per_graph, rounds, count),
    }
    document: dict[str, Any] = {"arguments": vars(arguments) | {"output": None}, "targets": TARGETS}
    for part in arguments.parts:
        prepare_process(compute)
        found = {part: measures[part]()}
        report(found)
        document |= found
        if arguments.output:  # after each part: a machine lent for minutes may be gone
            write_json(arguments.output, {**document, "hardware": hardware(), "versions": versions()})


if __name__ == "__main__":
    main()
