"""How often each method succeeds at the last step, a panel a dataset: what each regime is good for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.intervals import interval_estimate
from analysis.scores import Scores, run_values
from paper_figures import style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("dataset", "method", "label", "step", *style.ESTIMATE)
METRIC = "success"

_WRAP = 4  # panels in a row
_PANEL = (1.9, 0.25)  # inches: of a panel, and of a method in it


def table(results: Results) -> pd.DataFrame:
    """Return the rows of the figure, columns `COLUMNS`: one per dataset and method [share of episodes].

    Raises:
        UserError: the curves lack the success of a method.
    """
    statistics, curves, rows = results.statistics, results.curves, []
    for dataset, method in product(statistics.datasets, statistics.methods):
        here = curves[(curves["dataset"] == dataset) & (curves["phase"] == statistics.phase)]
        if not ((here["method"] == method) & (here["metric"] == METRIC)).any():
            raise UserError(
                f"The curves hold no {METRIC} of {method} on {dataset}: expected it of each method."
            )
        values, steps = run_values(here, method, [dataset], METRIC)
        (mean,), ((low,), (high,)) = interval_estimate(
            _mean, values[:, :, -1], results.bootstrap, "mean success"
        )
        label = style.method_label(method, results.ensemble_size)
        rows.append((dataset, method, label, int(steps[-1]), mean, low, high, len(values)))
    columns = ["dataset", "method", "label", "step", "value", "low", "high", "runs"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(band=results.band, unit=METRIC, along=results.along, tasks=1)[list(COLUMNS)]


def _mean(values: Scores) -> Scores:
    return np.array([values.mean()])


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a panel a dataset, a line a method."""
    looks, datasets = style.looks(drawn["method"]), list(dict.fromkeys(drawn["dataset"]))
    down = -(-len(datasets) // _WRAP)
    width, height = _PANEL
    with style.look():
        figure = Figure(figsize=(_WRAP * width, down * (0.7 + height * len(looks))))
        panels = figure.subplots(down, _WRAP, sharey=True, sharex=True, squeeze=False).ravel()
        for axes, dataset in zip(panels, datasets, strict=False):
            rows = drawn[drawn["dataset"] == dataset]
            style.intervals(axes, rows, list(rows["label"]), list(looks.values()))
            axes.set_title(dataset, fontsize=7)
            axes.set_xlim(-0.03, 1.03)
        for axes in panels[len(datasets) :]:
            axes.set_visible(False)
        figure.supxlabel(f"success at {style.moment(drawn)} ({style.runs(drawn)})", fontsize=8)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    return (
        f"Share of evaluation episodes that end in success after {int(drawn['step'].iloc[0]):,}"
        f" {results.along} ({style.runs(drawn)}), mean over seeds, on each dataset: seeds are resampled, and"
        f" episodes, which differ from seed to seed, are not."
    )
