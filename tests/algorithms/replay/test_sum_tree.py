"""The sum tree against a plain list of priorities and its running sum in whole units."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from algorithms.replay import sum_tree
from algorithms.replay.sum_tree import UNITS, SumTree
from storage import UserError

PRIORITIES = st.one_of(
    st.just(0.0), st.integers(1, 5).map(float), st.floats(2.0**-10, 1e3, width=32), st.just(3000.0)
)


@pytest.fixture(autouse=True)
def _narrow_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small trees here; a narrow top gives them the several levels that large ones have."""
    monkeypatch.setattr(sum_tree, "WIDEST_TOP", 3)


class Model:
    """Priorities of one tree as a list of whole units."""

    def __init__(self, leaves: int) -> None:
        self.units = [0] * leaves

    @staticmethod
    def in_units(priority: float) -> int:
        exact = Fraction(priority) * UNITS
        return -(-exact.numerator // exact.denominator)

    def draw(self, fraction: float) -> int:
        """The leaf whose interval of the running sum contains fraction * total."""
        ticket = min(int(fraction * float(sum(self.units))), sum(self.units) - 1)
        for leaf, units in enumerate(self.units):
            if ticket < units:
                return leaf
            ticket -= units
        raise AssertionError("the ticket lies beyond the total")


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, int, list[tuple[str, object]]]:
    """Trees, leaves, branching and a sequence of updates."""
    trees, leaves, branching = draw(st.integers(1, 3)), draw(st.integers(1, 70)), draw(st.integers(2, 5))
    actions: list[tuple[str, object]] = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            start = draw(st.integers(0, leaves))
            values = draw(st.lists(PRIORITIES, min_size=trees, max_size=trees))
            actions.append(("fill", (start, draw(st.integers(start, leaves)), values)))
        else:
            size = draw(st.integers(1, min(5, leaves)))
            rows = [
                draw(st.lists(st.integers(0, leaves - 1), min_size=size, max_size=size, unique=True))
                for _ in range(trees)
            ]
            values2 = [draw(st.lists(PRIORITIES, min_size=size, max_size=size)) for _ in range(trees)]
            actions.append(("set", (rows, values2)))
    return trees, leaves, branching, actions


def apply(tree: SumTree, models: list[Model], actions: list[tuple[str, object]]) -> None:
    """Do the same to the tree and to the lists."""
    for kind, arguments in actions:
        if kind == "fill":
            start, stop, values = arguments  # type: ignore[misc]
            tree.fill(start, stop, torch.tensor(values, dtype=torch.float64))
            for model, value in zip(models, values, strict=True):
                model.units[start:stop] = [Model.in_units(value)] * (stop - start)
        else:
            rows, columns = arguments  # type: ignore[misc]
            tree.set(torch.tensor(rows), torch.tensor(columns, dtype=torch.float32))
            for model, row, values in zip(models, rows, columns, strict=True):
                for leaf, value in zip(row, values, strict=True):
                    model.units[leaf] = Model.in_units(float(np.float32(value)))


def nodes(tree: SumTree) -> list[Tensor]:
    """Every level of the tree."""
    return [level.clone() for level in tree._levels]


FRACTIONS = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(histories(), FRACTIONS)
def test_draws_are_the_inverse_of_the_running_sum(
    history: tuple[int, int, int, list[tuple[str, object]]], fractions: list[float]
) -> None:
    trees, leaves, branching, actions = history
    tree, models = SumTree(trees, leaves, branching), [Model(leaves) for _ in range(trees)]
    apply(tree, models, actions)

    fractions = [*fractions, 0.0, float(np.nextafter(1.0, 0.0))]
    drawn = tree.sample(torch.tensor([fractions] * trees, dtype=torch.float64))
    every_leaf = torch.arange(leaves).expand(trees, leaves)
    assert (tree.get(every_leaf) * UNITS).tolist() == [model.units for model in models]
    assert (tree.total() * UNITS).tolist() == [sum(model.units) for model in models]
    for model, row in zip(models, drawn.tolist(), strict=True):
        if sum(model.units):
            assert row == [model.draw(fraction) for fraction in fractions]
            assert all(model.units[leaf] > 0 for leaf in row)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_no_node_depends_on_the_history_or_on_other_trees(
    history: tuple[int, int, int, list[tuple[str, object]]],
) -> None:
    trees, leaves, branching, actions = history
    tree, models = SumTree(trees, leaves, branching), [Model(leaves) for _ in range(trees)]
    apply(tree, models, actions)

    for row, model in enumerate(models):
        alone = SumTree(1, leaves, branching)
        final = torch.tensor([model.units], dtype=torch.float64) / UNITS
        alone.set(torch.arange(leaves).unsqueeze(0), final)
        for level, expected in zip(nodes(tree), nodes(alone), strict=True):
            assert torch.equal(level[row : row + 1], expected)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_restored_trees_are_bit_identical(history: tuple[int, int, int, list[tuple[str, object]]]) -> None:
    trees, leaves, branching, actions = history
    tree = SumTree(trees, leaves, branching)
    apply(tree, [Model(leaves) for _ in range(trees)], actions)

    other = SumTree(trees, leaves, branching)
    other.fill(0, leaves, 7.0)
    other.restore(tree.state())
    assert all(torch.equal(a, b) for a, b in zip(nodes(tree), nodes(other), strict=True))


def test_a_partial_state_leaves_the_rest_at_zero() -> None:
    tree = SumTree(2, 20, branching=3)
    tree.fill(0, 12, 2.0)
    state = tree.state(stop=12)
    tree.fill(12, 20, 5.0)
    assert state.shape == (2, 12)
    tree.restore(state)
    assert tree.total().tolist() == [24.0, 24.0]


def stratified_counts(tree: SumTree, leaves: int, strata: int, offsets: NDArray[np.float64]) -> list[Tensor]:
    """How often each leaf is drawn by one draw in each stratum, for each offset within the strata."""
    counts = []
    for offset in offsets:
        fractions = (torch.arange(strata, dtype=torch.float64) + float(offset)) / strata
        counts.append(torch.bincount(tree.sample(fractions.unsqueeze(0))[0], minlength=leaves))
    return counts


def test_stratified_counts_are_proportional_to_priorities() -> None:
    leaves, strata, grid = 40, 64, 256
    priorities = torch.from_numpy(np.random.default_rng(0).integers(0, 9, leaves).astype(np.float64))
    tree = SumTree(1, leaves, branching=3)
    tree.set(torch.arange(leaves).unsqueeze(0), priorities.unsqueeze(0))
    expected = strata * priorities / priorities.sum()

    counts = stratified_counts(tree, leaves, strata, np.arange(grid) / grid)

    for count in counts:  # an interval of e strata meets at most ceil(e) + 1 and fills at least floor(e) - 1
        assert bool(torch.all(count >= expected.floor() - 1))
        assert bool(torch.all(count <= expected.ceil() + 1))
    # Over the whole grid of strata * grid points each leaf holds its share of them, up to one at its edge.
    assert bool(torch.all((sum(counts) - grid * expected).abs() <= 1))


def test_an_index_drawn_twice_counts_once() -> None:
    tree = SumTree(1, 10, branching=2)
    tree.set(torch.tensor([[4, 7, 4]]), torch.tensor([[2.0, 3.0, 2.0]]))
    assert tree.total().tolist() == [5.0]


def test_the_smallest_priority_survives_beside_the_largest() -> None:
    tree = SumTree(1, 1_000_000)
    tree.fill(0, 1_000_000, 1e3)
    tree.set(torch.tensor([[123_456]]), torch.tensor([[1e-9]]))
    assert 0 < tree.get(torch.tensor([[123_456]])).item() <= 1e-6
    share = 123_456 / 999_999
    below, above = share * (1 - 1e-9), share * (1 + 1e-9)
    fractions = torch.tensor([[below, above]], dtype=torch.float64)
    assert tree.sample(fractions).tolist() == [[123_455, 123_457]]


def test_no_draw_leads_out_of_a_tree_that_was_given_what_is_not_a_number() -> None:
    tree = SumTree(2, 40, branching=2)
    tree.fill(0, 40, 1.0)
    indices = torch.arange(30).expand(2, -1)
    tree.set(indices, torch.tensor([float("nan"), float("inf"), 1.0]).repeat(2, 10))
    drawn = tree.sample(torch.linspace(0, 1 - 1e-12, 50, dtype=torch.float64).expand(2, -1))
    assert drawn.min() >= 0 and drawn.max() < 40
    assert (tree.get(indices)[:, ::3] == 0).all()
    tree.set(torch.arange(40).expand(2, -1), torch.full((2, 40), float("nan")))
    drawn = tree.sample(torch.rand(2, 50, dtype=torch.float64))
    assert drawn.min() >= 0 and drawn.max() < 40


def test_priorities_beyond_the_largest_count_as_the_largest() -> None:
    tree = SumTree(1, 100, branching=4)
    tree.fill(0, 100, float("inf"))
    assert tree.total().tolist() == [100.0 * tree.largest_priority]
    assert tree.sample(torch.tensor([[0.0, 0.999]], dtype=torch.float64)).tolist() == [[0, 99]]


@pytest.mark.parametrize(("trees", "leaves", "branching"), [(0, 5, 2), (1, 0, 2), (1, 5, 1)])
def test_impossible_sizes_are_refused(trees: int, leaves: int, branching: int) -> None:
    with pytest.raises(UserError, match="trees >= 1, leaves >= 1 and branching >= 2"):
        SumTree(trees, leaves, branching)


def test_ranges_outside_the_tree_are_refused() -> None:
    with pytest.raises(UserError, match="not within a tree of 5 leaves"):
        SumTree(1, 5).fill(3, 6, 1.0)


@pytest.mark.parametrize(
    "state", [torch.zeros(1, 5), torch.zeros(2, 5, dtype=torch.int64), torch.zeros(1, 6, dtype=torch.int64)]
)
def test_a_state_of_another_tree_is_refused(state: Tensor) -> None:
    with pytest.raises(UserError, match="saved priorities"):
        SumTree(1, 5).restore(state)
