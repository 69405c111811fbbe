"""Statistics over runs and tasks with rliable: interquartile means, intervals, who improves on whom.

Scores are normalised scores (0 random, 100 expert) in arrays of rliable's axes, runs x tasks [x steps].
rliable asks for scores of about one; its estimators are equivariant to the unit, so nothing is divided by
100, and the optimality gap is taken at 100 (`OPTIMAL`) instead of 1.

Intervals are percentile intervals of rliable's stratified bootstrap: runs are drawn with replacement within
each task, so they say how the number would vary with other seeds on the same tasks. rliable 1.2.0 ignores
its `random_state` and draws from NumPy's global generator, so that one is seeded before each call and put
back after it: an interval depends on its own scores, the seed and the repetitions, not on what else is
computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rliable import library, metrics
from scipy.stats import trim_mean

from analysis.scores import ScoreArrays, Scores, score_arrays
from records import UserError
from records.files import atomic_path, write_json

ALL = "all"
"""In the column `dataset`: aggregated over all datasets."""
OPTIMAL = 100.0

COLUMNS = (
    "statistic",
    "method",
    "versus",
    "dataset",
    "step",
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
}

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in COLUMNS[:4]]
    + [("step", pa.int64())]
    + [(name, pa.float64()) for name in COLUMNS[5:8]]
    + [(name, pa.int64()) for name in COLUMNS[8:]]
)
_KEY = b"statistics"


@dataclass(frozen=True)
class Statistics:
    """The statistics of one comparison.

    `table` has the columns `COLUMNS`, one row per statistic, method (and `versus`, for comparisons), dataset
    (or "all") and step. `low` and `high` bound the interval; they are NaN where one run alone gives none.
    """

    table: pd.DataFrame
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    repetitions: int
    seed: int
    confidence: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def curve(self, method: str, dataset: str = ALL, statistic: str = "iqm") -> pd.DataFrame:
        """Rows step, estimate, low, high, runs of one statistic over all steps.

        Raises:
            UserError: the method or dataset is not in these statistics.
        """
        for name, value, known in (
            ("method", method, self.methods),
            ("dataset", dataset, (*self.datasets, ALL)),
            ("statistic", statistic, ("iqm", "mean")),
        ):
            if value not in known:
                names = ", ".join(known)
                raise UserError(f"The statistics hold no {name} {value!r}: expected one of {names}.")
        rows = self.table[
            (self.table["statistic"] == statistic)
            & (self.table["method"] == method)
            & (self.table["dataset"] == dataset)
        ]
        return rows[["step", "estimate", "low", "high", "runs"]].reset_index(drop=True)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: the number of resamples, the seed of each call, the interval's coverage."""

    repetitions: int = 2000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise UserError(f"The bootstrap repetitions are {self.repetitions}: expected at least 1.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"The bootstrap seed is {self.seed}: expected 0 to 2^32 - 1.")
        if not 0 < self.confidence < 1:
            raise UserError(f"The coverage of the intervals is {self.confidence}: expected between 0 and 1.")


def statistics(
    curves: pd.DataFrame,
    *,
    repetitions: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Statistics:
    """Every statistic that the table and the figures show, from curves (columns of `records.curves`).

    At every step: IQM and mean of each method, on each dataset and over all. At the last step: median and
    optimality gap over all datasets, and the probability of improvement of each method over those after it.

    Raises:
        UserError: incomplete curves (`analysis.scores.score_arrays`), or a bootstrap setting out of range.
    """
    bootstrap = Bootstrap(repetitions, seed, confidence)
    scores = score_arrays(curves, methods=methods, datasets=datasets, seeds=seeds)
    parts = _improvement_rows(scores, bootstrap)
    for method, values in scores.values.items():
        for task, dataset in enumerate(scores.datasets):
            parts.append(_curve_rows(values[:, task : task + 1], scores.steps, bootstrap, method, dataset))
        parts.append(_curve_rows(values, scores.steps, bootstrap, method, ALL))
        parts.append(_final_rows(values[:, :, -1], scores.steps[-1], bootstrap, method))
    table = pd.concat(parts, ignore_index=True)
    order = [
        table["statistic"].map({name: k for k, name in enumerate(STATISTICS)}),
        table["method"].map({name: k for k, name in enumerate(scores.methods)}),
    ]
    table = table.iloc[np.lexsort([key.to_numpy() for key in reversed(order)])].reset_index(drop=True)
    return Statistics(
        table=table,
        methods=scores.methods,
        datasets=scores.datasets,
        seeds=scores.seeds,
        steps=scores.steps,
        repetitions=repetitions,
        seed=seed,
        confidence=confidence,
        provenance=dict(provenance or {}),
    )


def sample_efficiency(scores: Scores, bootstrap: Bootstrap) -> tuple[Scores, Scores, Scores, Scores]:
    """IQM and mean at each step with intervals.

    `scores` is [runs, tasks, steps]. Returns the IQM [steps], its interval [2, steps] (low, high), the mean
    [steps] and its interval [2, steps].
    """
    steps = scores.shape[2]

    def estimators(values: Scores) -> Scores:
        flat = values.reshape(-1, steps)
        return np.concatenate([trim_mean(flat, 0.25, axis=0), flat.mean(axis=0)])

    point, interval = interval_estimate(estimators, scores, bootstrap)
    return point[:steps], interval[:, :steps], point[steps:], interval[:, steps:]


def probability_of_improvement(scores: Scores, versus: Scores) -> float:
    """Probability that a run of one method beats a run of the other, averaged over tasks; ties count half.

    `scores` is [runs, tasks], `versus` [other runs, tasks]. The same number as rliable's, counted directly:
    rliable's own goes through a Mann-Whitney test, whose p-value costs milliseconds a resample.
    """
    difference = scores[:, None, :] - versus[None, :, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def interval_estimate(
    estimator: Callable[..., Scores], scores: Scores | list[Scores], bootstrap: Bootstrap
) -> tuple[Scores, Scores]:
    """`estimator(scores)` [K] and its stratified bootstrap interval [2, K] (low, high).

    `scores` is one array [runs, tasks, ...], or a list of such arrays that are resampled independently and
    given to `estimator` as arguments. The interval of a single run is NaN: resampling it cannot vary.
    """
    arrays = scores if isinstance(scores, list) else [scores]
    if all(len(array) == 1 for array in arrays):
        point = np.asarray(estimator(*arrays), dtype=np.float64)
        return point, np.full((2, *point.shape), np.nan)
    with _global_seed(bootstrap.seed):
        points, intervals = library.get_interval_estimates(
            {"scores": scores},
            estimator,
            reps=bootstrap.repetitions,
            confidence_interval_size=bootstrap.confidence,
        )
    return np.asarray(points["scores"], dtype=np.float64), np.asarray(intervals["scores"], dtype=np.float64)


def closing_rows(statistics: Statistics) -> pd.DataFrame:
    """One row per method and dataset: IQM at the first and the last step, with intervals.

    Columns method, dataset, seeds (how many), first_step, last_step, start, start_low, start_high, end,
    end_low, end_high. Scores are normalised; with several datasets a row "all" follows each method's own.
    """
    names = (*statistics.datasets, ALL) if len(statistics.datasets) > 1 else statistics.datasets
    rows = []
    for method in statistics.methods:
        for dataset in names:
            curve = statistics.curve(method, dataset)
            first, last = curve.iloc[0], curve.iloc[-1]
            rows.append(
                {
                    "method": method,
                    "dataset": dataset,
                    "seeds": int(last["runs"]),
                    "first_step": int(first["step"]),
                    "last_step": int(last["step"]),
                    "start": float(first["estimate"]),
                    "start_low": float(first["low"]),
                    "start_high": float(first["high"]),
                    "end": float(last["estimate"]),
                    "end_low": float(last["low"]),
                    "end_high": float(last["high"]),
                }
            )
    return pd.DataFrame(rows)


def improvements(statistics: Statistics) -> pd.DataFrame:
    """Rows method, versus, step, estimate, low, high, runs, tasks: probabilities of improvement."""
    table = statistics.table
    rows = table[table["statistic"] == "probability_of_improvement"].reset_index(drop=True)
    return rows[["method", "versus", "step", "estimate", "low", "high", "runs", "tasks"]]


def write_statistics(statistics: Statistics, json_path: Path, parquet_path: Path) -> None:
    """Write the whole table as Parquet, and what a person reads (no curves) as JSON. Both are atomic.

    Raises:
        UserError: a place cannot be written.
    """
    table = pa.Table.from_pandas(statistics.table, schema=_SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata({_KEY: json.dumps(_header(statistics), sort_keys=True).encode()})
    with atomic_path(parquet_path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    final = statistics.table[
        (statistics.table["dataset"] == ALL) & (statistics.table["step"] == statistics.steps[-1])
    ]
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
    """The statistics that `write_statistics` wrote as Parquet.

    Raises:
        UserError: the file is missing, truncated or something else.
    """
    try:
        # Not `pq.read_table`: it would read columns out of folder names like `seed=1`.
        with pq.ParquetFile(parquet_path) as file:
            table = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{parquet_path} does not exist: expected a Parquet file of statistics.") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{parquet_path} is not a whole Parquet file: make it again.") from error
    if not table.schema.equals(_SCHEMA) or _KEY not in (table.schema.metadata or {}):
        columns = ", ".join(COLUMNS)
        raise UserError(f"{parquet_path} is not a file of statistics: expected the columns {columns}.")
    header = json.loads(table.schema.metadata[_KEY])
    return Statistics(
        table=table.to_pandas(),
        methods=tuple(header["methods"]),
        datasets=tuple(header["datasets"]),
        seeds=tuple(header["seeds"]),
        steps=tuple(header["steps"]),
        repetitions=header["bootstrap"]["repetitions"],
        seed=header["bootstrap"]["seed"],
        confidence=header["bootstrap"]["confidence"],
        provenance=header["provenance"],
    )


def _curve_rows(
    values: Scores, steps: tuple[int, ...], bootstrap: Bootstrap, method: str, dataset: str
) -> pd.DataFrame:
    iqm, iqm_interval, mean, mean_interval = sample_efficiency(values, bootstrap)
    return pd.concat(
        [
            _rows("iqm", method, "", dataset, steps, iqm, iqm_interval, values.shape),
            _rows("mean", method, "", dataset, steps, mean, mean_interval, values.shape),
        ]
    )


def _final_rows(values: Scores, step: int, bootstrap: Bootstrap, method: str) -> pd.DataFrame:
    """Median and optimality gap of `values` [runs, tasks]; IQM and mean are the ends of their curves."""

    def estimators(scores: Scores) -> Scores:
        return np.array([metrics.aggregate_median(scores), metrics.aggregate_optimality_gap(scores, OPTIMAL)])

    point, interval = interval_estimate(estimators, values, bootstrap)
    names = ("median", "optimality_gap")
    return pd.concat(
        [
            _rows(name, method, "", ALL, (step,), point[k : k + 1], interval[:, k : k + 1], values.shape)
            for k, name in enumerate(names)
        ]
    )


def _improvement_rows(scores: ScoreArrays, bootstrap: Bootstrap) -> list[pd.DataFrame]:
    def estimator(ours: Scores, theirs: Scores) -> Scores:
        return np.array([probability_of_improvement(ours, theirs)])

    parts = []
    for method, versus in combinations(scores.methods, 2):
        final = [scores.values[name][:, :, -1] for name in (method, versus)]
        point, interval = interval_estimate(estimator, final, bootstrap)
        step = (scores.steps[-1],)
        parts.append(
            _rows("probability_of_improvement", method, versus, ALL, step, point, interval, final[0].shape)
        )
    return parts


def _rows(
    statistic: str,
    method: str,
    versus: str,
    dataset: str,
    steps: tuple[int, ...],
    estimate: Scores,
    interval: Scores,
    shape: tuple[int, ...],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "statistic": statistic,
            "method": method,
            "versus": versus,
            "dataset": dataset,
            "step": np.asarray(steps, dtype=np.int64),
            "estimate": estimate,
            "low": interval[0],
            "high": interval[1],
            "runs": shape[0],
            "tasks": shape[1],
        }
    )


def _header(statistics: Statistics) -> dict[str, Any]:
    return {
        "methods": list(statistics.methods),
        "datasets": list(statistics.datasets),
        "seeds": list(statistics.seeds),
        "steps": list(statistics.steps),
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


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator, seeded inside the block and as it was before after it."""
    state: Any = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
