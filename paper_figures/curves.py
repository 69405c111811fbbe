"""What most of the paper's figures are: curves of methods, ours beside the published, a panel a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import drawing, panels, style
from paper_figures.results import Results
from storage import UserError


@dataclass(frozen=True)
class Curves:
    """One such figure, as curves.yaml declares it.

    `number` is the paper's. `methods` are ours in the legend's order, each with its name there ("{size}"
    stands for the ensemble's); `metrics` are what is drawn of each, with its name where there are several,
    `looks` whose look each of these names has. `logged` is a metric that is drawn, too, where it was recorded
    as the paper logged its own. `subject` and `notes` are sentences of the caption: what is compared, and
    what to know of the curves of a source that is drawn. `shown_steps`: where the paper's axis ends.
    `asymptotes`: of curves that go on beyond it, the last value is drawn as a level. `open`: methods not of
    the paper are drawn, too.
    """

    number: str
    methods: Mapping[str, str]
    subject: str
    metrics: Mapping[str, str] = field(default_factory=lambda: {panels.RETURN: ""})
    looks: Mapping[str, str] = field(default_factory=dict)
    logged: str = ""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shown_steps: int | None = None
    asymptotes: bool = False
    open: bool = False

    def table(self, results: Results) -> pd.DataFrame:
        """Tabulate the figure, columns `panels.COLUMNS`, over environment steps or episodes.

        Ours is the mean over seeds with its bootstrap interval: the same estimator as the published mean,
        which comes with one standard deviation and is cut to the steps we have.

        Raises:
            UserError: the results hold none of the figure's methods (fewer than two, where it compares their
                returns; the sentence names the rest), or a run lacks one of its metrics.
        """
        parts = [
            rows
            for dataset in panels.chosen_datasets(self.number, results.datasets)
            for method, metric in product(self._drawn_methods(results, dataset), self.metrics)
            for rows in self._curves(results, dataset, method, metric)
        ]
        if not parts:
            raise UserError(
                f"Figure {self.number} draws {panels.vertical(next(iter(self.metrics)))} of"
                f" {style.listed(self.methods)}, and the results hold none of them."
            )
        return pd.concat(parts, ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`; returns have normalised scores on the right."""
        if self.looks:
            drawn = drawn.assign(method=drawn["label"].map(self.looks))
        return panels.draw(drawn)

    def caption(self, drawn: pd.DataFrame, results: Results) -> str:
        """Return the caption of the rows of `table`."""
        present = set(drawn["source"])
        notes = [note for source, said in self.notes.items() if source in present for note in said]
        labels = {method: self._label(method, "", results.ensemble_size) for method in self.methods}
        missing = [labels[method] for method in labels if method not in set(drawn["method"])]
        if missing and len(self.methods) > 1:
            notes.append(f"Not run, hence not drawn: {style.listed(missing)}.")
        return panels.caption(drawn, results, self.number, self.subject, notes)

    def _drawn_methods(self, results: Results, dataset: str) -> list[str]:
        present = results.methods(dataset)
        custom = [method for method in present if method not in style.LOOKS] if self.open else []
        methods = [method for method in self.methods if method in present] + custom
        if panels.RETURN in self.metrics and len(methods) < 2:
            missing = [method for method in self.methods if method not in methods]
            raise UserError(
                f"Figure {self.number} compares at least two of its methods, and the results hold"
                f" {style.listed(methods) if methods else 'none'} of them: run also {style.listed(missing)}."
            )
        return methods

    def _label(self, method: str, metric: str, ensemble_size: int) -> str:
        name = self.metrics.get(metric) or self.methods.get(method, method)
        return name.replace("{size}", str(ensemble_size))

    def _curves(self, results: Results, dataset: str, method: str, metric: str) -> list[pd.DataFrame]:
        """Our curve and the published one as far as shown, and their asymptotes."""
        # A share of draws is nobody's: it has a look of its own.
        look = metric if metric in style.LOOKS else method
        names = {"method": look, "label": self._label(method, metric, results.ensemble_size)}
        curves = [panels.our_rows(results, dataset, method, metric, **names)]
        if self.logged and panels.measured(results, dataset, method, self.logged):
            rows = panels.our_rows(results, dataset, method, self.logged, **names)
            curves.append(rows.assign(source=drawing.LOGGED, band="every 100th batch, as the paper logged"))
        # The paper's ensembles have five members, whatever ours have.
        names["label"] = self._label(method, metric, panels.PAPER_SIZE)
        curves += panels.published_rows(self.number, dataset, method, metric, **names)
        end = int(curves[0]["step"].iloc[-1])
        last = min(self.shown_steps or end, end)
        levels = [panels.level_rows(rows, last) for rows in curves if rows["step"].iloc[-1] > last]
        shown = [rows[rows["step"] <= last] for rows in curves] + (levels if self.asymptotes else [])
        return [rows for rows in shown if not rows.empty]
