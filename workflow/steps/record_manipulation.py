"""Record the images of one manipulation task from scripts and store them as a Minari dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets.manipulation import Settings, record, store
from envs.manipulation.controllers import Noise
from records.files import write_json
from workflow import command, data
from workflow.configuration import check_section


def recording_settings(section: command.Json) -> Settings:
    """The dataclass of one entry of `manipulation.datasets`. UserError for what the schema does not allow."""
    check_section(section, "settings", "image_dataset")
    noises = {
        key: command.build(Noise, section[key], f"settings.{key}")
        for key in ("prior_noise", "task_noise")
        if key in section
    }
    return command.build(Settings, {**section, **noises}, "settings")


def main(options: argparse.Namespace) -> None:
    """Record, store, read back, summarise."""
    settings = recording_settings(options.settings["settings"])
    root, dataset_id = data.root_and_id(options.output)
    recording = record(options.settings["environment"], settings)
    write_json(options.summary, store(root, dataset_id, recording))


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    command.settings_argument(arguments, "recording")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--summary", type=Path, required=True, help="JSON file")
    command.run(main, arguments)
