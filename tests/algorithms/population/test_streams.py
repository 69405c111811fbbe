"""Random numbers belong to one agent each; of subsets each number is drawn as often as another."""

from __future__ import annotations

import pytest
import torch

from algorithms.population.streams import Streams

SEEDS = (51, 52, 53)


def test_a_stream_draws_the_same_alone_and_beside_others() -> None:
    together, alone = Streams(SEEDS), Streams(SEEDS[1:2])
    for _ in range(3):
        assert torch.equal(together.normal(7, 3)[1:2], alone.normal(7, 3))
        assert torch.equal(together.uniform(5)[1:2], alone.uniform(5))
        assert torch.equal(together.integers(1000, 4)[1:2], alone.integers(1000, 4))


NUMBER, SIZE, OF = 5000, 2, 10


@pytest.mark.parametrize("replacement", [False, True])
def test_every_number_is_drawn_as_often_as_another(replacement: bool) -> None:
    drawn = Streams([1, 2]).subsets(NUMBER, SIZE, OF, replacement)
    assert drawn.shape == (2, NUMBER, SIZE) and drawn.dtype == torch.int64
    for row in drawn:
        for place in row.unbind(-1):  # 500 of each number, deviation 21
            counts = torch.bincount(place, minlength=OF)
            assert counts.shape == (OF,) and bool(((counts - NUMBER / OF).abs() < 5 * 21.3).all())


def test_without_replacement_a_subset_has_no_number_twice_and_with_it_one_in_so_many_has() -> None:
    without, with_it = (Streams([1]).subsets(NUMBER, SIZE, OF, kind) for kind in (False, True))
    assert bool((without[..., 0] != without[..., 1]).all())
    twice = int((with_it[..., 0] == with_it[..., 1]).sum())  # 500 expected, deviation 21
    assert abs(twice - NUMBER / OF) < 5 * 21.3


@pytest.mark.parametrize("replacement", [False, True])
def test_subsets_are_the_same_alone_and_beside_others(replacement: bool) -> None:
    together = Streams([1, 2, 3]).subsets(4, 3, 5, replacement)
    assert torch.equal(together[1:2], Streams([2]).subsets(4, 3, 5, replacement))
    assert torch.equal(Streams([2]).subsets(4, 5, 5).sort(dim=-1).values, torch.arange(5).expand(1, 4, 5))
