"""Scripted policies of the points in the plane (`envs.plane`), the sources of their data; numbers are ours.

Round the obstacle one goes left, one right, and one straight on, into it. Through rooms and hallways all
follow the shortest way: `careful` ones everywhere, `noisy` ones with noise of a wide deviation in rooms,
`biased` ones there with a drift to the left, mostly away from the exit; in hallways all are careful. So were
the data that a support constraint is for (Singh et al. 2023): how much they vary depends on the place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from envs.plane import RoomsAndHallways, TwoWays
from offline_data.collect import Policy

UNIFORM_ACTOR = "uniform"
"""In the place of an actor, in every environment: uniform actions, of no policy."""
Script = Callable[[int], Policy]
"""A policy, given the seed of its noise."""

WAYPOINT = np.array([0.6, -0.1])  # beside the disc, of the way on the right
CAREFUL, NOISY, DRIFTING = 0.1, 0.8, 0.3  # deviations of the noise on each number of an action
DRIFT = np.array([-0.8, 0.0])


def _round(side: float) -> Script:
    """Make for a waypoint beside the disc and then for the goal there; `side` is -1 on the left."""
    mirror, goal = np.array([side, 1.0]), TwoWays.goals[1]

    def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        positions = mirror * observations
        aims = np.where(positions[:, 1:] < WAYPOINT[1], WAYPOINT, goal)
        return np.asarray(mirror * np.clip((aims - positions) / TwoWays.speed, -1, 1))

    return lambda seed: policy


def _straight(seed: int) -> Policy:
    return lambda observations: np.broadcast_to([0.0, 1.0], observations.shape)


def _through(deviation: float, drift: NDArray[np.float64]) -> Script:
    """Follow the shortest way, in rooms with noise of this deviation and with a drift."""
    task = RoomsAndHallways(0)
    grid = task.grid
    following = grid.next_states[np.arange(len(grid.cells)), grid.optimal_q.argmax(axis=1)]

    def script(seed: int) -> Policy:
        generator = np.random.default_rng(seed)

        def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
            positions = task.unit * observations + task.middle
            cells = task.cell(positions)
            actions = np.clip((task.centre(following[cells]) - positions) / task.speed, -1, 1)
            in_room = grid.rooms[cells][:, None]
            noise = np.where(in_room, deviation, CAREFUL) * generator.standard_normal(actions.shape)
            return np.asarray(np.clip(actions + noise + in_room * drift, -1, 1))

        return policy

    return script


SCRIPTS: Mapping[str, Mapping[str, Script]] = {
    "TwoWays-v0": {"left": _round(-1.0), "right": _round(1.0), "straight": _straight},
    "RoomsAndHallways-v0": {
        "careful": _through(CAREFUL, 0 * DRIFT),
        "noisy": _through(NOISY, 0 * DRIFT),
        "biased": _through(DRIFTING, DRIFT),
    },
}
"""By environment and name."""
