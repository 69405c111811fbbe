"""The tasks: what counts as success, where episodes start, when they end, and that seeds decide them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.manipulation import ENVIRONMENTS, make
from envs.manipulation.controllers import HALF, NONE, scripted
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.scene import CABINET_Y, DRAWER_TRAVEL, OBJECT_HALF, TRAY, joints_of_hand_down
from storage import UserError
from tests.envs.manipulation.states import robot_state

ROOT = Path(__file__).resolve().parents[3]
DRAWERS = ("GraspClosedDrawer-v0", "GraspBlockedDrawer-v0")
Get = Callable[..., ManipulationEnvironment]


def still(environment: ManipulationEnvironment) -> np.ndarray:
    """The action that does nothing."""
    action = np.zeros(environment.action_size, np.float32)
    if environment.action_size == 4:
        action[3] = 1.0 if environment.task.is_open else -1.0
    return action


def put(environment: ManipulationEnvironment, position: list[float]) -> bool:
    """Whether the task is done with the object at `position`."""
    environment.physics.place_object(np.array(position))
    environment.physics.forward()
    return environment.task.success(environment.physics)


def test_the_object_is_placed_where_cog_says(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    x, y = TRAY
    assert put(environment, [x, y, OBJECT_HALF])
    assert put(environment, [x + 0.039, y, OBJECT_HALF])
    assert not put(environment, [x + 0.041, y, OBJECT_HALF])
    assert not put(environment, [x + 0.03, y + 0.03, OBJECT_HALF])  # 0.042 from the middle
    assert put(environment, [x, y, 0.049])
    assert not put(environment, [x, y, 0.051])


@pytest.mark.parametrize("name", DRAWERS)
def test_the_object_is_grasped_where_it_is_high_and_in_the_hand(environment_of: Get, name: str) -> None:
    environment = environment_of(name)
    environment.reset(0)
    x, y, z = environment.physics.hand_position()
    assert z == pytest.approx(0.2, abs=1e-3)
    assert put(environment, [x, y, z])
    assert put(environment, [x, y, 0.121])
    assert not put(environment, [x, y, 0.119])
    assert put(environment, [x + 0.099, y, z])
    assert not put(environment, [x + 0.101, y, z])


def test_episodes_start_at_the_stage_that_was_asked_for(environment_of: Get) -> None:
    blocked, closed = environment_of("GraspBlockedDrawer-v0"), environment_of("GraspClosedDrawer-v0")
    for environment, top in ((blocked, 0.5), (closed, 0.0)):
        environment.reset(3)
        assert environment.physics.drawer_opening("top") / DRAWER_TRAVEL == pytest.approx(top, abs=0.01)
        assert environment.physics.drawer_opening("bottom") == pytest.approx(0.0, abs=1e-3)
        assert not environment.task.first_stage_done(environment.physics)
    for name in DRAWERS:
        middle = environment_of(name, start="middle")
        middle.reset(3)
        assert middle.task.first_stage_done(middle.physics)
        assert middle.physics.drawer_opening("top") == pytest.approx(0.0, abs=1e-3)
        x, y, _ = middle.physics.object_position()
        assert 0.0 < x < DRAWER_TRAVEL
        assert y == pytest.approx(CABINET_Y, abs=0.01)
    picked = environment_of("PickPlace-v0", start="middle")
    picked.reset(3)
    for _ in range(5):
        picked.step(still(picked))
    assert picked.task.first_stage_done(picked.physics)
    assert picked.physics.object_to_hand() < 0.02


def test_the_object_lies_in_different_places(environment_of: Get) -> None:
    for name, least in (("PickPlace-v0", 0.05), ("GraspClosedDrawer-v0", 0.015)):
        environment = environment_of(name)
        places = []
        for seed in range(20):
            environment.reset(seed)
            places.append(environment.physics.object_position()[0])
        assert np.ptp(places) > least


@pytest.mark.parametrize(("name", "horizon"), list(zip(ENVIRONMENTS, (40, 50, 80), strict=True)))
def test_an_episode_ends_at_the_papers_horizon_and_never_before(
    environment_of: Get, name: str, horizon: int
) -> None:
    environment = environment_of(name)
    observation = environment.reset(0)
    assert environment.horizon == horizon
    assert observation["image"].shape == environment.shapes["image"] == (48, 48, 3)
    assert observation["image"].dtype == np.uint8
    assert observation["state"].shape == environment.shapes["state"] == (10,)
    assert observation["state"].dtype == np.float32
    policy = scripted(environment, "whole", NONE, np.random.default_rng(0))
    steps = [environment.step(policy()) for _ in range(horizon)]
    assert [step.truncated for step in steps] == [False] * (horizon - 1) + [True]
    rewards = [step.reward for step in steps]
    assert set(rewards) == {0.0, 1.0}
    assert rewards[-5:] == [1.0] * 5  # it goes on, and each step in success is rewarded
    assert [step.info["success"] for step in steps] == [reward == 1.0 for reward in rewards]
    with pytest.raises(UserError, match="expected a reset"):
        environment.step(still(environment))


def test_the_state_is_the_hand_s_in_units_as_large_as_features_are(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0")
    observation = environment.reset(3)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 8)):
        x, y, z, *quaternion, left, right, is_open = observation["state"]
        told = [0.1 * x, 0.15 + 0.1 * y, 0.2 + 0.1 * z, *quaternion, 0.037 * left, 0.037 * right]
        physics = environment.physics
        parts = [physics.hand_position(), physics.hand_quaternion(), physics.finger_positions()]
        np.testing.assert_allclose(told, np.concatenate(parts), atol=1e-6)
        assert is_open == 2 * environment.task.is_open - 1
        assert np.abs(observation["state"]).max() < 2.5
        observation = environment.step(action).observation


def test_in_the_middle_the_hand_may_start_around_its_start(environment_of: Get) -> None:
    exact = environment_of("GraspClosedDrawer-v0", start="middle")
    around = environment_of("GraspClosedDrawer-v0", start="middle", middle_spread=0.03)
    offsets = []
    for seed in range(30):
        hands = [robot_state(environment.reset(seed))[:3] for environment in (exact, around)]
        offsets.append(hands[1] - hands[0])
        objects = [environment.physics.object_position() for environment in (exact, around)]
        np.testing.assert_allclose(objects[0], objects[1], atol=1e-6)
    assert np.abs(offsets).max() < 0.031
    assert np.ptp(offsets, axis=0).min() > 0.04
    beginning = environment_of("GraspClosedDrawer-v0", middle_spread=0.03)
    plain = environment_of("GraspClosedDrawer-v0")
    np.testing.assert_array_equal(beginning.reset(0)["state"], plain.reset(0)["state"])


def test_the_horizon_can_be_chosen(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0", horizon=3, action_form="position")
    environment.reset(0)
    assert [environment.step(still(environment)).truncated for _ in range(3)] == [False, False, True]


def digests() -> list[str]:
    """Of three noisy episodes of each task, images and actions."""
    found = []
    for name in ENVIRONMENTS:
        environment, digest = make(name, horizon=20), hashlib.sha256()
        for seed in range(3):
            digest.update(environment.reset(seed)["image"].tobytes())
            policy = scripted(environment, "whole", HALF, np.random.default_rng(seed))
            for _ in range(environment.horizon):
                action = policy()
                digest.update(action.tobytes() + environment.step(action).observation["image"].tobytes())
        environment.close()
        found.append(digest.hexdigest())
    return found


def test_equal_seeds_give_equal_images_in_another_process() -> None:
    code = "import json, test_tasks; print(json.dumps(test_tasks.digests()))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(other.stdout) == digests()


def test_what_happened_before_a_reset_leaves_no_trace(environment_of: Get) -> None:
    environment = environment_of("GraspBlockedDrawer-v0")
    first = environment.reset(5)
    policy = scripted(environment, "whole", NONE, np.random.default_rng(0))
    for _ in range(45):
        environment.step(policy())
    again = environment.reset(5)
    np.testing.assert_array_equal(first["image"], again["image"])
    np.testing.assert_array_equal(first["state"], again["state"])


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.filterwarnings("ignore")
def test_gymnasium_accepts_it(name: str) -> None:
    environment = gymnasium.make(f"manipulation/{name}", render_mode="rgb_array", horizon=5)
    check_env(environment.unwrapped, skip_render_check=True)
    environment.close()


def test_gymnasium_steps_what_the_plain_interface_steps() -> None:
    wrapped = gymnasium.make("manipulation/PickPlace-v0", action_form="position", horizon=5)
    wrapped.reset(seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, size=(5, 4)).astype(np.float32)
    ends = [wrapped.step(action)[2:4] for action in actions]
    assert ends == [(False, False)] * 4 + [(False, True)]
    assert wrapped.action_space.shape == (4,)
    wrapped.close()


def test_print_pictures_show_the_same_scene_and_change_nothing(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    seen = environment.reset(2)["image"]
    picture = environment.render(96)
    assert picture.shape == (96, 96, 3)
    np.testing.assert_array_equal(environment.physics.image(), seen)
    # The same view: averaged over blocks, it differs by shadows and edges alone.
    small = picture.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.median(np.abs(small - seen)) < 8


def test_the_arm_reaches_where_its_closed_form_says(environment_of: Get) -> None:
    physics = environment_of("PickPlace-v0").physics
    for position in ([-0.2, 0.1, 0.27], [0.24, 0.3, 0.02], [0.0, 0.15, 0.2], [0.24, 0.3, 0.27]):
        with physics.reset_context():
            physics.data.qpos[:6] = joints_of_hand_down(np.array(position))
        np.testing.assert_allclose(physics.hand_position(), position, atol=1e-9)
        np.testing.assert_allclose(np.abs(physics.hand_quaternion()), [1, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_form": "torque"}, "action_form is 'torque'; expected one of full, position"),
        ({"start": "end"}, "start of PickPlace-v0 is 'end'; expected one of beginning, middle"),
        ({"horizon": 0}, "horizon of PickPlace-v0 is 0; expected 1 or more"),
        ({"middle_spread": 0.06}, "middle_spread of PickPlace-v0 is 0.06; expected 0 to 0.05 metres"),
    ],
)
def test_options_that_are_none_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make("PickPlace-v0", **options)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(UserError, match="'Stack-v0' is unknown; those known: PickPlace-v0"):
        make("Stack-v0")
