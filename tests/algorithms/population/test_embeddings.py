"""Tables of vectors: directions by number, their gradients on every device, and how large a table may be."""

from __future__ import annotations

import torch
from torch.nn import functional

from algorithms.population.embeddings import Embeddings, _Rows, nearest
from algorithms.population.rows import one_hot
from algorithms.population.streams import Streams
from tests.algorithms import slow_reference as slow


def test_rows_are_directions_and_their_gradient_is_that_of_a_product_with_ones() -> None:
    table = Embeddings(2, 5, 3).double()
    slow.randomise(table, seed=1)
    numbers = torch.tensor([[0, 4, 4, 2], [1, 1, 1, 3]])
    weights = torch.randn(2, 4, 3, dtype=torch.float64)
    rows = table(numbers)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2, 4, dtype=torch.float64))
    (found,) = torch.autograd.grad((rows * weights).sum(), table.vectors)
    product = torch.bmm(one_hot(numbers, 5, torch.float64), table.vectors)
    (expected,) = torch.autograd.grad((functional.normalize(product, dim=-1) * weights).sum(), table.vectors)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not table(numbers, frozen=True).requires_grad


def test_a_vector_that_no_number_names_has_no_gradient() -> None:
    table = torch.randn(1, 4, 2, requires_grad=True)
    _Rows.apply(table, torch.tensor([[3, 1]])).sum().backward()
    assert table.grad is not None and table.grad[0].sum(dim=1).tolist() == [0, 2, 0, 2]


def test_nearest_is_the_largest_cosine() -> None:
    axes = torch.eye(3).expand(2, 3, 3)
    assert nearest(torch.tensor([[[0.1, 0.9, 0.0]], [[-0.9, 0.1, 0.2]]]), axes).tolist() == [[1], [2]]


def test_fresh_directions_are_each_agents_own() -> None:
    both, alone = Embeddings(2, 4, 3), Embeddings(1, 4, 3)
    both.initialise(Streams([5, 6]))
    alone.initialise(Streams([6]))
    assert torch.equal(both.vectors[1], alone.vectors[0])


def test_a_table_of_all_trajectories_of_hopper_random_and_its_moments_stay_small() -> None:
    table = Embeddings(5, 45_000, 8)  # five agents
    held = 4 * table.vectors.numel() * table.vectors.element_size()  # itself, its gradient, Adam's moments
    assert held < 1.5e9 / 50
