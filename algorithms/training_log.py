"""What a training loop measures: means between evaluations, tidy rows, a stop on non-finite values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from algorithms.agents import Metrics
from records import UserError
from records.curves import COLUMNS


class _Means:
    """Running means of metrics, [G] each, one entry a seed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._sums = torch.empty(0)
        self._count = 0

    def add(self, names: Sequence[str], values: torch.Tensor) -> None:
        """Count `values` [names, G] in float64."""
        if not self.names:
            self.names = list(names)
            self._sums = torch.zeros_like(values)
        self._sums += values
        self._count += 1

    def values(self) -> dict[str, list[float]]:
        """The means so far, by name."""
        return {name: (self._sums[i] / self._count).tolist() for i, name in enumerate(self.names)}

    def state(self) -> dict[str, Any]:
        return {"names": self.names, "sums": self._sums.tolist(), "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.names, self._count = list(state["names"]), state["count"]
        self._sums = torch.tensor(state["sums"], dtype=torch.float64)


class TrainingLog:
    """Rows of one job's curve: `run`, `method`, `dataset` are the job's, one row a seed, step and metric."""

    def __init__(self, run: str, method: str, dataset: str, seeds: Sequence[int]) -> None:
        self._labels = (run, method, dataset)
        self._seeds = list(seeds)
        self._rows: list[tuple[int, int, str, float]] = []
        self._forget()

    def _forget(self) -> None:
        self._every, self._thinned = _Means(), _Means()

    def add(self, metrics: Metrics, step: int) -> None:
        """Count one update's metrics ([G] tensors, one entry a seed) towards the running means.

        UserError where one is not finite: at once, before spoilt networks act or spoilt priorities draw.
        """
        values = torch.stack(list(metrics.values())).double()
        finite = values.isfinite()
        if not finite.all():
            row, column = finite.logical_not().nonzero()[0].tolist()
            raise UserError(
                f"{'/'.join(self._labels)}: {list(metrics)[row]} of seed {self._seeds[column]} became"
                f" non-finite at update {step}; lower the learning rates or look at the data"
            )
        self._every.add(list(metrics), values)

    def add_thinned(self, metrics: Metrics) -> None:
        """Count metrics that are looked at now and then only towards means of their own."""
        self._thinned.add(list(metrics), torch.stack(list(metrics.values())).double())

    def flush(self, step: int, measured: Mapping[str, ArrayLike]) -> dict[str, float]:
        """Write the running means and the `measured` metrics ([G] each) as rows of `step`; start new means.

        Returns the means over seeds, for the progress bar.
        """
        values = self._every.values() | self._thinned.values()
        values |= {name: np.asarray(value).tolist() for name, value in measured.items()}
        for name, row in values.items():
            self._rows += [(seed, step, name, float(v)) for seed, v in zip(self._seeds, row, strict=True)]
        self._forget()
        return {name: float(np.mean(row)) for name, row in values.items()}

    def frame(self) -> pd.DataFrame:
        """All rows so far, in the columns of `records.curves`."""
        return pd.DataFrame([(*self._labels, *row) for row in self._rows], columns=list(COLUMNS))

    def state(self) -> dict[str, Any]:
        """Everything for a bit-identical continuation, as JSON-able values (floats survive JSON exactly)."""
        return {"rows": self._rows, "every": self._every.state(), "thinned": self._thinned.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._rows = [(seed, step, name, value) for seed, step, name, value in state["rows"]]
        self._every.restore(state["every"])
        self._thinned.restore(state["thinned"])
