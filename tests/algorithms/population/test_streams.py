"""Random numbers belong to one agent each."""

from __future__ import annotations

import torch

from algorithms.population.streams import Streams

SEEDS = (51, 52, 53)


def test_a_stream_draws_the_same_alone_and_beside_others() -> None:
    together, alone = Streams(SEEDS), Streams(SEEDS[1:2])
    for _ in range(3):
        assert torch.equal(together.normal(7, 3)[1:2], alone.normal(7, 3))
        assert torch.equal(together.uniform(5)[1:2], alone.uniform(5))
        assert torch.equal(together.integers(1000, 4)[1:2], alone.integers(1000, 4))
