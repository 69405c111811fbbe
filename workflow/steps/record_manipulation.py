"""Record the images of one manipulation task from scripts and store them as a Minari dataset."""

from __future__ import annotations

from envs.manipulation.controllers import Noise
from offline_data.manipulation import Settings, record, store
from storage.files import write_json
from workflow import cli, paths
from workflow.configuration import check_section
from workflow.jobs import Job


def recording_settings(section: cli.Json) -> Settings:
    """The dataclass of one entry of `manipulation.datasets`. UserError for what the schema does not allow."""
    check_section(section, "settings", "image_dataset")
    noises = {
        key: cli.build(Noise, section[key], f"settings.{key}")
        for key in ("prior_noise", "task_noise")
        if key in section
    }
    return cli.build(Settings, {**section, **noises}, "settings")


def main(job: Job) -> None:
    """Record, store, read back, summarise."""
    settings = recording_settings(job.settings["settings"])
    root, dataset_id = paths.root_and_id(job.output("data"))
    recording = record(job.settings["environment"], settings)
    write_json(job.output("summary"), store(root, dataset_id, recording))


if __name__ == "__main__":
    cli.run_job(main, __doc__)
