"""One look for every figure: methods' colours, markers and names, seaborn's theme, how files are written.

A colour, a marker and its filling are a method, everywhere, so that methods are told apart in colour, by the
colour-blind and in grey. Markers are full for methods that learn online, half full for those that learn
offline alone, hollow for ablations. The methods of Figure 3 have Okabe and Ito's colours.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from algorithms.catalogue import LABELS, Label, Method, in_words
from storage.files import atomic_path, write_text


@dataclass(frozen=True)
class Look:
    """Name, colour and marker of one method; `fill` is how much of the marker is."""

    name: str
    colour: str
    marker: str
    fill: Literal["full", "half", "none"] = "full"

    @property
    def shape(self) -> MarkerStyle:
        """The marker; of a hollow one the face is white, so that it hides the line."""
        return MarkerStyle(self.marker, "left" if self.fill == "half" else "full")

    @property
    def face(self) -> str:
        """Colour of the marker's inside."""
        return "#FFFFFF" if self.fill == "none" else self.colour

    @property
    def drawn(self) -> dict[str, Any]:
        """What a line of Matplotlib is given to be drawn so."""
        return {
            "color": self.colour, "marker": self.shape,
            "markerfacecolor": self.face, "markerfacecoloralt": "white",
        }  # fmt: skip


def _of_row(row: Label) -> Look:
    if not isinstance(row, Method):
        return Look(row.label, row.colour, row.marker, "none")
    return Look(row.label, row.colour, row.marker, "full" if "online" in row.starts_from else "half")


LOOKS: dict[str, Look] = {
    **{name: _of_row(row) for name, row in LABELS.items()},
    "online_share": Look("online samples", "#0571B0", "o"),
    "random_share": Look("random-action data", "#CA0020", "s"),
    "trained_on": Look("CQL, trained on offline", "#C0392B", ">", "none"),
    "cloning_only": Look("cloning only", "#00CC90", "D", "none"),
    "sac_single_online_only": Look("one agent, online replay", "#D8A800", "s", "none"),
    "sac_single_balanced": Look("one agent, balanced replay", "#840024", "^", "none"),
    "sac_ensemble_online_only": Look("ensemble, online replay", "#6CC09C", "D", "none"),
    "cql_single_balanced": Look("CQL-ft, balanced replay", "#300C84", "v", "none"),
    "cql_ensemble_online_only": Look("CQL-ft, ensemble", "#54C0FC", "P", "none"),
    "cql_ensemble_balanced": Look("CQL-ft, ensemble and balanced replay", "#600018", "X", "none"),
}
_COLOURS = ("#3C3000", "#540054", "#183CB4", "#B4B460", "#604854", "#9478F0", "#0084FC", "#9C543C")
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
_CUSTOM: tuple[tuple[str, str, Literal["full", "none"]], ...] = (
    *((colour, marker, "full") for colour, marker in zip(_COLOURS, _MARKERS, strict=True)),
    *(
        (to_hex(sns.blend_palette([colour, "#FFFFFF"], 3)[1]).upper(), marker, "none")
        for colour, marker in zip(_COLOURS, reversed(_MARKERS), strict=True)
    ),
)
"""Colours, markers and fills of methods that the catalogue does not have, paler from the ninth on."""
AT_RATE = "_at_"
"""Between a method and its policy's learning rate in a label of the sweep, as in "off2on_at_3e-05"."""
ESTIMATE = ("value", "low", "high", "runs", "tasks", "band", "unit", "along")
"""The last columns of what a figure draws of the statistics over all datasets."""
DEMONSTRATION = (
    "A demonstration of the machinery, from nothing to a figure, on a small task with brief training: not"
    " evidence for or against the paper. A processor of another kind rounds differently, and its curves are"
    " others."
)
_ENTRY_WIDTH, _LETTER_WIDTH = 0.55, 0.05
"""Inches of a legend entry's line and gaps, and of a letter in the legend's font."""

THEME = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.8,
    "xtick.major.size": 3,
    "ytick.major.width": 0.8,
    "ytick.major.size": 3,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "savefig.dpi": "figure",
    "pdf.fonttype": 42,
}
"""Seaborn's, in the sizes of a paper's figures."""
PRINT_DPI = 300
"""Dots an inch of figures that are made of pictures."""
DENSE = {"lines.markersize": 3}


def theme(dense: bool = False) -> dict[str, Any]:
    """Return matplotlib's settings; `dense`: finer, for figures of many panels."""
    return THEME | (DENSE if dense else {})


@contextmanager
def look(dense: bool = False) -> Iterator[None]:
    """Yield the suite's theme on top of matplotlib's defaults, whatever a user's own matplotlibrc says."""
    with matplotlib.style.context(["default", theme(dense)]):
        yield


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each of `methods`, which a figure draws together.

    That of a method which the catalogue does not have begins with a hash of its name, and is the next one
    that none of the others has.
    """
    found: dict[str, Look] = {}
    taken: set[int] = set()
    for method in dict.fromkeys(methods):
        if method in LOOKS:
            found[method] = LOOKS[method]
        elif AT_RATE in method:
            found[method] = _look_of_rate(method)
        else:
            start = zlib.crc32(method.encode())
            turn = [(start + more) % len(_COLOURS) for more in range(len(_COLOURS))]
            turn += [index + len(_COLOURS) for index in turn]
            place = next((index for index in turn if index not in taken), turn[0])
            taken.add(place)
            found[method] = Look(name_of(method), *_CUSTOM[place])
    return found


def _look_of_rate(label: str) -> Look:
    """From dark for a millionth to bright for a thousandth, so that colours are in the rates' order."""
    exponent = np.log10(float(label.rpartition(AT_RATE)[2]))
    colour = to_hex(colormaps["plasma"]((exponent + 6) / 3 * 0.85)).upper()
    return Look(name_of(label), colour, _MARKERS[round(-exponent * 2) % len(_MARKERS)])


def name_of(method: str) -> str:
    """Return a method's name in captions and legends."""
    return LOOKS[method].name if method in LOOKS else in_words(method)


def method_label(method: str, ensemble_size: int) -> str:
    """Return the method's name for a legend; Off2On's names its ensemble size, as in "Off2On (N = 5)"."""
    name = name_of(method)
    return f"{name} (N = {ensemble_size})" if method == "off2on" else name


def count_axis(axes: Axes, last: int, thousands: bool = True) -> None:
    """Set the horizontal axis to 0 to `last`: steps in thousands, or episodes as they are."""
    margin = 0.02 * max(last, 1)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=not thousands))
    if thousands:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))


def intervals(axes: Axes, rows: pd.DataFrame, names: Sequence[str], looks: Sequence[Look]) -> None:
    """Draw estimates with their intervals, one below the other: rows with value, low and high, and names."""
    places = np.arange(len(rows))[::-1]
    marks(axes, rows, places, looks)
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(rows) - 0.4)


def marks(axes: Axes, rows: pd.DataFrame, places: Iterable[float], looks: Sequence[Look]) -> None:
    """Draw estimates with their intervals at heights `places`: rows with value, low and high."""
    columns = rows[["value", "low", "high"]].to_numpy(dtype=np.float64)
    for place, (value, low, high), own in zip(places, columns, looks, strict=True):
        axes.plot([low, high], [place] * 2, color=own.colour, alpha=0.3, lw=6, solid_capstyle="butt")
        axes.plot([value], [place], **own.drawn)


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """Place a legend under all panels; a handle may be several artists, drawn over each other."""
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, handlelength=2.6, columnspacing=1.4
    )


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Count the columns of a legend that is at most `width` inches wide; at least one."""
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(np.array([len(label) for label in labels]), columns)
        if sum(_ENTRY_WIDTH + _LETTER_WIDTH * part.max() for part in parts) <= width:
            return columns
    return 1


def legend_height(labels: Sequence[str], columns: int) -> float:
    """Inches that a legend takes below the panels."""
    return 0.25 + 0.15 * -(-len(labels) // columns)


def count(number: int, noun: str) -> str:
    """ "1 seed", "3,000 seeds"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def runs(rows: pd.DataFrame) -> str:
    """Describe the runs behind intervals, as in "3 seeds on each of 2 datasets, 95% bootstrap intervals"."""
    seeds, tasks = int(rows["runs"].iloc[0]), int(rows["tasks"].iloc[0])
    interval = f"{rows['band'].iloc[0]}s" if seeds > 1 else "no interval"
    where = f" on each of {tasks} datasets" if tasks > 1 else " on one dataset"
    return f"{count(seeds, 'seed')}{where}, {interval}"


def moment(rows: pd.DataFrame) -> str:
    """When in learning the rows are of, as in "250,000 steps": they have the columns step and along."""
    return f"{int(rows['step'].iloc[0]):,} {rows['along'].iloc[0].split()[-1]}"


def listed(names: Iterable[str]) -> str:
    """Return the different names in their order, as in "a, b and c"; with ";" where a name has commas."""
    *most, last = dict.fromkeys(names)
    if not most:
        return last
    if any(", " in name for name in (*most, last)):
        return f"{'; '.join(most)}; and {last}"
    return f"{', '.join(most)} and {last}"


def save(figure: Figure, path: Path, table: pd.DataFrame, caption: str) -> None:
    """Write `path`.pdf, .png, .csv and .txt: the figure, exactly what it draws, and its caption.

    `path` has no suffix. The same figure gives the same bytes: no dates are written. Each file is atomic.

    Raises:
        UserError: a place cannot be written.
    """
    with look():
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            with atomic_path(path.with_name(path.name + suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
    write_text(path.with_name(path.name + ".csv"), table.to_csv(index=False, lineterminator="\n"))
    write_text(path.with_name(path.name + ".txt"), caption + "\n")
