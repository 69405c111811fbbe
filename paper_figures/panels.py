"""Panels of curves, one a dataset, ours beside the published ones: what most of the paper's figures are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axes._secondary_axes import SecondaryAxis
from matplotlib.figure import Figure

from algorithms.catalogue import LABELS, METHODS, NOTHING, ONLINE
from analysis.published import (
    METHOD_OF_CURVE,
    METRIC_OF_CURVE,
    published_dataset,
    published_table,
    runs_behind,
)
from analysis.published import SUCCESS as TRAILING_SUCCESS
from analysis.scores import normalised, panel_order, returns
from analysis.shares import LOGGED_SHARE, TRUE_SHARE, measured_at, share_curve
from analysis.success import MEASURED
from paper_figures import drawing, style
from paper_figures.drawing import OUR_LEVEL, OURS, PUBLISHED, PUBLISHED_LEVEL
from paper_figures.results import Results

RETURN = "return"
SHARE = "share"
SUCCESS = "success"
DRAWN = "share of draws"
AUROC = "AUROC [%]"
VERTICAL = {
    RETURN: "return",
    SHARE: "share of offline samples",
    SUCCESS: "success",
    DRAWN: "share of drawn samples",
}
"""Units of the column `unit`, and what the vertical axis is called."""
UNIT_OF = {
    TRUE_SHARE: SHARE,
    LOGGED_SHARE: SHARE,
    "auroc_ensemble": AUROC,
    "auroc_individual": AUROC,
    TRAILING_SUCCESS: SUCCESS,
    MEASURED: SUCCESS,
    "online_share": DRAWN,
    "random_share": DRAWN,
}
"""Of the metrics that curves are drawn of; the others are their own."""

COLUMNS = ("dataset", "source", "method", "label", "step", "value", "low", "high", "runs", "band", "unit")

TASKS = ("pick-place", "grasp-closed-drawer", "grasp-blocked-drawer")
"""With images, in the paper's order."""
PAPER_DATASETS = tuple(
    f"{environment}-{quality}"
    for environment in ("halfcheetah", "hopper", "walker2d")
    for quality in ("random", "medium", "medium-replay", "medium-expert")
)
"""[S] D.1."""
PAPER_SIZE = 5
"""[S] D.1: members of the paper's ensembles."""
IMAGE_SIZE = 4
"""[S] The same on the tasks with images."""


def vertical(metric: str) -> str:
    """Return what the vertical axis of a metric is called."""
    unit = UNIT_OF.get(metric, metric)
    return VERTICAL.get(unit, unit)


def published_curves(figure: str, dataset: str) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the paper's curves of one figure on one dataset, by method and metric: step, mean, std [D].

    Empty where the figure has no such panel. Cached, so callers must not write into them.
    """
    return _published(figure).get(dataset, {})


def chosen_datasets(figure: str, present: Collection[str]) -> list[str]:
    """Which of the datasets `present` the figure has panels for, in the paper's order.

    The paper's own, and those that the paper has nowhere; where there are none of either, all.
    """
    papers = (*PAPER_DATASETS, *TASKS)
    chosen = [name for name in present if name not in papers or published_curves(figure, name)]
    return sorted(chosen or present, key=_order)


def measured(results: Results, dataset: str, method: str, metric: str) -> bool:
    """Whether a method's runs on a dataset have a metric."""
    curves = results.curves
    wanted = (curves["dataset"] == dataset) & (curves["method"] == method) & (curves["metric"] == metric)
    return bool(wanted.any())


def our_rows(results: Results, dataset: str, of: str, metric: str, **names: str) -> pd.DataFrame:
    """Rows of a table from our curve of a metric of the method `of`: mean over seeds and its interval.

    `names` are its method (whose look it has) and label. Returns are undiscounted. UserError where the
    results have no such curve.
    """
    if metric == RETURN:
        curve = results.statistics.curve(of, dataset, "mean")
        for column in ("estimate", "low", "high"):
            curve[column] = returns(curve[column].to_numpy(), dataset)
    else:
        curve = share_curve(results.curves, of, dataset, results.bootstrap, metric)
    rows = curve.rename(columns={"estimate": "value"}).assign(unit=UNIT_OF.get(metric, metric))
    return rows.assign(source=OURS, dataset=dataset, band=results.band, **names)[list(COLUMNS)]


def published_rows(figure: str, dataset: str, of: str, metric: str, **names: str) -> list[pd.DataFrame]:
    """Rows of a table from the paper's curve in a figure; none where it has no such curve."""
    curve = published_curves(figure, dataset).get((of, metric))
    if curve is None:
        return []
    low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
    rows = curve[["step"]].assign(value=curve["mean"], low=low, high=high, runs=runs_behind(figure))
    rows = rows.assign(dataset=dataset, unit=UNIT_OF.get(metric, metric))
    return [rows.assign(source=PUBLISHED, band="mean ± standard deviation", **names)[list(COLUMNS)]]


def level_rows(curve: pd.DataFrame, last: int) -> pd.DataFrame:
    """Return the last value of `curve`, rows of a table, as a level from step 0 to `last`."""
    end = pd.concat([curve.iloc[-1:]] * 2, ignore_index=True)
    sources = {OURS: OUR_LEVEL, PUBLISHED: PUBLISHED_LEVEL}
    band = f"value at step {int(curve['step'].iloc[-1]):,}"
    return end.assign(step=[0, last], low=np.nan, high=np.nan, band=band, source=end["source"].map(sources))


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw rows with the columns `COLUMNS`, a panel a dataset; returns have a second axis of scores."""
    unit, thousands = str(drawn["unit"].iloc[0]), not _by_episodes(drawn)
    words = VERTICAL.get(unit, unit)
    figure = drawing.draw(drawn, _sources(drawn), words, _counted(drawn), thousands=thousands)
    datasets = list(dict.fromkeys(drawn["dataset"]))
    with style.look():
        for place, (axes, dataset) in enumerate(zip(figure.axes, datasets, strict=True), start=1):
            if unit == RETURN:
                right = _score_axis(axes, dataset)
                if place % drawing.columns_of(len(datasets)) == 0 or place == len(datasets):
                    right.set_ylabel("normalised score")
            elif unit in VERTICAL:
                axes.set_ylim(-0.03, 1.03)
    return figure


def caption(drawn: pd.DataFrame, results: Results, number: str, subject: str, notes: Iterable[str]) -> str:
    """Return the caption's text for rows with the columns `COLUMNS`.

    `number` is the paper's of the figure, `subject` a sentence on what it compares, `notes` sentences on
    what its reader has to know.
    """
    ours = drawn[drawn["source"] == OURS]
    theirs = drawn[drawn["source"] == PUBLISHED]
    sentences = [_heading(drawn, number), subject, _ours(ours, results), _origin(results, not theirs.empty)]
    if not theirs.empty:
        learned = "1,000,000 CQL updates on D4RL's v0 data"
        if _by_episodes(drawn):
            learned = "500,000 updates on COG's tasks, which differ from ours in simulator and looks"
        sentences.append(
            f"Dashed: the published curves, mean ± standard deviation over {theirs['runs'].iloc[0]} runs,"
            f" after {learned}, digitised from the vector graphics of the paper's figure."
        )
        size = IMAGE_SIZE if _by_episodes(drawn) else PAPER_SIZE
        if results.ensemble_size != size and ours["method"].map(_ensemble).any():
            members = style.count(results.ensemble_size, "member")
            sentences.append(f"Our ensembles have {members}, the paper's {size}.")
    sentences += notes
    if (ours["unit"] == RETURN).all():
        sentences.append(
            "Left axis: undiscounted return of deterministic evaluation; right axis: D4RL's normalised score."
        )
    return " ".join(sentences)


@cache
def _published(figure: str) -> dict[str, dict[tuple[str, str], pd.DataFrame]]:
    """All curves of a figure, by dataset, then by method and metric."""
    table = published_table()
    curves: dict[str, dict[tuple[str, str], pd.DataFrame]] = {}
    for names, rows in table[table["figure"] == figure].groupby(["panel", "curve"], sort=False):
        panel, curve = map(str, names)
        of_dataset = curves.setdefault(published_dataset(figure, panel, curve), {})
        metric, rows = METRIC_OF_CURVE[figure, curve], rows[["step", "mean", "std"]].reset_index(drop=True)
        rows["step"] = measured_at(metric, rows["step"].to_numpy())
        of_dataset[METHOD_OF_CURVE[figure, curve], metric] = rows
    return curves


def _heading(drawn: pd.DataFrame, number: str) -> str:
    last = int(drawn["step"].max())
    datasets = list(dict.fromkeys(drawn["dataset"]))
    published = set(drawn.loc[drawn["source"] == PUBLISHED, "dataset"])
    all_twelve = set(datasets) == set(PAPER_DATASETS)
    names = "all twelve datasets" if all_twelve else style.listed(datasets)
    where = f"the first {last:,} {_counted(drawn)}, on {names}"
    if not published:
        return f"Counterpart of the paper's Figure {number}, {where}, for which that figure has no curves."
    others = [name for name in datasets if name not in published]
    without = f" That figure has no curves for {style.listed(others)}." if others else ""
    return f"Figure {number} of the paper, {where}.{without}"


def _ours(ours: pd.DataFrame, results: Results) -> str:
    """Describe our curves and the agents that each method started from."""
    seeds, methods = int(ours["runs"].min()), list(dict.fromkeys(ours["method"]))
    updates = results.offline_updates(ours["dataset"])
    interval = f"with its {ours['band'].iloc[0]}" if seeds > 1 else "without an interval"
    if _by_episodes(ours):
        return (
            f"Solid: this suite on its own tasks after COG's, mean over {style.count(seeds, 'seed')}"
            f" {interval}, after {updates} updates of CQL on images."
        )
    own = [style.name_of(method) for method in methods if _trained_offline_by_itself(method)]
    exceptions = [f"{style.listed(own)} after offline training of their own"] if own else []
    fresh = [style.name_of(name) for name in methods if _source(name) == NOTHING]
    exceptions += [f"{style.listed(fresh)} starts from nothing"] if fresh else []
    besides = f" ({'; '.join(exceptions)})" if exceptions else ""
    whose = " by the paper's authors, whose released agents they start from" if results.authors_agents else ""
    return (
        f"Solid: this suite's {style.listed(ours['label'])}, mean over {style.count(seeds, 'seed')}"
        f" {interval}, fine-tuned after {updates} CQL updates{whose}{besides}."
    )


def _by_episodes(drawn: pd.DataFrame) -> bool:
    """Whether rows are over episodes, as those of tasks with images are."""
    return str(drawn["unit"].iloc[0]) in (SUCCESS, DRAWN)


def _counted(drawn: pd.DataFrame) -> str:
    return "episodes" if _by_episodes(drawn) else "environment steps"


def _order(dataset: str) -> tuple[int, tuple[str, int, str]]:
    return TASKS.index(dataset) if dataset in TASKS else -1, panel_order(dataset)


def _ensemble(method: str) -> bool:
    return method in LABELS and LABELS[method].ensemble


def _trained_offline_by_itself(method: str) -> bool:
    """Whether a method starts from agents of its own losses, not from another method's."""
    source = METHODS.get(_source(method))
    return source is not None and source.place == ONLINE[method].place


def _source(method: str) -> str:
    return ONLINE[method].starts_from["online"] if method in ONLINE else ""


def _origin(results: Results, published: bool) -> str:
    if not results.members_shared:
        return "Each seed starts from pre-trained agents of its own."
    which = ", which the published deviation includes" if published else ""
    return (
        "All seeds start from the same pre-trained agents, so our interval leaves out the spread between"
        f" pre-trainings{which}."
    )


def _score_axis(axes: Axes, dataset: str) -> SecondaryAxis:
    right = axes.secondary_yaxis(
        "right",
        functions=(
            lambda value: normalised(np.asarray(value), dataset),
            lambda score: returns(np.asarray(score), dataset),
        ),
    )
    right.spines["right"].set_color("#999999")
    right.tick_params(axis="y", color="#999999")
    return right


def _sources(drawn: pd.DataFrame) -> dict[str, str]:
    """Return the legend's words for each source's lines and bands."""
    words = {}
    for name, rows in drawn.groupby("source", sort=False):
        source, band, runs = str(name), str(rows["band"].iloc[0]), int(rows["runs"].iloc[0])
        words[source] = f"{source.partition(',')[0]}, {band}"
        if source == OURS:
            interval = f"mean, {band}, {runs} seeds" if runs > 1 else "1 seed, no interval"
            words[source] = f"{OURS} ({interval})"
        elif source == PUBLISHED:
            words[source] = f"{PUBLISHED} (mean ± std, {runs} runs)"
    return words
