"""One look for every figure: colours and names of methods, lines, bands, legends, and how files are written.

A colour and a marker are a method, everywhere. The methods of Figure 3 have Okabe and Ito's colours, told
apart by colour-blind readers; markers tell all methods apart in grey. Solid lines are this suite's results
with a bootstrap interval, dashed lines the paper's own curves with their deviation.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from algorithms.catalogue import LABELS
from storage.files import atomic_path


@dataclass(frozen=True)
class Look:
    """How one method is drawn."""

    name: str
    colour: str
    marker: str


LOOKS: dict[str, Look] = {
    **{name: Look(row.label, row.colour, row.marker) for name, row in LABELS.items()},
    "online_share": Look("online samples", "#0571B0", "o"),
    "random_share": Look("random-action data", "#CA0020", "s"),
    "trained_on": Look("CQL, trained on offline", "#878787", "v"),
    "cloning_only": Look("cloning only", "#B15928", "d"),
    "sac_single_online_only": Look("one agent, online replay", "#C51B7D", "s"),
    "sac_single_balanced": Look("one agent, balanced replay", "#6A51A3", "^"),
    "sac_ensemble_online_only": Look("ensemble, online replay", "#2171B5", "D"),
    "cql_single_balanced": Look("CQL-ft, balanced replay", "#807DBA", "v"),
    "cql_ensemble_online_only": Look("CQL-ft, ensemble", "#DE77AE", "P"),
    "cql_ensemble_balanced": Look("CQL-ft, ensemble and balanced replay", "#252525", "X"),
}
_CUSTOM_COLOURS = ("#661100", "#DC267F", "#117733", "#44AA99", "#999933", "#88CCEE")
_CUSTOM_MARKERS = ("o", "s", "^", "v", "D", "P", "X")
AT_RATE = "_at_"
"""Between a method and its policy's learning rate in a label of the sweep, as in "off2on_at_3e-05"."""
ESTIMATE = ("value", "low", "high", "runs", "tasks", "band", "unit", "along")
"""The last columns of what a figure draws of the statistics over all datasets."""
THIN_COLOUR = "#333333"
DASHED = (0, (4, 2))
DOTTED = (0, (1, 1.5))
DEMONSTRATION = (
    "A demonstration of the machinery, from nothing to a figure, on a small task with brief training: not"
    " evidence for or against the paper. A processor of another kind rounds differently, and its curves are"
    " others."
)
Place = Literal["outside lower left", "outside lower center", "outside lower right"]
_ENTRY_WIDTH, _LETTER_WIDTH = 0.55, 0.05
"""Inches of a legend entry's line and gaps, and of a letter in the legend's font."""

SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.2,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "savefig.dpi": "figure",
    "pdf.fonttype": 42,
}
PRINT_DPI = 300
"""Dots an inch of figures that are made of pictures."""
DENSE = {"lines.linewidth": 1.1, "lines.markersize": 2.4}


@contextmanager
def look(dense: bool = False) -> Iterator[None]:
    """The suite's settings on top of matplotlib's defaults, whatever a user's own matplotlibrc says.

    `dense`: finer lines, for figures of many panels.
    """
    with matplotlib.style.context(["default", SETTINGS | (DENSE if dense else {})]):
        yield


def look_of(method: str) -> Look:
    """How `method` is drawn; one that is not the paper's goes by its name, and its look follows from it."""
    if method in LOOKS:
        return LOOKS[method]
    if AT_RATE in method:
        return _look_of_rate(method)
    digest = zlib.crc32(method.encode())
    colour = _CUSTOM_COLOURS[digest % len(_CUSTOM_COLOURS)]
    return Look(method, colour, _CUSTOM_MARKERS[digest % len(_CUSTOM_MARKERS)])


def _look_of_rate(label: str) -> Look:
    """From dark for a millionth to bright for a thousandth, so that colours are in the rates' order."""
    exponent = np.log10(float(label.rpartition(AT_RATE)[2]))
    colour = to_hex(colormaps["plasma"]((exponent + 6) / 3 * 0.85))
    return Look(label, colour, _CUSTOM_MARKERS[round(-exponent * 2) % len(_CUSTOM_MARKERS)])


def method_label(method: str, ensemble_size: int) -> str:
    """The method's name for a legend; Off2On's names its ensemble size, as in "Off2On (N = 5)"."""
    name = look_of(method).name
    return f"{name} (N = {ensemble_size})" if method == "off2on" else name


class Panel(NamedTuple):
    """One dataset's place in a figure, and which labels it carries."""

    axes: Axes
    dataset: str
    first_in_row: bool
    last_in_row: bool
    lowest: bool


def panel_grid(panels: int) -> tuple[int, int]:
    """Rows and columns for so many panels; four columns at most, like the paper's figures."""
    columns = min(panels, 4)
    return -(-panels // columns), columns


def panel_figure_width(panels: int, panel_width: float) -> float:
    """Inches; wide enough for legends."""
    return max(panel_width * panel_grid(panels)[1], 5.0)


def panel_figure(
    datasets: Sequence[str], panel_width: float, legend_height: float
) -> tuple[Figure, list[Panel]]:
    """An empty figure with a panel a dataset, in reading order; sizes in inches."""
    rows, columns = panel_grid(len(datasets))
    height = (2.6 if len(datasets) == 1 else 2.2 * rows) + legend_height
    figure = Figure(figsize=(panel_figure_width(len(datasets), panel_width), height))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for spare in grid[len(datasets) :]:
        spare.remove()
    panels = [
        Panel(
            grid[index],
            dataset,
            first_in_row=index % columns == 0,
            last_in_row=index % columns == columns - 1 or index == len(datasets) - 1,
            lowest=index + columns >= len(datasets),
        )
        for index, dataset in enumerate(datasets)
    ]
    return figure, panels


def solid_curve(axes: Axes, rows: pd.DataFrame, method: str, along: str = "step") -> None:
    """Draw this suite's curve: `rows` has value, low, high (NaN: no interval), in order of `along`."""
    method_look = look_of(method)
    axes.fill_between(
        rows[along], rows["low"], rows["high"], color=method_look.colour, alpha=0.2, linewidth=0
    )
    axes.plot(
        rows[along],
        rows["value"],
        color=method_look.colour,
        marker=method_look.marker,
        markevery=max(1, len(rows) // 10),
        zorder=3,
    )


def dashed_curve(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    """Draw the paper's curve: `rows` has step, value, low, high, in order of step."""
    colour = look_of(method).colour
    axes.fill_between(rows["step"], rows["low"], rows["high"], color=colour, alpha=0.1, linewidth=0)
    axes.plot(rows["step"], rows["value"], color=colour, linestyle=DASHED, linewidth=1.1)


def thin_curve(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    """Draw another reading of this suite's curve, without its interval: `rows` has step and value."""
    axes.plot(rows["step"], rows["value"], color=THIN_COLOUR, linewidth=0.8, zorder=2.5)


def solid_level(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    """Draw the last value of this suite's curve as a level: `rows` has step and value."""
    axes.plot(rows["step"], rows["value"], color=look_of(method).colour, linewidth=0.7)


def dotted_level(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    """Draw the last value of the paper's curve as a level: `rows` has step and value."""
    axes.plot(rows["step"], rows["value"], color=look_of(method).colour, linestyle=DOTTED, linewidth=1.1)


def solid_handle(method: str) -> tuple[Patch, Line2D]:
    """Legend entry of `solid_curve`."""
    method_look = look_of(method)
    line = Line2D([], [], color=method_look.colour, marker=method_look.marker)
    return Patch(color=method_look.colour, alpha=0.2, linewidth=0), line


def dashed_handle(method: str) -> tuple[Patch, Line2D]:
    """Legend entry of `dashed_curve`."""
    colour = look_of(method).colour
    line = Line2D([], [], color=colour, linestyle=DASHED, linewidth=1.1)
    return Patch(color=colour, alpha=0.1, linewidth=0), line


def thin_handle() -> Line2D:
    """Legend entry of `thin_curve`."""
    return Line2D([], [], color=THIN_COLOUR, linewidth=0.8)


def solid_level_handle() -> Line2D:
    """Legend entry of `solid_level`, whatever the method."""
    return Line2D([], [], color="#555555", linewidth=0.7)


def dotted_level_handle() -> Line2D:
    """Legend entry of `dotted_level`, whatever the method."""
    return Line2D([], [], color="#555555", linestyle=DOTTED, linewidth=1.1)


def step_axis(axes: Axes, last: int, label: str = "environment steps") -> None:
    """Steps, or what `label` says, from 0 to `last` on the horizontal axis, in thousands."""
    margin = 0.02 * max(last, 1)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    axes.set_xlabel(label)


def episode_axis(axes: Axes, last: int) -> None:
    """Episodes from 0 to `last` on the horizontal axis."""
    margin = 0.02 * max(last, 1)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.set_xlabel("episodes")


def legend_below(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    title: str,
    place: Place,
    columns: int = 1,
) -> Legend:
    """A legend under all panels, its title saying what line and band are; a handle may be several artists."""
    return figure.legend(
        handles,
        labels,
        title=title,
        loc=place,
        ncols=columns,
        alignment="left",
        handlelength=2.6,
        columnspacing=1.4,
    )


def legend_columns(labels: Sequence[str], width: float) -> int:
    """The most columns in which a legend with these labels is no wider than `width` inches, at least one."""
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(np.array([len(label) for label in labels]), columns)
        if sum(_ENTRY_WIDTH + _LETTER_WIDTH * part.max() for part in parts) <= width:
            return columns
    return 1


def legend_height(labels: Sequence[str], columns: int) -> float:
    """Inches that a legend with a title takes below the panels."""
    return (9 + 3 * -(-len(labels) // columns)) / 20


def count(number: int, noun: str) -> str:
    """ "1 seed", "3,000 seeds"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def runs(rows: pd.DataFrame) -> str:
    """What intervals rest on, as in "3 seeds on each of 2 datasets, 95% bootstrap intervals"."""
    seeds, tasks = int(rows["runs"].iloc[0]), int(rows["tasks"].iloc[0])
    interval = f"{rows['band'].iloc[0]}s" if seeds > 1 else "no interval"
    where = f" on each of {tasks} datasets" if tasks > 1 else " on one dataset"
    return f"{count(seeds, 'seed')}{where}, {interval}"


def moment(rows: pd.DataFrame) -> str:
    """When in learning the rows are of, as in "250,000 steps": they have the columns step and along."""
    return f"{int(rows['step'].iloc[0]):,} {rows['along'].iloc[0].split()[-1]}"


def listed(names: Iterable[str]) -> str:
    """The different names in their order, as in "a, b and c"."""
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def save(figure: Figure, path: Path, table: pd.DataFrame) -> None:
    """Write `path`.pdf, `path`.png and `path`.csv: the figure and exactly what it draws.

    `path` has no suffix. The same figure gives the same bytes: no dates are written. Each file is atomic.

    Raises:
        UserError: a place cannot be written.
    """
    with look():
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            with atomic_path(path.with_name(path.name + suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
    with atomic_path(path.with_name(path.name + ".csv")) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
