"""What the three tasks share: how an action moves the robot, what is observed, when an episode ends."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.actions import ActionForm, Command
from envs.manipulation.physics import DOWN, NEUTRAL, Physics
from envs.manipulation.rendering import control
from envs.manipulation.scene import FINGER_OPEN, Quality
from storage import UserError

SUBSTEPS = 10
"""Time steps of the simulator in a step of the environment: 40 ms, where COG has 41.7."""
GRIPPER_SUBSTEPS = 30
"""More of them where the gripper opens or closes: the fingers' way (COG: 75 of 4.2 ms)."""
NEUTRAL_SUBSTEPS = 60
"""More of them on the way back to the start, so that the hand keeps what it holds (COG: 75 of 4.2 ms)."""
_SETTLING_SUBSTEPS = 25

MOTION = 0.085
"""Metres that the hand is led per unit of action, of which it does some 5 cm in a step, as COG's at most."""
ROTATION = np.deg2rad(20.0)
"""Radians that the hand is turned per unit of action about each axis [COG]."""
_TILT_LIMIT = np.deg2rad(35.0)  # about each axis; ours, as the arm's links pass through the furniture
HAND_BOX = np.array([[-0.20, 0.10, 0.018], [0.24, 0.30, 0.27]])
"""Where the hand can be led, lowest and highest x, y, z: COG's box, less what no task needs. At the lowest
height the finger tips are 6 mm above the table."""

STARTS = ("beginning", "middle")
"""Where an episode starts: the whole task, or its second stage, the first one done."""

STATE_SIZE = 10
"""Numbers of the state, see `ManipulationTask.get_observation`."""
STATE_MIDDLE = np.array([*NEUTRAL, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
STATE_UNIT = np.array([0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, FINGER_OPEN, FINGER_OPEN, 0.5])
"""The hand's way from its start in decimetres, and the rest between -1 and 1: as large as features are."""

PhysicsT = TypeVar("PhysicsT", bound=Physics)


class ManipulationTask(control.Task, Generic[PhysicsT]):  # type: ignore[misc]  # dm_control is untyped
    """A task with a reward of 1 at every step at which it is done, and 0 elsewhere, that never terminates.

    Args:
        form: of the actions.
        start: one of `STARTS`.
        horizon: steps until an episode is cut off.
        middle_spread: metres by which the empty hand's start in the middle varies, up and down each axis.
            Where a first stage ends is not exactly where the second one's data start: this covers it.
        returns: whether a first stage ends with the way back to the hand's start, where the second begins, as
            COG's do; else both are where the first stage's work is done.
    """

    name: ClassVar[str]
    horizon: ClassVar[int]
    physics: ClassVar[type[Physics]]
    has_neutral: ClassVar[bool]

    def __init__(
        self, form: ActionForm, start: str, horizon: int, middle_spread: float, returns: bool
    ) -> None:
        self.form = form
        self._starts_in_the_middle = start == "middle"
        self._horizon = horizon
        self._middle_spread = middle_spread
        self.returns = returns
        self._elapsed = 0
        self.is_open = True
        self._command = Command(np.zeros(3), None, True, False)
        self.random = np.random.default_rng(0)

    @staticmethod
    @abstractmethod
    def scene(quality: Quality) -> str:
        """Return the MJCF of its scene."""

    @abstractmethod
    def begin(self, physics: PhysicsT) -> None:
        """Place everything for the whole task, drawing from `self.random`."""

    @abstractmethod
    def begin_in_the_middle(self, physics: PhysicsT) -> None:
        """Place everything for the second stage, drawing from `self.random`."""

    def around(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the empty hand starts [3] in the middle, drawn from `self.random` around `position`."""
        if not self._middle_spread:
            return position
        drawn: NDArray[np.float64] = position + self.random.uniform(-1.0, 1.0, 3) * self._middle_spread
        return drawn

    @abstractmethod
    def first_stage_done(self, physics: PhysicsT) -> bool:
        """Whether what prior data show has been reached."""

    @abstractmethod
    def success(self, physics: PhysicsT) -> bool:
        """Whether the task is done."""

    def initialize_episode(self, physics: PhysicsT) -> None:
        """Begin an episode and let things come to rest."""
        self._elapsed = 0
        self.is_open = True
        if self._starts_in_the_middle:
            self.begin_in_the_middle(physics)
        else:
            self.begin(physics)
        physics.step(_SETTLING_SUBSTEPS)

    def before_step(self, action: NDArray[np.float64], physics: PhysicsT) -> None:
        """Lead the hand to its place and orientation, offset as `action` [A] says and clipped to their box.

        Numbers beyond [-1, 1] are clipped. Raises UserError for actions of another shape or not finite.
        """
        array = np.asarray(action, dtype=np.float64)
        if array.shape != (self.form.size,) or not np.isfinite(array).all():
            raise UserError(
                f"action for {self.name} is {action}; expected {self.form.size} finite numbers, its"
                f" {self.form.name!r} form"
            )
        self._command = self.form.decode(array.clip(-1.0, 1.0), self.is_open)
        position = (physics.hand_position() + MOTION * self._command.motion).clip(*HAND_BOX)
        physics.steer(position, self._turned(physics))

    def after_step(self, physics: PhysicsT) -> None:
        """Open or close the gripper, and go back to the start, where the action said so."""
        self._elapsed += 1
        if self._command.is_open != self.is_open:
            self.is_open = self._command.is_open
            physics.command_fingers(self.is_open)
            physics.step(GRIPPER_SUBSTEPS)
        if self._command.neutral and self.has_neutral:
            physics.steer(NEUTRAL, DOWN)
            physics.step(NEUTRAL_SUBSTEPS)

    def action_spec(self, physics: PhysicsT) -> Any:
        """Return an action [A], float32 in [-1, 1]."""
        return control.specs.BoundedArray((self.form.size,), np.float32, -1.0, 1.0, "action")

    def get_observation(self, physics: PhysicsT) -> dict[str, NDArray[Any]]:
        """`image` [48, 48, 3] uint8 and `state` [10] float32.

        The state is COG's: hand position 3, quaternion 4, fingers 2, 1 for an open gripper and 0 for a closed
        one; each less its middle and in its `STATE_UNIT`. Learners see the image alone, unless their encoder
        reads the state too.
        """
        state = np.concatenate(
            [
                physics.hand_position(),
                physics.hand_quaternion(),
                physics.finger_positions(),
                [float(self.is_open)],
            ]
        )
        scaled = (state.astype(np.float32) - STATE_MIDDLE) / STATE_UNIT
        return {"image": physics.image(), "state": scaled.astype(np.float32)}

    def get_reward(self, physics: PhysicsT) -> float:
        """1 where the task is done, else 0."""
        return float(self.success(physics))

    def get_termination(self, physics: PhysicsT) -> float | None:
        """1, the discount of an end that is no terminal, at the horizon."""
        return 1.0 if self._elapsed >= self._horizon else None

    def _turned(self, physics: PhysicsT) -> NDArray[np.float64]:
        """Return the orientation that the command asks for.

        COG adds Euler angles to where the hand is; here a rotation vector is added to where it was led last:
        from where it is, each contact's tilt would stay.
        """
        if self._command.rotation is None:
            return DOWN
        vector = _rotation_vector(physics.led_quaternion()) + ROTATION * self._command.rotation
        return _quaternion(vector.clip(-_TILT_LIMIT, _TILT_LIMIT))


def _rotation_vector(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation away from `DOWN` [3], in radians, of a quaternion [4]."""
    quaternion = quaternion if quaternion[0] >= 0 else -quaternion
    sine = np.linalg.norm(quaternion[1:])
    if sine < 1e-12:
        return np.zeros(3)
    vector: NDArray[np.float64] = 2.0 * np.arctan2(sine, quaternion[0]) / sine * quaternion[1:]
    return vector


def _quaternion(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of `_rotation_vector`."""
    angle = np.linalg.norm(vector)
    # np.sinc(x) is sin(pi x) / (pi x), and so whole at zero.
    return np.append(np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * vector)
