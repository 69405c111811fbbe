"""The tasks of `envs.tabletop` in the manipulation tasks' scene, stepped as a batch.

The hand points down and is led as the image tasks' is. An action has four numbers in [-1, 1]: three for where
the hand goes, one for the gripper, open while it is positive. Delta actions are a way from where the hand is,
of `MOTION` metres a unit; absolute ones a place in the hand's box, to which it goes as fast as delta actions
could. What differs from the image tasks: no step takes longer for the gripper, which closes within four, and
the object's state is seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.physics import DOWN, NEUTRAL
from envs.manipulation.scene import FINGER_OPEN, OBJECT_HALF, goal_scene, joints_of_hand_down
from envs.manipulation.task import HAND_BOX, MOTION, SUBSTEPS
from envs.physics import PhysicsBatch
from envs.simulator import mujoco
from envs.tabletop import ENVIRONMENTS, FAR, MIDDLE, UNIT
from envs.task import Limits, Outcome, Task

__all__ = ["HAND_BOX", "MOTION", "TabletopTask"]

Rows = NDArray[np.float64]

_PIECES = 5  # of the hand's way in a step, as `envs.manipulation.physics` leads it
_SPREAD = np.array([0.12, 0.06])  # of objects and goals around the middle of the table, along x and y
_START_SPREAD = 0.02  # of the hand around its start, along each axis
_REACH_HEIGHTS = (0.03, 0.20)
_PLACE_HEIGHT = 0.10
_APART = 0.06  # object and goal, at least


class TablePhysics(PhysicsBatch):
    """Copies of robot, object and goal; a mocap body each leads the hand and marks the goal."""

    def __init__(self, copies: int, threads: int) -> None:
        super().__init__(mujoco.MjModel.from_xml_string(goal_scene()), copies, threads)
        joint = mujoco.mjtObj.mjOBJ_JOINT
        place = self.model.jnt_qposadr[mujoco.mj_name2id(self.model, joint, "object")]
        hand = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, "hand")
        self._hands = [data.xpos[hand] for data in self.data]
        self._fingers = [data.qpos[6:8] for data in self.data]
        self._objects = [data.qpos[place : place + 3] for data in self.data]
        self._leads = [data.mocap_pos[0] for data in self.data]
        self._goals = [data.mocap_pos[1] for data in self.data]
        self._object_place = place

    def begin(self, copy: int, hand: Rows, thing: Rows, goal: Rows) -> None:
        """Restart one copy with the open hand, the object and the goal at these places [3]."""
        data = self.data[copy]
        position = self.model.qpos0.copy()
        position[:6], position[6:8] = joints_of_hand_down(hand), FINGER_OPEN
        position[self._object_place : self._object_place + 3] = thing
        self.reset(copy, position, np.zeros(self.model.nv))
        data.mocap_pos[0], data.mocap_quat[0], data.mocap_pos[1] = hand, DOWN, goal
        mujoco.mj_forward(self.model, data)

    def lead(self, goals: Rows, fingers: Rows, substeps: int) -> None:
        """Lead the hands evenly to `goals` [copies, 3], the fingers' actuators to `fingers` [copies, 2]."""
        starts = self._gather(self._leads)
        for piece in range(1, _PIECES + 1):
            for lead, row in zip(self._leads, starts + piece / _PIECES * (goals - starts), strict=True):
                lead[:] = row
            self.advance(fingers, substeps // _PIECES)
        for data in self.data:
            mujoco.mj_kinematics(self.model, data)  # mj_step leaves the bodies where they were a step ago

    def restore(self, states: Rows) -> None:
        super().restore(states)
        for data in self.data:
            mujoco.mj_kinematics(self.model, data)

    def seen(self) -> dict[str, Rows]:
        """Return what may be observed, as `envs.tabletop` has it. [copies, ...] each"""
        positions = {"hand": self._hands, "object": self._objects, "goal": self._goals}
        named = {name: (self._gather(rows) - MIDDLE) / UNIT for name, rows in positions.items()}
        return {**named, "fingers": self._gather(self._fingers) / FINGER_OPEN}

    def hands(self) -> Rows:
        """Where the hands are, in metres. [copies, 3]"""
        return self._gather(self._hands)


class TabletopTask(Task):
    """One of the environments of `envs.tabletop`."""

    time_limit = 50

    def __init__(self, name: str) -> None:
        super().__init__(0)
        self.named = ENVIRONMENTS[name]

    def world(self, copies: int, threads: int) -> TablePhysics:
        return TablePhysics(copies, threads)

    def limits(self, world: TablePhysics) -> Limits:
        return Limits(np.full(4, -1.0), np.full(4, 1.0), world.model.opt.timestep * SUBSTEPS)

    def restart(self, world: TablePhysics, copy: int, generator: np.random.Generator) -> None:
        hand = NEUTRAL + generator.uniform(-_START_SPREAD, _START_SPREAD, 3)
        while True:
            thing, goal = (MIDDLE[:2] + generator.uniform(-_SPREAD, _SPREAD) for _ in range(2))
            if self.named.task == "Lift":
                goal = thing
            elif np.linalg.norm(goal - thing) < _APART:
                continue
            far = (goal[0] - MIDDLE[0]) / UNIT > FAR
            if {"": True, "Near": not far, "Far": far}[self.named.region]:
                break
        heights = {"Reach": generator.uniform(*_REACH_HEIGHTS), "Slide": OBJECT_HALF}
        height = heights.get(self.named.task, _PLACE_HEIGHT)
        world.begin(copy, hand, np.append(thing, OBJECT_HALF), np.append(goal, height))

    def observe(self, world: TablePhysics) -> Rows:
        seen = world.seen()
        return np.concatenate([seen[name] for name in self.named.judged.sees], axis=1)

    def step(self, world: TablePhysics, actions: NDArray[np.floating]) -> Outcome:
        actions, hands = np.asarray(actions, np.float64).clip(-1, 1), world.hands()
        low, high = HAND_BOX
        if self.named.actions == "Absolute":
            ways = low + (actions[:, :3] + 1) / 2 * (high - low) - hands
        else:
            ways = MOTION * actions[:, :3]
        goals = (hands + ways.clip(-MOTION, MOTION)).clip(low, high)
        fingers = np.where(actions[:, 3:] > 0, FINGER_OPEN, 0.0).repeat(2, axis=1)
        world.lead(goals, fingers, SUBSTEPS)
        observations = self.observe(world)
        rewards = self.named.judged.rewards(observations)
        return Outcome(observations, rewards, np.zeros(len(rewards), np.bool_))

    def successes(self, observations: Rows) -> NDArray[np.bool_]:
        return self.named.judged.successes(observations)
