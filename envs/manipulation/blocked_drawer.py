"""GraspBlockedDrawer: close the top drawer, open the bottom one, grasp the object.

After COG's Widow250DoubleDrawerCloseOpenGraspNeutral.

The top drawer, half open, is in the way to the handle below. The first stage is closing it and opening the
bottom one; the second is GraspClosedDrawer's, from the same place, as the two share their task data in COG.
"""

from __future__ import annotations

from envs.manipulation.closed_drawer import GraspClosedDrawer
from envs.manipulation.physics import DrawerPhysics
from envs.manipulation.scene import DRAWER_TRAVEL

CLOSED_BELOW = 0.05
"""Share of its travel below which a drawer is closed [COG]."""
_TOP_OPENING = 0.5 * DRAWER_TRAVEL  # [COG]


class GraspBlockedDrawer(GraspClosedDrawer):
    """See this module."""

    name = "GraspBlockedDrawer-v0"
    horizon = 80

    def begin(self, physics: DrawerPhysics) -> None:
        """As in GraspClosedDrawer, but for the top drawer, which is half open."""
        super().begin(physics)
        physics.place_drawer("top", _TOP_OPENING)

    def top_closed(self, physics: DrawerPhysics) -> bool:
        """Whether the top drawer is out of the way."""
        return physics.drawer_opening("top") < CLOSED_BELOW * DRAWER_TRAVEL
