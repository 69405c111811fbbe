"""Films of episodes: whole or cut after success, drawn as they were played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from envs.manipulation import pictures
from envs.manipulation.controllers import NONE, scripted
from envs.manipulation.environment import ManipulationEnvironment
from offline_data import tabletop

Get = Callable[..., ManipulationEnvironment]


def test_an_episode_is_kept_whole_or_until_its_success_has_been_seen(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")

    def reel(lingering: int | None) -> pictures.Reel:
        observation = environment.reset(3)
        policy = scripted(environment, "whole", NONE, np.random.default_rng(3))
        return pictures.play(environment, observation, lambda _: policy(), lingering)

    whole, cut = reel(None), reel(5)
    assert whole.success and cut.success
    assert len(whole.states) == environment.horizon + 1
    assert len(cut.states) < len(whole.states)
    np.testing.assert_array_equal(cut.states, whole.states[: len(cut.states)])
    environment.physics.set_state(cut.states[-6])
    environment.physics.forward()
    assert not environment.task.success(environment.physics)


def test_a_picture_shows_the_state_it_was_drawn_of(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    states = [environment.physics.get_state()]
    for _ in range(4):
        environment.step(np.array([0, 0, -1.0, 0, 0, 0, 0, 0]))
        states.append(environment.physics.get_state())
    now = environment.render(32, "front")
    first, last = pictures.draw(environment, [states[0], states[-1]], 32, "front")
    np.testing.assert_array_equal(last, now)
    assert not np.array_equal(first, last)


def test_moments_are_spread_evenly_and_strips_keep_their_gaps() -> None:
    assert pictures.spread(range(11), 3) == [0, 5, 10]
    strip = pictures.side_by_side([np.zeros((2, 2, 3), np.uint8)] * 2, gap=1)
    assert strip[0, :, 0].tolist() == [0, 0, 255, 0, 0]


def test_a_gif_has_every_picture(tmp_path: Path) -> None:
    shades = [np.full((4, 6, 3), shade, np.uint8) for shade in (0, 120, 250)]
    pictures.write_gif(tmp_path / "film.gif", shades, 80)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.size, film.n_frames, film.info["loop"]) == ((6, 4), 3, 0)
        for number, shade in enumerate((0, 120, 250)):
            film.seek(number)
            np.testing.assert_allclose(np.asarray(film.convert("RGB")), shade, atol=4)
            assert film.info["duration"] == (80 if number < 2 else 2_000)


def test_a_script_on_the_table_is_drawn_with_the_goal_that_its_task_sees() -> None:
    def red(task: str) -> int:
        environment = f"{task}Delta-v0"
        strip = pictures.table_strip(environment, tabletop.script(environment, 0, noise=0.0), 2, 96)
        assert strip.shape == (96, 2 * 96 + 4, 3)
        assert (strip[:, :96] != strip[:, 100:]).any()
        shown = strip.astype(int)
        return int(((shown[..., 0] > 100) & (shown[..., 1:].max(axis=2) < 60)).sum())

    assert red("Slide") > 3
    assert red("Lift") == 0
