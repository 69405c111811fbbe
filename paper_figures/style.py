"""One look for every figure: colours and names of methods, lines, bands, legends, and how files are written.

A colour is a method, everywhere (Okabe and Ito's palette, told apart by colour-blind readers; markers tell
them apart in grey). Solid lines are this suite's results with a bootstrap interval, dashed lines the paper's
own curves with their deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from records import UserError
from records.files import atomic_path


@dataclass(frozen=True)
class Look:
    """How one method is drawn; `published` is its curve's name in the paper's Figure 3."""

    name: str
    colour: str
    marker: str
    published: str


LOOKS: dict[str, Look] = {
    "off2on": Look("Off2On", "#0072B2", "o", "Ours"),
    "sac_ft": Look("SAC-ft", "#D55E00", "s", "SAC-ft"),
    "sac": Look("SAC", "#009E73", "^", "SAC"),
}

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
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


@contextmanager
def look() -> Iterator[None]:
    """The suite's settings on top of matplotlib's defaults, whatever a user's own matplotlibrc says."""
    with matplotlib.style.context(["default", SETTINGS]):
        yield


def look_of(method: str) -> Look:
    """How `method` is drawn.

    Raises:
        UserError: no such method.
    """
    if method not in LOOKS:
        raise UserError(f"No figure draws the method {method!r}: expected one of {', '.join(LOOKS)}.")
    return LOOKS[method]


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


def panel_figure(
    datasets: Sequence[str], panel_width: float, legend_height: float
) -> tuple[Figure, list[Panel]]:
    """An empty figure with a panel a dataset, in reading order; sizes in inches."""
    rows, columns = panel_grid(len(datasets))
    several = (max(panel_width * columns, 4.4), 2.2 * rows + legend_height)
    figure = Figure(figsize=(4.4, 2.6 + legend_height) if len(datasets) == 1 else several)
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


def solid_curve(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    """Draw this suite's curve: `rows` has step, value, low, high (NaN: no interval), in order of step."""
    method_look = look_of(method)
    axes.fill_between(
        rows["step"], rows["low"], rows["high"], color=method_look.colour, alpha=0.2, linewidth=0
    )
    axes.plot(
        rows["step"],
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
    axes.plot(rows["step"], rows["value"], color=colour, linestyle=(0, (4, 2)), linewidth=1.1)


def solid_handle(method: str) -> tuple[Patch, Line2D]:
    """Legend entry of `solid_curve`."""
    method_look = look_of(method)
    line = Line2D([], [], color=method_look.colour, marker=method_look.marker)
    return Patch(color=method_look.colour, alpha=0.2, linewidth=0), line


def dashed_handle(method: str) -> tuple[Patch, Line2D]:
    """Legend entry of `dashed_curve`."""
    colour = look_of(method).colour
    line = Line2D([], [], color=colour, linestyle=(0, (4, 2)), linewidth=1.1)
    return Patch(color=colour, alpha=0.1, linewidth=0), line


def step_axis(axes: Axes, last: int) -> None:
    """Environment steps from 0 to `last` on the horizontal axis, in thousands."""
    margin = 0.02 * max(last, 1)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    axes.set_xlabel("environment steps")


def legend_below(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    title: str,
    place: Literal["outside lower left", "outside lower center", "outside lower right"],
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


def count(number: int, noun: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
