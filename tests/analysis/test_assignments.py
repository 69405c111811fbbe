"""Purity and mutual information of groups: their values by hand, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.assignments import normalised_mutual_information, principal_components, purity


def labels(text: str) -> np.ndarray:
    return np.array([int(digit) for digit in text])


@pytest.mark.parametrize(
    ("found", "true", "pure", "shared"),
    [
        ("0011", "5577", 1.0, 1.0),
        ("1100", "0011", 1.0, 1.0),
        ("0000", "0011", 0.5, 0.0),
        ("0123", "0011", 1.0, 2 * math.log(2) / (math.log(4) + math.log(2))),
        ("0101", "0011", 0.5, 0.0),
        ("0000", "3333", 1.0, 1.0),
    ],
)
def test_values_by_hand(found: str, true: str, pure: float, shared: float) -> None:
    assert purity(labels(found), labels(true)) == pytest.approx(pure)
    assert normalised_mutual_information(labels(found), labels(true)) == pytest.approx(shared, abs=1e-12)


def test_one_mistake_of_six_costs_a_sixth_of_purity() -> None:
    found, true = labels("000111"), labels("000011")
    assert purity(found, true) == pytest.approx(5 / 6)
    half, others, joint = math.log(2), [4 / 6, 2 / 6], [3 / 6, 1 / 6, 2 / 6]
    entropies = [-sum(p * math.log(p) for p in shares) for shares in (others, joint)]
    expected = 2 * (half + entropies[0] - entropies[1]) / (half + entropies[0])
    assert normalised_mutual_information(found, true) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40))
def test_names_of_groups_do_not_matter_and_both_lie_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    found, true = np.array(pairs).T
    for measure in (purity, normalised_mutual_information):
        value = measure(found, true)
        assert 0 <= value <= 1
        assert measure(7 - found, 3 * true) == pytest.approx(value)
    backwards = normalised_mutual_information(true, found)
    assert backwards == pytest.approx(normalised_mutual_information(found, true))


def test_principal_components_are_the_directions_of_largest_variance() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 3)) * [0.1, 3.0, 1.0]
    shift = np.array([0.0, 1.0, 0.0])
    (first, second), (others_first, _) = principal_components(vectors, vectors[:5] + shift)
    assert first.std() > 2.5 > 1.2 > second.std() > 0.7
    np.testing.assert_allclose(abs(np.corrcoef(first, vectors[:, 1])[0, 1]), 1, atol=0.01)
    np.testing.assert_allclose(
        np.abs(others_first - first[:5]), 1, atol=0.01
    )  # the same axes, the same centre
    assert abs(np.corrcoef(first, second)[0, 1]) < 1e-9
