"""What the figures of the manipulation tasks share: curves over episodes, a panel a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.intervals import Bootstrap
from analysis.published import METHOD_OF_CURVE, METRIC_OF_CURVE, SUCCESS, published_table, runs_behind
from analysis.shares import share_curve
from paper_figures import drawing, panels, style
from storage import UserError

TASKS = ("pick-place", "grasp-closed-drawer", "grasp-blocked-drawer")
"""In the paper's order."""


class Updates(NamedTuple):
    """How often a method learns: a block's episodes, updates an episode brings, the first block's factor."""

    block_size: int
    per_episode: int
    first_block_multiplier: int

    def after(self, episodes: pd.Series) -> pd.Series:
        """How many updates there have been after so many episodes."""
        more = (self.first_block_multiplier - 1) * episodes.clip(upper=self.block_size)
        return self.per_episode * (episodes + more)


@dataclass(frozen=True)
class ManipulationResults:
    """What a run left of the manipulation tasks.

    `curves` are `analysis.success.comparable`; `pretraining_updates` the updates before fine-tuning;
    `pictures` PNG files named <task>_<kind>.png; `updates` when each fine-tuned method learns;
    `demonstration`: too small to judge the paper by.
    """

    curves: pd.DataFrame
    bootstrap: Bootstrap
    ensemble_size: int
    pretraining_updates: int
    members_shared: bool = False
    demonstration: bool = False
    pictures: tuple[Path, ...] = ()
    updates: Mapping[str, Updates] = field(default_factory=dict)


@dataclass(frozen=True)
class Successes:
    """A figure of success over episodes, declared.

    `number` is the paper's; `methods` are ours in the legend's order, each with its name there; `subject` and
    `notes` are sentences of the caption, the notes about the published curves.
    """

    number: str
    methods: Mapping[str, str]
    subject: str
    notes: tuple[str, ...] = ()

    def table(self, results: ManipulationResults) -> pd.DataFrame:
        """Tabulate the figure, columns `panels.COLUMNS`: trailing success over episodes.

        Raises:
            UserError: the results hold none of the figure's methods.
        """
        of_success = results.curves[results.curves["metric"] == SUCCESS]
        parts = []
        for task in TASKS:
            present = set(of_success.loc[of_success["dataset"] == task, "method"])
            for method, label in self.methods.items():
                if method in present:
                    parts += curve_pair(results, self.number, task, method, SUCCESS, label, panels.SUCCESS)
        if not parts:
            raise UserError(
                f"Figure {self.number} draws the success of {style.listed(self.methods)}, and the results"
                " hold none of them."
            )
        return pd.concat(parts, ignore_index=True)

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Draw the rows of `table`, a panel a task. UserError where there are none."""
        return panels.draw(drawn, f"Figure {self.number}")

    def caption(self, drawn: pd.DataFrame, results: ManipulationResults) -> str:
        """Return the caption of the rows of `table`."""
        missing = [name for method, name in self.methods.items() if method not in set(drawn["method"])]
        notes = [
            "Success: the share of deterministic evaluation episodes with a rewarded last step; each point is"
            " the mean of up to ten evaluations up to it, as in the paper.",
            *self.notes,
        ]
        if missing:
            notes.append(f"Not run, hence not drawn: {style.listed(missing)}.")
        return caption(drawn, results, self.number, self.subject, notes)


def curve_pair(
    results: ManipulationResults,
    number: str,
    task: str,
    method: str,
    metric: str,
    label: str,
    unit: str,
    look: str = "",
) -> list[pd.DataFrame]:
    """Rows of our curve of a metric and, as far as ours goes, of the published one, drawn as `look`."""
    names = {"dataset": task, "method": look or method, "label": label, "unit": unit}
    ours = share_curve(results.curves, method, task, results.bootstrap, metric)
    rows = [panels.our_rows(ours, results.bootstrap.confidence, **names)]
    theirs = _published(number, task, method, metric)
    theirs = theirs[theirs["step"] <= ours["step"].iloc[-1]]
    if not theirs.empty:
        rows.append(panels.published_rows(theirs, **names).assign(runs=runs_behind(number)))
    return rows


def caption(
    drawn: pd.DataFrame, results: ManipulationResults, number: str, subject: str, notes: Iterable[str]
) -> str:
    """Return the caption's text for rows with the columns `panels.COLUMNS`."""
    ours = drawn[drawn["source"] == drawing.OURS]
    theirs = drawn[drawn["source"] == drawing.PUBLISHED]
    last, seeds = int(ours["step"].max()), int(ours["runs"].min())
    interval = f"with its {ours['band'].iloc[0]}" if seeds > 1 else "without an interval"
    sentences = [
        f"Figure {number} of the paper, the first {last:,} episodes of {style.listed(ours['dataset'])}.",
        subject,
        f"Solid: this suite on its own tasks after COG's, mean over {style.count(seeds, 'seed')} {interval},"
        f" after {results.pretraining_updates:,} updates of CQL on images; ensembles of"
        f" {results.ensemble_size}.",
    ]
    if results.members_shared:
        sentences.append("All seeds start from the same pre-trained agents.")
    if not theirs.empty:
        runs = int(theirs["runs"].iloc[0])
        sentences.append(
            f"Dashed: the published curves, mean ± standard deviation over {runs} runs with ensembles of 4,"
            " after 500,000 updates, digitised from the vector graphics; COG's tasks differ from ours in"
            " simulator and looks."
        )
    sentences += notes
    if results.demonstration:
        sentences.append(style.DEMONSTRATION)
    return " ".join(sentences)


def _published(number: str, task: str, method: str, metric: str) -> pd.DataFrame:
    """One of the paper's curves, columns step, mean, std; empty where the figure has none such."""
    table = published_table()
    rows = table[(table["figure"] == number) & (table["panel"] == task)]
    names = [
        curve
        for (figure, curve), of in METHOD_OF_CURVE.items()
        if (figure, of, METRIC_OF_CURVE[figure, curve]) == (number, method, metric)
    ]
    return rows.loc[rows["curve"].isin(names), ["step", "mean", "std"]]
