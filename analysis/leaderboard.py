"""The leaderboard: what committed curves of all methods end at, by the data that they were given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from algorithms.catalogue import in_words
from analysis.aggregate import sample_efficiency
from analysis.intervals import Bootstrap
from analysis.scores import panel_order, score_arrays
from analysis.summary import COMPUTE_NOTE, table_text

OURS = "this suite"
HEADINGS = (
    "method", "implementation", "steps", "seeds", "IQM", "interval", "offline updates", "PFLOP a seed",
    "core-hours a seed", "experiment", "commit",
)  # fmt: skip


class Entry(NamedTuple):
    """One method's curves on one dataset (columns of `storage.curves`), and what they come from."""

    curves: pd.DataFrame
    implementation: str
    data: str  # the offline data's version or recipe
    offline_updates: int | None
    pflop: float | None
    core_hours: float | None
    commits: Sequence[str]


def rows(entries: Sequence[Entry], bootstrap: Bootstrap) -> pd.DataFrame:
    """Return a row an entry, by dataset, data, steps and score; columns as `HEADINGS`, dataset and data.

    The score is the interquartile mean over seeds of the normalised score at the last step.

    Raises:
        UserError: an entry's curves are incomplete (`analysis.scores.score_arrays`).
    """
    found = pd.DataFrame([_row(entry, bootstrap) for entry in entries])
    order = found["dataset"].map(panel_order)
    return (
        found.assign(order=order)
        .sort_values(["order", "data", "steps", "iqm"], ascending=[True, True, True, False], kind="stable")
        .drop(columns="order")
        .reset_index(drop=True)
    )


def _row(entry: Entry, bootstrap: Bootstrap) -> dict[str, object]:
    scores = score_arrays(entry.curves)
    [(method, values)] = scores.values.items()
    [dataset] = scores.datasets
    iqm, interval, _, _ = sample_efficiency(values[:, :, -1:], bootstrap)
    return {
        "dataset": dataset,
        "data": entry.data,
        "method": in_words(method),
        "implementation": entry.implementation,
        "steps": scores.steps[-1],
        "seeds": len(scores.seeds),
        "iqm": float(iqm[0]),
        "low": float(interval[0, 0]),
        "high": float(interval[1, 0]),
        "offline_updates": entry.offline_updates,
        "pflop": entry.pflop,
        "core_hours": entry.core_hours,
        "experiment": str(entry.curves["run"].iloc[0]),
        "commit": ", ".join(sorted({commit[:9] for commit in entry.commits})),
    }


def markdown(board: pd.DataFrame, bootstrap: Bootstrap) -> str:
    """Return the page: a table for each dataset as its data were made, of the columns `HEADINGS`."""
    parts = [_BEGINNING.format(confidence=100 * bootstrap.confidence, repetitions=bootstrap.repetitions)]
    for (dataset, data), members in board.groupby(["dataset", "data"], sort=False):
        cells = [_cells(row) for _, row in members.iterrows()]
        parts.append(f"## {dataset}\n\nData: {data}.\n\n" + table_text(HEADINGS, cells, "").rstrip() + "\n")
    return "\n".join(parts)


def _cells(row: pd.Series) -> tuple[str, ...]:
    one_run = pd.isna(row["low"])
    return (
        row["method"],
        row["implementation"],
        f"{row['steps']:,}",
        str(row["seeds"]),
        f"{row['iqm']:.1f}",
        "none (one run)" if one_run else f"{row['low']:.1f} to {row['high']:.1f}",
        "not stated" if pd.isna(row["offline_updates"]) else f"{row['offline_updates']:,.0f}",
        *("not stated" if pd.isna(row[name]) else f"{row[name]:,.3g}" for name in ("pflop", "core_hours")),
        row["experiment"],
        row["commit"],
    )


_BEGINNING = f"""# Leaderboard

Written by `snakemake leaderboard` from committed curves; `docs/leaderboard.md` says how others enter. Methods
are compared within a table alone: other data are another task. IQM: interquartile mean over seeds of the
normalised score at the last step, with its {{confidence:g}}% stratified bootstrap interval
({{repetitions:,}} repetitions); with three seeds that interval is their range. Seeds may share the agents
that they start from.

{COMPUTE_NOTE} An outside method's is what its authors state.
"""
