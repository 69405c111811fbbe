"""Pictures of the tasks for print: how each begins (Figure 6), and an episode of a script (Figure 7).

    python -m envs.manipulation.pictures --output FOLDER

writes a PNG of each, about two minutes in all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envs.manipulation import ENVIRONMENTS, make
from envs.manipulation.controllers import NONE, scripted
from records.files import atomic_path

Picture = NDArray[np.uint8]


def beginning(name: str, size: int, camera: str = "overview", seed: int = 0) -> Picture:
    """How an episode of a task begins: [size, size, 3].

    Args:
        name: such as "PickPlace-v0".
        size: pixels on a side, 960 at most.
        camera: "overview" (the whole robot) or "front" (what the agent sees, in print quality).
        seed: of the episode.
    """
    environment = make(name)
    environment.reset(seed)
    picture = environment.render(size, camera)
    environment.close()
    return picture


def film_strip(
    name: str, frames: int, size: int, camera: str = "overview", seed: int = 0, gap: int = 4
) -> Picture:
    """A successful episode of the script without noise: `frames` pictures side by side, evenly spread.

    The last is five steps after the first success. Shape: [size, frames size + (frames - 1) gap, 3].

    Args:
        name: such as "PickPlace-v0".
        frames: two or more.
        size: pixels on a side of each, 960 at most.
        camera: as for `beginning`.
        seed: of the episode.
        gap: white pixels between the pictures.
    """
    environment = make(name)
    environment.reset(seed)
    policy = scripted(environment, "whole", NONE, np.random.default_rng(seed))
    states, left = [environment.physics.get_state()], 5
    while left > 0:
        step = environment.step(policy())
        states.append(environment.physics.get_state())
        left -= int(step.info["success"] or step.truncated)
        if step.truncated:
            break
    pictures = []
    for state in (states[number] for number in np.linspace(0, len(states) - 1, frames).round().astype(int)):
        environment.physics.set_state(state)
        pictures += [environment.render(size, camera), np.full((size, gap, 3), 255, np.uint8)]
    environment.close()
    return np.concatenate(pictures[:-1], axis=1)


def write_png(path: Path | str, picture: Picture) -> None:
    """Write a picture [height, width, 3], atomically. Raises UserError where the place cannot be written."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def main() -> None:
    """Write the pictures of all tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the PNG files")
    parser.add_argument("--size", type=int, default=480, help="pixels on a side of a picture")
    parser.add_argument("--frames", type=int, default=8, help="pictures of a film strip")
    arguments = parser.parse_args()
    for name in ENVIRONMENTS:
        for camera in ("overview", "front"):
            write_png(arguments.output / f"{name}_{camera}.png", beginning(name, arguments.size, camera))
        write_png(arguments.output / f"{name}_film.png", film_strip(name, arguments.frames, arguments.size))


if __name__ == "__main__":
    main()
