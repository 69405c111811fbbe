"""Fine-tuning from images beside its controls: success of all by the updates that an agent has had.

Not in the paper. Offline agents, what became of them online, and the same agents, or clones, that had as many
more updates offline: what is gained beyond those is what the online episodes brought.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.success import MEASURED, last_evaluations
from paper_figures import drawing, panels, style
from paper_figures.results import Results
from storage import UserError

OFFLINE = "cql"
LAST = 4
"""Evaluations at the end that the caption's numbers are the mean of."""


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `panels.COLUMNS`: success at each evaluation; `step` counts updates.

    Raises:
        UserError: the results hold no success of agents trained on images.
    """
    measured, parts = _measured(results), []
    chosen = replace(results, read_curves=lambda: measured)
    for task in panels.TASKS:
        present = dict.fromkeys(measured.loc[measured["dataset"] == task, "method"])
        for method in sorted(present, key=lambda name: (name != OFFLINE, name in results.updates)):
            online = method in results.updates
            label = style.method_label(method, results.ensemble_size)
            rows = panels.our_rows(chosen, task, method, MEASURED, method=method, label=label)
            rows["label"] = [
                f"{label} ({style.count(int(runs), 'seed' if online else 'agent')})" for runs in rows["runs"]
            ]
            if online:
                rows["step"] = results.updates[method].after(task, rows["step"])
            parts.append(rows)
    if not parts:
        raise UserError("The figure of controls draws success from images, of which the results hold none.")
    return pd.concat(parts, ignore_index=True)


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table`, a panel a task."""
    rows = drawn.assign(source=drawing.OURS)
    sources = {drawing.OURS: f"mean over agents or seeds, {rows['band'].iloc[0]}"}
    figure = drawing.draw(rows, sources, "success", "updates of an agent", split=True)
    for axes in figure.axes:
        axes.set_ylim(-0.03, 1.03)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    measured = _measured(results)
    sentences = [
        "Success from images by the updates that each agent has had, on"
        f" {style.listed(drawn['dataset'])}: deterministic episodes with a rewarded last step, on averaged"
        " weights where a method averages them, at every evaluation.",
        f"{_begins(drawn, results)} averages start anew from the last weights.",
        *(_ends(results, measured, task) for task in dict.fromkeys(drawn["dataset"])),
    ]
    return " ".join(sentences)


def _begins(drawn: pd.DataFrame, results: Results) -> str:
    """Say after how many updates offline each method is fine-tuned, or agents are trained on."""
    found: dict[str, list[str]] = {}
    for method in dict.fromkeys(drawn["method"]):
        if method in results.updates:
            before = results.offline_updates(drawn["dataset"], method)
            found.setdefault(before, []).append(style.method_label(method, results.ensemble_size))
    if not found:
        before = results.offline_updates(drawn["dataset"])
        return f"Agents are trained on after {before} updates offline; there"
    parts = [f"({style.listed(labels)}) begins after {before}" for before, labels in found.items()]
    return f"Fine-tuning {style.listed(parts)} updates offline; there, and where agents are trained on,"


def _measured(results: Results) -> pd.DataFrame:
    """Return the success of all labels; of one with both phases that of the online one."""
    measured = results.curves[results.curves["metric"] == MEASURED]
    return measured[(measured["phase"] == "online") == measured["method"].isin(results.updates)]


def _ends(results: Results, measured: pd.DataFrame, task: str) -> str:
    """How each that was measured ends on a task, seed by seed."""
    ends = last_evaluations(measured[measured["dataset"] == task], LAST)
    parts = []
    for method, rows in ends.groupby("method", sort=False):
        name = style.method_label(str(method), results.ensemble_size)
        runs = ", ".join(f"{value:.2f}" for value in rows["success"])
        parts.append(f"{name} {rows['success'].mean():.2f} ({runs})")
    return f"Mean of the last {LAST} evaluations on {task}, each run in brackets: {'; '.join(parts)}."
