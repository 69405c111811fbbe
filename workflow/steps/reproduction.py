"""Write the closing table, the verdicts on the paper's claims and the errors against its curves."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.aggregate import Bootstrap, read_statistics
from analysis.claims import CLAIMS, judge, read_claims, reproduction, verdict_lines, verdict_table
from analysis.reproduction_error import error_table, reproduction_errors, write_errors
from analysis.success import comparable, success_lines, success_markdown, success_rows
from analysis.summary import summary_table, write_summary
from storage.curves import read_curves
from storage.files import atomic_path, write_json
from workflow import cli
from workflow.steps.statistics import bootstrap_settings, origin


def main(options: argparse.Namespace) -> None:
    """Judge, compare and write: text for the terminal, Markdown, JSON, and CSV of the two tables."""
    result = read_statistics(options.statistics) if options.statistics else None
    curves = comparable(read_curves(options.curves))
    drawn = bootstrap_settings(options.settings)
    bootstrap = Bootstrap(**drawn, cache=options.cache)
    claims = read_claims(CLAIMS, *options.claims, methods=set(curves["method"]))
    judgements, errors = judge(claims, curves, bootstrap), reproduction_errors(curves, bootstrap)
    provenance = result.provenance if result else origin(drawn, options.curves)
    write_json(options.json, reproduction(judgements, errors, bootstrap, provenance))
    write_errors(errors, options.errors, options.errors.with_suffix(".md"))
    sections = {"Claims": verdict_table(judgements), "Against the published curves": error_table(errors)}
    successes = success_rows(curves, bootstrap)
    if not successes.empty:
        sections = {"Success on the manipulation tasks": success_markdown(successes), **sections}
    further = "".join(f"\n## {heading}\n\n{table}" for heading, table in sections.items())
    if result:
        write_summary(result, options.csv, options.markdown, further)
    else:
        with atomic_path(options.csv) as temporary:
            successes.to_csv(temporary, index=False, lineterminator="\n")
        with atomic_path(options.markdown) as temporary:
            temporary.write_text(further.lstrip(), encoding="utf-8")
    tables = [summary_table(result) if result else "", success_lines(successes), verdict_lines(judgements)]
    with atomic_path(options.text) as temporary:
        temporary.write_text("\n".join(filter(None, tables)), encoding="utf-8")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--statistics", type=Path, nargs="?", help="Parquet file of the statistics, where there is locomotion"
    )
    cli.settings_argument(arguments, "judging")
    arguments.add_argument("--curves", type=Path, nargs="+", required=True, help="Parquet files of curves")
    arguments.add_argument(
        "--claims", type=Path, nargs="*", default=[], help="YAML files of claims beside the paper's"
    )
    arguments.add_argument("--cache", type=Path, help="folder that keeps intervals for the next time")
    arguments.add_argument("--text", type=Path, required=True, help="for the terminal")
    arguments.add_argument("--markdown", type=Path, required=True)
    arguments.add_argument(
        "--csv", type=Path, required=True, help="the closing table; of success without locomotion"
    )
    arguments.add_argument("--json", type=Path, required=True, help="verdicts and errors")
    arguments.add_argument("--errors", type=Path, required=True, help="CSV file; Markdown beside it")
    cli.run(main, arguments)
