"""Time one update of each method beside the code it is usually run with, in one run.

    python -m benchmarks.updates --output updates.json
    python -m benchmarks.updates --methods awac bcq
    python -m benchmarks.updates --methods rlpd --updates 2

One agent (for Off2On one ensemble of five) of HalfCheetah's sizes, batch 256, 256-256 networks, 10 sampled
actions, one thread; AWAC and BCQ with the batches and networks of their own configurations, one agent and
one ensemble of five. The peers are restated in `benchmarks.peers`, but for d3rlpy, which is installed in an
environment of its own; where it cannot be, a sentence says so and the others race on. PyTorch's choice of
matrix products and the allocator's habits belong to a whole process, so long-lived processes take turns: one
as PyTorch comes, where a peer runs as its users run it, and one with this suite's `prepare_process`. Both run
our update and the peer's, which tells what the settings bring from what the formulation brings.

Times are of the processor, which hold on a machine that is shared, and of the clock. A ratio is formed in
each round by itself. The bound is a large float32 product, timed in the same rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import PRODUCT_SIZE
from benchmarks.peers.environments import python_of
from benchmarks.workers import SETTINGS, Worker
from storage import UserError
from storage.files import write_json
from storage.provenance import hardware, versions

D3RLPY = ("d3rlpy cql", "d3rlpy sac")
"""Contenders that run in an environment of their own."""


class Entry(NamedTuple):
    """One contender in one process."""

    settings: str  # "suite" or "pytorch"
    contender: str

    def __str__(self) -> str:
        return f"{self.contender} ({self.settings})"


class Race(NamedTuple):
    """Who is timed for a method."""

    compared: tuple[str, ...]  # with each peer, round by round; the first also under PyTorch's settings
    peers: tuple[str, ...]
    others: tuple[str, ...] = ()  # for which no peer has a counterpart


METHODS = {
    "cql": Race(
        ("cql", "cql, 6 gradient actions", "cql, bfloat16 penalty", "cql, both"), ("corl cql", "d3rlpy cql")
    ),
    "sac": Race(("sac",), ("rlkit sac", "d3rlpy sac")),
    "off2on": Race(("off2on",), ("authors' off2on",)),
    "awac": Race(("awac",), ("corl awac",), ("awac, N = 5",)),
    "bcq": Race(("bcq",), ("authors' bcq",), ("bcq, N = 5",)),
    **{
        name: Race((name,), (f"plain {name}",))
        for name in (
            "cql from images",
            *("rlpd", "wsrl", "wsrl, offline", "cal_ql", "pex", "rebrac", "edac", "so2", "iql"),
            *("dmpo", "lbrac_v"),
        )
    },
}


def entries(races: Sequence[Race]) -> list[Entry]:
    """A race's contenders beside each other, each in both processes; options and others in the suite's."""
    everywhere = {"product"}.union(*((*race.peers, race.compared[0]) for race in races))
    order = ["product", *(name for race in races for name in (*race.compared, *race.peers, *race.others))]
    return [
        Entry(settings, contender)
        for contender in order
        for settings in SETTINGS
        if settings == "suite" or contender in everywhere
    ]


def without(race: Race, left_out: Sequence[str]) -> Race:
    """The race less some peers."""
    return race._replace(peers=tuple(peer for peer in race.peers if peer not in left_out))


def start_workers(order: Sequence[Entry], d3rlpy: Path | None, stack: ExitStack) -> dict[Entry, Worker]:
    """The worker of each entry, of one kind of settings and one environment; they end with the stack."""
    ours = {settings: stack.enter_context(Worker("benchmarks.contenders", settings)) for settings in SETTINGS}
    theirs = {
        settings: stack.enter_context(Worker("benchmarks.peers.d3rlpy_agents", settings, d3rlpy))
        for settings in SETTINGS
        if d3rlpy is not None
    }
    return {entry: (theirs if entry.contender in D3RLPY else ours)[entry.settings] for entry in order}


def measure(races: Sequence[Race], d3rlpy: Path | None, rounds: int, updates: int) -> dict[str, Any]:
    """Times of each entry in each round, after a round of warming up; and its floating-point operations.

    `d3rlpy` is the Python that has it, None where no race needs it.
    """
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        order = entries(races)
        workers = start_workers(order, d3rlpy, stack)
        for entry in order:
            workers[entry].ask(entry.contender, 2)
            found[str(entry)] = {**entry._asdict(), **workers[entry].ask(entry.contender, 0)}
            found[str(entry)] |= {"processor_ms": [], "clock_ms": []}
        for turn in range(rounds):
            shift = turn % len(order)
            for entry in order[shift:] + order[:shift]:
                count = max(1, updates // 10) if entry.contender == "product" else updates
                for key, value in workers[entry].ask(entry.contender, count).items():
                    found[str(entry)][key].append(value)
    for result in found.values():
        result["gflop_per_second"] = 1e3 * result["gflop"] / statistics.median(result["processor_ms"])
        if "bfloat16" not in result["contender"] and "both" not in result["contender"]:
            bound = found[str(Entry(result["settings"], "product"))]["processor_ms"]
            bound_rate = 1e3 * 2e-9 * PRODUCT_SIZE**3 / statistics.median(bound)
            result["share_of_bound"] = result["gflop_per_second"] / bound_rate
    return found


def ratios(races: Sequence[Race], found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times as long a peer took, round by round: as its users run it beside us as we run it
    (what a user gains), and both under the same settings (what the formulation gains).
    """
    results = []
    for peer, ours in ((peer, race.compared) for race in races for peer in race.peers):
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
    arguments = parser.parse_args()
    races = [METHODS[method] for method in arguments.methods]
    d3rlpy, left_out = None, {}
    try:
        if any(peer in D3RLPY for race in races for peer in race.peers):
            d3rlpy = python_of("d3rlpy")
    except UserError as error:
        left_out = {"d3rlpy": str(error)}
        print(f"Left out: {error}")
        races = [without(race, D3RLPY) for race in races]

    load_before = os.getloadavg()[0]
    found = measure(races, d3rlpy, arguments.rounds, arguments.updates)
    load = [load_before, os.getloadavg()[0]]
    compared = ratios(races, found)
    report(found, compared)
    print(f"load averages before and after: {load[0]:.1f}, {load[1]:.1f} on {os.cpu_count()} cores")
    if arguments.output:
        document = {
            "rounds": arguments.rounds,
            "updates_per_round": arguments.updates,
            "threads": 1,
            "load_average": load,
            "left_out": left_out,
            "entries": found,
            "ratios": compared,
            "hardware": hardware(),
            "versions": versions(),
        }
        write_json(arguments.output, document)


if __name__ == "__main__":
    main()
