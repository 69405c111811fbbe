"""Interval estimates of every method over all datasets at the last step: rliable's four aggregates."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.statistics import ALL
from paper_figures import style
from paper_figures.results import Results

COLUMNS = ("method", "label", "statistic", "step", *style.ESTIMATE)
AGGREGATES = {"median": "median", "iqm": "IQM", "mean": "mean", "optimality_gap": "optimality gap"}
"""Statistics of `analysis.statistics.STATISTICS`, in rliable's order, and their panels' titles."""

_WIDTH = 7.0  # inches


def table(results: Results) -> pd.DataFrame:
    """Return the rows of the figure, columns `COLUMNS`: one per method and aggregate [normalised score]."""
    statistics = results.statistics
    found = statistics.table
    last = found[(found["dataset"] == ALL) & (found["step"] == statistics.steps[-1])]
    rows = last.set_index(["method", "statistic"]).sort_index()
    wanted = pd.MultiIndex.from_product([statistics.methods, AGGREGATES], names=rows.index.names)
    rows = rows.loc[wanted].reset_index().rename(columns={"estimate": "value"})
    rows["label"] = [style.method_label(method, results.ensemble_size) for method in rows["method"]]
    return rows.assign(band=results.band, unit="normalised score", along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a panel an aggregate, a line a method."""
    looks = style.looks(drawn["method"])
    with style.look():
        figure = Figure(figsize=(_WIDTH, 0.75 + 0.25 * len(looks)))
        for axes, (statistic, title) in zip(
            figure.subplots(1, len(AGGREGATES), sharey=True), AGGREGATES.items(), strict=True
        ):
            rows = drawn[drawn["statistic"] == statistic]
            style.intervals(axes, rows, list(rows["label"]), list(looks.values()))
            axes.set_title(title)
        figure.supxlabel(f"normalised score at {style.moment(drawn)} ({style.runs(drawn)})", fontsize=8)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    return (
        f"Aggregates of the normalised score after {int(drawn['step'].iloc[0]):,} {results.along}"
        f" ({style.runs(drawn)}): median and mean over datasets of the mean over runs, interquartile mean"
        " over all runs, and the optimality gap, the mean shortfall below 100 (less is better). Runs"
        f" are resampled within each dataset."
    )
