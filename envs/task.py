"""What an environment that is stepped as a batch consists of: a world of copies, and a task in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

TIME_LIMIT = 1000
"""Steps after which an episode is cut off in MuJoCo's tasks."""


class World(Protocol):
    """Copies of what is simulated, none of which depends on another."""

    copies: int

    def state(self) -> NDArray[np.float64]:
        """All that the next step depends on. [copies, n]"""

    def restore(self, states: NDArray[np.float64]) -> None:
        """Go back to `states` [copies, n] of `state()`."""


class Outcome(NamedTuple):
    """What one step did: observations [copies, obs], rewards [copies], terminations [copies]."""

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]


class Limits(NamedTuple):
    """The range in which actions differ [action_size] each, and the seconds that a step takes."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step_duration: float


class Task(ABC):
    """What one environment family measures in worlds that it makes; `version` is that of its name."""

    time_limit: int = TIME_LIMIT

    def __init__(self, version: int) -> None:
        self.version = version

    @abstractmethod
    def world(self, copies: int, threads: int) -> Any:
        """Return a `World` of so many copies, that so many threads step."""

    @abstractmethod
    def limits(self, world: Any) -> Limits:
        """Return those of actions and time."""

    @abstractmethod
    def restart(self, world: Any, copy: int, generator: np.random.Generator) -> None:
        """Begin a new episode in one copy."""

    @abstractmethod
    def observe(self, world: Any) -> NDArray[np.float64]:
        """Observations [copies, obs] of the world as it is."""

    @abstractmethod
    def step(self, world: Any, actions: NDArray[np.floating]) -> Outcome:
        """Advance by one control step and judge it."""

    def successes(self, observations: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Whether episodes that end at `observations` [n, obs] are successes; None: nothing is one."""
        return None
