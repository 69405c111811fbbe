"""The critics' loss over updates, on a logarithmic axis: whether it accumulates (Osa et al. 2023)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paper_figures import drawing, style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("dataset", "method", "label", "kind", "seed", "step", "value", "low", "high", "along")
METRIC = "critic_loss"
MEDIAN = "median"
SEED = "seed"


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: the median of seeds per method, dataset and step, then each.

    A value is the mean of a curve's interval, as it was minimised: not by the scale of rewards. low and high
    are the smallest and largest seed's. Methods without critics have no rows.

    Raises:
        UserError: no method of the statistics has a critic's loss.
    """
    statistics = results.statistics
    curves = results.curves
    rows = curves[(curves["metric"] == METRIC) & (curves["phase"] == statistics.phase)]
    rows = rows[rows["method"].isin(statistics.methods) & rows["dataset"].isin(statistics.datasets)]
    if rows.empty:
        raise UserError(f"The curves hold no {METRIC} of {', '.join(statistics.methods)}: expected one.")
    parts = []
    for dataset, method in product(statistics.datasets, statistics.methods):
        own = rows[(rows["dataset"] == dataset) & (rows["method"] == method)]
        common = {
            "dataset": dataset,
            "method": method,
            "label": style.method_label(method, results.ensemble_size),
        }
        medians = own.groupby("step")["value"].agg(value="median", low="min", high="max").reset_index()
        parts.append(medians.assign(kind=MEDIAN, seed="", **common))
        parts.append(own.assign(kind=SEED, low=np.nan, high=np.nan, **common).astype({"seed": str}))
    return pd.concat(parts, ignore_index=True).assign(along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw a panel a dataset: seeds thin, their median thick, from least to largest."""
    kinds = {MEDIAN: drawing.OURS, SEED: drawing.SEED}
    rows = drawn.assign(source=drawn["kind"].map(kinds), run=drawn["seed"])
    words = {drawing.OURS: "median of seeds, smallest to largest", drawing.SEED: "each seed"}
    along = str(drawn["along"].iloc[0])
    figure = drawing.draw(rows, words, "critic loss\n[reward squared]", along, panel_width=2.4, split=True)
    for axes in figure.axes:
        axes.set_yscale("log")
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    methods, datasets = (style.listed(drawn[name]) for name in ("label", "dataset"))
    return (
        f"Mean critic loss of {methods} on {datasets} over the {results.along} since the point before, of"
        " both critics together. Thin: each seed; thick: their median; band: from smallest to largest."
        " Methods bootstrap from different values, so that a rise alone is evidence."
    )
