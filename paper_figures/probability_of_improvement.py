"""How probably a run of each method beats one of each other method at the last step, as a matrix."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("method", "label", "versus", "versus_label", "step", *style.ESTIMATE)

_CELL = 0.45  # inches


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: a row per ordered pair of methods.

    Ties count half, so that the probability of the reverse pair is what is missing to one.

    Raises:
        UserError: there is a single method, and so no pair to compare.
    """
    statistics = results.statistics
    pairs = statistics.improvements().rename(columns={"estimate": "value"})
    if pairs.empty:
        found = ", ".join(statistics.methods)
        raise UserError(f"The statistics hold one method, {found}: expected at least two to compare.")
    reverse = pairs.assign(
        method=pairs["versus"],
        versus=pairs["method"],
        value=1 - pairs["value"],
        low=1 - pairs["high"],
        high=1 - pairs["low"],
    )
    both = pd.concat([pairs, reverse], ignore_index=True)
    order = {method: place for place, method in enumerate(statistics.methods)}
    both = both.sort_values(["method", "versus"], key=lambda names: names.map(order), ignore_index=True)
    for column, name in (("label", "method"), ("versus_label", "versus")):
        both[column] = [style.method_label(method, results.ensemble_size) for method in both[name]]
    return both.assign(band=results.band, unit="probability", along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a cell a pair: bold where the interval leaves out 0.5."""
    labels = dict(zip(drawn["method"], drawn["label"], strict=True))
    side = _CELL * len(labels)
    names = 0.3 + 0.055 * max(map(len, labels.values()))
    with style.look():
        figure = Figure(figsize=(max(side + names, 3.4), side + 0.75 * names + 0.35))
        axes = figure.subplots()
        _matrix(axes, drawn, labels)
        axes.set_title(f"P(row beats column) at {style.moment(drawn)}")
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    bold = ", bold where the interval leaves out 0.5" if int(drawn["runs"].iloc[0]) > 1 else ""
    return (
        "The probability that a run of the row's method beats one of the column's on the same dataset after"
        f" {int(drawn['step'].iloc[0]):,} {results.along}, averaged over datasets, ties counting half; 0.5 is"
        f" no difference ({style.runs(drawn)}{bold})."
    )


def _matrix(axes: Axes, drawn: pd.DataFrame, labels: dict[str, str]) -> None:
    """`labels` names the methods, in the order of rows and columns."""
    methods, names = list(labels), list(labels.values())
    values, low, high = (
        drawn.pivot(index="method", columns="versus", values=column).loc[methods, methods]
        for column in ("value", "low", "high")
    )
    sns.heatmap(
        values, ax=axes, annot=True, fmt=".2f", cmap="PuOr", vmin=0, vmax=1, alpha=0.6, square=True,
        cbar=False, xticklabels=names, yticklabels=names, annot_kws={"fontsize": 7, "color": "black"},
    )  # fmt: skip
    decided = ((low > 0.5) | (high < 0.5)).to_numpy()
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        text.set_fontweight("bold" if decided[row, column] else "normal")
    axes.set_xticks(axes.get_xticks(), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(axes.get_yticks(), names, rotation=0)
    axes.set(xlabel="", ylabel="")
    axes.grid(False)
    axes.tick_params(length=0)
