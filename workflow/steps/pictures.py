"""Render pictures of manipulation tasks: how each begins, and an episode of its script."""

from __future__ import annotations

import argparse
from pathlib import Path

from envs.manipulation.pictures import beginning, film_strip, write_png
from storage.files import atomic_path
from workflow import cli


def main(options: argparse.Namespace) -> None:
    """Write <task>_overview.png and <task>_film.png of each task."""
    settings = options.settings
    with atomic_path(options.output) as folder:
        for task, environment in settings["tasks"].items():
            write_png(folder / f"{task}_overview.png", beginning(environment, settings["size"]))
            film = film_strip(environment, settings["frames"], settings["size"])
            write_png(folder / f"{task}_film.png", film)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    cli.settings_argument(arguments, "pictures")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the PNG files")
    cli.run(main, arguments)
