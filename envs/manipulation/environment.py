"""The plain interface to a task, for learners."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.manipulation.actions import action_form as _action_form
from envs.manipulation.physics import IMAGE_SIZE
from envs.manipulation.rendering import Camera, control
from envs.manipulation.scene import Quality
from envs.manipulation.task import STARTS, STATE_SIZE, SUBSTEPS, ManipulationTask
from storage import UserError

Observation = dict[str, NDArray[Any]]
SHAPES: dict[str, tuple[int, ...]] = {"image": (IMAGE_SIZE, IMAGE_SIZE, 3), "state": (STATE_SIZE,)}
"""What an observation names."""

_WIDEST_SPREAD = 0.05  # of the hand's start: the box that it is led in goes 5 cm back from there


class Step(NamedTuple):
    """What a step leads to: see `ManipulationEnvironment.step`."""

    observation: Observation
    reward: float
    truncated: bool
    info: dict[str, bool]


def action_size(form: str) -> int:
    """How many numbers an action of this form has. UserError for an unknown one."""
    return _action_form(form).size


class ManipulationEnvironment:
    """One task with its simulator and its camera.

    name: such as "PickPlace-v0". horizon: steps of an episode. action_size: numbers of an action, each in
    [-1, 1]. shapes: of what an observation names.

    Args:
        task: the class of the task.
        action_form: "full" (8 numbers, COG's) or "position" (4), see `actions`.
        horizon: steps until an episode is cut off; the task's own by default.
        start: "beginning" or "middle", see `task.STARTS`.
        middle_spread: how far starts in the middle of a drawer's task are spread, see `ManipulationTask`.
        returns: whether the hand goes back before the second stage, see `ManipulationTask`.

    Raises:
        UserError: an option is none of these.
    """

    def __init__(
        self,
        task: type[ManipulationTask[Any]],
        action_form: str = "full",
        horizon: int | None = None,
        start: str = "beginning",
        middle_spread: float = 0.0,
        returns: bool = True,
    ) -> None:
        self.name = task.name
        self.horizon = task.horizon if horizon is None else horizon
        if self.horizon < 1:
            raise UserError(f"horizon of {task.name} is {horizon}; expected 1 or more")
        if start not in STARTS:
            raise UserError(f"start of {task.name} is {start!r}; expected one of {', '.join(STARTS)}")
        if not 0.0 <= middle_spread <= _WIDEST_SPREAD:
            raise UserError(
                f"middle_spread of {task.name} is {middle_spread}; expected 0 to {_WIDEST_SPREAD} metres"
            )
        self.task = task(_action_form(action_form), start, self.horizon, middle_spread, returns)
        self.action_size = self.task.form.size
        self.shapes = SHAPES
        self.physics = task.physics.from_xml_string(task.scene(Quality.AGENT))
        self._environment = control.Environment(
            self.physics, self.task, n_sub_steps=SUBSTEPS, legacy_step=False
        )
        self._running = False
        self._fair: Any = None

    def reset(self, seed: int) -> Observation:
        """Begin the episode that `seed` decides; its first observation.

        `image` [48, 48, 3] uint8, `state` [10] float32, see `ManipulationTask.get_observation`.
        """
        self.task.random = np.random.default_rng(seed)
        self._running = True
        observation: Observation = self._environment.reset().observation
        return observation

    def step(self, action: ArrayLike) -> Step:
        """Do `action` [action_size].

        Returns the observation after it, the reward (1 where the task is done, else 0), whether the horizon
        is reached, and `info` with `success`, the reward as a bool. Numbers beyond [-1, 1] are clipped.
        Raises UserError for actions of another shape or not finite, and where no episode is running.
        """
        if not self._running:
            raise UserError(f"{self.name} has no running episode; expected a reset before the next step")
        result = self._environment.step(action)
        self._running = not result.last()
        return Step(result.observation, result.reward, result.last(), {"success": result.reward > 0})

    def render(self, size: int, camera: str = "front") -> NDArray[np.uint8]:
        """Return the scene as it is, in print quality: [size, size, 3] with shadows and smooth edges.

        `size`: 960 at most. `camera`: "front", the agent's, or "overview", which shows the whole arm.
        """
        if self._fair is None:
            self._fair = type(self.physics).from_xml_string(type(self.task).scene(Quality.PRINT))
        self._fair.data.qpos[:] = self.physics.data.qpos
        self._fair.forward()
        return Camera(self._fair, camera, size).image()

    def close(self) -> None:
        """Give the simulators' and the cameras' memory back."""
        for physics in (self.physics, self._fair):
            if physics is not None:
                physics.free()
