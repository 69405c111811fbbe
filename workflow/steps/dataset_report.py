"""Draw the report of a configuration's datasets: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

from paper_figures import dataset_report
from storage import UserError
from storage.files import atomic_path, read_json
from workflow.jobs import Job


def main(job: Job) -> None:
    """Read every summary, draw, write."""
    path = job.output("pdf").with_suffix("")
    try:
        drawn = dataset_report.write([read_json(summary) for summary in job.paths("summaries")], path)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: an input is no dataset's summary: it lacks {error}") from error
    with atomic_path(path.with_suffix(".txt")) as temporary:
        temporary.write_text(dataset_report.caption(drawn) + "\n", encoding="utf-8")
