"""Figure 3: return over environment steps, our curves beside the published ones, a panel a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.aggregate import Statistics
from analysis.published import RUNS, published_curve, published_panels
from analysis.scores import METHODS, normalised, panel_order, returns
from paper_figures import style
from records import UserError

FIGURE = "3"
OURS = "this suite"
PUBLISHED = "published"
COLUMNS = ("dataset", "source", "method", "label", "step", "value", "low", "high", "runs", "band", "unit")


def table(
    statistics: Statistics,
    *,
    ensemble_size: int,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
) -> pd.DataFrame:
    """What the figure draws, columns `COLUMNS`, in undiscounted return over environment steps.

    Ours is the mean over seeds with its bootstrap interval: the same estimator as the published mean, which
    comes with one standard deviation and is cut to the steps we have. `datasets` defaults to those of the
    statistics that the paper's figure has.

    Raises:
        UserError: a method or dataset is not in the statistics, or the paper has no such panel.
    """
    known = published_panels(FIGURE)
    chosen = datasets if datasets is not None else [name for name in statistics.datasets if name in known]
    if not chosen:
        found = ", ".join(statistics.datasets)
        raise UserError(
            f"Figure 3 has no panel for the datasets {found}: expected at least one of {', '.join(known)}."
        )
    parts = []
    for dataset in sorted(chosen, key=panel_order):
        for method in methods:
            label = style.method_label(method, ensemble_size)
            ours = statistics.curve(method, dataset, "mean")
            parts.append(
                pd.DataFrame(
                    {
                        "dataset": dataset,
                        "source": OURS,
                        "method": method,
                        "label": label,
                        "step": ours["step"],
                        "value": returns(ours["estimate"].to_numpy(), dataset),
                        "low": returns(ours["low"].to_numpy(), dataset),
                        "high": returns(ours["high"].to_numpy(), dataset),
                        "runs": ours["runs"],
                        "band": f"{100 * statistics.confidence:g}% bootstrap interval",
                        "unit": "return",
                    }
                )
            )
            theirs = published_curve(FIGURE, dataset, style.look_of(method).published)
            theirs = theirs[theirs["step"] <= statistics.steps[-1]]
            parts.append(
                pd.DataFrame(
                    {
                        "dataset": dataset,
                        "source": PUBLISHED,
                        "method": method,
                        # The paper's ensemble has five members, whatever ours has.
                        "label": style.method_label(method, 5),
                        "step": theirs["step"],
                        "value": theirs["mean"],
                        "low": theirs["mean"] - theirs["std"],
                        "high": theirs["mean"] + theirs["std"],
                        "runs": RUNS,
                        "band": "mean ± standard deviation",
                        "unit": "return",
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`: return on the left axis, normalised score on the right.

    Raises:
        UserError: there is nothing to draw.
    """
    if drawn.empty:
        raise UserError("Figure 3 was given no rows: expected those of paper_figures.figure_03.table.")
    datasets = list(dict.fromkeys(drawn["dataset"]))
    with style.look():
        figure, panels = style.panel_figure(datasets, panel_width=2.6, legend_height=0.9)
        for axes, dataset, first, last, lowest in panels:
            _panel(axes, drawn[drawn["dataset"] == dataset], dataset, first, last)
            if not lowest:
                axes.set_xlabel("")
        _legends(figure, drawn, columns=1 if len(datasets) <= 2 else 3)
    return figure


def write(
    statistics: Statistics,
    path: Path,
    *,
    ensemble_size: int,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
) -> pd.DataFrame:
    """Draw the figure into `path`.pdf, .png and .csv (no suffix in `path`) and return what it draws.

    Raises:
        UserError: as `table`, or a place cannot be written.
    """
    drawn = table(statistics, ensemble_size=ensemble_size, datasets=datasets, methods=methods)
    style.save(draw(drawn), path, drawn)
    return drawn


def caption(drawn: pd.DataFrame, *, members_shared: bool, pretraining_updates: int) -> str:
    """The caption's text for the rows of `table`.

    `members_shared`: the seeds of one method start from the same pre-trained agents, so that the interval
    leaves out the spread between pre-trainings, which the paper's deviation includes.
    `pretraining_updates`: CQL updates of the agents that our fine-tuning started from.
    """
    ours = drawn[drawn["source"] == OURS]
    seeds, last = int(ours["runs"].iloc[0]), int(ours["step"].max())
    interval = f"with its {ours['band'].iloc[0]}" if seeds > 1 else "without an interval"
    origin = (
        "All seeds start from the same pre-trained agents, so our interval leaves out the spread between"
        " pre-trainings, which the published deviation includes."
        if members_shared
        else "Each seed starts from pre-trained agents of its own."
    )
    scratch = " (SAC starts from nothing)" if "sac" in set(ours["method"]) else ""
    return (
        f"Figure 3 of the paper, the first {last:,} environment steps, on {style.listed(drawn['dataset'])}."
        f" Solid: this suite's {style.listed(ours['label'])}, mean over {style.count(seeds, 'seed')}"
        f" {interval}, fine-tuned after {pretraining_updates:,} CQL updates{scratch}. {origin}"
        f" Dashed: the published curves, mean ± standard deviation over {RUNS} runs, after 1,000,000 CQL"
        " updates on D4RL's v0 data, digitised from the vector graphics of the paper's figure."
        " Left axis: undiscounted return of deterministic evaluation; right axis: D4RL's normalised score."
    )


def _panel(axes: Axes, rows: pd.DataFrame, dataset: str, first: bool, last: bool) -> None:
    for (source, method), curve in rows.groupby(["source", "method"], sort=False):
        (style.solid_curve if source == OURS else style.dashed_curve)(axes, curve, str(method))
    axes.set_title(dataset)
    style.step_axis(axes, int(rows["step"].max()))
    right = axes.secondary_yaxis(
        "right",
        functions=(
            lambda value: normalised(np.asarray(value), dataset),
            lambda score: returns(np.asarray(score), dataset),
        ),
    )
    right.spines["right"].set_color("#999999")
    right.tick_params(axis="y", color="#999999")
    if first:
        axes.set_ylabel("return")
    if last:
        right.set_ylabel("normalised score")


def _legends(figure: Figure, drawn: pd.DataFrame, columns: int) -> None:
    ours = drawn[drawn["source"] == OURS].drop_duplicates("method")
    theirs = drawn[drawn["source"] == PUBLISHED].drop_duplicates("method")
    seeds = int(ours["runs"].iloc[0])
    interval = f"mean, {ours['band'].iloc[0]}, {seeds} seeds" if seeds > 1 else "1 seed, no interval"
    style.legend_below(
        figure,
        [style.solid_handle(method) for method in ours["method"]],
        list(ours["label"]),
        f"{OURS} ({interval})",
        "outside lower left",
        columns,
    )
    style.legend_below(
        figure,
        [style.dashed_handle(method) for method in theirs["method"]],
        list(theirs["label"]),
        f"{PUBLISHED} (mean ± std, {RUNS} runs)",
        "outside lower right",
        columns,
    )
