"""Draw the vectors of trajectories and of estimated behaviours: PDF, PNG, the CSV of it, and its caption."""

from __future__ import annotations

from paper_figures import behaviours, style
from storage.files import atomic_path
from workflow.jobs import Job


def main(job: Job) -> None:
    """Read, draw, write."""
    path, drawn = job.output("pdf").with_suffix(""), behaviours.table(job.paths("behaviours"))
    style.save(behaviours.draw(drawn), path, drawn)
    with atomic_path(job.output("caption")) as temporary:
        temporary.write_text(behaviours.caption(drawn) + "\n", encoding="utf-8")
