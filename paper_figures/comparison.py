"""What most of the paper's figures are: several methods' return over environment steps, a panel a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.scores import returns
from paper_figures import drawing, panels, style
from paper_figures.results import Results
from storage import UserError


@dataclass(frozen=True)
class Comparison:
    """One such figure, declared.

    `number` is the paper's. `methods` are ours in the legend's order, each with its name there ("{size}"
    stands for the ensemble's). `subject` and `notes` are sentences of the caption: what is compared, and what
    to know of the published curves, where there are some. `shown_steps`: where the paper's axis ends.
    `asymptotes`: of curves that go on beyond it, the last value is drawn as a level. `open`: methods not of
    the paper are drawn, too.
    """

    number: str
    methods: Mapping[str, str]
    subject: str
    notes: tuple[str, ...] = ()
    shown_steps: int | None = None
    asymptotes: bool = False
    open: bool = False

    def table(self, results: Results) -> pd.DataFrame:
        """Tabulate the figure, columns `panels.COLUMNS`, in undiscounted return over environment steps.

        Ours is the mean over seeds with its bootstrap interval: the same estimator as the published mean,
        which comes with one standard deviation and is cut to the steps we have.

        Raises:
            UserError: the results hold fewer than two of the figure's methods; the sentence names the rest.
        """
        methods = self._drawn_methods(results)
        if len(methods) < 2:
            missing = [method for method in self.methods if method not in methods]
            raise UserError(
                f"Figure {self.number} compares at least two of its methods, and the results hold"
                f" {style.listed(methods) if methods else 'none'} of them: run also {style.listed(missing)}."
            )
        parts = []
        for dataset in panels.chosen_datasets(self.number, results.statistics.datasets):
            for method in methods:
                parts += self._curves(results, dataset, method)
        return pd.concat(parts, ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`: return on the left axis, normalised score on the right.

        Raises:
            UserError: there is nothing to draw.
        """
        return panels.draw(drawn, f"Figure {self.number}")

    def caption(self, drawn: pd.DataFrame, results: Results) -> str:
        """Return the caption of the rows of `table`."""
        notes = list(self.notes) if (drawn["source"] == drawing.PUBLISHED).any() else []
        missing = [method for method in self.methods if method not in set(drawn["method"])]
        if missing:
            names = [self._label(method, results.ensemble_size) for method in missing]
            notes.append(f"Not run, hence not drawn: {style.listed(names)}.")
        return panels.caption(drawn, results, self.number, self.subject, notes)

    def _drawn_methods(self, results: Results) -> list[str]:
        present = results.statistics.methods
        custom = [method for method in present if method not in style.LOOKS] if self.open else []
        return [method for method in self.methods if method in present] + custom

    def _label(self, method: str, ensemble_size: int) -> str:
        return self.methods.get(method, method).replace("{size}", str(ensemble_size))

    def _curves(self, results: Results, dataset: str, method: str) -> list[pd.DataFrame]:
        """Our curve and the published one as far as shown, and their asymptotes."""
        statistics = results.statistics
        names = {"dataset": dataset, "method": method, "unit": panels.RETURN}
        curve = statistics.curve(method, dataset, "mean")
        for column in ("estimate", "low", "high"):
            curve[column] = returns(curve[column].to_numpy(), dataset)
        label = self._label(method, results.ensemble_size)
        curves = [panels.our_rows(curve, statistics.confidence, label=label, **names)]
        published = panels.published_curves(self.number, dataset)
        if method in published:
            # The paper's ensemble has five members, whatever ours has.
            label = self._label(method, panels.PAPER_SIZE)
            curves.append(panels.published_rows(published[method], label=label, **names))
        last = min(self.shown_steps or statistics.steps[-1], statistics.steps[-1])
        levels = [panels.level_rows(rows, last) for rows in curves if rows["step"].iloc[-1] > last]
        return [rows[rows["step"] <= last] for rows in curves] + (levels if self.asymptotes else [])
