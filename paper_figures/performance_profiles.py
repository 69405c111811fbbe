"""Performance profiles: the share of all runs, on all datasets, that end above each threshold."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import drawing, style
from paper_figures.results import Results

COLUMNS = ("method", "label", "step", "threshold", *style.ESTIMATE)


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: a row per method and threshold [normalised score]."""
    statistics = results.statistics
    parts = []
    for method in statistics.methods:
        profile = statistics.profile(method).rename(columns={"estimate": "value"})
        label = style.method_label(method, results.ensemble_size)
        parts.append(profile.assign(method=method, label=label, step=statistics.steps[-1]))
    return pd.concat(parts, ignore_index=True).assign(
        band=results.band, unit="share of runs", along=results.along
    )[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a curve a method."""
    title = f"performance profiles at {style.moment(drawn)}"
    rows = drawn.assign(dataset=title, source=drawing.OURS)
    words = {drawing.OURS: style.runs(rows)}
    figure = drawing.draw(rows, words, "share of runs above τ", "normalised score τ", along="threshold")
    (axes,) = figure.axes
    axes.set_ylim(-0.03, 1.03)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    return (
        "Performance profiles: the share of all runs, on all datasets together, whose normalised score after"
        f" {int(drawn['step'].iloc[0]):,} {results.along} is above a threshold ({style.runs(drawn)}). Where"
        " one curve lies above another throughout, its method is better; where two cross, that depends on"
        f" what counts as success."
    )
