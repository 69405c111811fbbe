"""Render pictures of manipulation tasks: how each begins, and an episode of its script.

Of tasks on the robot's table the episode alone, by the script that records their data, without its noise.
"""

from __future__ import annotations

from envs.manipulation.pictures import beginning, film_strip, table_strip, write_png
from envs.tabletop import ENVIRONMENTS
from offline_data.tabletop import script
from storage.files import atomic_path
from workflow.jobs import Job


def main(job: Job) -> None:
    """Write <task>_overview.png and <task>_film.png of each task, of one on the table <task>_script.png."""
    settings = job.settings
    frames, size = settings["frames"], settings["size"]
    with atomic_path(job.output("folder")) as folder:
        for task, environment in settings["tasks"].items():
            if environment in ENVIRONMENTS:
                strip = table_strip(environment, script(environment, seed=0, noise=0), frames, size)
                write_png(folder / f"{task}_script.png", strip)
                continue
            write_png(folder / f"{task}_overview.png", beginning(environment, size))
            write_png(folder / f"{task}_film.png", film_strip(environment, frames, size))
