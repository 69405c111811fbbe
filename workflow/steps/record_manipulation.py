"""Record the images of one manipulation task from scripts and store them as a Minari dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from offline_data.manipulation import Settings, record, store
from storage.files import write_json
from workflow import cli, paths
from workflow.settings import build


def main(options: argparse.Namespace) -> None:
    """Record, store, read back, summarise."""
    settings = build(Settings, options.settings["settings"], "settings")
    root, dataset_id = paths.root_and_id(options.output)
    recording = record(options.settings["environment"], settings)
    write_json(options.summary, store(root, dataset_id, recording))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    cli.settings_argument(arguments, "recording")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--summary", type=Path, required=True, help="JSON file")
    cli.run(main, arguments)
