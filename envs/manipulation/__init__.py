"""Three tasks of a robot arm with images of 48 x 48 pixels and sparse rewards, after COG, on MuJoCo.

    environment = make("GraspClosedDrawer-v0")
    observation = environment.reset(seed=0)
    observation, reward, truncated, info = environment.step(action)

The Off2On paper's tasks (section 6.2) are COG's (Singh et al., 2020), which run on PyBullet with assets of
their own. These are new ones with the same objectives, stages, horizons, observations and actions; each
module says what differs. [COG] marks numbers of COG's code (roboverse). In Gymnasium the names stand behind
"manipulation/".
"""

from __future__ import annotations

from typing import Any

import gymnasium

from envs.manipulation.blocked_drawer import GraspBlockedDrawer
from envs.manipulation.closed_drawer import GraspClosedDrawer
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.pick_place import PickPlace
from envs.manipulation.task import ManipulationTask
from storage import UserError

_TASKS: dict[str, type[ManipulationTask[Any]]] = {
    task.name: task for task in (PickPlace, GraspClosedDrawer, GraspBlockedDrawer)
}

ENVIRONMENTS: tuple[str, ...] = tuple(_TASKS)
"""Names that `make` knows."""

HORIZONS: dict[str, int] = {name: task.horizon for name, task in _TASKS.items()}
"""Steps of an episode of each, where nothing else is asked for."""


def make(name: str, **options: Any) -> ManipulationEnvironment:
    """Make an environment by name; `options` as `ManipulationEnvironment`'s. UserError: no such name."""
    if name not in _TASKS:
        raise UserError(f"manipulation environment {name!r} is unknown; those known: {', '.join(_TASKS)}")
    return ManipulationEnvironment(_TASKS[name], **options)


for _name in ENVIRONMENTS:
    gymnasium.register(
        f"manipulation/{_name}",
        entry_point="envs.manipulation.gymnasium_environment:GymnasiumEnvironment",
        kwargs={"name": _name},
    )
