"""Record the images of one manipulation task from scripts and store them as a Minari dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from envs.manipulation.controllers import Noise
from offline_data.manipulation import Settings, record, store
from storage.files import write_json
from workflow import cli, paths
from workflow.configuration import check_section


def recording_settings(section: cli.Json) -> Settings:
    """The dataclass of one entry of `manipulation.datasets`. UserError for what the schema does not allow."""
    check_section(section, "settings", "image_dataset")
    noises = {
        key: cli.build(Noise, section[key], f"settings.{key}")
        for key in ("prior_noise", "task_noise")
        if key in section
    }
    return cli.build(Settings, {**section, **noises}, "settings")


def main(options: argparse.Namespace) -> None:
    """Record, store, read back, summarise."""
    settings = recording_settings(options.settings["settings"])
    root, dataset_id = paths.root_and_id(options.output)
    recording = record(options.settings["environment"], settings)
    write_json(options.summary, store(root, dataset_id, recording))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    cli.settings_argument(arguments, "recording")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--summary", type=Path, required=True, help="JSON file")
    cli.run(main, arguments)
