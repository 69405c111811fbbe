"""The tasks as Gymnasium's environments: `gymnasium.make("manipulation/PickPlace-v0")`.

Import `envs.manipulation` first, which registers them.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.manipulation import make
from envs.manipulation.environment import Observation
from envs.manipulation.task import STATE_SIZE

_PRINT_SIZE = 480


def spaces(image_shape: tuple[int, ...], action_size: int) -> tuple[Any, Any]:
    """Return the spaces of observations and of actions."""
    box = gymnasium.spaces.Box
    observations = gymnasium.spaces.Dict(
        {
            "image": box(0, 255, image_shape, np.uint8),
            "state": box(-np.inf, np.inf, (STATE_SIZE,), np.float32),
        }
    )
    return observations, box(-1.0, 1.0, (action_size,), np.float32)


class GymnasiumEnvironment(gymnasium.Env):
    """A task behind Gymnasium's interface; `options` as `ManipulationEnvironment`'s."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012  Gymnasium's own form

    def __init__(self, name: str, render_mode: str | None = None, **options: Any) -> None:
        self.render_mode = render_mode
        self.plain = make(name, **options)
        self.observation_space, self.action_space = spaces(self.plain.shapes["image"], self.plain.action_size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, bool]]:
        """Begin an episode; without a seed, the next of those that the last one decides."""
        super().reset(seed=seed)
        return self.plain.reset(int(self.np_random.integers(2**31))), {"success": False}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, bool]]:
        """As `ManipulationEnvironment.step`; an episode never terminates."""
        observation, reward, truncated, info = self.plain.step(action)
        return observation, reward, False, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """Return the scene [480, 480, 3] in print quality, in render mode "rgb_array"."""
        return self.plain.render(_PRINT_SIZE) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Give back what the environment holds."""
        self.plain.close()
