"""The closing table: where each method starts and ends on each dataset, for the terminal and for files."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from analysis.aggregate import Statistics, closing_rows
from storage.files import atomic_path

_HEADINGS = ("method", "dataset", "seeds", "steps", "start", "end", "interval of the end")
_TEXT = ("method", "dataset")


def summary_table(statistics: Statistics) -> str:
    """The closing table as plain text: one line per method and dataset, and a line that explains it.

    Start and end are interquartile means over seeds of the normalised score.
    """
    lines = [_headings(statistics), *_cells(statistics)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [_aligned(line, widths) for line in lines]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([texts[0], rule, *texts[1:], "", _note(statistics)]) + "\n"


def markdown_table(statistics: Statistics) -> str:
    """The closing table as Markdown, with the cells of `summary_table`."""
    rule = tuple("---" if name in _TEXT else "---:" for name in _HEADINGS)
    lines = [_headings(statistics), rule, *_cells(statistics)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{body}\n\n{_note(statistics)}\n"


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


def _headings(statistics: Statistics) -> tuple[str, ...]:
    return tuple(f"{statistics.unit}s" if name == "steps" else name for name in _HEADINGS)


def _cells(statistics: Statistics) -> list[tuple[str, ...]]:
    return [closing_cells(row) for _, row in closing_rows(statistics).iterrows()]


def closing_cells(row: pd.Series, digits: int = 1) -> tuple[str, ...]:
    """A row of a closing table as text; `row` has the columns of `analysis.aggregate.closing_rows`."""
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


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    cells = (
        cell.ljust(width) if name in _TEXT else cell.rjust(width)
        for name, cell, width in zip(_HEADINGS, line, widths, strict=True)
    )
    return "  ".join(cells).rstrip()


def _note(statistics: Statistics) -> str:
    return (
        "Normalised score (0 the random policy, 100 the reference expert): interquartile mean over seeds and"
        f" its {100 * statistics.confidence:g}% stratified bootstrap interval"
        f" ({statistics.repetitions:,} repetitions)."
    )
