"""What an agent sees where it may feel its own hand too: the image and, in one row more, the robot's state.

So a picture and the numbers that belong to it stay one array of bytes, wherever it is kept or drawn from.
COG can give its networks the state beside the image, and does not by default; neither do we.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.physics import NEUTRAL
from envs.manipulation.scene import FINGER_OPEN

STATE_SIZE = 10
"""Numbers of the state, see `ManipulationTask.get_observation`."""

_MIDDLE = np.array([*NEUTRAL, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
_UNIT = np.array([0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, FINGER_OPEN, FINGER_OPEN, 0.5])
"""The hand's way from its start in decimetres, and the rest between -1 and 1: as large as features are."""


def with_state(image: NDArray[Any], state: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the image [H, W, 3] with one row more, [H + 1, W, 3], uint8.

    The row begins with the bytes of `state` [10] as float32 in this machine's order, less its middle and in
    the units above; the rest of it is zero.
    """
    numbers = ((state - _MIDDLE) / _UNIT).astype(np.float32).view(np.uint8)
    row = np.zeros(image[0].size, np.uint8)
    row[: len(numbers)] = numbers
    return np.concatenate([image, row.reshape(1, *image.shape[1:])])
