"""Draw one figure from statistics and curves: PDF, PNG, the CSV of what it draws, and its caption."""

from __future__ import annotations

from functools import partial

from analysis.statistics import read_statistics
from paper_figures.index import write
from paper_figures.results import Results
from storage.curves import read_curves
from workflow.jobs import Job


def main(job: Job) -> None:
    """Draw the job's figure: PDF, PNG, CSV and caption."""
    settings = {key: value for key, value in job.settings.items() if key != "fingerprint"}
    results = Results(
        statistics=read_statistics(job.required("statistics")),
        read_curves=partial(read_curves, job.paths("curves")),
        likelihoods=tuple(job.paths("likelihoods")),
        cache=job.cache,
        **settings,
    )
    write(job.about["figure"], results, job.output("pdf").with_suffix(""))
