"""How often each method succeeds at the last step, a panel a regime: what each kind of data is good for.

A dataset's regime is what its name ends with (docs/methods/realistic_source.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.intervals import interval_estimate
from analysis.scores import Scores, run_values
from paper_figures import style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("dataset", "method", "label", "step", *style.ESTIMATE)
METRIC = "success"

REGIMES = {
    "in-domain": "-in-domain$",
    "held-out region": "-far-from-near$",
    "cross-task": "-(from-[a-z]+)$",
    "few of its own, and a mixture with another task's": "-(few|mixture)$",
    "other data": "$",
}
"""What ends the name of a dataset of each regime; in brackets, what its rows are told apart by."""

_WIDTH, _ROW, _APART = 5.2, 0.13, 0.6  # inches: of the figure, of a method; datasets' distance, in methods


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


def regime(dataset: str) -> tuple[str, str]:
    """Return the regime of a dataset and what it is called there, as in "lift, delta (from place)"."""
    name, found = next((n, m) for n, ending in REGIMES.items() if (m := re.search(ending, dataset)))
    if name == "other data":
        return name, dataset
    besides = "".join(f" ({part.replace('-', ' ')})" for part in found.groups())
    return name, dataset[: found.start()].replace("-", ", ") + besides


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a panel a regime: a group of lines a dataset, in it a line a method."""
    looks = style.looks(drawn["method"])
    regimes = {name: rows for name in REGIMES if len(rows := drawn[_regimes(drawn["dataset"]) == name])}
    datasets = [rows["dataset"].nunique() for rows in regimes.values()]
    spaces = [count * (len(looks) + _APART) for count in datasets]
    with style.look():
        figure = Figure(figsize=(_WIDTH, _ROW * sum(spaces) + 0.3 * len(regimes) + 0.8))
        grid = figure.subplots(
            len(regimes), sharex=True, squeeze=False, gridspec_kw={"height_ratios": spaces}
        ).ravel()
        for axes, (name, rows) in zip(grid, regimes.items(), strict=True):
            _panel(axes, rows, looks)
            axes.set_title(name, loc="left")
            axes.set_xlim(-0.03, 1.03)
        grid[-1].set_xlabel(f"success at {style.moment(drawn)}, each with its {drawn['band'].iloc[0]}")
        names = list(dict.fromkeys(drawn["label"]))
        handles = [Line2D([], [], linestyle="", **one.drawn) for one in looks.values()]
        style.legend_below(figure, handles, names, style.legend_columns(names, _WIDTH))
    return figure


def _regimes(datasets: pd.Series) -> pd.Series:
    return datasets.map(lambda dataset: regime(dataset)[0])


def _panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    middles = {}
    for number, (dataset, group) in enumerate(rows.groupby("dataset", sort=False)):
        top = -number * (len(looks) + _APART)
        places = top - np.arange(len(group))
        style.marks(axes, group, places, [looks[method] for method in group["method"]])
        middles[regime(str(dataset))[1]] = top - (len(looks) - 1) / 2
    axes.set_yticks(list(middles.values()), list(middles))
    axes.set_ylim(-len(middles) * (len(looks) + _APART) + _APART / 2 + 0.5, 0.5 + _APART / 2)
    axes.grid(visible=False, axis="y")


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    return (
        f"Share of evaluation episodes that end in success after {int(drawn['step'].iloc[0]):,}"
        f" {results.along} ({style.runs(drawn)}), mean over seeds, on each dataset, by regime: seeds are"
        " resampled, and episodes, which differ from seed to seed, are not."
    )
