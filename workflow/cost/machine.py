"""Seconds of what jobs are made of, on the machine at hand: measured rates, scaled by a short calibration.

The rates were measured once (`measured.json`, which names the command and the processor).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from envs import tabletop
from storage.files import read_json
from workflow.jobs import Json

MEASURED = Path(__file__).with_name("measured.json")
TABLETOP = "Tabletop"
"""The measured step of all tasks of the robot's table, which share scene and motion."""
REDUCED = ", bfloat16"
"""What the kind of an update ends in whose penalty has hidden layers in bfloat16."""
BILLION = 1e9
PRODUCT_SIZE = 1024
SMALL_OPERATIONS, SMALL_UPDATES = 20_000, 100
WITHOUT_AVX512 = 3
"""How many times the estimate a run took on two cores of an EPYC of family 25, with AVX2."""


class Speed(NamedTuple):
    """What this machine does on one core."""

    product: float  # GFLOP/s of a float32 product of PRODUCT_SIZE
    small: float  # microseconds an operation on a tensor of 32 numbers
    update: float  # microseconds an update of a perceptron of 32-32 units


def calibrate() -> Speed:
    """Return what a few rounds take, a second in all, in processor time: others may use the machine.

    It hardly slows a product, a simulator or one small operation in a loop, whose best rounds count; but it
    slows updates, which leave the core's nearest caches: of what stands for them the median counts.
    """
    left, right = torch.rand(2, PRODUCT_SIZE, PRODUCT_SIZE)
    small = torch.rand(32)
    widths = [(32, 32), (32, 32), (32, 8)]
    network = torch.nn.Sequential(
        *(layer for width in widths for layer in (torch.nn.Linear(*width), torch.nn.ReLU()))
    )
    optimiser, rows = torch.optim.Adam(network.parameters()), torch.rand(32, 32)

    def multiply() -> None:
        for _ in range(5):
            left @ right

    def operate() -> None:
        for _ in range(SMALL_OPERATIONS):
            small + small

    def learn() -> None:
        for _ in range(SMALL_UPDATES):
            optimiser.zero_grad()
            network(rows).square().mean().backward()
            optimiser.step()

    product, dispatch = min(_rounds(multiply)) / 5, min(_rounds(operate)) / SMALL_OPERATIONS
    update = statistics.median(_rounds(learn)) / SMALL_UPDATES
    return Speed(2 * PRODUCT_SIZE**3 / product / BILLION, 1e6 * dispatch, 1e6 * update)


def _rounds(work: Callable[[], None]) -> list[float]:
    times = []
    for _ in range(5):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


@dataclass
class Model:
    """Seconds of what jobs are made of, on a machine of this speed."""

    speed: Speed
    measured: Mapping[str, Any] = field(default_factory=lambda: read_json(MEASURED))

    def __post_init__(self) -> None:
        before = Speed(**self.measured["speed"])
        self.products = self.speed.product / before.product  # how many times as fast as where it was measured
        self.rest = before.small / self.speed.small
        self.updates = before.update / self.speed.update

    def update(self, kind: str, count: float) -> float:
        """One update of `count` operations; `kind` is a key of the measured updates, or slower than any.

        Of a penalty in bfloat16 that was not measured so, float32's are an upper bound.
        """
        found = self._rates(kind)
        products = count / BILLION / found["gflop_per_second"] / self.products
        return float(products + found["overhead_ms"] / 1e3 / self.updates)

    def _rates(self, kind: str) -> Mapping[str, float]:
        measured: Mapping[str, Mapping[str, float]] = self.measured["updates"]
        return (
            measured.get(kind)
            or measured.get(kind.removesuffix(REDUCED))
            or {
                "gflop_per_second": min(rates["gflop_per_second"] for rates in measured.values()),
                "overhead_ms": max(rates["overhead_ms"] for rates in measured.values()),
            }
        )

    def simulated(self, environment: str, copies: float) -> float:
        """Give the seconds of a step of each of `copies` environments; one not measured is as the slowest."""
        tasks = self.measured["environments"]
        name = TABLETOP if environment in tabletop.ENVIRONMENTS else environment.rpartition("-")[0]
        known = tasks.get(name)
        task = known or max(tasks.values(), key=lambda each: float(each["batch_us"] + each["copy_us"]))
        return float(task["batch_us"] + copies * task["copy_us"]) / 1e6 / self.rest

    def steps(self, environment: str, copies: int, kind: str, acting: float, numbers: float) -> float:
        """Give the seconds of a step of each of `copies` environments and of their actions.

        An action of `kind` takes `acting` operations.

        A policy's weights are read once for all copies, which takes longer than to multiply one row by them.
        An action with more operations than its `numbers` weights have in one row has many rows.
        """
        simulated = self.simulated(environment, copies) + self.measured["acting_us"] / 1e6 / self.updates
        rate = self._rates(kind)["gflop_per_second"]
        one_row = acting <= 2 * numbers
        reading = acting / BILLION / self.measured["acting_gflop_per_second"] if one_row else 0.0
        return float(simulated + (copies * acting / BILLION / rate + reading) / self.products)

    def other(self, what: str, amount: float = 1.0) -> float:
        """`amount` of something else: starts, gigabytes read and written, bootstrap repetitions."""
        return float(amount * self.measured["seconds"][what]) / self.rest

    def memory(self, what: str) -> float:
        """Gigabytes that a process of some kind has before it has any data."""
        return float(self.measured["memory_gb"][what])


def origin(measured: Json, here: Json) -> str:
    """On which processor the rates were measured, and what the present one lacks of its instructions.

    `measured` and `here` are `hardware` of provenances. The calibrations see what an instruction set does to
    the estimate; what else older processors have less of, such as caches, they do not.
    """
    said = (
        f"Rates measured on {_processor(measured)},\n"
        "scaled to this core by a product and an operation timed alone: jobs at once share caches, memory\n"
        "and, as hardware threads, the core itself."
    )
    wide, ours = (str(each["cpu_instructions"]).split() for each in (measured, here))
    missing = [name for name in wide if name not in ours]
    if not missing:
        return said
    found = "no finished run has been compared on such a one."
    if "avx2" in ours and "avx512f" in missing:
        found = f"a run on such a one took {WITHOUT_AVX512:g} times the estimate."
    return f"{said}\nThis processor, {_processor(here)}, lacks {' '.join(missing)}:\n{found}"


def _processor(hardware: Json) -> str:
    """Its name, and its model where the system says it: many share a name in a cloud."""
    model = f" ({hardware['cpu_model']})" if hardware["cpu_model"] else ""
    return f"{hardware['cpu'] or 'an unnamed processor'}{model}"
