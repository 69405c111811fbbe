"""Statistics over runs and tasks with rliable: interquartile means, intervals, who improves on whom.

Scores are normalised scores (0 random, 100 expert) in arrays of rliable's axes, runs x tasks [x steps].
rliable asks for scores of about one; its estimators are equivariant to the unit, so nothing is divided by
100, and the optimality gap is taken at 100 (`OPTIMAL`) instead of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import Bootstrap, interval_estimate
from analysis.scores import ScoreArrays, Scores, interquartile_mean, score_arrays
from analysis.statistics import ALL, STATISTICS, Statistics

OPTIMAL = 100.0
THRESHOLDS = tuple(range(0, 121, 2))
"""Normalised scores at which performance profiles are taken. (Ours; the paper's best curve ends at 115.)"""


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
        return np.concatenate([interquartile_mean(flat, axis=0), flat.mean(axis=0)])

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
    from rliable import metrics  # here: see `analysis.scores.interquartile_mean`

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
