"""Normalised scores."""

import numpy as np
import pytest

from envs.reference_scores import REFERENCE_SCORES, normalised_score
from storage import UserError


def test_the_reference_returns_score_0_and_100_in_every_version() -> None:
    for family, returns in REFERENCE_SCORES.items():
        for version in (4, 5):
            assert normalised_score(returns, f"{family}-v{version}").tolist() == [0.0, 100.0]


def test_a_score_agrees_with_d4rls_formula_and_keeps_the_shape() -> None:
    returns = np.array([[0.0, 1000.0], [5000.0, -500.0]])
    expected = 100 * (returns - -280.178953) / (12135.0 - -280.178953)
    np.testing.assert_allclose(normalised_score(returns, "HalfCheetah-v4"), expected, rtol=1e-14)
    assert normalised_score(3234.3, "Hopper-v4").shape == ()


@pytest.mark.parametrize("name", ["Ant-v4", "halfcheetah", ""])
def test_an_environment_without_reference_scores_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="InvertedDoublePendulum"):
        normalised_score(1.0, name)
