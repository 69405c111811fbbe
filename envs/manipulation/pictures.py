"""Pictures of the tasks for print: how each begins (Figure 6), and an episode of a script (Figure 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envs.manipulation import make
from envs.manipulation.controllers import NONE, scripted
from envs.manipulation.environment import ManipulationEnvironment, Observation
from envs.manipulation.rendering import Camera, dm_mujoco
from envs.manipulation.scene import Quality, goal_scene
from envs.manipulation.tabletop import TabletopTask
from storage.files import atomic_path

Picture = NDArray[np.uint8]
Moment = TypeVar("Moment")
_UNDER_THE_FLOOR = (0.0, 0.0, -9.0)
_LINGERING = 5  # steps that a strip goes on after the first success
_GAP = 4  # white pixels between its pictures


def beginning(name: str, size: int, camera: str = "overview") -> Picture:
    """How an episode of a task such as "PickPlace-v0" begins: [size, size, 3].

    `size` is of pixels, 960 at most; `camera` "overview" (the whole robot) or "front" (what the agent sees,
    in print quality).
    """
    environment = make(name)
    environment.reset(seed=0)
    picture = environment.render(size, camera)
    environment.close()
    return picture


def film_strip(name: str, frames: int, size: int) -> Picture:
    """Return a successful episode of the script without noise: `frames` pictures side by side, evenly spread.

    There are two or more, the last five steps after the first success. `name` and `size` are as for
    `beginning`. Shape: [size, frames size + (frames - 1) 4, 3], with white between the pictures.
    """
    environment = make(name)
    observation = environment.reset(seed=0)
    policy = scripted(environment, "whole", NONE, np.random.default_rng(0))
    reel = play(environment, observation, lambda _: policy(), lingering=_LINGERING)
    pictures = draw(environment, spread(reel.states, frames), size, "overview")
    environment.close()
    return side_by_side(pictures, _GAP)


def table_strip(
    name: str, act: Callable[[NDArray[np.float64]], NDArray[np.floating]], frames: int, size: int
) -> Picture:
    """Return an episode of one of `envs.tabletop`'s tasks, drawn as `film_strip` does the image tasks'.

    `act` makes actions [1, 4] of observations [1, obs]. A task that sees no goal is drawn without it.
    """
    task, left = TabletopTask(name), _LINGERING
    world = task.world(1, threads=1)
    task.restart(world, 0, np.random.default_rng(0))
    [data], observations = world.data, task.observe(world)
    states = [(data.qpos.copy(), data.mocap_pos.copy())]
    for _ in range(task.time_limit):
        observations = task.step(world, act(observations)).observations
        states.append((data.qpos.copy(), data.mocap_pos.copy()))
        left -= int(task.successes(observations)[0])
        if not left:
            break
    fair = dm_mujoco.Physics.from_xml_string(goal_scene(Quality.PRINT))
    camera, pictures = Camera(fair, "overview", size), []
    for joints, led in spread(states, frames):
        fair.data.qpos[:], fair.data.mocap_pos[:] = joints, led
        if "goal" not in task.named.judged.sees:
            fair.data.mocap_pos[1] = _UNDER_THE_FLOOR
        fair.forward()
        pictures.append(camera.image())
    fair.free()
    return side_by_side(pictures, _GAP)


class Reel(NamedTuple):
    """An episode that can be drawn again: the simulator's states, T + 1; success at its last step."""

    states: list[NDArray[np.float64]]
    success: bool


def play(
    environment: ManipulationEnvironment,
    observation: Observation,
    act: Callable[[Observation], NDArray[np.float32]],
    lingering: int | None = None,
) -> Reel:
    """Play an episode from its first observation to the horizon, or `lingering` steps beyond a success."""
    states, success, left = [environment.physics.get_state()], False, lingering
    while left is None or left > 0:
        step = environment.step(act(observation))
        observation, success = step.observation, step.info["success"]
        states.append(environment.physics.get_state())
        if step.truncated:
            break
        if left is not None:
            left -= int(success)
    return Reel(states, success)


def spread(moments: Sequence[Moment], count: int) -> list[Moment]:
    """`count` of the moments, evenly spread, with the first and the last."""
    return [moments[number] for number in np.linspace(0, len(moments) - 1, count).round().astype(int)]


def draw(
    environment: ManipulationEnvironment, states: Sequence[NDArray[np.float64]], size: int, camera: str
) -> list[Picture]:
    """Return the states in print quality, [size, size, 3] each; the environment is left in the last one."""
    pictures = []
    for state in states:
        environment.physics.set_state(state)
        pictures.append(environment.render(size, camera))
    return pictures


def side_by_side(pictures: Sequence[Picture], gap: int) -> Picture:
    """Pictures of one height in a row, `gap` white pixels between them."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)]
    return np.concatenate(parts[:-1], axis=1)


def write_png(path: Path | str, picture: Picture) -> None:
    """Write a picture [height, width, 3], atomically. Raises UserError where the place cannot be written."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def write_gif(path: Path | str, pictures: Sequence[Picture], milliseconds: int, colours: int = 64) -> None:
    """Write an endless film of pictures [height, width, 3], atomically; the last stays for two seconds.

    UserError where the place cannot be written.
    """
    palette = Image.fromarray(np.concatenate(pictures[:: max(1, len(pictures) // 8)])).quantize(colours)
    films = [
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    ]
    durations = [milliseconds] * (len(films) - 1) + [2_000]
    with atomic_path(path) as temporary:
        films[0].save(
            temporary, format="GIF", save_all=True, append_images=films[1:], duration=durations, loop=0
        )
