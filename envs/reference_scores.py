"""The returns that scores are normalised by, and the one formula that does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs import tabletop
from storage import UserError

# (return of a random policy, return of an expert), undiscounted. The first three are D4RL's own
# (d4rl/infos.py, taken on the mujoco environments that v4 continues). InvertedDoublePendulum is not in
# D4RL: its pair is ours, a random policy and the return of balancing through all 1,000 steps.
REFERENCE_SCORES: dict[str, tuple[float, float]] = {
    "HalfCheetah": (-280.178953, 12135.0),
    "Hopper": (-20.272305, 3234.3),
    "Walker2d": (1.629008, 4592.3),
    "InvertedDoublePendulum": (60.0, 9359.0),
}

# Of the gridworlds (`envs.gridworld`), 0 and the expected return of the epsilon-greedy optimal policy; ours.
MAZES: dict[str, tuple[float, float]] = {"Maze3": (0.0, 943.024708), "Maze5": (0.0, 876.796518)}
# Of the points in the plane (`envs.plane`), whose return is whether the goal was reached.
PLANE: dict[str, tuple[float, float]] = {"TwoWays": (0.0, 1.0), "RoomsAndHallways": (0.0, 1.0)}
# Of the tasks on the table (`envs.tabletop`): uniform delta actions, and the script without noise; ours.
_TABLE = {"Reach": (-28.0, 47.0), "Slide": (-215.0, 15.3), "Lift": (-72.6, 38.9), "Place": (-194.0, 19.6)}
TABLE: dict[str, tuple[float, float]] = {
    name.rpartition("-")[0]: _TABLE[named.task] for name, named in tabletop.ENVIRONMENTS.items()
}
KNOWN = REFERENCE_SCORES | PLANE | TABLE | MAZES
"""All of them, also those that `register` adds."""
DATASETS: dict[str, str] = {}
"""The families of datasets whose names do not begin with theirs (`register_dataset`)."""


def register(family: str, random: float, expert: float) -> None:
    """Let scores of another of Gymnasium's MuJoCo environments be normalised: "Ant" stands for all versions.

    `random` and `expert` are the undiscounted returns of a random policy and of an expert. UserError for a
    family that has other ones already, and where `expert` is not above `random`.
    """
    if not expert > random:
        raise UserError(f"environment {family}: expert is {expert}: expected more than random, {random}")
    if KNOWN.setdefault(family, (random, expert)) != (random, expert):
        raise UserError(f"environment {family} has the reference scores {KNOWN[family]}: expected no others")


def register_dataset(dataset: str, environment: str) -> None:
    """Say which environment a dataset is of whose name does not begin with the environment's family."""
    DATASETS[dataset] = environment.rsplit("-v", 1)[0]


def reference_scores(environment: str) -> tuple[float, float]:
    """(minimum, maximum) return of an environment named like "HalfCheetah-v4".

    Raises UserError for an environment that has no reference scores.
    """
    family = environment.rsplit("-v", 1)[0]
    if family not in KNOWN:
        known = ", ".join(KNOWN)
        raise UserError(
            f"environment {environment!r} has no reference scores; those that have: {known}; any other of"
            " Gymnasium's MuJoCo environments is registered with its own (docs/your_own_dataset.md)"
        )
    return KNOWN[family]


def normalised_score(returns: ArrayLike, environment: str) -> NDArray[np.float64]:
    """100 (R - minimum) / (maximum - minimum): 0 a random policy, 100 an expert (D4RL's score).

    `returns`: undiscounted returns of any shape; the result has the same shape (an array of no dimensions
    for one number). Raises UserError for an environment that has no reference scores.
    """
    minimum, maximum = reference_scores(environment)
    return np.asarray(100.0 * (np.asarray(returns, dtype=np.float64) - minimum) / (maximum - minimum))
