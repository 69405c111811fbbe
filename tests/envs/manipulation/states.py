"""The robot's state in metres, of what an environment shows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from envs.manipulation.environment import Observation
from envs.manipulation.task import STATE_MIDDLE, STATE_UNIT


def robot_state(observation: Observation) -> NDArray[Any]:
    """Hand position, quaternion, fingers, 1 for an open gripper and 0 for a closed one. [10]"""
    state: NDArray[Any] = observation["state"] * STATE_UNIT + STATE_MIDDLE
    return state
