"""Write the closing table: where each method starts and ends on each dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.aggregate import read_statistics
from analysis.summary import summary_table, write_summary
from records.files import atomic_path
from workflow import command


def main(options: argparse.Namespace) -> None:
    """Write the table as text for the terminal, Markdown and CSV."""
    result = read_statistics(options.statistics)
    write_summary(result, options.csv, options.markdown)
    with atomic_path(options.text) as temporary:
        temporary.write_text(summary_table(result), encoding="utf-8")


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("--statistics", type=Path, required=True, help="Parquet file of the statistics")
    arguments.add_argument("--text", type=Path, required=True, help="for the terminal")
    arguments.add_argument("--markdown", type=Path, required=True)
    arguments.add_argument("--csv", type=Path, required=True)
    command.run(main, arguments)
