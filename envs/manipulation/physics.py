"""The simulator with what the tasks measure, and the motion of the hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.rendering import Camera, dm_mujoco
from envs.manipulation.scene import FINGER_OPEN, joints_of_hand_down
from envs.simulator import mujoco

Vector = NDArray[np.float64]

NEUTRAL = np.array([0.0, 0.15, 0.20])
"""Where the hand starts and where `neutral` takes it: 15 cm in front of the robot [COG], above everything."""

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
"""The hand's orientation as a quaternion when it points straight down, its fingers opening along x."""

IMAGE_SIZE = 48
"""Pixels on a side of what agents see [COG]."""

_PIECES = 5  # of a ramp; a jump of the mocap body flings what the hand holds


class Physics(dm_mujoco.Physics):  # type: ignore[misc]  # dm_control is untyped
    """MuJoCo with named measurements, in metres and radians."""

    def _reload_from_data(self, data: Any) -> None:
        super()._reload_from_data(data)
        model, raw = self.model.ptr, self.data.ptr

        def index(kind: mujoco.mjtObj, name: str) -> int:
            return int(mujoco.mj_name2id(model, kind, name))

        # Views of MuJoCo's own memory: dm_control's named access takes longer than a substep.
        hand = index(mujoco.mjtObj.mjOBJ_BODY, "hand")
        self._hand_position: Vector = raw.xpos[hand]
        self._hand_quaternion: Vector = raw.xquat[hand]
        self._object_position: Vector = raw.xpos[index(mujoco.mjtObj.mjOBJ_BODY, "object")]
        self._mocap_position: Vector = raw.mocap_pos[0]
        self._mocap_quaternion: Vector = raw.mocap_quat[0]
        self._fingers: Vector = raw.qpos[6:8]
        self._control: Vector = raw.ctrl
        self._target_position, self._target_quaternion = NEUTRAL.copy(), DOWN.copy()
        self._camera: Camera | None = None

    def hand_position(self) -> Vector:
        """Return the point between the finger tips [3]."""
        return self._hand_position.copy()

    def hand_quaternion(self) -> Vector:
        """Return the hand's orientation [4], w first; `DOWN` when it points straight down."""
        return self._hand_quaternion.copy()

    def led_quaternion(self) -> Vector:
        """Return the orientation [4] that the hand was last led to."""
        return self._mocap_quaternion.copy()

    def finger_positions(self) -> Vector:
        """How far left and right finger are from the hand's middle [2]."""
        return self._fingers.copy()

    def object_position(self) -> Vector:
        """Return the middle of the object [3]."""
        return self._object_position.copy()

    def object_to_hand(self) -> float:
        """Return the distance from the object's middle to the point between the finger tips."""
        return float(np.linalg.norm(self._object_position - self._hand_position))

    def place_hand(self, position: Vector, fingers: float = FINGER_OPEN) -> None:
        """Put the robot, at rest, where its hand points down at `position` [3].

        `fingers`: how far each is from the middle; unless they are open, they go on closing.
        """
        self.data.ptr.qpos[:6] = joints_of_hand_down(position)
        self._fingers[:] = fingers
        self._mocap_position[:], self._mocap_quaternion[:] = position, DOWN
        self.steer(position, DOWN)
        self.command_fingers(fingers >= FINGER_OPEN)

    def place_object(self, position: Vector, yaw: float = 0.0) -> None:
        """Put the object, at rest, with its middle at `position` [3], turned by `yaw` about the vertical."""
        joint = self.data.ptr.joint("object")
        joint.qpos[:3] = position
        joint.qpos[3:] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        joint.qvel[:] = 0.0

    def command_fingers(self, is_open: bool) -> None:
        """Set the target of the fingers' actuators."""
        self._control[:] = FINGER_OPEN if is_open else 0.0

    def steer(self, position: Vector, quaternion: Vector) -> None:
        """Where the next `step` leads the hand: `position` [3], `quaternion` [4]."""
        self._target_position[:], self._target_quaternion[:] = position, quaternion

    def step(self, nstep: int = 1) -> None:
        """Simulate `nstep` time steps while the mocap body moves evenly to where the hand was steered."""
        model, raw = self.model.ptr, self.data.ptr
        start, turn = self._mocap_position.copy(), self._mocap_quaternion.copy()
        sign = 1.0 if turn @ self._target_quaternion >= 0 else -1.0
        pieces = min(_PIECES, nstep)
        with self.check_invalid_state():
            for piece in range(1, pieces + 1):
                share = piece / pieces
                self._mocap_position[:] = start + share * (self._target_position - start)
                quaternion = turn + share * (sign * self._target_quaternion - turn)
                self._mocap_quaternion[:] = quaternion / np.sqrt(quaternion @ quaternion)
                mujoco.mj_step(model, raw, nstep * piece // pieces - nstep * (piece - 1) // pieces)
            mujoco.mj_kinematics(model, raw)  # mj_step leaves the bodies where they were a step ago

    def image(self) -> NDArray[np.uint8]:
        """Render the agent's image [IMAGE_SIZE, IMAGE_SIZE, 3]."""
        if self._camera is None:
            self._camera = Camera(self, "front", IMAGE_SIZE)
        return self._camera.image()


class DrawerPhysics(Physics):
    """With two drawers."""

    def _reload_from_data(self, data: Any) -> None:
        super()._reload_from_data(data)
        self._drawers = {name: self.data.ptr.joint(f"{name} drawer").qpos for name in ("top", "bottom")}

    def drawer_opening(self, name: str) -> float:
        """How far the "top" or "bottom" drawer is out: 0 closed, `scene.DRAWER_TRAVEL` open."""
        return float(self._drawers[name][0])

    def place_drawer(self, name: str, opening: float) -> None:
        """Put a drawer, at rest."""
        self._drawers[name][0] = opening
