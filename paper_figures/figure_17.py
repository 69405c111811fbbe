"""Figures 5b and 17: which samples Off2On draws over episodes. 5b is the blocked drawer's part of 17."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import panels
from paper_figures.manipulation_results import TASKS, ManipulationResults, caption, curve_pair
from storage import UserError

METHOD = "off2on"
SHARES = {"online_share": "online samples", "random_share": "random-action data"}


@dataclass(frozen=True)
class DrawnShares:
    """The figure, whole (number 17) or with some of its panels (5b)."""

    number: str
    tasks: tuple[str, ...]

    def table(self, results: ManipulationResults) -> pd.DataFrame:
        """Tabulate the figure, columns `panels.COLUMNS`; the column `method` holds the share's metric.

        Raises:
            UserError: the results hold no such shares of Off2On on the figure's tasks.
        """
        rows = results.curves[results.curves["method"] == METHOD]
        present = set(zip(rows["dataset"], rows["metric"], strict=True))
        parts = [
            part
            for task in self.tasks
            for metric, label in SHARES.items()
            if (task, metric) in present
            for part in curve_pair(results, self.number, task, METHOD, metric, label, panels.DRAWN, metric)
        ]
        if not parts:
            raise UserError(
                f"Figure {self.number} draws the replay of {METHOD} on {' or '.join(self.tasks)}, of which"
                " the results hold no shares."
            )
        return pd.concat(parts, ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`, a panel a task. UserError where there are none."""
        return panels.draw(drawn, f"Figure {self.number}")

    def caption(self, drawn: pd.DataFrame, results: ManipulationResults) -> str:
        """Return the caption of the rows of `table`."""
        subject = "The shares of online samples and of random-action data among those balanced replay draws."
        note = (
            "Ours is the share of all draws since the evaluation before, so it has no point at episode 0,"
            " where the paper's axis has the first block of updates."
        )
        return caption(drawn, results, self.number, subject, [note])


FIGURE = DrawnShares("17", TASKS)
PANEL = replace(FIGURE, number="5b", tasks=("grasp-blocked-drawer",))
