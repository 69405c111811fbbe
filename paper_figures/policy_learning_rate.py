"""How the policy's learning rate changes fine-tuning, a panel a dataset, beside the published curve.

The paper chooses 3e-4, 3e-5 or 5e-6 by dataset and does not say which is whose ([S] D.1): the rate whose
curve lies nearest the published one is the most likely.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.scores import normalised, panel_order
from paper_figures import drawing, panels, style
from paper_figures.results import Results

PUBLISHED_FIGURE = "3"


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `panels.COLUMNS`, in undiscounted return over environment steps.

    The statistics' methods are the sweep's labels, such as "off2on_at_3e-05".
    """
    statistics, parts = results.statistics, []
    for dataset in sorted(statistics.datasets, key=panel_order):
        for rate in statistics.methods:
            names = {"method": rate, "label": f"learning rate {rate.rpartition(style.AT_RATE)[2]}"}
            parts.append(panels.our_rows(results, dataset, rate, panels.RETURN, **names))
        method = _swept(statistics.methods)
        names = {"method": method, "label": style.method_label(method, panels.PAPER_SIZE)}
        theirs = panels.published_rows(PUBLISHED_FIGURE, dataset, method, panels.RETURN, **names)
        parts += [rows[rows["step"] <= statistics.steps[-1]] for rows in theirs]
    return pd.concat(parts, ignore_index=True)


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`: return on the left axis, normalised score on the right."""
    return panels.draw(drawn)


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`, with each rate's distance from the paper."""
    ours = drawn[drawn["source"] == drawing.OURS]
    seeds, steps = int(ours["runs"].iloc[0]), int(ours["step"].max())
    name = style.method_label(_swept(results.statistics.methods), results.ensemble_size)
    interval = f" with its {ours['band'].iloc[0]}" if seeds > 1 else ""
    sentences = [
        f"{name} with several learning rates of the policy, the first {steps:,} environment steps, after"
        f" {results.offline_updates(ours['dataset'])} CQL updates: mean over"
        f" {style.count(seeds, 'seed')}{interval}."
    ]
    for dataset, rows in drawn.groupby("dataset", sort=False):
        theirs = rows[rows["source"] == drawing.PUBLISHED]
        if not theirs.empty:
            sentences.append(_distances(str(dataset), rows[rows["source"] == drawing.OURS], theirs))
    return " ".join(sentences)


def _swept(labels: tuple[str, ...]) -> str:
    return labels[0].rpartition(style.AT_RATE)[0]


def _distances(dataset: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """Return the mean distance of each rate's curve from the published mean, after the start."""
    found = []
    for label, curve in ours[ours["step"] > 0].groupby("label", sort=False):
        published = np.interp(curve["step"], theirs["step"], theirs["value"])
        apart = normalised(curve["value"].to_numpy(), dataset) - normalised(published, dataset)
        found.append(f"{np.abs(apart).mean():.1f} with {label}")
    return (
        f"{dataset}: the distance from the published curve (dashed, mean ± standard deviation) is on average"
        f" {style.listed(found)}, in normalised score."
    )
