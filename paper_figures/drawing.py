"""Curves and their bands from a tidy table, a panel a dataset, drawn by seaborn: what most figures are.

A colour, a marker and its filling are a method; how a line is drawn says whose the curve is: solid this
suite's, dashed the paper's own. One legend below the panels names both. Curves that coincide stay visible:
the earlier ones are broader, and their markers stand at other steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures import style

OURS = "this suite"
PUBLISHED = "published"
OUR_LEVEL = "this suite, last value"
PUBLISHED_LEVEL = "published, last value"
LOGGED = "this suite, as the paper logged"
SEED = "one seed"

WRAP = 4
"""Panels in a row at most, like the paper's figures."""
_MARKERS = 8
"""Markers on a curve, about."""
_GREY = "#555555"


class Stroke(NamedTuple):
    """Line of the curves of one source: its style and width, the opacity of its band, whether marked."""

    linestyle: Any
    width: float
    band: float = 0.0
    marked: bool = False


STROKES = {
    SEED: Stroke("-", 0.6),
    OURS: Stroke("-", 1.5, 0.2, True),
    LOGGED: Stroke((0, (6, 1, 1, 1)), 0.9),
    OUR_LEVEL: Stroke("-", 0.7),
    PUBLISHED_LEVEL: Stroke((0, (1, 1.5)), 1.1),
    PUBLISHED: Stroke((0, (4, 2)), 1.1, 0.1, True),
}
"""By source, in the order in which they are drawn."""


def draw(
    rows: pd.DataFrame,
    sources: Mapping[str, str],
    vertical: str,
    horizontal: str,
    panel_width: float = 2.6,
    along: str = "step",
    thousands: bool = True,
) -> Figure:
    """Draw a panel a dataset, in the order of `rows`, and the legend below them.

    `rows` has the columns dataset, source (a key of `STROKES`), method, label, `along`, value, low, high
    (NaN: no interval) and, where a method has several curves, run. `sources` says in the legend what each
    source's lines and bands are (without words it has no entry). `panel_width` is in inches. Steps are told
    in `thousands`, episodes as they are.
    """
    rows = rows.reset_index(drop=True)
    datasets = list(dict.fromkeys(rows["dataset"]))
    columns = min(len(datasets), WRAP)
    width, deep = max(panel_width * columns, 5.0), -(-len(datasets) // columns)
    dense = len(datasets) > WRAP
    with style.look(dense):
        below = Legend(rows, sources, width)
        height = (2.6 if len(datasets) == 1 else 2.2 * deep) + below.height
        figure = Figure(figsize=(width, height))
        plot = layers(rows, along, dense).facet("dataset", wrap=WRAP, order=datasets).share(x=False, y=False)
        plot.label(x=horizontal, y=vertical).on(figure).plot()
        for axes, dataset in zip(figure.axes, datasets, strict=True):
            own = rows[rows["dataset"] == dataset]
            separate(axes, own, style.looks(rows["method"]))
            if along == "step":
                style.count_axis(axes, int(own["step"].max()), thousands)
        below.add_to(figure)
    return figure


def layers(rows: pd.DataFrame, along: str = "step", dense: bool = False) -> so.Plot:
    """Return the bands and lines of `rows`, not yet placed on a figure."""
    looks = style.looks(rows["method"])
    plot = so.Plot(rows)
    # Each layer names all that it takes of its own rows; what it does not name, seaborn takes of all rows.
    common = {"x": along, "color": "method"}
    for source, stroke in STROKES.items():
        own = rows[rows["source"] == source]
        if own.empty:
            continue
        banded = own.dropna(subset=["low", "high"])
        if stroke.band and not banded.empty:
            edges = {"ymin": "low", "ymax": "high"}
            plot = plot.add(so.Band(alpha=stroke.band), data=banded, legend=False, **common, **edges)
        marks = {"marker": "method", "fillcolor": "method"} if stroke.marked else {}
        groups = {"group": "run"} if "run" in own else {}
        kept = {"gid": source, "markerfacecoloralt": "white"}
        line = so.Line(linestyle=stroke.linestyle, linewidth=stroke.width, artist_kws=kept)
        plot = plot.add(line, data=own, legend=False, y="value", **common, **marks, **groups)
    return plot.theme(style.theme(dense)).scale(
        color={method: look.colour for method, look in looks.items()},
        fillcolor={method: look.face for method, look in looks.items()},
        marker=so.Nominal({method: look.shape for method, look in looks.items()}),
    )


def separate(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """Make earlier curves broader and spread the markers of all, so that none hides another."""
    order = {looks[method].colour: place for place, method in enumerate(dict.fromkeys(rows["method"]))}
    for line in axes.lines:
        stroke = STROKES[str(line.get_gid())]
        # Seaborn calls every line dashed, the solid ones with a dash of no gap.
        line.set_linestyle(stroke.linestyle)
        if stroke.marked:
            place, points = order[to_hex(line.get_color()).upper()], np.size(line.get_xdata())
            stride = max(1, points // _MARKERS)
            first = (2 * place + line.is_dashed()) * stride // (2 * len(order))
            line.set_markevery((min(first, points - 1), stride))
            line.set_linewidth(stroke.width * (1 + 0.5 * (len(order) - 1 - place) / len(order)))


class Legend:
    """One legend below all panels: an entry a method, then one a source."""

    def __init__(self, rows: pd.DataFrame, sources: Mapping[str, str], width: float) -> None:
        names = rows.groupby("method", sort=False)["label"].agg(lambda labels: list(dict.fromkeys(labels)))
        looks = style.looks(rows["method"])
        self.labels = [
            label if not more else f"{label}; published {', '.join(more)}" for label, *more in names
        ]
        self.handles: list[Any] = [_method_handle(looks[method]) for method in names.index]
        present = set(rows["source"])
        for source in STROKES:
            if source in present and source in sources:
                self.labels.append(sources[source])
                self.handles.append(_source_handle(STROKES[source]))
        self.columns = style.legend_columns(self.labels, width)
        self.height = style.legend_height(self.labels, self.columns)

    def add_to(self, figure: Figure) -> None:
        """Place it."""
        style.legend_below(figure, self.handles, self.labels, self.columns)


def _method_handle(look: style.Look) -> Line2D:
    """Return a method's colour and marker, without the line, which is a source's."""
    return Line2D([], [], **look.drawn, markersize=5, linewidth=3, alpha=0.9, solid_capstyle="butt")


def _source_handle(stroke: Stroke) -> Any:
    line = Line2D([], [], color=_GREY, linestyle=stroke.linestyle, linewidth=stroke.width)
    return (Patch(color=_GREY, alpha=stroke.band, linewidth=0), line) if stroke.band else line
