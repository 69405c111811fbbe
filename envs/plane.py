"""Points that are moved in the plane: small tasks with a reward at the goal alone.

`TwoWays`: two ways lead round an obstacle to one of two goals, and what lies between them leads into it. The
paper of DMPO has such a toy and does not say its numbers, which are ours. `RoomsAndHallways`: the maze of
`envs.gridworld` as a floor plan, in the place of ReDS's heteroskedastic AntMaze, whose data are not to be had
(our rebuild).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.gridworld import Gridworld
from envs.task import Limits, Outcome, Task

Rows = NDArray[np.float64]


class Points:
    """Copies of one point; `positions` is [copies, 2]."""

    def __init__(self, copies: int) -> None:
        self.copies = copies
        self.positions = np.zeros((copies, 2))

    def state(self) -> Rows:
        """Return the positions. [copies, 2]"""
        return self.positions.copy()

    def restore(self, states: Rows) -> None:
        """Go back to positions."""
        self.positions = states.copy()


class PointTask(Task):
    """A point that actions in [-1, 1]^2 move."""

    def world(self, copies: int, threads: int) -> Points:
        return Points(copies)

    def limits(self, world: Points) -> Limits:
        return Limits(np.full(2, -1.0), np.full(2, 1.0), step_duration=1.0)


class TwoWays(PointTask):
    """From below round a disc to either of two goals above; into the disc an episode ends with nothing.

    The observation is the position, in [-1, 1]^2.
    """

    time_limit: int = 50
    speed = 0.1  # in a step, along each axis
    start, start_deviation = np.array([0.0, -0.8]), 0.02
    radius = 0.35  # of the disc around the origin
    goals, goal_radius = np.array([[-0.5, 0.8], [0.5, 0.8]]), 0.1

    def restart(self, world: Points, copy: int, generator: np.random.Generator) -> None:
        world.positions[copy] = generator.normal(self.start, self.start_deviation)

    def observe(self, world: Points) -> Rows:
        return world.positions.copy()

    def step(self, world: Points, actions: NDArray[np.floating]) -> Outcome:
        world.positions = np.clip(world.positions + self.speed * np.clip(actions, -1, 1), -1, 1)
        blocked = np.linalg.norm(world.positions, axis=1) < self.radius
        apart = np.linalg.norm(world.positions[:, None] - self.goals, axis=2)
        arrived = (apart < self.goal_radius).any(axis=1)
        return Outcome(self.observe(world), arrived.astype(np.float64), blocked | arrived)


class RoomsAndHallways(PointTask):
    """Through three rooms and the hallways between them to the goal's cell; walls stop a move along an axis.

    The observation is the position, from the middle of the plan, in units of four cells.
    """

    time_limit: int = 300
    speed = 0.5  # cells in a step, along each axis
    start_spread = 0.3  # cells, from the middle of the start's
    grid: ClassVar[Gridworld] = Gridworld.named("maze3")
    unit = 4.0

    @cached_property
    def states(self) -> NDArray[np.int64]:
        """The number of each cell by column and row, -1 for a wall."""
        rows = self.grid.maze.rows
        numbers = np.full((len(rows[0]), len(rows)), -1)
        numbers[self.grid.cells[:, 1], self.grid.cells[:, 0]] = np.arange(len(self.grid.cells))
        return numbers

    @property
    def middle(self) -> Rows:
        """Of the plan, in cells. [2]"""
        return np.array(self.states.shape) / 2

    def cell(self, positions: Rows) -> NDArray[np.int64]:
        """Return the number of the cell that each position [..., 2], in cells, is in; -1: a wall. [...]"""
        column, row = (np.floor(positions[..., axis]).astype(int) for axis in (0, 1))
        width, height = self.states.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return np.where(inside, self.states[column.clip(0, width - 1), row.clip(0, height - 1)], -1)

    def centre(self, states: NDArray[np.int64]) -> Rows:
        """Return the middle of cells by number, in cells. [..., 2]"""
        return np.asarray(self.grid.cells[states][..., ::-1] + 0.5, dtype=np.float64)

    def restart(self, world: Points, copy: int, generator: np.random.Generator) -> None:
        offset = generator.uniform(-self.start_spread, self.start_spread, 2)
        world.positions[copy] = self.centre(np.array(self.grid.start)) + offset

    def observe(self, world: Points) -> Rows:
        return np.asarray((world.positions - self.middle) / self.unit)

    def step(self, world: Points, actions: NDArray[np.floating]) -> Outcome:
        moves = self.speed * np.clip(actions, -1, 1)
        for axis in (0, 1):
            wanted = world.positions.copy()
            wanted[:, axis] += moves[:, axis]
            free = self.cell(wanted) >= 0
            world.positions = np.where(free[:, None], wanted, world.positions)
        arrived = self.grid.rewards[self.cell(world.positions)] > 0
        return Outcome(self.observe(world), arrived.astype(np.float64), arrived)


TASKS: Mapping[str, type[PointTask]] = {
    "TwoWays-v0": TwoWays,
    "RoomsAndHallways-v0": RoomsAndHallways,
}
"""The tasks by the names of their environments."""
