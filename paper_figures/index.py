"""Every figure by its name in a configuration's `figures`, and how one is drawn from results into files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import (
    critic_loss,
    figure_01a,
    figure_06,
    figure_09,
    figure_10,
    figure_17,
    film,
    image_controls,
    interval_estimates,
    learning_curves,
    performance_profiles,
    policy_learning_rate,
    probability_of_improvement,
    sample_efficiency,
    style,
)
from paper_figures.comparison import Comparison
from paper_figures.manipulation_results import ManipulationResults, Successes
from paper_figures.results import Results
from storage import UserError
from storage.files import atomic_path
from storage.yaml_files import read_yaml

Source = TypeVar("Source", contravariant=True)


class Drawing(Protocol[Source]):
    """A module, or an object, that says what it draws of results, draws it, and captions it."""

    def table(self, results: Source, /) -> pd.DataFrame:
        """Tabulate the figure, a row a point. UserError where the results lack what it needs."""

    def draw(self, drawn: pd.DataFrame, /) -> Figure:
        """Draw the rows of `table`. UserError where there are none."""

    def caption(self, drawn: pd.DataFrame, results: Source, /) -> str:
        """Explain lines and bands, and all else that a reader has to know."""


PaperFigure = Drawing[Results]


_DECLARED = read_yaml(Path(__file__).with_name("comparisons.yaml"))


def _declared(kind: Callable[..., Drawing[Source]], section: str) -> dict[str, Drawing[Source]]:
    """Return the figures of a section of comparisons.yaml, by name."""
    entries = _DECLARED[section].items()
    return {name: kind(**{**entry, "notes": tuple(entry.get("notes", ()))}) for name, entry in entries}


_OF_THE_PAPER: dict[str, PaperFigure] = {
    "figure_01a": figure_01a,
    "figure_04a": figure_09.PANEL,
    "figure_04b": figure_10.PANEL,
    "figure_09": figure_09.FIGURE,
    "figure_10": figure_10.FIGURE,
    **_declared(Comparison, "locomotion"),
}
FIGURES: dict[str, PaperFigure] = {
    "learning_curves": learning_curves,
    "sample_efficiency": sample_efficiency,
    "performance_profiles": performance_profiles,
    "interval_estimates": interval_estimates,
    "probability_of_improvement": probability_of_improvement,
    "critic_loss": critic_loss,
    "policy_learning_rate": policy_learning_rate,
    **dict(sorted(_OF_THE_PAPER.items())),
}
MANIPULATION_FIGURES: dict[str, Drawing[ManipulationResults]] = {
    **_declared(Successes, "manipulation"),
    "figure_05b": figure_17.PANEL,
    "figure_06": figure_06.BEGINNINGS,
    "figure_07": figure_06.FILMS,
    "figure_17": figure_17.FIGURE,
    "image_controls": image_controls,
    "film": film,
}
"""Those of the manipulation tasks, by their names in `manipulation.figures`."""


def write(name: str, results: Results, path: Path) -> pd.DataFrame:
    """Draw a figure into `path`.pdf and .png, what it draws into .csv, its caption into .txt.

    `path` has no suffix. Returns the table of what is drawn.

    Raises:
        UserError: no such figure, the results lack what it needs, or a place cannot be written.
    """
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}: expected one of {', '.join(FIGURES)}.")
    return write_figure(FIGURES[name], results, path)


def write_figure(figure: Drawing[Source], results: Source, path: Path) -> pd.DataFrame:
    """Return the same for a figure itself."""
    drawn = figure.table(results)
    style.save(figure.draw(drawn), path, drawn)
    with atomic_path(path.with_name(path.name + ".txt")) as temporary:
        temporary.write_text(figure.caption(drawn, results) + "\n", encoding="utf-8")
    return drawn
