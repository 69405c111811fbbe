"""Where the time of an update goes on a GPU: CQL of P agents, in parts, and what the card itself can do.

    OMP_NUM_THREADS=1 python -m benchmarks.gpu_probe --agents 1 5 20 60 --output probe.json

For each P, in a process of its own since a failed capture spoils its process: five updates launched one by
one, the capture of a block, replays of it timed by events, a table of the kernels of one replay by name,
the memory it took. Of the card: bandwidth of a copy, and the products that the penalty is made of, in
float32 and TF32. The file is written after each. With `--device cpu` the same without captures and events,
to rehearse.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.interface import Metrics, OfflineStart
from algorithms.population.streams import Streams
from algorithms.replay.stores import OfflineData
from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.cuda_graphs import WARM_UP, Block
from benchmarks.gpu import choose_precision, clocked
from benchmarks.random_data import random_transitions
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE
from storage import UserError
from storage.files import read_json, write_json
from storage.provenance import hardware, versions

ROWS, EAGER, REPLAYS = 100_000, 5, 20
COPIED = {"cuda": 2**30, "cpu": 2**24}  # bytes
NETWORKS = {"cuda": 40, "cpu": 2}  # in a product of the penalty: of 20 agents, or of one
KERNELS = 60  # rows of the table

CARD = "the card"


def made_update(agents: int, device: str) -> tuple[Callable[[], Metrics], tuple[Streams, ...]]:
    """CQL's update past every warm start with the draw of its batch, and what it draws from."""
    seeds, config = range(agents), CQLConfig()
    learner = CQL.begin_offline(OfflineStart(seeds, OBSERVATION_SIZE, ACTION_SIZE, []), config)
    learner.agents.move_to(device)
    data = OfflineData.from_transitions(random_transitions(ROWS), device)
    draws = Streams(seeds, device)

    def update() -> Metrics:
        return learner.update(data.gather(draws.integers(len(data), config.batch_size)), 10**9)

    return update, (draws, learner.agents.streams)


def probe_agents(agents: int, device: str, per_graph: int) -> dict[str, Any]:
    """Milliseconds an update of `agents`, launched one by one and replayed, with kernels and memory."""
    choose_precision(device, tf32=True)
    update, streams = made_update(agents, device)

    def eagerly() -> None:
        for _ in range(EAGER):
            update()

    for _ in range(WARM_UP):
        update()
    found: dict[str, Any] = {"agents": agents, "eager_ms": 1e3 * clocked(eagerly, device) / EAGER}
    if device == "cpu":
        return found | {"kernels": kernel_table(update, device)}
    start = time.perf_counter()
    block = Block(update, per_graph, streams)
    block.launch()
    torch.cuda.synchronize()
    found["capture_seconds"] = time.perf_counter() - start
    found["replay_ms"] = milliseconds_by_events(block.launch, REPLAYS) / per_graph
    found["kernels"] = kernel_table(block.launch, device)
    found["pytorch_peak_bytes"] = torch.cuda.max_memory_allocated()
    free, total = torch.cuda.mem_get_info()
    return found | {"device_bytes_taken": total - free}


def milliseconds_by_events(work: Callable[[], object], times: int) -> float:
    """A GPU's milliseconds for `work`, a mean over so many times."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / times


def kernel_table(work: Callable[[], object], device: str) -> list[dict[str, Any]]:
    """What `work` ran on the device: name, count and microseconds, the longest first."""
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        clocked(work, device)
    field = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    rows = [
        {"name": entry.key, "count": entry.count, "microseconds": getattr(entry, field)}
        for entry in profiled.key_averages()
    ]
    return sorted(rows, key=lambda row: -row["microseconds"])[:KERNELS]


def probe_card(device: str) -> dict[str, Any]:
    """Bandwidth of a copy, reading and writing together, and rates of the penalty's products."""
    source = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    seconds = _least_seconds(lambda: copy.copy_(source), device)
    found: dict[str, Any] = {"copy_gigabytes_per_second": 2 * source.numel() / seconds / 1e9}
    left = torch.randn(NETWORKS[device], 7680, 256, device=device)
    right = torch.randn(NETWORKS[device], 256, 256, device=device)
    precisions = {"float32": (False, torch.float32), "bfloat16": (False, torch.bfloat16)}
    if device == "cuda":
        precisions["tf32"] = (True, torch.float32)
    for name, (tf32, dtype) in precisions.items():
        choose_precision(device, tf32)
        factors = left.to(dtype), right.to(dtype)
        seconds = _least_seconds(lambda: torch.bmm(*factors), device)  # noqa: B023
        found[f"product_{name}_tflops"] = 2 * left.numel() * 256 / seconds / 1e12
    return found


def _least_seconds(work: Callable[[], object], device: str) -> float:
    return min(clocked(work, device) for _ in range(10))


def probed(what: str, device: str, per_graph: int) -> dict[str, Any]:
    """The card, or so many agents, in this process."""
    return probe_card(device) if what == CARD else probe_agents(int(what), device, per_graph)


def probe_apart(what: str, device: str, per_graph: int, seconds: float) -> dict[str, Any]:
    """`probed` in a process of its own, which has so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "found.json")
        command = [sys.executable, "-m", "benchmarks.gpu_probe", "--only", what, "--device", device]
        command += ["--per-graph", str(per_graph), "--output", str(output)]
        try:
            status = subprocess.run(command, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return {"failed": f"was not done in {seconds:.0f} s"}
        if status:
            return {"failed": f"failed with status {status}; its process said why"}
        found: dict[str, Any] = read_json(output)
        return found


def survey(agents: list[int], device: str, per_graph: int, seconds: float, output: Path) -> dict[str, Any]:
    """Probe the card and each P, none of which stops the next; written after each."""
    document: dict[str, Any] = {"hardware": hardware(), "versions": versions()}
    if device == "cuda":
        document["gpu"] = torch.cuda.get_device_name()
    for what in (CARD, *map(str, agents)):
        found = probe_apart(what, device, per_graph, seconds)
        document[what] = found
        numbers = {key: value for key, value in found.items() if key != "kernels"}
        print(f"{what}: {numbers}", flush=True)
        write_json(output, document)
    return document


def main() -> None:
    """Probe and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 5, 20, 60])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--per-graph", type=int, default=5, help="updates captured together")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each P")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # what a process of its own probes
    arguments = parser.parse_args()
    device, per_graph = arguments.device, arguments.per_graph
    try:
        prepare_process(Compute(device))
    except UserError as error:
        raise SystemExit(f"benchmarks.gpu_probe: {error}") from error
    if arguments.only:
        write_json(arguments.output, probed(arguments.only, device, per_graph))
    else:
        survey(arguments.agents, device, per_graph, arguments.seconds, arguments.output)


if __name__ == "__main__":
    main()
