"""Figures 4b and 10: Q as a classifier of taken and random actions. 4b is Walker2d's panel of 10."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.published import published_curve, published_panels
from analysis.shares import share_curve
from paper_figures import drawing, panels, style
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
        """Tabulate the figure, columns `panels.COLUMNS`: AUROC over environment steps, a curve a `label`.

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
        drawn = style.required(drawn, f"Figure {self.number}")
        rows = drawn.assign(method=drawn["label"].map(_LOOKS))
        return panels.draw(rows, f"Figure {self.number}")

    def caption(self, drawn: pd.DataFrame, results: Results) -> str:
        """Return the caption of the rows of `table`."""
        subject = (
            "How well Q tells all state-action pairs that were collected online from the same states with"
            " uniform random actions, 50 a state: the area under the ROC curve with Q as the confidence, 50%"
            " being chance."
        )
        notes = [
            "Ours takes the smaller of a member's twin Q values; “Ensemble” is the mean of these over the"
            " members, “Individual” the mean of the members' own areas; the pairs are a random subsample."
        ]
        if (drawn["source"] == drawing.PUBLISHED).any():
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


FIGURE = ActionAUROC("10")
PANEL = replace(FIGURE, number="4b")
