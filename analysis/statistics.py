"""The statistics of one comparison as a table, what is read from it, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from storage import UserError
from storage.files import write_json
from storage.tables import Kind, read_table, write_table

ALL = "all"
"""In the column `dataset`: aggregated over all datasets."""
COLUMNS = (
    "statistic",
    "method",
    "versus",
    "dataset",
    "step",
    "threshold",
    "estimate",
    "low",
    "high",
    "runs",
    "tasks",
)
STATISTICS: dict[str, str] = {
    "iqm": "interquartile mean over runs and tasks [normalised score]",
    "mean": "mean over tasks of the mean over runs [normalised score]",
    "median": "median over tasks of the mean over runs [normalised score]",
    "optimality_gap": "mean shortfall below the score 100 [normalised score]",
    "probability_of_improvement": "probability that a run of `method` beats a run of `versus`, ties half [1]",
    "performance_profile": "share of all runs on all tasks whose normalised score is above `threshold` [1]",
}

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in COLUMNS[:4]]
    + [("step", pa.int64())]
    + [(name, pa.float64()) for name in COLUMNS[5:9]]
    + [(name, pa.int64()) for name in COLUMNS[9:]]
)
_KIND = Kind("statistics", _SCHEMA, b"statistics")
_LISTS = ("methods", "datasets", "seeds", "steps")


@dataclass(frozen=True)
class Statistics:
    """The statistics of one comparison.

    `table` has the columns `COLUMNS`, one row per statistic, method (and `versus`, for comparisons), dataset
    (or "all") and step of `unit`, all in one `phase`; performance profiles have one per `threshold`, which is
    NaN elsewhere. `low` and `high` bound the interval; they are NaN where one run alone gives none.
    """

    table: pd.DataFrame
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    phase: str
    unit: str
    repetitions: int
    seed: int
    confidence: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def curve(self, method: str, dataset: str = ALL, statistic: str = "iqm") -> pd.DataFrame:
        """Rows step, estimate, low, high, runs of one statistic over all steps.

        Raises:
            UserError: the method or dataset is not in these statistics.
        """
        self._check("method", method, self.methods)
        self._check("dataset", dataset, (*self.datasets, ALL))
        self._check("statistic", statistic, ("iqm", "mean"))
        rows = self._rows("step", statistic=statistic, method=method, dataset=dataset)
        return rows.drop(columns="tasks")

    def profile(self, method: str) -> pd.DataFrame:
        """Rows threshold, estimate, low, high, runs, tasks: the performance profile at the last step.

        Raises:
            UserError: the method is not in these statistics.
        """
        self._check("method", method, self.methods)
        return self._rows("threshold", statistic="performance_profile", method=method)

    def improvements(self) -> pd.DataFrame:
        """Rows method, versus, step, estimate, low, high, runs, tasks: probabilities of improvement."""
        return self._rows("method", "versus", "step", statistic="probability_of_improvement")

    def _check(self, name: str, value: str, known: Sequence[str]) -> None:
        if value not in known:
            expected = ", ".join(known)
            raise UserError(f"The statistics hold no {name} {value!r}: expected one of {expected}.")

    def _rows(self, *keys: str, **wanted: str) -> pd.DataFrame:
        chosen = (self.table[list(wanted)] == pd.Series(wanted)).all(axis=1)
        columns = [*keys, "estimate", "low", "high", "runs", "tasks"]
        return self.table.loc[chosen, columns].reset_index(drop=True)


def closing_rows(statistics: Statistics) -> pd.DataFrame:
    """One row per method and dataset: IQM at the first and the last step, with intervals.

    Columns method, dataset, seeds (how many), first_step, last_step, start, start_low, start_high, end,
    end_low, end_high. Scores are normalised; with several datasets a row "all" follows each method's own.
    """
    names = (*statistics.datasets, ALL) if len(statistics.datasets) > 1 else statistics.datasets
    rows = []
    for method, dataset in product(statistics.methods, names):
        curve = statistics.curve(method, dataset)
        first, last = curve.iloc[0], curve.iloc[-1]
        row = {"method": method, "dataset": dataset, "seeds": int(last["runs"])}
        row |= {"first_step": int(first["step"]), "last_step": int(last["step"])}
        for name, end in (("start", first), ("end", last)):
            row |= {name: end["estimate"], f"{name}_low": end["low"], f"{name}_high": end["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def write_statistics(statistics: Statistics, json_path: Path, parquet_path: Path) -> None:
    """Write the whole table as Parquet, and what a person reads (no curves) as JSON. Both are atomic.

    Raises:
        UserError: a place cannot be written.
    """
    table = pa.Table.from_pandas(statistics.table, schema=_SCHEMA, preserve_index=False)
    write_table(parquet_path, table, _KIND, _header(statistics))
    final = statistics.table[
        (statistics.table["dataset"] == ALL)
        & (statistics.table["step"] == statistics.steps[-1])
        & (statistics.table["statistic"] != "performance_profile")
    ].drop(columns="threshold")
    write_json(
        json_path,
        {
            **_header(statistics),
            "units": STATISTICS,
            "by_dataset": _records(closing_rows(statistics)),
            "at_the_last_step": _records(final),
        },
    )


def read_statistics(parquet_path: Path) -> Statistics:
    """Return the statistics that `write_statistics` wrote as Parquet.

    Raises:
        UserError: the file is missing, truncated, damaged or something else.
    """
    table, header = read_table(parquet_path, _KIND)
    try:
        found: dict[str, Any] = {key: tuple(header[key]) for key in _LISTS}
        found |= {key: header[key] for key in ("phase", "unit", "provenance")}
        found |= {key: header["bootstrap"][key] for key in ("repetitions", "seed", "confidence")}
        return Statistics(table=table.to_pandas(), **found)
    except (KeyError, TypeError) as error:
        raise UserError(f"{parquet_path} is not a file of statistics: its header lacks {error}") from error


def _header(statistics: Statistics) -> dict[str, Any]:
    return {
        **{key: list(getattr(statistics, key)) for key in _LISTS},
        "phase": statistics.phase,
        "unit": statistics.unit,
        "bootstrap": {
            "repetitions": statistics.repetitions,
            "seed": statistics.seed,
            "confidence": statistics.confidence,
        },
        "provenance": statistics.provenance,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; NaN, which JSON has no word for, becomes null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    return [{str(name): value for name, value in row.items()} for row in rows]
