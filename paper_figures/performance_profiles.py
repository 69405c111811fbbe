"""Performance profiles: the share of all runs, on all datasets, that end above each threshold."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.results import Results
from storage import UserError

COLUMNS = ("method", "label", "step", "threshold", *style.ESTIMATE)

_WIDTH = 4.8  # inches


def table(results: Results) -> pd.DataFrame:
    """What the figure draws, columns `COLUMNS`: a row per method and threshold [normalised score]."""
    statistics = results.statistics
    parts = []
    for method in statistics.methods:
        profile = statistics.profile(method).rename(columns={"estimate": "value"})
        label = style.method_label(method, results.ensemble_size)
        parts.append(profile.assign(method=method, label=label, step=statistics.steps[-1]))
    band = f"{100 * statistics.confidence:g}% bootstrap interval"
    return pd.concat(parts, ignore_index=True).assign(band=band, unit="share of runs", along=results.along)[
        list(COLUMNS)
    ]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a curve a method.

    Raises:
        UserError: there is nothing to draw.
    """
    if drawn.empty:
        raise UserError("The profiles were given no rows: expected those of performance_profiles.table.")
    methods = drawn.drop_duplicates("method")
    labels = list(methods["label"])
    columns = style.legend_columns(labels, _WIDTH)
    with style.look():
        figure = Figure(figsize=(_WIDTH, 2.6 + style.legend_height(labels, columns)))
        axes = figure.subplots()
        for method, profile in drawn.groupby("method", sort=False):
            style.solid_curve(axes, profile, str(method), along="threshold")
        axes.set_title(f"performance profiles at {style.moment(drawn)}")
        axes.set_xlabel("normalised score τ")
        axes.set_ylabel("share of runs above τ")
        axes.set_ylim(-0.03, 1.03)
        handles = [style.solid_handle(method) for method in methods["method"]]
        style.legend_below(figure, handles, labels, style.runs(drawn), "outside lower center", columns)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """The caption's text for the rows of `table`."""
    warning = f" {style.DEMONSTRATION}" if results.demonstration else ""
    return (
        "Performance profiles: the share of all runs, on all datasets together, whose normalised score after"
        f" {int(drawn['step'].iloc[0]):,} {results.along} is above a threshold ({style.runs(drawn)}). Where"
        " one curve lies above another throughout, its method is better; where two cross, that depends on"
        f" what counts as success.{warning}"
    )
