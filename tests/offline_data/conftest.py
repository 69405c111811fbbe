"""What the tests of the datasets share: made-up episodes that fit InvertedDoublePendulum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from offline_data.transitions import Episode

Make = Callable[..., list[Episode]]


@pytest.fixture(scope="session")
def make_episodes() -> Make:
    """Episodes of the given lengths, numbers drawn at random; every second one ends in a terminal."""

    def make(lengths: Sequence[int], seed: int = 0) -> list[Episode]:
        generator = np.random.default_rng(seed)
        return [
            Episode(
                observations=generator.normal(size=(length + 1, 11)).astype(np.float32),
                actions=generator.uniform(-1, 1, size=(length, 1)).astype(np.float32),
                rewards=generator.normal(size=length).astype(np.float32),
                terminated=number % 2 == 0,
                truncated=number % 2 == 1,
            )
            for number, length in enumerate(lengths)
        ]

    return make
