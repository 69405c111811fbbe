"""The closing table: where each method starts and ends on each dataset, for the terminal and for files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from analysis.statistics import ALL, Statistics, closing_rows

COMPUTE = ("offline updates", "PFLOP a seed", "core-hours a seed", "score per core-hour")
COMPUTE_NOTE = (
    "Offline updates are each agent's. Compute is a seed's, the pre-training of all agents that it starts"
    " from included: 10^15 floating-point operations of matrix products, and hours of one core as the cost"
    " model has them (docs/workflow.md)."
)
_HEADINGS = ("method", "dataset", "seeds", "steps", "start", "end", "interval of the end")


def costed_rows(statistics: Statistics, compute: pd.DataFrame | None) -> pd.DataFrame:
    """Return the closing rows (`analysis.statistics.closing_rows`) with what a seed of each takes.

    `compute` has the columns method, dataset, offline_updates, pflop, core_hours; without it nothing is
    added. Further columns are those three, over all datasets their means, and score_per_core_hour: the last
    score by the hours.
    """
    rows = closing_rows(statistics)
    if compute is None:
        return rows
    numbers = ["offline_updates", "pflop", "core_hours"]
    means = compute.groupby("method", as_index=False)[numbers].mean().assign(dataset=ALL)
    rows = rows.merge(pd.concat([compute, means]), how="left", on=["method", "dataset"])
    return rows.assign(score_per_core_hour=rows["end"] / rows["core_hours"])


def table_text(
    headings: Sequence[str], rows: Iterable[Sequence[str]], note: str, texts: int = 2, form: str = "pipe"
) -> str:
    """Return table as text and a note below it; the first `texts` columns are left-aligned, the others right.

    `form` is one of tabulate's: "pipe" for Markdown, "simple" for the terminal, "github" for Markdown whose
    cells are too long to be padded.
    """
    sides = ["left"] * texts + ["right"] * (len(headings) - texts)
    layout: dict[str, Any] = {"stralign": None} if form == "github" else {"colalign": sides}
    lines = tabulate(list(rows), headings, tablefmt=form, disable_numparse=True, **layout)
    return f"{lines}\n\n{note}\n"


def closing_table(statistics: Statistics, compute: pd.DataFrame | None = None, form: str = "simple") -> str:
    """Return the closing table as text: one line per method and dataset, and a line that explains it.

    Start and end are interquartile means over seeds of the normalised score. `compute` is as `costed_rows`
    takes it, `form` as `table_text`.
    """
    headings = [f"{statistics.unit}s" if name == "steps" else name for name in _HEADINGS]
    rows = costed_rows(statistics, compute)
    cells = [closing_cells(row) for _, row in rows.iterrows()]
    if compute is None:
        return table_text(headings, cells, _note(statistics), form=form)
    costs = [compute_cells(row) for _, row in rows.iterrows()]
    whole = [cell + cost for cell, cost in zip(cells, costs, strict=True)]
    return table_text([*headings, *COMPUTE], whole, f"{_note(statistics)} {COMPUTE_NOTE}", form=form)


def compute_cells(row: pd.Series) -> tuple[str, ...]:
    """Return the cells under `COMPUTE` of a row of `costed_rows`; empty where it is not known."""
    if pd.isna(row["pflop"]):
        return ("",) * len(COMPUTE)
    numbers = (row["pflop"], row["core_hours"], row["score_per_core_hour"])
    return f"{row['offline_updates']:,.0f}", *(f"{number:,.3g}" for number in numbers)


def closing_cells(row: pd.Series, digits: int = 1) -> tuple[str, ...]:
    """Return a row of a closing table as text; `row` has the columns of `analysis.aggregate.closing_rows`."""
    one_run = math.isnan(row["end_low"])
    return (
        str(row["method"]),
        str(row["dataset"]),
        str(row["seeds"]),
        f"{row['last_step']:,}",
        f"{row['start']:.{digits}f}",
        f"{row['end']:.{digits}f}",
        "none (one run)" if one_run else f"{row['end_low']:.{digits}f} to {row['end_high']:.{digits}f}",
    )


def _note(statistics: Statistics) -> str:
    return (
        "Normalised score (0 the random policy, 100 the reference expert): interquartile mean over seeds and"
        f" its {100 * statistics.confidence:g}% stratified bootstrap interval"
        f" ({statistics.repetitions:,} repetitions)."
    )
