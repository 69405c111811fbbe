"""Curves and their bands from a tidy table, a panel a dataset, drawn by seaborn: what most figures are.

A colour, a marker and its filling are a method; how a line is drawn says whose the curve is: solid this
suite's, dashed the paper's own. One legend below the panels names both. Curves that coincide stay visible:
the earlier ones are broader, and their markers stand at other steps. More methods on one dataset than a panel
can show have a panel each, where the figure allows that.
"""

from __future__ import annotations

import re
import textwrap
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
CROWD = 6
"""Methods that one panel can show."""
_MARKERS = 8
"""Markers on a curve, about."""
_GREY, _PALE = "#555555", "#C8C8C8"
_TITLE = 26
"""Letters on a line of a method's panel's title."""


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
    split: bool = False,
) -> Figure:
    """Draw a panel a dataset, in the order of `rows`, and the legend below them.

    With `split`, where one dataset has more than `CROWD` methods, each has a panel, the others in grey there.

    `rows` has the columns dataset, source (a key of `STROKES`), method, label, `along`, value, low, high
    (NaN: no interval) and, where a method has several curves, run. `sources` says in the legend what each
    source's lines and bands are (without words it has no entry). `panel_width` is in inches. Steps are told
    in `thousands`, episodes as they are.
    """
    rows = rows.reset_index(drop=True)
    apart = split and rows["dataset"].nunique() == 1 and rows["method"].nunique() > CROWD
    panel, wide, high = ("label", 1.75, 1.7) if apart else ("dataset", panel_width, 2.2)
    names = list(dict.fromkeys(rows[panel]))
    columns = columns_of(len(names))
    width, deep = max(wide * columns, 5.0), -(-len(names) // columns)
    dense = len(names) > WRAP
    with style.look(dense):
        below = Legend(rows, sources, width, apart)
        figure = Figure(figsize=(width, (2.6 if len(names) == 1 else high * deep) + below.height))
        plot = layers(rows, along, dense).facet(panel, wrap=columns, order=names).share(x=False, y=apart)
        plot.label(x=horizontal, y=vertical).on(figure).plot()
        for axes, name in zip(figure.axes, names, strict=True):
            own = rows[rows[panel] == name]
            separate(axes, own, style.looks(rows["method"]))
            if along == "step":
                style.count_axis(axes, int((rows if apart else own)["step"].max()), thousands)
            if apart:
                axes.set_title(_wrapped(name))
                _others(axes, rows[rows[panel] != name], along)
        if apart:
            figure.suptitle(str(rows["dataset"].iloc[0]), fontsize=8)
        below.add_to(figure)
    return figure


def columns_of(panels: int) -> int:
    """Count the columns of so many panels: in as few rows as `WRAP` allows, the last as full as can be."""
    rows = -(-panels // WRAP)
    return -(-panels // rows)


def _wrapped(name: str) -> str:
    """Return a panel's title in lines, broken nowhere between brackets."""
    whole = re.sub(r"\(.*?\)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), name)
    return textwrap.fill(whole, _TITLE)


def _others(axes: Axes, rows: pd.DataFrame, along: str) -> None:
    """Draw this suite's curves of the other methods in the background."""
    for _, curve in rows[rows["source"] == OURS].groupby("method", sort=False):
        axes.plot(curve[along], curve["value"], color=_PALE, linewidth=0.7, zorder=0)


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
    """One legend below all panels: an entry a method, or one for all in grey, and one a source."""

    def __init__(
        self, rows: pd.DataFrame, sources: Mapping[str, str], width: float, apart: bool = False
    ) -> None:
        names = rows.groupby("method", sort=False)["label"].agg(lambda labels: list(dict.fromkeys(labels)))
        looks = style.looks(rows["method"])
        self.labels = [
            label if not more else f"{label}; published {', '.join(more)}" for label, *more in names
        ]
        self.handles: list[Any] = [_method_handle(looks[method]) for method in names.index]
        if apart:
            self.labels, self.handles = ["the other methods"], [Line2D([], [], color=_PALE, linewidth=0.7)]
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
