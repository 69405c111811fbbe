"""Every figure by its name in a configuration's `figures`, and how one is drawn from results into files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import (
    behaviours,
    critic_loss,
    dataset_report,
    figure_01a,
    figure_06,
    film,
    image_controls,
    interval_estimates,
    learning_curves,
    performance_profiles,
    policy_learning_rate,
    probability_of_improvement,
    sample_efficiency,
    style,
    success_by_regime,
)
from paper_figures.curves import Curves
from paper_figures.results import Results
from storage import UserError
from storage.yaml_files import read_yaml


class Drawing(Protocol):
    """A module, or an object, that says what it draws of results, draws it, and captions it."""

    def table(self, results: Results, /) -> pd.DataFrame:
        """Tabulate the figure, a row a point. UserError where the results lack what it needs."""

    def draw(self, drawn: pd.DataFrame, /) -> Figure:
        """Draw the rows of `table`, of which there are some."""

    def caption(self, drawn: pd.DataFrame, results: Results, /) -> str:
        """Explain lines and bands, and all else that a reader has to know."""


_DECLARED = read_yaml(Path(__file__).with_name("curves.yaml"))
FIGURES: dict[str, Drawing] = {
    "learning_curves": learning_curves,
    "sample_efficiency": sample_efficiency,
    "performance_profiles": performance_profiles,
    "interval_estimates": interval_estimates,
    "probability_of_improvement": probability_of_improvement,
    "critic_loss": critic_loss,
    "success_by_regime": success_by_regime,
    "policy_learning_rate": policy_learning_rate,
    "datasets": dataset_report,
    "behaviours": behaviours,
    "figure_01a": figure_01a,
    "figure_06": figure_06.BEGINNINGS,
    "figure_07": figure_06.FILMS,
    "table_scripts": figure_06.SCRIPTS,
    "image_controls": image_controls,
    "film": film,
    **{name: Curves(**entry) for name, entry in _DECLARED.items()},
}


def write(name: str, results: Results, path: Path) -> pd.DataFrame:
    """Draw a figure into `path`.pdf and .png, what it draws into .csv, its caption into .txt.

    `path` has no suffix. Returns the table of what is drawn.

    Raises:
        UserError: no such figure, the results lack what it needs, or a place cannot be written.
    """
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}: expected one of {', '.join(FIGURES)}.")
    figure = FIGURES[name]
    drawn = figure.table(results)
    if drawn.empty:
        raise UserError(f"The figure {name} has no rows to draw: expected results that it shows.")
    said = [figure.caption(drawn, results), *([style.DEMONSTRATION] if results.demonstration else [])]
    style.save(figure.draw(drawn), path, drawn, " ".join(said))
    return drawn
