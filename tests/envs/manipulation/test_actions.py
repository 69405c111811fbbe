"""Actions: what each number does, beyond which value, and what no action can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.manipulation.actions import action_form
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.physics import DOWN, NEUTRAL, Physics
from envs.manipulation.scene import OBJECT_HALF
from envs.simulator import mujoco
from storage import UserError
from tests.envs.manipulation.states import robot_state

Get = Callable[..., ManipulationEnvironment]


def full(**numbers: Any) -> np.ndarray:
    """COG's action with the given parts, zero elsewhere."""
    parts = {"motion": [0, 0, 0], "rotation": [0, 0, 0], "gripper": [0], "neutral": [0]}
    parts |= {key: np.atleast_1d(value) for key, value in numbers.items()}
    return np.concatenate(list(parts.values())).astype(np.float32)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(gripper=st.floats(-1, 1), is_open=st.booleans())
def test_the_gripper_of_the_full_form_is_a_toggle(gripper: float, is_open: bool) -> None:
    command = action_form("full").decode(full(gripper=gripper).astype(np.float64), is_open)
    given_gripper = float(np.float32(gripper))
    expected = True if given_gripper > 0.5 else False if given_gripper < -0.5 else is_open
    if given_gripper not in (0.5, -0.5):
        assert command.is_open == expected


@settings(max_examples=50, deadline=None, derandomize=True)
@given(gripper=st.floats(-1, 1), is_open=st.booleans())
def test_the_gripper_of_the_position_form_is_as_it_is_told(gripper: float, is_open: bool) -> None:
    command = action_form("position").decode(np.array([0.0, 0.0, 0.0, gripper]), is_open)
    assert command.is_open == (gripper > 0)
    assert command.rotation is None
    assert not command.neutral


@pytest.mark.parametrize(("name", "size"), [("full", 8), ("position", 4)])
def test_forms_encode_what_they_decode(name: str, size: int) -> None:
    form = action_form(name)
    for is_open in (True, False):
        for wanted in (True, False):
            action = np.linspace(-0.3, 0.3, size)
            command = form.decode(action, is_open)._replace(is_open=wanted)
            encoded = form.encode(command, is_open)
            assert encoded.shape == (size,)
            again = form.decode(encoded, is_open)
            assert again.is_open == wanted
            np.testing.assert_array_equal(again.motion, command.motion)


def test_toggling_moves_the_fingers_and_holding_leaves_them(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0")
    environment.reset(0)
    for gripper, is_open in ((-0.4, True), (-0.6, False), (-0.6, False), (0.4, False), (0.6, True)):
        state = robot_state(environment.step(full(gripper=gripper)).observation)
        assert state[9] == is_open
        # Wide enough for the object, or too narrow.
        assert (state[7:9] > OBJECT_HALF if is_open else state[7:9] < OBJECT_HALF).all()


def test_neutral_takes_the_hand_back_and_keeps_the_gripper(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0")
    environment.reset(0)
    environment.step(full(gripper=-1))
    for _ in range(5):
        environment.step(full(motion=[1, 0, 0]))
    away = environment.physics.hand_position()
    assert np.linalg.norm(away - NEUTRAL) > 0.1
    environment.step(full(neutral=0.49))
    assert np.linalg.norm(environment.physics.hand_position() - NEUTRAL) > 0.1
    environment.step(full(neutral=0.51))
    assert np.linalg.norm(environment.physics.hand_position() - NEUTRAL) < 0.04
    assert not environment.task.is_open


def test_neutral_does_nothing_where_the_original_has_none(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    ends = []
    for neutral in (0, 1):
        environment.reset(0)
        environment.step(full(motion=[1, 0, 0]))
        environment.step(full(motion=[1, 0, 0], neutral=neutral))
        ends.append(environment.physics.hand_position())
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(("axis", "sign"), [(axis, sign) for axis in range(3) for sign in (1, -1)])
def test_motion_leads_the_hand_along_its_axis_and_no_further_than_its_box(
    environment_of: Get, axis: int, sign: int
) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    motion = np.zeros(3)
    motion[axis] = sign
    before = environment.physics.hand_position()
    for _ in range(3):
        environment.step(full(motion=motion))
    moved = environment.physics.hand_position() - before
    assert 0.04 < sign * moved[axis] < 0.15
    assert np.abs(np.delete(moved, axis)).max() < 0.02
    for _ in range(20):
        environment.step(full(motion=motion))
    end = environment.physics.hand_position()
    assert ([-0.20, 0.10, 0.018] - end < 0.01).all()
    assert (end - [0.24, 0.30, 0.27] < 0.01).all()


def test_no_step_moves_the_hand_more_than_6_centimetres(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    random, last = np.random.default_rng(0), environment.physics.hand_position()
    for _ in range(40):
        environment.step(full(motion=random.choice([-1, 1], size=3)))
        now = environment.physics.hand_position()
        assert np.abs(now - last).max() < 0.06
        last = now


def turned(environment: ManipulationEnvironment) -> float:
    """How far the hand is turned about the vertical, in degrees, when it has come to rest."""
    for _ in range(8):
        state = robot_state(environment.step(full()).observation)
    return float(np.rad2deg(2 * np.arctan2(state[6], state[3])))


def test_rotation_turns_the_hand_and_stops_at_35_degrees(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    for _ in range(4):
        environment.step(full(rotation=[0, 0, 0.5]))
    assert turned(environment) == pytest.approx(35, abs=3)
    for _ in range(4):
        environment.step(full(rotation=[0, 0, -0.5]))
    assert turned(environment) == pytest.approx(35 - 4 * 0.5 * 20, abs=3)


def test_the_position_form_keeps_the_hand_straight_down(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0", action_form="position")
    environment.reset(0)
    random = np.random.default_rng(1)
    for _ in range(30):
        state = robot_state(environment.step(np.append(random.uniform(-1, 1, 3), 1)).observation)
        assert abs(state[3]) > np.cos(np.deg2rad(10))


def test_the_way_to_a_target_is_even(environment_of: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    physics: Physics = environment.physics
    places, step = [0.0], mujoco.mj_step

    def watched(model: Any, data: Any, nstep: int) -> None:
        assert nstep == 2
        places.append(float(data.mocap_pos[0, 0]))
        step(model, data, nstep)

    monkeypatch.setattr(mujoco, "mj_step", watched)
    physics.steer(NEUTRAL + np.array([0.05, 0, 0]), DOWN)
    physics.step(10)
    np.testing.assert_allclose(places, np.linspace(0, 0.05, 6), atol=1e-12)


def test_numbers_beyond_the_range_are_clipped(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    ends = []
    for scale in (1, 7):
        environment.reset(0)
        ends.append(environment.step(scale * full(motion=[1, -1, 1])).observation["state"])
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("action", [np.zeros(4), np.zeros((1, 8)), np.full(8, np.nan)])
def test_actions_that_are_none_are_refused(environment_of: Get, action: np.ndarray) -> None:
    environment = environment_of("PickPlace-v0")
    environment.reset(0)
    with pytest.raises(UserError, match="expected 8 finite numbers"):
        environment.step(action)
