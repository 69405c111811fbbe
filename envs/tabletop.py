"""Four related tasks of one robot arm, seen as vectors: what is observed, rewarded and counted as a success.

After "Real World Offline RL with Realistic Data Source" (Zhou et al. 2023): a robot reaches for a point,
slides an object to one, lifts it, or picks it up and places it at a point in the air. All share scene and
motion (`envs.manipulation.tabletop`), so that data of one can be taken for another's: `taken_for` leaves out
what that one does not see, and rewards it by its own reward. [RORL] marks the rewards of
github.com/gaoyuezhou/real_orl, with lengths in decimetres instead of metres, as our table is smaller.

An environment's name says the task, what its actions are, and where its goals lie: `SlideDelta-v0`,
`SlideAbsoluteNear-v0`. Goals to the far side (`FAR`) are a region that data may lack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from storage import UserError

Rows = NDArray[np.float64]

UNIT = 0.1
"""Metres of a length of 1 in observations and rewards."""
SIZES = {"hand": 3, "fingers": 2, "object": 3, "goal": 3}
"""Numbers of what may be observed: positions from `MIDDLE`, fingers from 0 (closed) to 1 (open)."""
MIDDLE = np.array([0.02, 0.20, 0.0])
"""Of the table: x to the side, y away from the robot, z up from the table top, in metres."""
OBJECT_HEIGHT = 0.18
"""Of the object's middle on the table."""
FAR = 0.4
"""The x beyond which goals (in lifting, objects) are far: a third of them."""

_NEAR_HAND = 0.3  # of the object's middle: in the hand [RORL] 0.1 m, of a larger hand
_REACHED, _PLACED, _LIFTED = 0.2, 0.3, 0.6
_GRASPED_WITHIN = 0.4


@dataclass(frozen=True)
class Judged:
    """A task: what it sees, in order, and its reward and success as functions of that."""

    sees: tuple[str, ...]
    reward: Callable[[Mapping[str, Rows]], Rows]
    success: Callable[[Mapping[str, Rows]], NDArray[np.bool_]]

    def parts(self, observations: NDArray[np.floating]) -> dict[str, Rows]:
        """Cut observations [n, obs] into what they name, [n, ...] each."""
        ends = np.cumsum([SIZES[name] for name in self.sees])
        cut = np.split(np.asarray(observations, np.float64), ends[:-1], axis=1)
        return dict(zip(self.sees, cut, strict=True))

    def rewards(self, observations: NDArray[np.floating]) -> Rows:
        """Of steps that lead to `observations` [n, obs]. [n]"""
        return self.reward(self.parts(observations))

    def successes(self, observations: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether episodes that end at `observations` [n, obs] are successes. [n]"""
        return self.success(self.parts(observations))


def _apart(one: Rows, other: Rows, axes: int = 3) -> Rows:
    return np.asarray(np.linalg.norm(one[:, :axes] - other[:, :axes], axis=1))


def _held(seen: Mapping[str, Rows]) -> Rows:
    return _apart(seen["object"], seen["hand"])


def _height(seen: Mapping[str, Rows]) -> Rows:
    return seen["object"][:, 2] - OBJECT_HEIGHT


def _raised(seen: Mapping[str, Rows]) -> Rows:
    """How high the object is in the hand, at most a half."""
    return np.asarray(np.minimum(0.5, _height(seen).clip(min=0)) * (_held(seen) < _NEAR_HAND))


def _slid(seen: Mapping[str, Rows]) -> Rows:
    return 1 - (2 * _held(seen) + _apart(seen["object"], seen["goal"], 2))


TASKS: Mapping[str, Judged] = {
    "Reach": Judged(
        ("hand", "fingers", "goal"),
        lambda seen: 1 - _apart(seen["hand"], seen["goal"]),
        lambda seen: _apart(seen["hand"], seen["goal"]) < _REACHED,
    ),
    "Slide": Judged(
        ("hand", "fingers", "object", "goal"),
        _slid,
        lambda seen: (_apart(seen["object"], seen["goal"], 2) < _PLACED) & (_height(seen) < _REACHED),
    ),
    "Lift": Judged(
        ("hand", "fingers", "object"),
        lambda seen: np.minimum(1, 0.57 - _held(seen) + _raised(seen)),
        lambda seen: (_height(seen) > _LIFTED) & (_held(seen) < _GRASPED_WITHIN),
    ),
    "Place": Judged(
        ("hand", "fingers", "object", "goal"),
        lambda seen: 0.9 * _slid(seen) + 0.5 * _raised(seen),
        lambda seen: _apart(seen["object"], seen["goal"]) < _PLACED,
    ),
}
"""The tasks by the first word of their environments' names: place is pick-and-place."""
ACTIONS = ("Delta", "Absolute")
"""What an action's first three numbers are: a way from where the hand is, or a place in its box."""
REGIONS = ("", "Near", "Far")
"""Where goals lie: anywhere, not far, far."""


@dataclass(frozen=True)
class Named:
    """What an environment's name says."""

    task: str
    actions: str
    region: str

    @property
    def judged(self) -> Judged:
        """The task."""
        return TASKS[self.task]


SCRIPT = "script"
"""In the place of an actor that data are recorded with: the task's own (`offline_data.tabletop`)."""
ENVIRONMENTS: Mapping[str, Named] = {
    f"{''.join(words)}-v0": Named(*words) for words in product(TASKS, ACTIONS, REGIONS)
}
"""All names, and what they say."""


def taken_for(
    observations: NDArray[np.floating], recorded: str, taken: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an episode of one task as another's: its observations [T + 1, obs] and rewards [T].

    Args:
        observations: of the environment `recorded`. [T + 1, obs]
        recorded: such as "PlaceDelta-v0".
        taken: such as "SlideDelta-v0".

    Raises:
        UserError: as `check_taken_for`.
    """
    check_taken_for(recorded, taken)
    parts = ENVIRONMENTS[recorded].judged.parts(observations)
    own = ENVIRONMENTS[taken].judged
    kept = np.concatenate([parts[name] for name in own.sees], axis=1)
    return kept.astype(np.float32), own.rewards(kept[1:]).astype(np.float32)


def check_taken_for(recorded: str, taken: str) -> None:
    """UserError where data of `recorded` cannot be another task's: it sees or does something else."""
    for name in (recorded, taken):
        if name not in ENVIRONMENTS:
            raise UserError(
                f"data of {recorded} are to be taken for {taken}'s, and {name} is no task of the table:"
                f" expected two of {', '.join(TASKS)}, such as PlaceDelta-v0 and SlideDelta-v0"
            )
    ours, theirs = ENVIRONMENTS[taken], ENVIRONMENTS[recorded]
    if ours.actions != theirs.actions:
        raise UserError(
            f"data of {recorded} have {theirs.actions.lower()} actions and {taken} takes"
            f" {ours.actions.lower()} ones: expected data of the same kind of actions"
        )
    missing = [name for name in ours.judged.sees if name not in theirs.judged.sees]
    if missing:
        raise UserError(
            f"the reward of {taken} needs the {missing[0]}, which data of {recorded} lack: expected data of"
            f" a task that sees {', '.join(ours.judged.sees)}"
        )
