"""Sample efficiency over all datasets, and how probably the first method improves on each other one."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import drawing, style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("panel", "method", "label", "versus", "versus_label", "step", *style.ESTIMATE)
EFFICIENCY = "sample_efficiency"
IMPROVEMENT = "probability_of_improvement"

_WIDTH = 7.0  # inches


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: IQM per method and step, then the first method's pairs.

    Raises:
        UserError: there is a single method, and so no pair to compare.
    """
    statistics, ensemble_size = results.statistics, results.ensemble_size
    if len(statistics.methods) < 2:
        found = ", ".join(statistics.methods)
        raise UserError(f"The statistics hold one method, {found}: expected at least two to compare.")
    parts = [
        statistics.curve(method).assign(
            panel=EFFICIENCY,
            method=method,
            versus="",
            versus_label="",
            tasks=len(statistics.datasets),
            unit="normalised score",
        )
        for method in statistics.methods
    ]
    pairs = statistics.improvements()
    pairs = pairs[pairs["method"] == statistics.methods[0]]
    versus_label = pairs["versus"].map(lambda method: style.method_label(method, ensemble_size))
    parts.append(pairs.assign(panel=IMPROVEMENT, versus_label=versus_label, unit="probability"))
    drawn = pd.concat(parts, ignore_index=True).rename(columns={"estimate": "value"})
    drawn["label"] = drawn["method"].map(lambda method: style.method_label(method, ensemble_size))
    return drawn.assign(band=results.band, along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`: IQM over steps on the left, probabilities of improvement on the right."""
    rows = drawn[drawn["panel"] == EFFICIENCY].assign(source=drawing.OURS)
    pairs = drawn[drawn["panel"] == IMPROVEMENT]
    looks = style.looks(rows["method"])
    with style.look():
        legend = drawing.Legend(rows, {drawing.OURS: style.runs(rows)}, _WIDTH)
        figure = Figure(figsize=(_WIDTH, max(2.3, 1.1 + 0.35 * len(pairs)) + legend.height))
        left, right = figure.subplots(1, 2)
        plot = drawing.layers(rows).label(x=str(rows["along"].iloc[0]), y="IQM of normalised score")
        plot.on(left).plot()
        drawing.separate(left, rows, looks)
        left.set_title("sample efficiency")
        style.count_axis(left, int(rows["step"].max()))
        _improvement(right, pairs, looks[rows["method"].iloc[0]])
        legend.add_to(figure)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    curves = drawn[drawn["panel"] == EFFICIENCY]
    last, first = int(curves["step"].max()), curves["label"].iloc[0]
    return (
        f"Left: interquartile mean of the normalised score over {results.along} ({style.runs(curves)})."
        f" Right: the probability that a run of {first} beats one of each other method after"
        f" {last:,} {results.along}, ties counting half; 0.5 is no difference. Runs are resampled within each"
        " dataset, so intervals say how the numbers would vary with other seeds on the same data."
    )


def _improvement(axes: Axes, rows: pd.DataFrame, look: style.Look) -> None:
    axes.axvline(0.5, color="#777777", linewidth=0.9, linestyle=(0, (1, 1.5)))
    names = [f"{row['label']}\nover {row['versus_label']}" for _, row in rows.iterrows()]
    style.intervals(axes, rows, names, [look] * len(rows))
    axes.set_xlim(-0.03, 1.03)
    axes.set_title(f"probability of improvement at {style.moment(rows)}")
    axes.set_xlabel("probability (0.5: no difference)")
