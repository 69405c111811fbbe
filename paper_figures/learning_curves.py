"""Learning curves: normalised score over steps or updates, every seed and what they have in common."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.scores import score_arrays
from paper_figures import style
from paper_figures.results import Results
from storage import UserError

COLUMNS = (
    "dataset",
    "method",
    "label",
    "kind",
    "seed",
    "step",
    "value",
    "low",
    "high",
    "runs",
    "band",
    "unit",
    "along",
)
SEED = "seed"
IQM = "iqm"

_PANEL_WIDTH = 2.4


def table(results: Results) -> pd.DataFrame:
    """What the figure draws, columns `COLUMNS`: a row per method, dataset and step, then per seed as well.

    Kind "iqm" is the interquartile mean over seeds with its interval, kind "seed" one run. Scores are
    normalised.

    Raises:
        UserError: the curves lack a method, dataset, seed or step of the statistics.
    """
    statistics = results.statistics
    scores = score_arrays(
        results.read_curves(),
        phase=statistics.phase,
        methods=statistics.methods,
        datasets=statistics.datasets,
        seeds=statistics.seeds,
    )
    parts = []
    for task, dataset in enumerate(statistics.datasets):
        for method in statistics.methods:
            common = {
                "dataset": dataset,
                "method": method,
                "label": style.method_label(method, results.ensemble_size),
                "unit": "normalised score",
            }
            iqm = statistics.curve(method, dataset).rename(columns={"estimate": "value"})
            band = f"{100 * statistics.confidence:g}% bootstrap interval"
            parts.append(iqm.assign(kind=IQM, seed="", band=band, **common))
            for seed, values in zip(scores.seeds, scores.values[method][:, task], strict=True):
                run = pd.DataFrame({"step": scores.steps, "value": values, "runs": 1})
                parts.append(run.assign(kind=SEED, seed=str(seed), band="", **common))
    return pd.concat(parts, ignore_index=True).assign(along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a panel a dataset: seeds thin, their interquartile mean thick, its interval.

    Raises:
        UserError: there is nothing to draw.
    """
    if drawn.empty:
        raise UserError("The learning curves were given no rows: expected those of learning_curves.table.")
    datasets = list(dict.fromkeys(drawn["dataset"]))
    with style.look(dense=len(datasets) > 4):
        title, handles, labels = _legend(drawn)
        columns = style.legend_columns(labels, style.panel_figure_width(len(datasets), _PANEL_WIDTH))
        height = style.legend_height(labels, columns)
        figure, panels = style.panel_figure(datasets, _PANEL_WIDTH, height)
        for axes, dataset, first, _, lowest in panels:
            _panel(axes, drawn[drawn["dataset"] == dataset], dataset)
            if first:
                axes.set_ylabel("normalised score")
            if not lowest:
                axes.set_xlabel("")
        style.legend_below(figure, handles, labels, title, "outside lower center", columns)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """The caption's text for the rows of `table`."""
    iqm = drawn[drawn["kind"] == IQM]
    seeds = int(iqm["runs"].iloc[0])
    lines = (
        f" Thin: each of {seeds} seeds; thick: their interquartile mean; band: its {iqm['band'].iloc[0]}."
        if seeds > 1
        else " One seed, hence no interval."
    )
    warning = f" {style.DEMONSTRATION}" if results.demonstration else ""
    return (
        f"Learning curves of {style.listed(iqm['label'])} on {style.listed(iqm['dataset'])}:"
        " normalised score (0 the random policy, 100 the reference expert) of deterministic evaluation, over"
        f" {results.along}."
        f"{lines}{warning}"
    )


def _panel(axes: Axes, rows: pd.DataFrame, dataset: str) -> None:
    for (method, _), run in rows[rows["kind"] == SEED].groupby(["method", "seed"], sort=False):
        colour = style.look_of(str(method)).colour
        axes.plot(run["step"], run["value"], color=colour, linewidth=0.6, alpha=0.7)
    for method, iqm in rows[rows["kind"] == IQM].groupby("method", sort=False):
        style.solid_curve(axes, iqm, str(method))
    axes.set_title(dataset)
    style.step_axis(axes, int(rows["step"].max()), str(rows["along"].iloc[0]))


def _legend(drawn: pd.DataFrame) -> tuple[str, list[Any], list[str]]:
    """Title, handles and labels."""
    iqm = drawn[drawn["kind"] == IQM].drop_duplicates("method")
    seeds = int(iqm["runs"].iloc[0])
    handles: list[Any] = [style.solid_handle(method) for method in iqm["method"]]
    labels = list(iqm["label"])
    if seeds == 1:
        title = "one seed, no interval"
    else:
        title = f"interquartile mean of {seeds} seeds and its {iqm['band'].iloc[0]}"
        handles.append(Line2D([], [], color="#555555", linewidth=0.6, alpha=0.7))
        labels.append("each seed")
    return title, handles, labels
