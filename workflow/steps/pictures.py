"""Render pictures of manipulation tasks: how each begins, and an episode of its script."""

from __future__ import annotations

from envs.manipulation.pictures import beginning, film_strip, write_png
from storage.files import atomic_path
from workflow.jobs import Job


def main(job: Job) -> None:
    """Write <task>_overview.png and <task>_film.png of each task."""
    settings = job.settings
    with atomic_path(job.output("folder")) as folder:
        for task, environment in settings["tasks"].items():
            write_png(folder / f"{task}_overview.png", beginning(environment, settings["size"]))
            film = film_strip(environment, settings["frames"], settings["size"])
            write_png(folder / f"{task}_film.png", film)
