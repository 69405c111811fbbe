"""PickPlace: put the object into the tray. COG's Widow250PickTray.

The object lies to the left of the tray in the image, where the robot can reach it; where exactly differs from
episode to episode. The first stage ends with the object in the air, the second starts with it in the hand.

Beside what `scene` says, this differs from COG: the object lies within 10 by 6 cm (COG: 26 by 9, at least
11 cm from the tray) and is never turned, as a small budget does not learn to find four pixels anywhere; and
`neutral` does nothing [COG].
"""

from __future__ import annotations

import numpy as np

from envs.manipulation.physics import NEUTRAL, Physics
from envs.manipulation.scene import OBJECT_HALF, TRAY, tray_scene
from envs.manipulation.task import ManipulationTask

_SPAWN = np.array([[0.02, 0.18], [0.12, 0.24]])  # lowest and highest x and y of the object's middle
_PLACED_BELOW = 0.05  # COG's -0.32 over its table at -0.37
_PLACED_WITHIN = 0.04  # of the tray's middle along x and y together [COG]
_LIFTED_ABOVE = 0.06  # COG's scripts lift to -0.31


class PickPlace(ManipulationTask[Physics]):
    """See this module."""

    name = "PickPlace-v0"
    horizon = 40
    physics = Physics
    scene = staticmethod(tray_scene)
    has_neutral = False

    def begin(self, physics: Physics) -> None:
        """Place the hand at its start, the object somewhere on the table."""
        physics.place_hand(NEUTRAL)
        physics.place_object(np.append(self.random.uniform(*_SPAWN), OBJECT_HALF))

    def begin_in_the_middle(self, physics: Physics) -> None:
        """Place the object in the closed hand, above where objects lie: the second stage is placing it."""
        position = np.append(self.random.uniform(*_SPAWN), NEUTRAL[2])
        physics.place_hand(position, fingers=OBJECT_HALF)
        physics.place_object(position)
        self.is_open = False

    def first_stage_done(self, physics: Physics) -> bool:
        """Whether the object is in the air."""
        return bool(physics.object_position()[2] > _LIFTED_ABOVE)

    def success(self, physics: Physics) -> bool:
        """Whether the object is in the tray, let go or not [COG]."""
        position = physics.object_position()
        return bool(position[2] < _PLACED_BELOW and np.linalg.norm(position[:2] - TRAY) < _PLACED_WITHIN)
