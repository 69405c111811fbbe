"""What the datasets hold: how the returns of their episodes are distributed, beside D4RL's own means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from envs.reference_scores import normalised_score
from paper_figures import style
from paper_figures.results import Results
from storage import UserError
from storage.files import read_json

COLUMNS = (
    "environment",
    "dataset",
    "low",
    "high",
    "episodes",
    "mean",
    "d4rl_mean",
    "d4rl_source",
    "steps",
    "unit",
)

_FILL, _LINE = "#a6a6a6", "#222222"  # no method's colour: a dataset has none
_MEAN_WIDTH = 1.1
_D4RL: dict[str, Any] = {
    "marker": "D",
    "markerfacecolor": "white",
    "markeredgecolor": _LINE,
    "markersize": 4,
    "linestyle": "none",
    "zorder": 4,
}
_HEIGHT = 0.62  # of the fullest bin, in rows


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: a row per dataset and bin of normalised returns.

    The results' files are summaries (`offline_data.transitions.summary`). `mean` is over the dataset's
    episodes, `d4rl_mean` that of D4RL's dataset (NaN: not known).

    Raises:
        UserError: there is no summary, a file is none, or its environment has no reference scores.
    """
    if not results.files:
        raise UserError("The dataset report was given no summaries: expected at least one.")
    return pd.concat([_bins(path) for path in results.files], ignore_index=True)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw a panel an environment, a row a dataset: a histogram of its episodes, their mean and D4RL's."""
    environments = list(dict.fromkeys(drawn["environment"]))
    most = drawn.groupby("environment")["dataset"].nunique().max()
    with style.look():
        figure = Figure(figsize=(max(3.1 * len(environments), 4.4), 1.25 + 0.62 * most))
        panels = figure.subplots(1, len(environments), squeeze=False)[0]
        for axes, environment in zip(panels, environments, strict=True):
            _panel(axes, drawn[drawn["environment"] == environment], most)
            axes.set_title(environment)
        _legend(figure, drawn)
    return figure


def caption(drawn: pd.DataFrame, _results: Results) -> str:
    """Return the caption of the rows of `table`."""
    known = drawn[drawn["d4rl_mean"].notna()].drop_duplicates("dataset")
    sources = known.groupby("d4rl_source", sort=False)["dataset"]
    named = "; of ".join(f"{style.listed(datasets)} ({source})" for source, datasets in sources)
    beside = (
        f" Diamond: the mean of D4RL's own dataset, known of {named}."
        if named
        else " D4RL's own means are not known of these datasets."
    )
    bins = len(drawn) // drawn["dataset"].nunique()
    return (
        "Returns of the episodes of each dataset, as normalised scores (0 the random policy, 100 the"
        f" reference expert), counted in {bins} equal bins from the smallest to the largest; the fullest bins"
        " are drawn equally high. Line: the mean over episodes, those that the recording cut included."
        f"{beside}"
    )


def _bins(path: Path) -> pd.DataFrame:
    summary = read_json(path)
    try:
        environment, histogram = summary["environment"], summary["return_histogram"]
        edges = normalised_score(histogram["edges"], environment)
        d4rl = summary["d4rl_normalised_mean"]
        return pd.DataFrame(
            {
                "environment": environment,
                "dataset": summary["dataset_id"],
                "low": edges[:-1],
                "high": edges[1:],
                "episodes": histogram["episodes"],
                "mean": summary["normalised_score"],
                "d4rl_mean": np.nan if d4rl is None else d4rl,
                "d4rl_source": summary["d4rl_source"] or "",
                "steps": summary["steps"],
                "unit": "normalised score",
            }
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no dataset's summary: it lacks {error}.") from error


def _panel(axes: Axes, rows: pd.DataFrame, most: int) -> None:
    labels = []
    for place, (dataset, bins) in enumerate(rows.groupby("dataset", sort=False)):
        first = bins.iloc[0]
        base, top = -place, -place + _HEIGHT
        heights = base + _HEIGHT * bins["episodes"] / bins["episodes"].max()
        edges = [*bins["low"], bins["high"].iloc[-1]]
        axes.stairs(heights, edges, baseline=base, fill=True, color=_FILL)
        axes.stairs(heights, edges, baseline=base, color=_LINE, linewidth=0.5)
        axes.plot([first["mean"]] * 2, [base, top], color=_LINE, linewidth=_MEAN_WIDTH)
        d4rl = ""
        if pd.notna(first["d4rl_mean"]):
            axes.plot([first["d4rl_mean"]], [base], clip_on=False, **_D4RL)
            d4rl = f" (D4RL {first['d4rl_mean']:.1f})"
        episodes = style.count(int(bins["episodes"].sum()), "episode")
        mean = round(first["mean"], 1) + 0.0  # no "-0.0"
        axes.annotate(
            f"mean {mean:.1f}{d4rl}, {episodes}, {_rounded(int(first['steps']))} steps",
            (0.995, top + 0.03),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=6,
        )
        labels.append(_quality(str(dataset)))
    axes.set_yticks(-np.arange(len(labels)), labels)
    axes.set_ylim(-most + 0.85, 1.0)
    axes.set_xlabel("normalised score of an episode")


def _legend(figure: Figure, drawn: pd.DataFrame) -> None:
    handles: list[Any] = [
        Patch(facecolor=_FILL, edgecolor=_LINE, linewidth=0.5),
        Line2D([], [], color=_LINE, linewidth=_MEAN_WIDTH),
    ]
    labels = ["episodes", "their mean"]
    if drawn["d4rl_mean"].notna().any():
        handles.append(Line2D([], [], **_D4RL))
        labels.append("D4RL's mean, where known")
    style.legend_below(figure, handles, labels, columns=len(labels))


def _quality(dataset_id: str) -> str:
    """ "medium-replay" for "hopper/medium-replay-local-v0"."""
    return dataset_id.split("/")[-1].rpartition("-v")[0].removesuffix("-local") or dataset_id


def _rounded(steps: int) -> str:
    """ "800", "55k", "2M"; as exact as six digits are."""
    if steps < 1000:
        return str(steps)
    return f"{steps / 1_000_000:g}M" if steps >= 1_000_000 else f"{steps / 1000:g}k"
