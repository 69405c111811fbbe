"""Success on the manipulation tasks over episodes, as the paper draws it, and its closing table.

The paper's curves of success are trailing means: their values are multiples of 1 / (40 k), k = 1 to 10, so
each point averages up to ten evaluations, its own the last ([D], Figures 5a, 15 and 16).
"""

from __future__ import annotations

import pandas as pd

from analysis.intervals import Bootstrap, interval_estimate
from analysis.published import SUCCESS
from analysis.scores import mean_over_runs, run_values
from analysis.summary import closing_cells, table_text

MEASURED = "success_deterministic"
"""The metric of our curves that the trailing mean is of; COG evaluates so, and the paper does not say."""
WINDOW = 10
"""Evaluations that a point of the paper's curves averages at most. [D]"""
_RUN = ["run", "method", "dataset", "seed", "phase"]
_HEADINGS = (
    "method",
    "task",
    "seeds",
    "episodes",
    "success at the start",
    "at the end",
    "interval of the end",
)


def comparable(curves: pd.DataFrame) -> pd.DataFrame:
    """`curves` (columns of `storage.curves`) with rows of the trailing mean of success, metric `SUCCESS`.

    Returns of the same runs are left out: these tasks have no reference scores to normalise them by. Curves
    of other tasks stay as they are.
    """
    measured = curves[curves["metric"] == MEASURED].sort_values([*_RUN, "step"])
    if measured.empty:
        return curves
    means = measured.groupby(_RUN)["value"].rolling(WINDOW, min_periods=1).mean()
    trailing = measured.assign(metric=SUCCESS, value=means.to_numpy())
    of_tasks = curves["dataset"].isin(set(measured["dataset"]))
    kept = curves[~(of_tasks & (curves["metric"] == "return"))]
    return pd.concat([kept, trailing], ignore_index=True)


def last_evaluations(curves: pd.DataFrame, count: int) -> pd.DataFrame:
    """Each run's mean success over its last `count` evaluations: columns method, dataset, seed, success."""
    measured = curves[curves["metric"] == MEASURED].sort_values([*_RUN, "step"])
    runs = measured.groupby(["method", "dataset", "seed"], sort=False)["value"]
    return runs.apply(lambda values: values.iloc[-count:].mean()).rename("success").reset_index()


def success_rows(curves: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Tabulate trailing success at the first and last step, a row a method and task of `comparable` curves.

    Columns method, dataset, seeds, last_step (the last that all runs share, an episode), start, end, end_low,
    end_high (NaN for one seed).
    """
    rows = []
    of_success = curves[(curves["metric"] == SUCCESS) & (curves["phase"] == "online")]
    for names in dict.fromkeys(zip(of_success["dataset"], of_success["method"], strict=True)):
        dataset, method = names
        values, steps = run_values(of_success, method, [dataset], SUCCESS)
        mean, (low, high) = interval_estimate(
            mean_over_runs, values[:, :, [0, -1]], bootstrap, "ends of success"
        )
        rows.append((method, dataset, len(values), int(steps[-1]), mean[0], mean[1], low[1], high[1]))
    columns = ["method", "dataset", "seeds", "last_step", "start", "end", "end_low", "end_high"]
    return pd.DataFrame(rows, columns=columns)


def success_markdown(rows: pd.DataFrame) -> str:
    """Return the rows of `success_rows` as a Markdown table, and a note that explains it."""
    note = (
        "Success of deterministic evaluation episodes, mean over seeds; each value is the mean of up to"
        f" {WINDOW} evaluations, as in the paper's figures."
    )
    return table_text(_HEADINGS, (closing_cells(row, digits=2) for _, row in rows.iterrows()), note)


def success_lines(rows: pd.DataFrame) -> str:
    """Return the same for the terminal, a line a row; empty without rows."""
    lines = []
    for _, row in rows.iterrows():
        method, dataset, seeds, last, start, end, interval = closing_cells(row, digits=2)
        lines.append(
            f"{dataset}, {method}: success {start} to {end} ({interval}), {seeds} seeds, {last} episodes"
        )
    return "".join(f"{line}\n" for line in lines)
