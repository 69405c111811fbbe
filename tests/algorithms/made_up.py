"""Made-up data for the tests of the training loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from offline_data.transitions import Episode, Transitions, from_episodes


def made_up_transitions(
    lengths: Sequence[int], action_size: int = 1, observation_size: int = 11
) -> Transitions:
    """Episodes of random numbers, each ending in a terminal state; by default of the pendulum's sizes."""
    generator = np.random.default_rng(0)
    episodes = [
        Episode(
            observations=generator.normal(size=(length + 1, observation_size)).astype(np.float32),
            actions=generator.uniform(-1, 1, size=(length, action_size)).astype(np.float32),
            rewards=generator.normal(size=length).astype(np.float32),
            terminated=True,
            truncated=False,
        )
        for length in lengths
    ]
    return from_episodes(episodes, {"dataset_id": "made-up"})
