"""Vectors of trajectories and of estimated behaviours, by their two principal components."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures import style
from paper_figures.results import Results
from storage import UserError
from storage.tables import BEHAVIOURS, read_table

COLUMNS = ("dataset", "method", "kind", "number", "behaviour", "source", "percentile", "x", "y")
AGENT = 0
_SHAPES = ("o", "s", "^", "D", "v")
"""By true source; further ones begin anew."""
_STAR: dict[str, Any] = {"marker": "*", "markersize": 9, "color": "#D55E00", "linestyle": "none"}
_LEARNED: dict[str, Any] = {"marker": "P", "markersize": 8, "color": "#0072B2", "linestyle": "none"}
_KINDS = {"behaviour": ("behaviour", _STAR), "learned": ("learned policy", _LEARNED)}
_MAP = "viridis"


def table(results: Results) -> pd.DataFrame:
    """Tabulate agent 0 of each of the results' files, which the step `behaviours` wrote: columns `COLUMNS`.

    `kind` is trajectory, behaviour or learned; `percentile` of a trajectory's return among its dataset's.

    Raises:
        UserError: no file is given, or one is missing, truncated or of another kind.
    """
    frames = [read_table(path, BEHAVIOURS)[0].to_pandas() for path in results.files]
    if not frames:
        raise UserError("No files of estimated behaviours were given: expected at least one Parquet file")
    drawn = pd.concat([frame[frame["agent"] == AGENT] for frame in frames], ignore_index=True)
    groups = drawn.groupby(["dataset", "method"])["return"]
    ranked: pd.DataFrame = drawn.assign(percentile=100 * groups.rank(pct=True))[list(COLUMNS)]
    return ranked


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`: a row of panels a dataset, in it a panel a method."""
    datasets, methods = (list(dict.fromkeys(drawn[name])) for name in ("dataset", "method"))
    sources = sorted(drawn["source"].dropna().astype(int).unique())
    grey: dict[str, Any] = {"color": "#777777", "linestyle": "none"}
    handles = [Line2D([], [], marker=_shape(source), **grey) for source in sources]
    labels = [f"trajectory of source {source}" for source in sources]
    for kind, (name, own) in _KINDS.items():
        if kind in set(drawn["kind"]):
            handles.append(Line2D([], [], **own))
            labels.append(name)
    with style.look():
        size = (max(2.6 * len(methods), 5.0), 2.6 * len(datasets) + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(datasets), len(methods), squeeze=False)
        for line, dataset in zip(grid, datasets, strict=True):
            for axes, method in zip(line, methods, strict=True):
                _panel(axes, drawn[(drawn["dataset"] == dataset) & (drawn["method"] == method)])
                axes.set_title(f"{dataset}\n{style.name_of(method)}")
        shades = ScalarMappable(Normalize(0, 100), _MAP)
        figure.colorbar(shades, ax=grid, aspect=30, label="percentile of a trajectory's return")
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def caption(drawn: pd.DataFrame, _results: Results) -> str:
    """Return the caption's text for the rows of `table`."""
    counts = drawn[drawn["kind"] == "trajectory"].groupby(["dataset", "method"], sort=False)
    groups = "; ".join(
        f"{style.name_of(str(method))} on {dataset}: {rows['behaviour'].nunique()}"
        for (dataset, method), rows in counts
    )
    return (
        "Directions of the vectors of trajectories (a shape a true source, coloured by the percentile of the"
        " return from dark to light), of the estimated behaviours and of the learned policy, of agent"
        f" {AGENT}, by the two principal components of the trajectories'. Behaviours that trajectories belong"
        f" to: {groups}."
    )


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    kinds = dict(list(rows.groupby("kind")))
    trajectories = kinds["trajectory"]
    for source in sorted(trajectories["source"].astype(int).unique()):
        own = trajectories[trajectories["source"] == source]
        shape: dict[str, Any] = {"marker": _shape(source), "s": 12, "linewidths": 0}
        axes.scatter(own["x"], own["y"], c=own["percentile"], cmap=_MAP, vmin=0, vmax=100, **shape)
    for kind, (_, own) in _KINDS.items():
        if kind in kinds:
            axes.plot(kinds[kind]["x"], kinds[kind]["y"], **own)
    axes.set(xticks=[], yticks=[], xlabel="first principal component", ylabel="second principal component")


def _shape(source: int) -> str:
    return _SHAPES[source % len(_SHAPES)]
