"""Mazes of rooms and hallways, in which ReDS is explained (Singh et al. 2023); one state a cell.

Mazes, actions, rewards and discounts are those of the first author's notebook
(github.com/Asap7772/gridworld_notebook, marked [GRID]). Nothing here is simulated: the model is known, and
what is computed of it is exact. Arrays have the axes S, the free cells in reading order, and A, the actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import UserError

Values = NDArray[np.float64]
Cells = NDArray[np.int64]

WALL, START, GOAL = "#", "S", "R"
MOVES = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
"""Columns and rows that an action moves by: rest, up, down, left, right. [GRID]"""
LEFT = 3
ROOMS = (range(0, 4), range(7, 12), range(15, 20))
"""Columns of rooms; other free cells are hallways. [GRID]"""
EXPLORATION = 0.1  # [GRID] of the epsilon-greedy policies that are judged and that demonstrate
HORIZON = 1000  # [GRID] steps of an episode

_ROOMS_AND_HALLWAYS = (
    "SOOO####OOOO####OOOO####",
    "OOOO#OOOOOOO#OOOOOOO#OOO",
    "OOOOOO#OOOOOOO#OOOOOOO#O",
    "OOOO###OOOOO###OOOOO###R",
)
_THREE_BANDS = (
    "########################",
    "SOOO####OOOO####OOOO####",
    "OOOO#OOOOOOO#OOOOOOO#OOO",
    "OOOOOO#OOOOOOO#OOOOOOO#O",
    "OOOO###OOOOO###OOOOO###O",
    "#######################O",
    "OOOO####OOOO####OOOO###O",
    "OOOO#OOOOOOO#OOOOOOO#OOO",
    "OOOOOO#OOOOOOO#OOOOOOO#O",
    "OOOO###OOOOO###OOOOO###O",
    "OOOO####################",
    "OOOO####OOOO####OOOO###O",
    "OOOO#OOOOOOO#OOOOOOO#OOO",
    "OOOOOO#OOOOOOO#OOOOOOO#O",
    "OOOO###OOOOO###OOOOO###R",
    "########################",
)


class Maze(NamedTuple):
    """Rows of cells, and the discount that it is solved with."""

    rows: tuple[str, ...]
    discount: float


MAZES = {"maze3": Maze(_ROOMS_AND_HALLWAYS, 0.96), "maze5": Maze(_THREE_BANDS, 0.98)}
"""By [GRID]'s numbers."""


@dataclass(frozen=True)
class Gridworld:
    """A maze as its exact model: moves are certain, one into a wall rests, the goal ends no episode."""

    maze: Maze

    @classmethod
    def named(cls, name: str) -> Gridworld:
        """One of `MAZES`. UserError for another name."""
        if name not in MAZES:
            raise UserError(f"there is no maze {name!r}: expected one of {', '.join(MAZES)}")
        return cls(MAZES[name])

    @cached_property
    def cells(self) -> Cells:
        """Row and column of each free cell. [S, 2]"""
        rows = enumerate(self.maze.rows)
        return np.array([(y, x) for y, row in rows for x, kind in enumerate(row) if kind != WALL])

    def _only(self, kind: str) -> int:
        return next(state for state, (y, x) in enumerate(self.cells) if self.maze.rows[y][x] == kind)

    @property
    def start(self) -> int:
        """The state in which episodes begin."""
        return self._only(START)

    @cached_property
    def next_states(self) -> Cells:
        """The state that each action leads to. [S, A]"""
        states = {(y, x): state for state, (y, x) in enumerate(self.cells.tolist())}
        return np.array(
            [[states.get((y + dy, x + dx), s) for dx, dy in MOVES] for (y, x), s in states.items()]
        )

    @cached_property
    def rewards(self) -> Values:
        """1 for a step taken from the goal, whatever the action; else 0. [S]"""
        rewards = np.zeros(len(self.cells))
        rewards[self._only(GOAL)] = 1.0
        return rewards

    @cached_property
    def rooms(self) -> NDArray[np.bool_]:
        """Whether a state lies in a room. [S]"""
        return np.array([any(x in room for room in ROOMS) for _, x in self.cells])

    @cached_property
    def optimal_q(self) -> Values:
        """Q* by value iteration, to rounding. [S, A]"""
        q = np.zeros(self.next_states.shape)
        while True:
            following = self.backup(q.max(axis=1))
            if np.abs(following - q).max() < 1e-12:
                return following
            q = following

    def backup(self, values: Values) -> Values:
        """r + discount V(s') of values [..., S]. [..., S, A]"""
        return np.asarray(self.rewards[:, None] + self.maze.discount * values[..., self.next_states])

    def visits(self, policies: Values) -> Values:
        """Compute expected visits of states in an episode of `HORIZON` steps of policies [P, S, A]. [P, S]"""
        at = np.zeros(policies.shape[:2])
        at[:, self.start] = 1.0
        moves = np.zeros((len(policies), len(self.cells), len(self.cells)))
        states = np.arange(len(self.cells))
        for action in range(len(MOVES)):
            moves[:, states, self.next_states[:, action]] += policies[..., action]
        total = np.zeros_like(at)
        for _ in range(HORIZON):
            total += at
            at = (at[:, None] @ moves)[:, 0]
        return total

    def returns(self, q: Values) -> Values:
        """Compute the expected undiscounted return of the epsilon-greedy policies of q [P, S, A]. [P]"""
        return np.asarray(self.visits(epsilon_greedy(q)) @ self.rewards)


def epsilon_greedy(q: Values) -> Values:
    """Policies [P, S, A] that take the best of q [P, S, A], of equals the first, but for a share, uniform."""
    policies = np.full(q.shape, EXPLORATION / q.shape[-1])
    np.put_along_axis(
        policies, q.argmax(axis=-1)[..., None], 1 - EXPLORATION + EXPLORATION / q.shape[-1], axis=-1
    )
    return policies
