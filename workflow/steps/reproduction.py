"""Write the closing table, the verdicts on the paper's claims and the errors against its curves."""

from __future__ import annotations

import pandas as pd

from analysis.claims import CLAIMS, read_claims
from analysis.intervals import Bootstrap
from analysis.judging import judge
from analysis.reproduction_error import error_table, reproduction_errors
from analysis.statistics import read_statistics
from analysis.success import comparable, success_lines, success_markdown, success_rows
from analysis.summary import closing_table, costed_rows
from analysis.verdicts import reproduction, verdict_lines, verdict_table
from storage.curves import read_curves
from storage.files import write_json, write_text
from workflow.cost.estimate import seed_compute
from workflow.jobs import Job
from workflow.plan import Plan
from workflow.steps.statistics import bootstrap_settings, origin


def main(job: Job) -> None:
    """Judge, compare and write: text for the terminal, Markdown, JSON, and CSV of the two tables."""
    table = job.path("statistics")
    result = read_statistics(table) if table else None
    compute = seed_compute(Plan(job.settings["configuration"])) if result else None
    curves = comparable(read_curves(job.paths("curves")))
    drawn = bootstrap_settings(job.settings)
    bootstrap = Bootstrap(**drawn, cache=job.cache)
    claims = read_claims(CLAIMS, *job.paths("claims"), methods=set(curves["method"]))
    judgements, errors = judge(claims, curves, bootstrap), reproduction_errors(curves, bootstrap)
    provenance = result.provenance if result else origin(drawn, job.paths("curves"))
    write_json(job.output("json"), reproduction(judgements, errors, bootstrap, provenance))
    write_text(job.output("errors"), csv(errors))
    write_text(job.output("errors_markdown"), error_table(errors))
    sections = {"Claims": verdict_table(judgements), "Against the published curves": error_table(errors)}
    successes = success_rows(curves, bootstrap)
    if not successes.empty:
        sections = {"Success on the manipulation tasks": success_markdown(successes), **sections}
    further = "".join(f"\n## {heading}\n\n{table}" for heading, table in sections.items())
    write_text(job.output("csv"), csv(costed_rows(result, compute) if result else successes))
    closing = closing_table(result, compute, "pipe") if result else ""
    write_text(job.output("markdown"), (closing + further).lstrip())
    tables = [
        closing_table(result, compute) if result else "",
        success_lines(successes),
        verdict_lines(judgements),
    ]
    write_text(job.output("text"), "\n".join(filter(None, tables)))


def csv(rows: pd.DataFrame) -> str:
    """Return rows as CSV, unrounded."""
    return rows.to_csv(index=False, lineterminator="\n")
