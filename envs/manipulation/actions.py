"""What an action means: the original's eight numbers, or the four that learn on a small budget.

Every number lies in [-1, 1].

"full", as COG's: three for position, three for rotation, one for the gripper, one for `neutral`.
    The gripper is a toggle: above 0.5 opens a closed one, below -0.5 closes an open one, anything else holds.
    `neutral` above 0.5 takes the hand back to where it started, after the rest of the action.
"position": three for position, one for the gripper, which is open while the number is positive.
    The hand always points straight down. An event that lasts one step of eighty, such as a toggle, is what a
    policy's mean misses; a command that is given at every step it learns first.

Position is an offset from where the hand is now, as COG's, and so is rotation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import UserError

_THRESHOLD = 0.5  # of gripper and neutral [COG]
_EVENT = 0.7  # what scripts give for gripper and neutral [COG]


class Command(NamedTuple):
    """What the hand is to do in one step.

    motion [3] and rotation [3] in the units of actions (rotation None: straight down); is_open: the gripper
    when the step is over; neutral: back to the start afterwards.
    """

    motion: NDArray[np.float64]
    rotation: NDArray[np.float64] | None
    is_open: bool
    neutral: bool


class ActionForm(ABC):
    """How actions [size] and commands translate into each other."""

    name: ClassVar[str]
    size: ClassVar[int]

    @abstractmethod
    def decode(self, action: NDArray[np.float64], is_open: bool) -> Command:
        """Return the command that `action` [size] in [-1, 1] gives to a hand that is open or closed now."""

    @abstractmethod
    def encode(self, command: Command, is_open: bool) -> NDArray[np.float64]:
        """Return the action [size] that gives `command` to a hand that is open or closed now."""


class FullForm(ActionForm):
    """Position, rotation, toggling gripper, neutral."""

    name = "full"
    size = 8

    def decode(self, action: NDArray[np.float64], is_open: bool) -> Command:
        wants_open = bool(action[6] > -_THRESHOLD if is_open else action[6] > _THRESHOLD)
        return Command(action[:3], action[3:6], wants_open, bool(action[7] > _THRESHOLD))

    def encode(self, command: Command, is_open: bool) -> NDArray[np.float64]:
        gripper = 0.0 if command.is_open == is_open else (_EVENT if command.is_open else -_EVENT)
        neutral = _EVENT if command.neutral else 0.0
        rotation = np.zeros(3) if command.rotation is None else command.rotation
        return np.concatenate([command.motion, rotation, [gripper, neutral]])


class PositionForm(ActionForm):
    """Position and a gripper command that holds as long as it is given."""

    name = "position"
    size = 4

    def decode(self, action: NDArray[np.float64], is_open: bool) -> Command:
        return Command(action[:3], None, bool(action[3] > 0), False)

    def encode(self, command: Command, is_open: bool) -> NDArray[np.float64]:
        return np.append(command.motion, _EVENT if command.is_open else -_EVENT)


_FORMS: dict[str, ActionForm] = {form.name: form for form in (FullForm(), PositionForm())}


def action_form(name: str) -> ActionForm:
    """Return the form of that name. Raises UserError for an unknown one."""
    if name not in _FORMS:
        raise UserError(f"action_form is {name!r}; expected one of {', '.join(_FORMS)}")
    return _FORMS[name]
