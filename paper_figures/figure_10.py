"""Figures 4b and 10: Q as a classifier of taken and random actions. 4b is Walker2d's panel of 10."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.published import RUNS, published_curve, published_panels
from analysis.shares import share_curve
from paper_figures import panels, style
from paper_figures.results import Results
from storage import UserError

METHOD = "off2on"
UNIT = "AUROC [%]"
CURVES = {"Ensemble": "auroc_ensemble", "Individual": "auroc_individual"}
"""The paper's curves, and the metric of ours that each stands beside."""

_LOOKS = {"Ensemble": "off2on", "Individual": "off2on_n1"}
"""Whose colours: an ensemble's, and one agent's."""


@dataclass(frozen=True)
class ActionAUROC:
    """The figure, whole (number 10) or its one panel in the paper's main part (4b)."""

    number: str

    def table(self, results: Results) -> pd.DataFrame:
        """What the figure draws, columns `panels.COLUMNS`: AUROC over environment steps, a curve a `label`.

        Ours is the mean over seeds with its bootstrap interval; the published curves are cut to our steps.

        Raises:
            UserError: the results lack Off2On or its AUROC.
        """
        if METHOD not in results.statistics.methods:
            raise UserError(
                f"Figure {self.number} draws the Q of the method {METHOD}, which is not in the results."
            )
        curves = results.read_curves()
        datasets = panels.chosen_datasets(self.number, results.statistics.datasets)
        parts = [self._curves(curves, dataset, results) for dataset in datasets]
        return pd.concat([curve for part in parts for curve in part], ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`, a panel a dataset.

        Raises:
            UserError: there is nothing to draw.
        """
        if drawn.empty:
            raise UserError(f"Figure {self.number} was given no rows: expected those of its table.")
        datasets = list(dict.fromkeys(drawn["dataset"]))
        with style.look():
            height = style.legend_height(list(CURVES), columns=2)
            figure, places = style.panel_figure(datasets, panel_width=2.6, legend_height=height)
            for axes, dataset, first, _, lowest in places:
                _panel(axes, drawn[drawn["dataset"] == dataset])
                axes.set_title(dataset)
                if first:
                    axes.set_ylabel(UNIT)
                if not lowest:
                    axes.set_xlabel("")
            _legends(figure, drawn)
        return figure

    def caption(self, drawn: pd.DataFrame, results: Results) -> str:
        """The caption's text for the rows of `table`."""
        subject = (
            "How well Q tells all state-action pairs that were collected online from the same states with"
            " uniform random actions, 50 a state: the area under the ROC curve with Q as the confidence, 50%"
            " being chance."
        )
        notes = [
            "Ours takes the smaller of a member's twin Q values; “Ensemble” is the mean of these over the"
            " members, “Individual” the mean of the members' own areas; the pairs are a random subsample."
        ]
        if (drawn["source"] == panels.PUBLISHED).any():
            notes.append(
                "Which of the twins the paper takes, and whether its individual Q is of a member of the"
                " ensemble or of an agent fine-tuned alone, is not known."
            )
        return panels.caption(drawn, results, self.number, subject, notes)

    def _curves(self, curves: pd.DataFrame, dataset: str, results: Results) -> list[pd.DataFrame]:
        statistics = results.statistics
        bootstrap = results.bootstrap
        parts = []
        for label, metric in CURVES.items():
            names = {"dataset": dataset, "method": METHOD, "label": label, "unit": UNIT}
            ours = share_curve(curves, METHOD, dataset, bootstrap, metric)
            parts.append(panels.our_rows(ours, statistics.confidence, **names))
            if dataset in published_panels(self.number):
                theirs = published_curve(self.number, dataset, label)
                within = theirs[theirs["step"] <= statistics.steps[-1]]
                parts.append(panels.published_rows(within, **names))
        return parts


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for (source, label), curve in rows.groupby(["source", "label"], sort=False):
        line = style.solid_curve if source == panels.OURS else style.dashed_curve
        line(axes, curve, _LOOKS[str(label)])
    style.step_axis(axes, int(rows["step"].max()))


def _legends(figure: Figure, drawn: pd.DataFrame) -> None:
    ours = drawn[drawn["source"] == panels.OURS]
    seeds = int(ours["runs"].iloc[0])
    interval = f"mean, {ours['band'].iloc[0]}, {seeds} seeds" if seeds > 1 else "1 seed, no interval"
    solid = [style.solid_handle(look) for look in _LOOKS.values()]
    title = f"{panels.OURS} ({interval})"
    style.legend_below(figure, solid, list(_LOOKS), title, "outside lower left", columns=2)
    if (drawn["source"] == panels.PUBLISHED).any():
        dashed = [style.dashed_handle(look) for look in _LOOKS.values()]
        title = f"{panels.PUBLISHED} (mean ± std, {RUNS} runs)"
        style.legend_below(figure, dashed, list(_LOOKS), title, "outside lower right", columns=2)


FIGURE = ActionAUROC("10")
PANEL = replace(FIGURE, number="4b")
