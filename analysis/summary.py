"""The closing table: where each method starts and ends on each dataset, for the terminal and for files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from analysis.statistics import Statistics, closing_rows
from storage.files import atomic_path

_HEADINGS = ("method", "dataset", "seeds", "steps", "start", "end", "interval of the end")


def summary_table(statistics: Statistics) -> str:
    """Return the closing table as plain text: one line per method and dataset, and a line that explains it.

    Start and end are interquartile means over seeds of the normalised score.
    """
    return _table(statistics, "simple")


def markdown_table(statistics: Statistics) -> str:
    """Return the closing table as Markdown, with the cells of `summary_table`."""
    return _table(statistics, "pipe")


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


def write_summary(statistics: Statistics, csv_path: Path, markdown_path: Path, further: str = "") -> None:
    """Write the closing table as CSV (unrounded, `analysis.aggregate.closing_rows`) and as Markdown.

    `further` is Markdown that follows the table.

    Raises:
        UserError: a place cannot be written.
    """
    with atomic_path(csv_path) as temporary:
        closing_rows(statistics).to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(markdown_path) as temporary:
        temporary.write_text(markdown_table(statistics) + further, encoding="utf-8")


def _table(statistics: Statistics, form: str) -> str:
    headings = [f"{statistics.unit}s" if name == "steps" else name for name in _HEADINGS]
    rows = [closing_cells(row) for _, row in closing_rows(statistics).iterrows()]
    return table_text(headings, rows, _note(statistics), form=form)


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
