"""Made-up episodes and transitions; by default they fit InvertedDoublePendulum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offline_data.transitions import Episode, Transitions, from_episodes


def make_episodes(
    lengths: Sequence[int], seed: int = 0, action_size: int = 1, observation_size: int = 11
) -> list[Episode]:
    """Episodes of the given lengths, numbers drawn at random; every second one ends in a time-out."""
    generator = np.random.default_rng(seed)
    return [
        Episode(
            observations=generator.normal(size=(length + 1, observation_size)).astype(np.float32),
            actions=generator.uniform(-1, 1, size=(length, action_size)).astype(np.float32),
            rewards=generator.normal(size=length).astype(np.float32),
            terminated=number % 2 == 0,
            truncated=number % 2 == 1,
        )
        for number, length in enumerate(lengths)
    ]


def made_up_transitions(lengths: Sequence[int], **sizes: int) -> Transitions:
    """The same, each episode ending in a terminal state."""
    episodes = make_episodes(lengths, **sizes)
    terminal = [replace(episode, terminated=True, truncated=False) for episode in episodes]
    return from_episodes(terminal, {"dataset_id": "made-up"})
