"""Reproduction error: our curves less the published ones, figure by figure, at a few steps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.intervals import Bootstrap, interval_estimate
from analysis.published import (
    FIGURES,
    METHOD_OF_CURVE,
    METRIC_OF_CURVE,
    SUCCESS,
    published_dataset,
    published_table,
)
from analysis.scores import mean_over_runs, normalised, run_values
from analysis.shares import DRAWN_SHARES, LOGGED_SHARE, TRUE_SHARE, measured_at
from analysis.summary import table_text

STEPS = (0, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Environment steps at which curves are compared, beside our last one. (Ours.)"""
EPISODES = (0, 50, 100, 200, 300, 500, 700, 1_000)
"""The same for the manipulation tasks, in episodes. (Ours.)"""
LAST_INTERVAL = 1_000
"""[C] The paper evaluates before each 1,000 steps: its last point stands for the end, 1,000 steps later."""
_OF_EPISODES = (SUCCESS, *DRAWN_SHARES)
_READINGS = {
    "auroc_individual": "individual",
    "online_share": "online samples",
    "random_share": "random samples",
}
"""What tells two metrics of one figure apart."""
COLUMNS = (
    "figure",
    "panel",
    "curve",
    "method",
    "dataset",
    "metric",
    "step",
    "ours",
    "ours_low",
    "ours_high",
    "runs",
    "published",
    "published_std",
    "difference",
    "low",
    "high",
)


def reproduction_errors(curves: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """One row per published curve that `curves` (columns of `storage.curves`) has a counterpart of, and step.

    Ours is the mean over seeds and its bootstrap interval (NaN for one seed), the estimator of the published
    mean; `difference` with `low` and `high` is ours less the published mean. Returns are normalised scores,
    other metrics in their own unit. Steps are those of `STEPS` that our curve has, and its last; the
    published curve, thinned to every 5,000 steps, is read between its points by a straight line.

    The share of offline samples is compared as the paper logged it where our runs logged it so, and else as
    the true share, which is larger early on.
    """
    online = curves[curves["phase"] == "online"]
    measured = dict(list(online.groupby(["method", "dataset"])))
    table = published_table()
    table = table.sort_values("figure", key=lambda names: names.map(FIGURES.index), kind="stable")
    parts = []
    for key, theirs in table.groupby(["figure", "panel", "curve"], sort=False):
        figure, panel, curve = map(str, key)
        method, metric = METHOD_OF_CURVE[figure, curve], METRIC_OF_CURVE[figure, curve]
        dataset = published_dataset(figure, panel, curve)
        if (method, dataset) in measured:
            rows = _errors(measured[method, dataset], theirs, method, dataset, metric, bootstrap)
            parts.append(rows.assign(figure=figure, panel=panel, curve=curve))
    parts = [rows for rows in parts if not rows.empty] or [pd.DataFrame(columns=list(COLUMNS))]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def error_table(errors: pd.DataFrame) -> str:
    """Return the rows of `reproduction_errors` as a Markdown table, and a note that explains it."""
    headings = ("figure", "dataset", "method", "step", "ours", "published", "difference", "seeds")
    note = (
        "Normalised score; in 4a and 9 the share of offline samples, in 4b and 10 the AUROC in percent; in"
        " 5a, 15 and 16 success over episodes, in 5b and 17 shares of online and of random samples."
        " Ours: mean over seeds. Published: mean ± standard deviation of the paper's runs. Difference: ours"
        " less published, with our bootstrap interval; the published mean is taken as it is."
    )
    return table_text(headings, (_cells(row) for _, row in errors.iterrows()), note, texts=3)


def _errors(
    ours: pd.DataFrame, theirs: pd.DataFrame, method: str, dataset: str, metric: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """Compare one published curve `theirs` with its counterpart in `ours`: all columns but its own name."""
    places = measured_at(metric, theirs["step"].to_numpy(dtype=np.int64))
    by_episodes = metric in _OF_EPISODES
    if metric == TRUE_SHARE:
        metric = LOGGED_SHARE if (ours["metric"] == LOGGED_SHARE).any() else TRUE_SHARE
    values, steps = run_values(ours, method, [dataset], metric)
    compared = np.isin(steps, [*(EPISODES if by_episodes else STEPS), *steps[-1:]])
    compared &= (steps >= places[0]) & (steps <= places[-1] + (0 if by_episodes else LAST_INTERVAL))
    if not compared.any():
        return pd.DataFrame()
    steps, values = steps[compared], values[:, :, compared]
    point, (low, high) = interval_estimate(mean_over_runs, values, bootstrap, "mean over runs")
    mean, std = (np.interp(steps, places, theirs[column].to_numpy()) for column in ("mean", "std"))
    if metric == "return":
        mean, above = normalised(mean, dataset), normalised(mean + std, dataset)
        std = above - mean
    return pd.DataFrame(
        {
            "method": method,
            "dataset": dataset,
            "metric": metric,
            "step": steps,
            "ours": point,
            "ours_low": low,
            "ours_high": high,
            "runs": len(values),
            "published": mean,
            "published_std": std,
            "difference": point - mean,
            "low": low - mean,
            "high": high - mean,
        }
    )


def _cells(row: pd.Series) -> tuple[str, ...]:
    decimals = 1 if row["metric"] == "return" else 2
    interval = "" if np.isnan(row["low"]) else f" [{row['low']:.{decimals}f}, {row['high']:.{decimals}f}]"
    return (
        str(row["figure"]),
        str(row["dataset"]),
        ", ".join(filter(None, [str(row["method"]), _READINGS.get(row["metric"], "")])),
        f"{row['step']:,}",
        f"{row['ours']:.{decimals}f}",
        f"{row['published']:.{decimals}f} ± {row['published_std']:.{decimals}f}",
        f"{row['difference']:+.{decimals}f}{interval}",
        str(row["runs"]),
    )
