"""GraspClosedDrawer: open the bottom drawer and grasp the object in it.

After COG's Widow250DoubleDrawerOpenGraspNeutral.

The object is out of sight in the closed drawer. The first stage ends with the drawer open, the second starts
there. Beside what `scene` says nothing differs from COG: the object's place varies by 3 cm along the drawer.
"""

from __future__ import annotations

import numpy as np

from envs.manipulation.physics import NEUTRAL, DrawerPhysics
from envs.manipulation.scene import CABINET_Y, DRAWER_TRAVEL, OBJECT_HALF, drawer_scene
from envs.manipulation.task import ManipulationTask

OPEN_ABOVE = 0.95
"""Share of its travel beyond which a drawer is open [COG]."""
_GRASPED_ABOVE = 0.12  # COG's -0.25 over its table at -0.37
_GRASPED_WITHIN = 0.10  # of the point between the finger tips [COG]

_OBJECT_X = 0.068  # in the middle of the part of the open drawer that is outside
_OBJECT_SPREAD = 0.015  # [COG]
_FLOOR = 0.004
_OVER_HANDLE = np.array([0.22, CABINET_Y, 0.095])  # where scripts are when they have opened the drawer


class GraspClosedDrawer(ManipulationTask[DrawerPhysics]):
    """See this module."""

    name = "GraspClosedDrawer-v0"
    horizon = 50
    physics = DrawerPhysics
    scene = staticmethod(drawer_scene)
    has_neutral = True

    def begin(self, physics: DrawerPhysics) -> None:
        """Both drawers closed, the object in the bottom one."""
        self._furnish(physics, opening=0.0)

    def begin_in_the_middle(self, physics: DrawerPhysics) -> None:
        """Open the bottom drawer: the second stage is grasping."""
        self._furnish(physics, opening=DRAWER_TRAVEL)
        physics.place_hand(self.around(NEUTRAL if self.returns else _OVER_HANDLE))

    def first_stage_done(self, physics: DrawerPhysics) -> bool:
        """Whether the bottom drawer is open."""
        return physics.drawer_opening("bottom") > OPEN_ABOVE * DRAWER_TRAVEL

    def success(self, physics: DrawerPhysics) -> bool:
        """Whether the hand holds the object up."""
        return bool(
            physics.object_position()[2] > _GRASPED_ABOVE and physics.object_to_hand() < _GRASPED_WITHIN
        )

    def _furnish(self, physics: DrawerPhysics, opening: float) -> None:
        """Place the hand at its start, the bottom drawer out by `opening` with the object in it."""
        along = _OBJECT_X - DRAWER_TRAVEL + self.random.uniform(-_OBJECT_SPREAD, _OBJECT_SPREAD)
        physics.place_hand(NEUTRAL)
        physics.place_drawer("bottom", opening)
        physics.place_object(np.array([opening + along, CABINET_Y, _FLOOR + OBJECT_HALF]))
