"""Draw the report of a configuration's datasets: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_figures import dataset_report
from storage import UserError
from storage.files import atomic_path, read_json
from workflow import cli


def main(options: argparse.Namespace) -> None:
    """Read every summary, draw, write."""
    path = options.output.with_suffix("")
    try:
        drawn = dataset_report.write([read_json(summary) for summary in options.summaries], path)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: a file of --summaries is no dataset's summary: it lacks {error}") from error
    with atomic_path(path.with_suffix(".txt")) as temporary:
        temporary.write_text(dataset_report.caption(drawn) + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--summaries", type=Path, nargs="+", required=True, help="JSON files")
    arguments.add_argument("--output", type=Path, required=True, help="the PDF; the others lie beside it")
    cli.run(main, arguments)
