"""Time one update of each method beside the code it is usually run with, in one run.

    python -m benchmarks.updates --output updates.json
    python -m benchmarks.updates --methods awac bcq

One agent (for Off2On one ensemble of five) of HalfCheetah's sizes, batch 256, 256-256 networks, 10 sampled
actions, one thread; AWAC and BCQ with the batches and networks of their own configurations, one agent and
one ensemble of five. The peers are restated in `benchmarks.peers`. PyTorch's choice of matrix products and
the allocator's habits belong to a whole process, so two long-lived processes take turns: one as PyTorch
comes, where a peer runs as its users run it, and one with this suite's `prepare_process`. Both run our
update and the peer's, which tells what the settings bring from what the formulation brings.

Times are of the processor, which hold on a machine that is shared, and of the clock. A ratio is formed in
each round by itself. The bound is a large float32 product, timed in the same rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from algorithms import awac, bcq, cql, off2on, sac
from algorithms.acceleration import prepare_process
from algorithms.agents import Agents
from algorithms.batch import Batch
from benchmarks.peers.authors_bcq import AuthorsBCQ
from benchmarks.peers.authors_off2on import AuthorsOff2On
from benchmarks.peers.corl_awac import CorlAWAC
from benchmarks.peers.corl_cql import CorlCQL
from benchmarks.peers.rlkit_sac import RlkitSAC
from records.files import write_json
from records.provenance import hardware, versions

OBSERVATION_SIZE, ACTION_SIZE, BATCH_SIZE = 17, 6, 256  # HalfCheetah's, and the authors' batch
PRODUCT_SIZE = 2048
SEED = 0

Update = Callable[[], object]


class Entry(NamedTuple):
    """One contender in one process."""

    settings: str  # "suite" or "pytorch"
    contender: str

    def __str__(self) -> str:
        return f"{self.contender} ({self.settings})"


def random_batch(seed: int, size: int = BATCH_SIZE) -> Batch:
    """A batch of standard normal states and uniform actions for one run."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(1, size, OBSERVATION_SIZE, generator=generator),
        2 * torch.rand(1, size, ACTION_SIZE, generator=generator) - 1,
        torch.randn(1, size, generator=generator),
        torch.ones(1, size),
        torch.randn(1, size, OBSERVATION_SIZE, generator=generator),
    )


def our_cql(gradient_actions: int | None = None, reduced_precision: bool = False) -> Update:
    """`algorithms.cql.update` past every warm start."""
    config = cql.CQLConfig(
        penalty_gradient_actions=gradient_actions, reduced_precision_penalty=reduced_precision
    )
    agents = Agents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = random_batch(SEED)
    return lambda: cql.update(agents, batch, config, step=1_000_000)


def our_sac() -> Update:
    """`algorithms.sac.update`."""
    config = sac.SACConfig()
    agents = Agents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = random_batch(SEED)
    return lambda: sac.update(agents, batch, config)


def our_off2on() -> Update:
    """`algorithms.off2on.update` of one ensemble of five, without the replay."""
    config = off2on.Off2OnConfig()
    agents = off2on.Off2OnAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    agents.density.initialise(agents.streams)
    batch, offline, online = (random_batch(SEED + i) for i in range(3))
    return lambda: off2on.update(agents, batch, offline, online, config)


def our_awac(members: int = 1) -> Update:
    """`algorithms.awac.update` of one ensemble."""
    config = awac.AWACConfig()
    agents = awac.AWACAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, members)
    agents.initialise()
    batch = random_batch(SEED, config.batch_size)
    return lambda: awac.update(agents, batch, config)


def our_bcq(members: int = 1) -> Update:
    """`algorithms.bcq.update` of one ensemble."""
    config = bcq.BCQConfig()
    agents = bcq.BCQAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, members)
    agents.initialise()
    batch = random_batch(SEED, config.batch_size)
    return lambda: bcq.update(agents, batch, config)


def corl_cql() -> Update:
    """CORL's, with the suite's two hidden layers and weight."""
    agent = CorlCQL(OBSERVATION_SIZE, ACTION_SIZE)
    rows = [field[0] for field in random_batch(SEED)]
    return lambda: agent.update(*rows)


def rlkit_sac() -> Update:
    """The SAC of the authors' code base."""
    agent = RlkitSAC(OBSERVATION_SIZE, ACTION_SIZE)
    rows = _columns(random_batch(SEED))
    return lambda: agent.update(*rows)


def authors_off2on() -> Update:
    """The authors' Off2On with five members, without the replay."""
    agent = AuthorsOff2On(OBSERVATION_SIZE, ACTION_SIZE)
    batch, offline, online = (_columns(random_batch(SEED + i)) for i in range(3))
    return lambda: agent.update(*batch, (offline[0], offline[1]), (online[0], online[1]))


def corl_awac() -> Update:
    """CORL's, with the sizes of AWAC's authors."""
    agent = CorlAWAC(OBSERVATION_SIZE, ACTION_SIZE)
    rows = [field[0] for field in random_batch(SEED, awac.AWACConfig().batch_size)]
    return lambda: agent.update(*rows)


def authors_bcq() -> Update:
    """The BCQ of its authors."""
    agent = AuthorsBCQ(OBSERVATION_SIZE, ACTION_SIZE)
    rows = _columns(random_batch(SEED, bcq.BCQConfig().batch_size))
    return lambda: agent.update(*rows)


def _columns(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A run's rows, with rewards and masks [B, 1]."""
    observations, actions, rewards, masks, next_observations = (field[0] for field in batch)
    return observations, actions, rewards.unsqueeze(-1), masks.unsqueeze(-1), next_observations


def product() -> Update:
    """A square float32 product: what this machine's matrix products can do."""
    left, right = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE) for _ in range(2))
    return lambda: left @ right


CONTENDERS: dict[str, Callable[[], Update]] = {
    "product": product,
    "cql": our_cql,
    "cql, 6 gradient actions": lambda: our_cql(gradient_actions=6),
    "cql, bfloat16 penalty": lambda: our_cql(reduced_precision=True),
    "cql, both": lambda: our_cql(gradient_actions=6, reduced_precision=True),
    "corl cql": corl_cql,
    "sac": our_sac,
    "rlkit sac": rlkit_sac,
    "off2on": our_off2on,
    "authors' off2on": authors_off2on,
    "awac": our_awac,
    "awac, N = 5": lambda: our_awac(members=5),
    "corl awac": corl_awac,
    "bcq": our_bcq,
    "bcq, N = 5": lambda: our_bcq(members=5),
    "authors' bcq": authors_bcq,
}


class Race(NamedTuple):
    """Who is timed for a method."""

    peer: str
    compared: tuple[str, ...]  # with the peer, round by round; the first also under PyTorch's settings
    others: tuple[str, ...] = ()  # for which the peer has no counterpart


METHODS = {
    "cql": Race("corl cql", ("cql", "cql, 6 gradient actions", "cql, bfloat16 penalty", "cql, both")),
    "sac": Race("rlkit sac", ("sac",)),
    "off2on": Race("authors' off2on", ("off2on",)),
    "awac": Race("corl awac", ("awac",), ("awac, N = 5",)),
    "bcq": Race("authors' bcq", ("bcq",), ("bcq, N = 5",)),
}


def entries(methods: Sequence[str]) -> list[Entry]:
    """Contenders in both processes, a method's beside each other; options and others in the suite's alone."""
    races = [METHODS[method] for method in methods]
    everywhere = {"product"}.union(*((race.peer, race.compared[0]) for race in races))
    timed = everywhere.union(*((*race.compared, *race.others) for race in races))
    return [
        Entry(settings, contender)
        for contender in CONTENDERS
        if contender in timed
        for settings in ("pytorch", "suite")
        if settings == "suite" or contender in everywhere
    ]


class Worker:
    """A process with one kind of settings, which times what it is asked to."""

    def __init__(self, settings: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.updates", "--worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def ask(self, contender: str, updates: int) -> dict[str, float]:
        """Milliseconds an update, by the processor and the clock; with no updates, GFLOP of one."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([contender, updates]), file=self.process.stdin, flush=True)
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def started(settings: str) -> Iterator[Worker]:
    """A worker that ends with the block."""
    worker = Worker(settings)
    try:
        yield worker
    finally:
        worker.close()


def serve(settings: str) -> None:
    """What a worker does: read [contender, updates] a line, answer a line, until the input ends."""
    if settings == "suite":
        prepare_process(threads=1)
    else:
        torch.set_num_threads(1)
    torch.manual_seed(SEED)
    updates: dict[str, Update] = {}
    for line in sys.stdin:
        contender, count = json.loads(line)
        if contender not in updates:
            updates[contender] = CONTENDERS[contender]()
        update = updates[contender]
        if count == 0:
            answer = {"gflop": _floating_point_operations(update) / 1e9}
        else:
            clock, processor = time.perf_counter(), time.process_time()
            for _ in range(count):
                update()
            answer = {
                "processor_ms": 1e3 * (time.process_time() - processor) / count,
                "clock_ms": 1e3 * (time.perf_counter() - clock) / count,
            }
        print(json.dumps(answer), flush=True)


def _floating_point_operations(update: Update) -> int:
    """Multiplications and additions of one update's matrix products (PyTorch's count, and `baddbmm_`)."""

    def in_place(total: Any, left: Any, right: Any, out_shape: Any = None, **_: Any) -> int:
        return int(2 * left[0] * left[1] * left[2] * right[2])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place}) as counter:
        update()
    return int(counter.get_total_flops())


def measure(methods: Sequence[str], rounds: int, updates: int) -> dict[str, dict[str, Any]]:
    """Times of each entry in each round, after a round of warming up; and its floating-point operations."""
    found: dict[str, dict[str, Any]] = {}
    with started("pytorch") as pytorch, started("suite") as suite:
        workers = {"pytorch": pytorch, "suite": suite}
        order = entries(methods)
        for entry in order:
            worker = workers[entry.settings]
            worker.ask(entry.contender, 2)
            found[str(entry)] = {**entry._asdict(), **worker.ask(entry.contender, 0)}
            found[str(entry)] |= {"processor_ms": [], "clock_ms": []}
        for turn in range(rounds):
            shift = turn % len(order)
            for entry in order[shift:] + order[:shift]:
                count = max(1, updates // 10) if entry.contender == "product" else updates
                for key, value in workers[entry.settings].ask(entry.contender, count).items():
                    found[str(entry)][key].append(value)
    for result in found.values():
        result["gflop_per_second"] = 1e3 * result["gflop"] / statistics.median(result["processor_ms"])
        if "bfloat16" not in result["contender"] and "both" not in result["contender"]:
            bound = found[str(Entry(result["settings"], "product"))]["processor_ms"]
            bound_rate = 1e3 * 2e-9 * PRODUCT_SIZE**3 / statistics.median(bound)
            result["share_of_bound"] = result["gflop_per_second"] / bound_rate
    return found


def ratios(methods: Sequence[str], found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times as long a peer took, round by round: as its users run it beside us as we run it
    (what a user gains), and both under the same settings (what the formulation gains).
    """
    results = []
    for peer, ours, _ in (METHODS[method] for method in methods):
        pairs = [(Entry("pytorch", peer), Entry("suite", name)) for name in ours]
        pairs += [(Entry("suite", peer), Entry("suite", name)) for name in ours]
        pairs += [(Entry("pytorch", peer), Entry("pytorch", ours[0]))]
        for theirs, own in pairs:
            row: dict[str, Any] = {"peer": str(theirs), "ours": str(own)}
            for key in ("processor_ms", "clock_ms"):
                rounds = zip(found[str(theirs)][key], found[str(own)][key], strict=True)
                values = [slower / faster for slower, faster in rounds]
                row[key.removesuffix("_ms")] = {
                    "median": statistics.median(values),
                    "lowest": min(values),
                    "highest": max(values),
                }
            results.append(row)
    return results


def report(found: dict[str, dict[str, Any]], compared: list[dict[str, Any]]) -> None:
    """Print a line an entry and a line a ratio."""
    print(f"{'':36} {'processor ms, median (range)':>30} {'clock ms':>9} {'GFLOP':>6} {'GFLOP/s':>8} bound")
    for name, result in found.items():
        times = result["processor_ms"]
        spread = f"{statistics.median(times):8.1f} ({min(times):.1f}-{max(times):.1f})"
        share = f"{result['share_of_bound']:5.0%}" if "share_of_bound" in result else ""
        print(
            f"{name:36} {spread:>30} {statistics.median(result['clock_ms']):9.1f} {result['gflop']:6.2f}"
            f" {result['gflop_per_second']:8.0f} {share}"
        )
    for row in compared:
        processor, clock = row["processor"], row["clock"]
        print(
            f"{row['peer']} / {row['ours']}: {processor['median']:.2f}"
            f" ({processor['lowest']:.2f}-{processor['highest']:.2f}), clock {clock['median']:.2f}"
        )


def main() -> None:
    """Measure, print, and write everything if told where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=10, help="updates of each contender in a round")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    parser.add_argument("--worker", choices=["suite", "pytorch"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(arguments.worker)
        return

    load_before = os.getloadavg()[0]
    found = measure(arguments.methods, arguments.rounds, arguments.updates)
    load = [load_before, os.getloadavg()[0]]
    compared = ratios(arguments.methods, found)
    report(found, compared)
    print(f"load averages before and after: {load[0]:.1f}, {load[1]:.1f} on {os.cpu_count()} cores")
    if arguments.output:
        document = {
            "rounds": arguments.rounds,
            "updates_per_round": arguments.updates,
            "threads": 1,
            "load_average": load,
            "entries": found,
            "ratios": compared,
            "hardware": hardware(),
            "versions": versions(),
        }
        write_json(arguments.output, document)


if __name__ == "__main__":
    main()
