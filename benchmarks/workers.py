"""Long-lived processes that time what they are asked to, so that contenders can take turns.

PyTorch's choice of matrix products and the allocator's habits belong to a whole process, and a peer may need
an environment of its own: a worker has one kind of settings and one Python. This file runs in all of them,
so it imports nothing of the suite but what needs torch alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from algorithms.replay.batch import Batch
from algorithms.training import counting
from algorithms.training.acceleration import prepare_process

OBSERVATION_SIZE, ACTION_SIZE, BATCH_SIZE = 17, 6, 256  # HalfCheetah's, and the authors' batch
SEED = 0
SETTINGS = ("pytorch", "suite")
"""A process as PyTorch comes, and one after the suite's `prepare_process`."""

Update = Callable[[], object]


def random_batch(seed: int, size: int = BATCH_SIZE, runs: int = 1) -> Batch:
    """Standard normal states and uniform actions for each of `runs` runs, on the default device."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    return Batch(
        torch.randn(runs, size, OBSERVATION_SIZE, generator=generator),
        2 * torch.rand(runs, size, ACTION_SIZE, generator=generator) - 1,
        torch.randn(runs, size, generator=generator),
        torch.ones(runs, size),
        torch.randn(runs, size, OBSERVATION_SIZE, generator=generator),
    )


class Worker:
    """A process of one kind of settings, running `module`; to be used as a context."""

    def __init__(self, module: str, settings: str, python: Path | str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [str(python), "-m", module, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": "."},
        )

    def ask(self, contender: str, updates: int) -> dict[str, float]:
        """Milliseconds an update, by the processor and the clock; with no updates, GFLOP of one.

        Raises:
            RuntimeError: the worker has ended; it has said why.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([contender, updates]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker that was to time {contender} ended")
        answer: dict[str, float] = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(settings: str, contenders: Mapping[str, Callable[[], Update]]) -> None:
    """What a worker does: read [contender, updates] a line, answer a line, until the input ends."""
    if settings == "suite":
        prepare_process(threads=1)
    else:
        torch.set_num_threads(1)
    torch.manual_seed(SEED)
    made: dict[str, Update] = {}
    for line in sys.stdin:
        contender, count = json.loads(line)
        if contender not in made:
            made[contender] = contenders[contender]()
        answer = timed(made[contender], count) if count else {"gflop": gflop(made[contender])}
        print(json.dumps(answer), flush=True)


def timed(update: Update, count: int) -> dict[str, float]:
    """Milliseconds of `count` updates each, by the processor and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        update()
    return {
        "processor_ms": 1e3 * (time.process_time() - processor) / count,
        "clock_ms": 1e3 * (time.perf_counter() - clock) / count,
    }


def gflop(update: Update) -> float:
    """Billions of multiplications and additions of one update's products, by PyTorch's count."""
    return counting.operations(update) / 1e9
