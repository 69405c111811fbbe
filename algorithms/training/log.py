"""What a training loop measures: means between evaluations, tidy rows; and whether its numbers are sound.

A number that is not finite and a Q beyond its bound stop the run: neither comes back. A dead density network
does not, because the run goes on as one without it would: it is named in a warning.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from algorithms.methods.interface import Metrics
from storage import UserError
from storage.curves import COLUMNS

LARGEST_Q = 1e6
"""A mean of Q beyond which a run has diverged. Rewards of at most some 15 a step, discounted by 0.99, make
1,500; what is as far beyond as this does not come back. (Ours.)"""


class Row(NamedTuple):
    """The means that belong to one step of the curve, before anything is measured there."""

    step: int
    means: list[
        tuple[str, list[float]]
    ]  # by metric since the last row, one entry a seed; JSON keeps its order


class _Means:
    """Running means of metrics, [G] each, one entry a seed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._sums = torch.empty(0)
        self.count = 0

    def add(self, names: Sequence[str], values: torch.Tensor) -> None:
        """Count `values` [names, G] in float64."""
        if not self.names:
            self.names = list(names)
            self._sums = torch.zeros_like(values)
        self._sums += values
        self.count += 1

    def values(self) -> dict[str, list[float]]:
        """Return the means so far, by name."""
        return {name: (self._sums[i] / self.count).tolist() for i, name in enumerate(self.names)}

    def state(self) -> dict[str, Any]:
        return {"names": self.names, "sums": self._sums.tolist(), "count": self.count}

    def restore(self, state: Mapping[str, Any], seeds: int) -> None:
        """Go on from the `state()` of means over so many seeds. UserError where it is none."""
        self.names, self.count = list(state["names"]), state["count"]
        self._sums = torch.tensor(state["sums"], dtype=torch.float64)
        expected = (len(self.names), seeds) if self.count else (0,)
        whole = type(self.count) is int and self.count >= 0 and all(isinstance(n, str) for n in self.names)
        if not whole or tuple(self._sums.shape) != expected:
            raise UserError(f"its means of {self.names} are not those of {seeds} seeds")


def _on_the_host(metrics: Metrics) -> torch.Tensor:
    """float64 [names, G], in one copy from where the metrics were measured."""
    return torch.stack(list(metrics.values())).double().cpu()


class TrainingLog:
    """Rows of one job's curve: `run`, `method`, `dataset` are the job's, one row a seed, step and metric.

    `phase` and `unit` are the curve's (`storage.curves`). The metric q_mean is to stay within +-`largest_q`,
    in the rewards that are learned from.
    """

    def __init__(
        self,
        run: str,
        method: str,
        dataset: str,
        seeds: Sequence[int],
        largest_q: float = LARGEST_Q,
        *,
        phase: str,
        unit: str,
    ) -> None:
        self._labels = (run, method, dataset)
        self._of_what = (phase, unit)
        self._seeds = list(seeds)
        self._largest_q = largest_q
        self._limits: dict[tuple[str, ...], torch.Tensor] = {}
        self._dead: set[int] = set()
        self._rows: list[tuple[int, int, str, float]] = []
        self._forget()

    def _forget(self) -> None:
        self._every, self._thinned = _Means(), _Means()

    def add(self, metrics: Metrics, step: int) -> None:
        """Count one update's metrics ([G] tensors, one entry a seed) towards the running means.

        UserError where one is not finite, or Q beyond its bound: at once, before spoilt networks act or
        spoilt priorities draw. And where they have other names than those before them since the last row.
        """
        metrics = self._in_order(metrics, step)
        names = tuple(metrics)
        values = _on_the_host(metrics)
        if names not in self._limits:
            limits = [self._largest_q if name == "q_mean" else sys.float_info.max for name in names]
            self._limits[names] = values.new_tensor(limits).unsqueeze(1)
        sound = values.abs() <= self._limits[names]  # no comparison holds for NaN
        if not sound.all():
            row, column = sound.logical_not().nonzero()[0].tolist()
            self._stop(names[row], self._seeds[column], float(values[row, column]), step)
        self._every.add(names, values)

    def _in_order(self, metrics: Metrics, step: int) -> Metrics:
        """Return the metrics in the order of those before them, to whose means they add."""
        before = self._every.names or list(metrics)
        if metrics.keys() != set(before):
            raise UserError(
                f"{'/'.join(self._labels)}: update {step} measures {', '.join(sorted(metrics))}, and those"
                f" before it since the last row {', '.join(sorted(before))}: expected the same metrics"
            )
        return {name: metrics[name] for name in before}

    def _stop(self, name: str, seed: int, value: float, step: int) -> NoReturn:
        what = f"{'/'.join(self._labels)}: {name} of seed {seed} became"
        remedy = "lower the learning rates or look at the data"
        if math.isfinite(value):
            raise UserError(
                f"{what} {value:.4g} at update {step}, expected at most {self._largest_q:g} either way: Q has"
                f" exploded; {remedy}, or raise the schedule's largest_q"
            )
        raise UserError(f"{what} non-finite at update {step}; {remedy}")

    def add_thinned(self, metrics: Metrics) -> None:
        """Count metrics that are looked at now and then only towards means of their own."""
        self._thinned.add(list(metrics), _on_the_host(metrics))

    def take(self, step: int) -> Row:
        """Take the running means as those of `step`; start new ones."""
        means = self._every.values() | self._thinned.values()
        self._look_for_dead_networks(means.get("online_weight_zero_fraction", ()), step)
        self._forget()
        return Row(step, list(means.items()))

    def write(self, row: Row, measured: Mapping[str, ArrayLike]) -> dict[str, float]:
        """Write what was taken, and the metrics `measured` there ([G] each), as rows of its step.

        Returns the means over seeds, for the progress bar.
        """
        values = dict(row.means) | {name: np.asarray(value).tolist() for name, value in measured.items()}
        for name, of_seeds in values.items():
            pairs = zip(self._seeds, of_seeds, strict=True)
            self._rows += [(seed, row.step, name, float(value)) for seed, value in pairs]
        return {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}

    def _look_for_dead_networks(self, zero_shares: Sequence[float], step: int) -> None:
        """Warn of each density network whose weight was zero for every online sample since the last row.

        A ReLU that is zero on a whole batch passes no gradient back: such a network seldom revives.
        """
        dead = {seed for seed, share in zip(self._seeds, zero_shares, strict=False) if share == 1.0}
        for seed in sorted(dead - self._dead):
            warnings.warn(
                f"{'/'.join(self._labels)}: the density network of seed {seed} is dead at step {step}: its"
                " weight was zero for every online sample since the last evaluation, and what is drawn gets"
                " the lowest priority; density_activation softplus cannot die",
                stacklevel=3,
            )
        self._dead = dead

    def frame(self) -> pd.DataFrame:
        """Return all rows so far, in the columns of `storage.curves`."""
        rows = [(*self._labels, seed, *self._of_what, *row) for seed, *row in self._rows]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def state(self) -> dict[str, Any]:
        """Return all of a bit-identical continuation, as JSON-able values (floats survive JSON exactly)."""
        return {"rows": self._rows, "every": self._every.state(), "thinned": self._thinned.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`. UserError where it is not one of this log's seeds."""
        self._rows = [(seed, step, name, value) for seed, step, name, value in state["rows"]]
        seeds = len(self._seeds)
        for start in range(0, len(self._rows), seeds):
            self._check_metric(self._rows[start : start + seeds])
        self._every.restore(state["every"], seeds)
        self._thinned.restore(state["thinned"], seeds)

    def _check_metric(self, rows: Sequence[tuple[int, int, str, float]]) -> None:
        """Raise UserError unless the rows are as `write` makes them: one step and metric, seeds in order."""
        whole = [row[0] for row in rows] == self._seeds and len({row[1:3] for row in rows}) == 1
        if not whole or not all(isinstance(row[2], str) and type(row[3]) is float for row in rows):
            raise UserError(f"its rows {rows} are not a metric's at one step of the seeds {self._seeds}")

    def check(self, steps: Sequence[int], updates: int) -> None:
        """Raise UserError unless the rows are of all of `steps`, and the means of `updates` updates since.

        A curve that lacks a step would pass for a whole one.
        """
        found = list(dict.fromkeys(step for _, step, *_ in self._rows))
        if found != list(steps):
            raise UserError(
                f"its curve has {len(found)} steps, expected the {len(steps)} evaluated until then"
            )
        if self._every.count != updates:
            raise UserError(f"its means are of {self._every.count} updates, expected {updates}")

    def kept_row(self, kept: Sequence[Any], step: int) -> Row:
        """Restore the row that a checkpoint kept as a list. UserError unless of `step` and all seeds."""
        row = Row(*kept)
        means = [(str(name), list(map(float, values))) for name, values in row.means]
        if row.step != step or any(len(values) != len(self._seeds) for _, values in means):
            raise UserError(
                f"its awaited row is of step {row.step}, expected one of step {step} and all seeds"
            )
        return Row(step, means)
