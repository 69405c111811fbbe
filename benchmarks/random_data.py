"""A dataset of random numbers of HalfCheetah's sizes; made without what reads recorded ones."""

from __future__ import annotations

import numpy as np

from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE
from offline_data.transitions import Transitions

ENVIRONMENT = "HalfCheetah-v4"


def random_transitions(size: int) -> Transitions:
    """Random numbers in the place of a recorded dataset."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return generator.standard_normal(shape, dtype=np.float32)

    episode_ends = np.arange(1, size + 1) % 1000 == 0
    episode_ends[-1] = True
    return Transitions(
        observations=normal(size, OBSERVATION_SIZE),
        actions=np.tanh(normal(size, ACTION_SIZE)),
        rewards=normal(size),
        masks=np.ones(size, np.float32),
        next_observations=normal(size, OBSERVATION_SIZE),
        episode_ends=episode_ends,
        metadata={},
    )
