"""Statistics over runs and tasks with rliable: interquartile means, intervals, who improves on whom.

Scores are normalised scores (0 random, 100 expert) in arrays of rliable's axes, runs x tasks [x steps].
rliable asks for scores of about one; its estimators are equivariant to the unit, so nothing is divided by
100, and the optimality gap is taken at 100 (`OPTIMAL`) instead of 1.

Intervals are percentile intervals of rliable's stratified bootstrap: runs are drawn with replacement within
each task, so they say how the number would vary with other seeds on the same tasks. rliable 1.2.0 ignores
its `random_state` and draws from NumPy's global generator, so that one is seeded before each call and put
back after it: an interval depends on its own scores, the seed and the repetitions, not on what else is
computed. That is also why it can be kept: given a folder, `interval_estimate` files each result under a hash
of all it depends on, and the next call reads it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from rliable import library, metrics
from scipy.stats import trim_mean

from analysis.scores import ScoreArrays, Scores, normalised, score_arrays
from storage import UserError
from storage.files import read_json, write_json
from storage.tables import Kind, read_table, write_table

ALL = "all"
"""In the column `dataset`: aggregated over all datasets."""
OPTIMAL = 100.0
THRESHOLDS = tuple(range(0, 121, 2))
"""Normalised scores at which performance profiles are taken. (Ours; the paper's best curve ends at 115.)"""

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

    def profile(self, method: str) -> pd.DataFrame:
        """Rows threshold, estimate, low, high, runs, tasks: the performance profile at the last step.

        Raises:
            UserError: the method is not in these statistics.
        """
        if method not in self.methods:
            names = ", ".join(self.methods)
            raise UserError(f"The statistics hold no method {method!r}: expected one of {names}.")
        rows = self.table[
            (self.table["statistic"] == "performance_profile") & (self.table["method"] == method)
        ]
        return rows[["threshold", "estimate", "low", "high", "runs", "tasks"]].reset_index(drop=True)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: the number of resamples, the seed of each call, the interval's coverage.

    `cache` is a folder in which intervals are kept by content, and may be deleted at any time.
    """

    repetitions: int = 2000
    seed: int = 0
    confidence: float = 0.95
    cache: Path | None = None

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
    phase: str | None = None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    provenance: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> Statistics:
    """Every statistic that the table and the figures show, from curves (columns of `storage.curves`).

    At every step: IQM and mean of each method, on each dataset and over all. At the last step: median,
    optimality gap and performance profile over all datasets, and the probability of improvement of each
    method over those after it. `cache` is a folder that keeps intervals for the next call.

    Raises:
        UserError: incomplete curves (`analysis.scores.score_arrays`), or a bootstrap setting out of range.
    """
    bootstrap = Bootstrap(repetitions, seed, confidence, cache)
    scores = score_arrays(curves, phase=phase, methods=methods, datasets=datasets, seeds=seeds)
    parts = _improvement_rows(scores, bootstrap)
    for method, values in scores.values.items():
        for task, dataset in enumerate(scores.datasets):
            parts.append(_curve_rows(values[:, task : task + 1], scores.steps, bootstrap, method, dataset))
        parts.append(_curve_rows(values, scores.steps, bootstrap, method, ALL))
        parts.append(_final_rows(values[:, :, -1], scores.steps[-1], bootstrap, method))
        parts.append(_profile_rows(values[:, :, -1], scores.steps[-1], bootstrap, method))
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
        phase=scores.phase,
        unit=scores.unit,
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

    point, interval = interval_estimate(estimators, scores, bootstrap, "iqm and mean at each step")
    return point[:steps], interval[:, :steps], point[steps:], interval[:, steps:]


def performance_profile(scores: Scores, bootstrap: Bootstrap) -> tuple[Scores, Scores]:
    """Share of the runs of `scores` [runs, tasks], all tasks together, that are above each of `THRESHOLDS`.

    Returns the shares [thresholds] and their interval [2, thresholds] (low, high), pointwise.
    """
    thresholds = np.array(THRESHOLDS, dtype=np.float64)

    def estimator(values: Scores) -> Scores:
        return np.asarray((values.reshape(-1, 1) > thresholds).mean(axis=0), dtype=np.float64)

    return interval_estimate(estimator, scores, bootstrap, f"performance profile at {THRESHOLDS}")


def probability_of_improvement(scores: Scores, versus: Scores) -> float:
    """Probability that a run of one method beats a run of the other, averaged over tasks; ties count half.

    `scores` is [runs, tasks], `versus` [other runs, tasks]. The same number as rliable's, counted directly:
    rliable's own goes through a Mann-Whitney test, whose p-value costs milliseconds a resample.
    """
    difference = scores[:, None, :] - versus[None, :, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def run_values(
    curves: pd.DataFrame, method: str, datasets: Sequence[str], metric: str = "return"
) -> tuple[Scores, NDArray[np.int64]]:
    """What the runs of one method measured: values [runs, tasks, steps], and the steps [steps] all share.

    `curves` has the columns of `storage.curves`; task k is `datasets[k]`; returns are normalised scores,
    other metrics as they are. Where datasets have different seeds, there are as many runs as the fewest
    seeds, in the order of the seeds: the bootstrap pairs no runs across tasks. A dataset without rows leaves
    no runs.
    """
    rows = curves[(curves["method"] == method) & (curves["metric"] == metric)]
    tables = [
        rows[rows["dataset"] == dataset].pivot(index="seed", columns="step", values="value").dropna(axis=1)
        for dataset in datasets
    ]
    runs = min(len(table) for table in tables)
    steps = sorted(set.intersection(*(set(table.columns) for table in tables)))
    values = np.stack([table[steps].to_numpy(dtype=np.float64)[:runs] for table in tables], axis=1)
    if metric == "return":
        for task, dataset in enumerate(datasets):
            values[:, task] = normalised(values[:, task], dataset)
    return values, np.array(steps, dtype=np.int64)


def interval_estimate(
    estimator: Callable[..., Scores],
    scores: Scores | list[Scores],
    bootstrap: Bootstrap,
    name: str | None = None,
) -> tuple[Scores, Scores]:
    """`estimator(scores)` [K] and its stratified bootstrap interval [2, K] (low, high).

    `scores` is one array [runs, tasks, ...], or a list of such arrays that are resampled independently and
    given to `estimator` as arguments. The interval of a single run is NaN: resampling it cannot vary.

    `name` tells the estimator, with its own settings, from all others; what has a name is kept in
    `bootstrap.cache`, where there is one.
    """
    arrays = scores if isinstance(scores, list) else [scores]
    if all(len(array) == 1 for array in arrays):
        point = np.asarray(estimator(*arrays), dtype=np.float64)
        return point, np.full((2, *point.shape), np.nan)
    if bootstrap.cache is None or name is None:
        return _drawn(estimator, scores, bootstrap)
    kept = bootstrap.cache / f"{_content_hash(name, arrays, bootstrap)}.json"
    return _kept(kept) or _keep(kept, name, _drawn(estimator, scores, bootstrap))


def whole_run_interval(
    estimator: Callable[..., Scores], curves: list[Scores], bootstrap: Bootstrap, name: str
) -> tuple[Scores, Scores]:
    """As `interval_estimate`, for an estimator that looks along a run: each drawn run is drawn whole.

    `curves` are arrays [runs, tasks, steps]. rliable draws anew in every cell of the axes behind the runs,
    so on curves it would put a drawn run together from steps of different runs, and average their noise away.
    """
    runs = [np.tile(np.arange(len(array), dtype=np.float64)[:, None], array.shape[1]) for array in curves]

    def of_runs(*drawn: Scores) -> Scores:
        chosen = [
            array[run.astype(int), np.arange(run.shape[1])] for array, run in zip(curves, drawn, strict=True)
        ]
        return estimator(*chosen)

    if bootstrap.cache is None or all(len(array) == 1 for array in curves):
        return interval_estimate(of_runs, runs, bootstrap)
    kept = bootstrap.cache / f"{_content_hash(f'{name}, whole runs', curves, bootstrap)}.json"
    return _kept(kept) or _keep(kept, name, _drawn(of_runs, runs, bootstrap))


def _drawn(
    estimator: Callable[..., Scores], scores: Scores | list[Scores], bootstrap: Bootstrap
) -> tuple[Scores, Scores]:
    with _global_seed(bootstrap.seed):
        points, intervals = library.get_interval_estimates(
            {"scores": scores},
            estimator,
            reps=bootstrap.repetitions,
            confidence_interval_size=bootstrap.confidence,
        )
    return np.asarray(points["scores"], dtype=np.float64), np.asarray(intervals["scores"], dtype=np.float64)


def _keep(path: Path, name: str, found: tuple[Scores, Scores]) -> tuple[Scores, Scores]:
    content = {"name": name, "point": found[0].tolist(), "interval": found[1].tolist()}
    write_json(path, {**content, "sha256": _checksum(content)})
    return found


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _kept(path: Path) -> tuple[Scores, Scores] | None:
    """What a file of the cache holds; None where there is no file, or not a whole one."""
    try:
        content = read_json(path)
        if content.pop("sha256") != _checksum(content):
            return None
        point = np.array(content["point"], dtype=np.float64)
        interval = np.array(content["interval"], dtype=np.float64)
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return (point, interval) if point.ndim == 1 and interval.shape == (2, *point.shape) else None


def _content_hash(name: str, arrays: Sequence[Scores], bootstrap: Bootstrap) -> str:
    """A hash of all that an interval depends on: scores, settings, this room's code and the libraries."""
    digest = hashlib.sha256(_code_hash().encode())
    settings = [name, bootstrap.repetitions, bootstrap.seed, bootstrap.confidence]
    digest.update(json.dumps([*settings, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()


@cache
def _code_hash() -> str:
    libraries = ("arch", "numpy", "rliable", "scipy")
    digest = hashlib.sha256(" ".join(version(library) for library in libraries).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


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
    """The statistics that `write_statistics` wrote as Parquet.

    Raises:
        UserError: the file is missing, truncated, damaged or something else.
    """
    table, header = read_table(parquet_path, _KIND)
    try:
        return Statistics(
            table=table.to_pandas(),
            methods=tuple(header["methods"]),
            datasets=tuple(header["datasets"]),
            seeds=tuple(header["seeds"]),
            steps=tuple(header["steps"]),
            phase=header["phase"],
            unit=header["unit"],
            repetitions=header["bootstrap"]["repetitions"],
            seed=header["bootstrap"]["seed"],
            confidence=header["bootstrap"]["confidence"],
            provenance=header["provenance"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{parquet_path} is not a file of statistics: its header lacks {error}") from error


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

    point, interval = interval_estimate(estimators, values, bootstrap, "median and optimality gap")
    names = ("median", "optimality_gap")
    return pd.concat(
        [
            _rows(name, method, "", ALL, (step,), point[k : k + 1], interval[:, k : k + 1], values.shape)
            for k, name in enumerate(names)
        ]
    )


def _profile_rows(values: Scores, step: int, bootstrap: Bootstrap, method: str) -> pd.DataFrame:
    share, interval = performance_profile(values, bootstrap)
    steps = (step,) * len(THRESHOLDS)
    rows = _rows("performance_profile", method, "", ALL, steps, share, interval, values.shape)
    return rows.assign(threshold=np.array(THRESHOLDS, dtype=np.float64))


def _improvement_rows(scores: ScoreArrays, bootstrap: Bootstrap) -> list[pd.DataFrame]:
    def estimator(ours: Scores, theirs: Scores) -> Scores:
        return np.array([probability_of_improvement(ours, theirs)])

    parts = []
    for method, versus in combinations(scores.methods, 2):
        final = [scores.values[name][:, :, -1] for name in (method, versus)]
        point, interval = interval_estimate(estimator, final, bootstrap, "probability of improvement")
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
            "threshold": np.nan,
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


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator, seeded inside the block and as it was before after it."""
    state: Any = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
