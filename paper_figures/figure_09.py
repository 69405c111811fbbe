"""Figures 4a and 9: the share of offline samples that Off2On learns from. 4a is Walker2d's part of 9."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.shares import LOGGED_SHARE, TRUE_SHARE, environment_steps, share_curve
from paper_figures import drawing, panels, style
from paper_figures.results import Results
from storage import UserError

METHOD = "off2on"


@dataclass(frozen=True)
class OfflineShare:
    """The figure, whole (number 9) or Walker2d's panels alone (4a)."""

    number: str

    def table(self, results: Results) -> pd.DataFrame:
        """Tabulate the figure, columns `panels.COLUMNS`: shares of draws over environment steps.

        Ours is the share of all draws since the evaluation before, mean over seeds with its interval, and,
        where the run recorded it, the share of every 100th batch. The published index of gradient steps is
        brought to environment steps.

        Raises:
            UserError: the results lack Off2On or its share.
        """
        if METHOD not in results.statistics.methods:
            raise UserError(
                f"Figure {self.number} draws the replay of the method {METHOD}, which is not in the results."
            )
        curves = results.read_curves()
        curves = curves[curves["method"] == METHOD]
        parts = []
        for dataset in panels.chosen_datasets(self.number, results.statistics.datasets):
            parts += self._shares(curves, dataset, results)
        return pd.concat(parts, ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`, a panel a dataset.

        Raises:
            UserError: there is nothing to draw.
        """
        return panels.draw(drawn, f"Figure {self.number}")

    def caption(self, drawn: pd.DataFrame, results: Results) -> str:
        """Return the caption of the rows of `table`."""
        subject = "The share of offline samples among those that balanced replay draws."
        notes = ["Ours is the share of all draws since the evaluation before."]
        if (drawn["source"] == drawing.LOGGED).any():
            notes.append("Dash-dotted: ours in every 100th batch only, as the paper logged it.")
        if (drawn["source"] == drawing.PUBLISHED).any():
            notes.append(
                "The published share is of every 100th batch, the first after each collection among them,"
                " which holds the new samples: it understates the offline share early on. Its axis counts"
                " blocks of 1,000 gradient steps, five of them for the first 1,000 environment steps, and so"
                " runs ahead by four: here those five lie within the first 1,000 steps and the later ones"
                " where they were evaluated."
            )
        return panels.caption(drawn, results, self.number, subject, notes)

    def _shares(self, curves: pd.DataFrame, dataset: str, results: Results) -> list[pd.DataFrame]:
        statistics = results.statistics
        bootstrap = results.bootstrap
        names = {
            "dataset": dataset,
            "method": METHOD,
            "label": style.method_label(METHOD, results.ensemble_size),
            "unit": panels.SHARE,
        }
        true = share_curve(curves, METHOD, dataset, bootstrap, TRUE_SHARE)
        parts = [panels.our_rows(true, statistics.confidence, **names)]
        if ((curves["metric"] == LOGGED_SHARE) & (curves["dataset"] == dataset)).any():
            logged = share_curve(curves, METHOD, dataset, bootstrap, LOGGED_SHARE)
            rows = panels.our_rows(logged, statistics.confidence, **names)
            parts.append(rows.assign(source=drawing.LOGGED, band="every 100th batch, as the paper logged"))
        published = panels.published_curves(self.number, dataset)
        if METHOD in published:
            curve = published[METHOD]
            curve = curve.assign(step=environment_steps(curve["step"].to_numpy()))
            names["label"] = style.method_label(METHOD, panels.PAPER_SIZE)
            rows = panels.published_rows(curve[curve["step"] <= statistics.steps[-1]], **names)
            parts.append(rows)
        return parts


FIGURE = OfflineShare("9")
PANEL = replace(FIGURE, number="4a")
