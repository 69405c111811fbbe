"""Scripts that do the tasks, or stages of them, by looking into the simulator; and noise that spoils them.

A script is a generator: it reads the physics and yields what the hand is to do in the next step. After its
last step the hand rests. Points and phases are those of COG's scripts (roboverse/policies): over the object,
down, close, up; beside the handle, down, pull.

Without noise scripts succeed in 95 to 100 of 100 episodes (`benchmarks.controllers`); with COG's noise on
actions, and noise on the point where the object is picked, they fail as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.actions import Command
from envs.manipulation.blocked_drawer import GraspBlockedDrawer
from envs.manipulation.closed_drawer import GraspClosedDrawer
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.physics import NEUTRAL, DrawerPhysics, Physics, Vector
from envs.manipulation.pick_place import PickPlace
from envs.manipulation.scene import HANDLE, TRAY
from envs.manipulation.task import MOTION, ManipulationTask
from storage.constraints import Rate, UpToTen, Weight

_ABOVE = 0.05  # over the object or the handle, where the hand stops until it is right above it
_OVER = 0.012  # how near to right above is near enough to go down (COG: 0.03, its hand is larger)
_AT = 0.008  # how near to a point is there (COG: 0.02)
_GAIN = 1.4  # of the distance that is left, in a step: 7 x 0.2 [COG]
_DROP_HEIGHT = 0.10  # of the hand over the tray
_HOOK = HANDLE + np.array([0.019, 0.0, 0.0])  # where the hand's inner finger is right behind the bar
_PULL_TO = 0.24
_SLOWLY = 0.6  # of full speed: the faster, the further the object slides when the drawer stops
_CLEAR = 0.08  # height of the hand at which its fingers are above handle and open drawer
_UP = np.array([0.0, 0.0, 1.0])
_LIFT = np.array([0.0, 0.0, 0.8])
_PUSH_HEIGHT = 0.078  # of the hand that pushes the top drawer: above the handle
_PUSH_FROM, _PUSH_TO = 0.075 + 0.075, 0.03


@dataclass(frozen=True)
class Noise:
    """What spoils a script.

    action: standard deviation of noise on each number of an action; limit: to which actions are clipped then;
    pick and drop: standard deviation, in metres along each axis, of the point where the object is grasped,
    and of the point over the tray where a second stage lets it go, both drawn once an episode.

    close: how high over the point it picks the hand closes, in metres. None: where it is there, within 8 mm.
    A hand that noise keeps from being there hovers, and from what is seen no one can tell why it does not
    close: agents that clone such scripts never do. COG's scripts close within 2 cm.
    """

    action: UpToTen = 0.0
    limit: Rate = 1.0
    pick: Weight = 0.0
    drop: Weight = 0.0
    close: Weight | None = None


NONE = Noise()
HALF = Noise(action=0.1, limit=0.9, pick=0.014, drop=0.035)
"""COG's noise on actions (EPSILON = 0.1) [COG], and points so far off that 30 to 60% of episodes succeed."""


class Wish(NamedTuple):
    """What a script wants of the next step: a motion [3] in units of actions, an open hand, `neutral`."""

    motion: Vector
    is_open: bool
    neutral: bool = False


class Offsets(NamedTuple):
    """What noise adds in an episode to the points where the object is picked and dropped, each [3].

    And `Noise.close`.
    """

    pick: Vector
    drop: Vector
    close: float | None


Script = Iterator[Wish]


Policy = Callable[[], NDArray[np.float32]]
"""Called once a step of one episode: the action [A]."""


class Scripted:
    """A script as a policy of one episode; `resting`: its last action came after the script's last step."""

    def __init__(
        self, task: ManipulationTask[Any], script: Script, noise: Noise, random: np.random.Generator
    ) -> None:
        self.resting = False
        self._task, self._script, self._noise, self._random = task, script, noise, random

    def __call__(self) -> NDArray[np.float32]:
        """Return the action [A] of the next step, with its noise."""
        task, noise = self._task, self._noise
        wish = next(self._script, None)
        self.resting = wish is None
        motion, is_open, neutral = wish or Wish(np.zeros(3), task.is_open)
        action = task.form.encode(Command(motion.clip(-1.0, 1.0), None, is_open, neutral), task.is_open)
        action = action + noise.action * self._random.standard_normal(len(action))
        return action.clip(-noise.limit, noise.limit).astype(np.float32)


def scripted(
    environment: ManipulationEnvironment, stage: str, noise: Noise, random: np.random.Generator
) -> Scripted:
    """Return a policy for one episode of `environment`, just reset, that follows the script of a stage.

    `stage`: "whole", "prior" (the first stage) or "task" (the second, for the start in the middle).
    """
    task, physics = environment.task, environment.physics
    pick, drop = (scale * random.standard_normal(3) for scale in (noise.pick, noise.drop))
    offsets = Offsets(pick, drop, noise.close)
    parts = (part(task, physics, offsets) for part in _SCRIPTS[environment.name, stage])
    return Scripted(task, chain.from_iterable(parts), noise, random)


def uniform(environment: ManipulationEnvironment, random: np.random.Generator) -> Policy:
    """Actions drawn evenly from [-1, 1] ([S] D.2: half of the original data is replaced by such)."""
    return lambda: random.uniform(-1.0, 1.0, size=environment.action_size).astype(np.float32)


def _towards(physics: Physics, goal: Vector) -> Vector:
    """Return the motion that leads straight to `goal`, at full speed while it is far."""
    motion = _GAIN * (goal - physics.hand_position()) / MOTION
    return motion / max(1.0, float(np.abs(motion).max()))


def _go(physics: Physics, goal: Callable[[], Vector], tolerance: float, is_open: bool) -> Script:
    """Straight to a point that may move."""
    while np.linalg.norm(goal() - physics.hand_position()) > tolerance:
        yield Wish(_towards(physics, goal()), is_open)


def _sink(physics: Physics, goal: Callable[[], Vector], height: float) -> Script:
    """To `height` over a point, open: no lower than `_ABOVE` over it until right above it."""
    above = np.array([0.0, 0.0, _ABOVE])
    while (offset := physics.hand_position() - goal())[2] > height:
        right_above = np.linalg.norm(offset[:2]) < _OVER
        yield Wish(_towards(physics, goal() if right_above else goal() + above), True)


def _descend(physics: Physics, goal: Callable[[], Vector]) -> Script:
    """To a point from above, open."""
    yield from _sink(physics, goal, _AT)
    yield from _go(physics, goal, _AT, True)


def _grasp(physics: Physics, offsets: Offsets) -> Script:
    """Return the object between the fingers, and the fingers closed; picked off where it is by `offsets`."""

    def goal() -> Vector:
        point: Vector = physics.object_position() + offsets.pick
        return point

    if offsets.close is None:
        yield from _descend(physics, goal)
        yield Wish(np.zeros(3), False)
    else:
        yield from _sink(physics, goal, offsets.close)
        yield Wish(_towards(physics, goal()), False)


def _lift(physics: Physics) -> Script:
    """Return the closed hand up to where it started."""
    while physics.hand_position()[2] < NEUTRAL[2]:
        yield Wish(_LIFT, False)


def _pick(task: PickPlace, physics: Physics, offsets: Offsets) -> Script:
    yield from _grasp(physics, offsets)
    while physics.hand_position()[2] < _DROP_HEIGHT:
        yield Wish(_LIFT, False)


def _place(task: PickPlace, physics: Physics, offsets: Offsets) -> Script:
    drop = np.append(TRAY, _DROP_HEIGHT) + offsets.drop
    yield from _go(physics, lambda: drop, 2 * _AT, False)
    yield Wish(np.zeros(3), True)


def _pick_and_place(task: PickPlace, physics: Physics, offsets: Offsets) -> Script:
    yield from _pick(task, physics, offsets)
    # A missed pick is failure enough.
    yield from _place(task, physics, offsets._replace(drop=np.zeros(3)))


def _open_bottom(task: GraspClosedDrawer, physics: DrawerPhysics, offsets: Offsets) -> Script:
    """Return a finger behind the handle, pull, away from it, and back to where the second stage starts."""
    yield from _descend(physics, lambda: _behind_handle(physics))
    while not task.first_stage_done(physics):
        goal = np.array([_PULL_TO, *_HOOK[1:]])
        yield Wish(_SLOWLY * _towards(physics, goal), True)
    yield from _clear(physics)
    if not task.returns:
        return
    if task.form.name == "full":
        yield Wish(np.zeros(3), True, neutral=True)
    else:
        yield from _go(physics, lambda: NEUTRAL, 2 * _AT, True)


def _behind_handle(physics: DrawerPhysics) -> Vector:
    hook: Vector = _HOOK + np.array([physics.drawer_opening("bottom"), 0.0, 0.0])
    return hook


def _clear(physics: Physics) -> Script:
    """Return the open hand up, out of what stands around it."""
    while physics.hand_position()[2] < _CLEAR:
        yield Wish(_UP, True)


def _close_top(task: GraspBlockedDrawer, physics: DrawerPhysics, offsets: Offsets) -> Script:
    """Beside the top drawer's front, push, and up again."""
    start = np.array([_PUSH_FROM, HANDLE[1], _PUSH_HEIGHT])
    yield from _descend(physics, lambda: start)
    end = np.array([_PUSH_TO, HANDLE[1], _PUSH_HEIGHT])
    while not task.top_closed(physics):
        yield Wish(_SLOWLY * _towards(physics, end), True)
    yield from _clear(physics)


def _take_out(task: GraspClosedDrawer, physics: DrawerPhysics, offsets: Offsets) -> Script:
    """Grasp the object in the open drawer and lift it: by `neutral` where actions have it."""
    yield from _grasp(physics, offsets)
    if task.form.name == "full":
        yield Wish(np.zeros(3), False, neutral=True)
    yield from _lift(physics)


_SCRIPTS: dict[tuple[str, str], Sequence[Callable[[Any, Any, Offsets], Script]]] = {
    (PickPlace.name, "prior"): [_pick],
    (PickPlace.name, "task"): [_place],
    (PickPlace.name, "whole"): [_pick_and_place],
    (GraspClosedDrawer.name, "prior"): [_open_bottom],
    (GraspClosedDrawer.name, "task"): [_take_out],
    (GraspClosedDrawer.name, "whole"): [_open_bottom, _take_out],
    (GraspBlockedDrawer.name, "prior"): [_close_top, _open_bottom],
    (GraspBlockedDrawer.name, "task"): [_take_out],
    (GraspBlockedDrawer.name, "whole"): [_close_top, _open_bottom, _take_out],
}
"""What is done one after the other, by task and stage."""
