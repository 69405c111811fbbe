"""Record the images of one manipulation task from scripts and store them as a Minari dataset."""

from __future__ import annotations

from offline_data.manipulation import Settings, record, store
from storage.files import write_json
from storage.settings import build
from workflow import paths
from workflow.jobs import Job


def main(job: Job) -> None:
    """Record, store, read back, summarise."""
    settings = build(Settings, job.settings["settings"], "settings")
    root, dataset_id = paths.root_and_id(job.output("data"))
    recording = record(job.settings["environment"], settings)
    write_json(job.output("summary"), store(root, dataset_id, recording))
