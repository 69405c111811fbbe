"""A made-up task in images, small enough to learn in seconds, and recorded episodes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_data.image_episodes import (
    PRIOR,
    RANDOM,
    TASK,
    ImageEpisode,
    ImageEpisodes,
    from_image_episodes,
)

SIZE, HORIZON, ACTION = 12, 4, 2
SHAPE = (SIZE, SIZE, 3)
SHAPES: dict[str, tuple[int, ...]] = {"image": SHAPE, "state": (2,)}


class Spot:
    """A picture that is too blue or too red; rewarded after a step that leaves it in between.

    The first component of an action reddens it by up to 2.5 of 10, the second does nothing. It is a colour
    that has to be seen because crops shift what lies where.
    """

    horizon, action_size, shapes = HORIZON, ACTION, SHAPES

    def reset(self, seed: int) -> Mapping[str, Any]:
        generator = np.random.default_rng(seed)
        self.red = float(generator.integers(0, 3) + 8 * generator.integers(0, 2))
        self.time = 0
        return self.observation()

    def step(self, action: NDArray[np.float32]) -> tuple[Mapping[str, Any], float, bool, Mapping[str, Any]]:
        self.red = float(np.clip(self.red + 2.5 * action[0], 0, 10))
        self.time += 1
        reward = float(2.4 <= self.red <= 7.6)
        return self.observation(), reward, self.time == HORIZON, {}

    def observation(self) -> Mapping[str, Any]:
        image = np.empty(SHAPE, np.uint8)
        image[:] = (25 * self.red, 100, 250 - 25 * self.red)
        return {"image": image, "state": np.array([self.red, self.time], np.float32)}


def make(name: str) -> Spot:
    """The factory that the loops are given."""
    assert name == "spot"
    return Spot()


def record(episodes: int, seed: int = 0) -> ImageEpisodes:
    """Episodes in turn from a noisy script that sometimes errs (PRIOR, TASK) and from random actions."""
    generator = np.random.default_rng(seed)
    made = []
    environment = Spot()
    for episode in range(episodes):
        kind = (PRIOR, TASK, RANDOM)[episode % 3]
        shown, actions, rewards = [environment.reset(int(generator.integers(2**31)))], [], []
        for _ in range(HORIZON):
            action = generator.uniform(-0.9, 0.9, ACTION)
            if kind != RANDOM:
                aim = (5 - environment.red) / 2.5 * (1 if generator.random() < 0.8 else -1)
                action[0] = np.clip(aim + 0.1 * generator.normal(), -0.9, 0.9)
            observation, reward, _, _ = environment.step(action.astype(np.float32))
            shown.append(observation)
            actions.append(action)
            rewards.append(reward)
        images, states = (np.stack([each[name] for each in shown]) for name in ("image", "state"))
        numbers = (np.array(each, np.float32) for each in (actions, rewards))
        made.append(ImageEpisode(images, states, *numbers, kind))
    return from_image_episodes(made, {"dataset_id": "made-up"})
