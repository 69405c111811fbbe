"""Shares of offline samples: means and intervals over seeds, and where the paper's index lies in steps."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.intervals import Bootstrap
from analysis.shares import LOGGED_SHARE, TRUE_SHARE, environment_steps, share_curve
from storage import UserError
from tests.curves import curve_row, frame

DATASET = "hopper-medium"
VALUES = {1000: (0.9, 0.8, 0.7), 2000: (0.5, 0.6, 0.1)}


def made_up(metric: str = TRUE_SHARE, method: str = "off2on", dataset: str = DATASET) -> pd.DataFrame:
    return frame(
        curve_row(method, dataset, seed, step, value, metric)
        for step, values in reversed(VALUES.items())
        for seed, value in enumerate(values)
    )


def test_a_share_is_the_mean_over_seeds_at_each_step() -> None:
    others = [made_up(LOGGED_SHARE), made_up(method="sac"), made_up(dataset="hopper-random")]
    curves = pd.concat([made_up(), *(other.assign(value=0.0) for other in others)])
    curve = share_curve(curves, "off2on", DATASET, Bootstrap(repetitions=50))
    assert list(curve["step"]) == [1000, 2000] and set(curve["runs"]) == {3}
    for row in curve.itertuples():
        assert row.estimate == pytest.approx(sum(VALUES[row.step]) / 3)
    logged = share_curve(curves, "off2on", DATASET, Bootstrap(repetitions=50), LOGGED_SHARE)
    assert set(logged["estimate"]) == {0.0}


def test_the_interval_is_that_of_resampled_seeds() -> None:
    """Against all 27 equally likely resamples of three seeds."""
    curve = share_curve(made_up(), "off2on", DATASET, Bootstrap(repetitions=4000, confidence=0.8))
    for row in curve.itertuples():
        means = sorted(sum(drawn) / 3 for drawn in product(VALUES[row.step], repeat=3))
        # The resamples' own quantiles, give or take one of the 27 in the sampled ones.
        for bound, rank in ((row.low, 0.1 * 27), (row.high, 0.9 * 27)):
            near = means[max(math.floor(rank) - 2, 0) : math.ceil(rank) + 1]
            assert min(near) - 1e-9 <= bound <= max(near) + 1e-9


def test_one_seed_has_no_interval() -> None:
    curves = made_up()
    curve = share_curve(curves[curves["seed"] == 0], "off2on", DATASET, Bootstrap(repetitions=5))
    assert curve["low"].isna().all() and list(curve["estimate"]) == [0.9, 0.5]


def test_missing_shares_are_named() -> None:
    with pytest.raises(
        UserError, match="no offline_fraction_logged of method off2on on dataset hopper-medium"
    ):
        share_curve(made_up(), "off2on", DATASET, Bootstrap(), LOGGED_SHARE)
    with pytest.raises(UserError, match="seed 1, step 2000: expected every seed at the same steps"):
        curves = made_up()
        gone = (curves["seed"] == 1) & (curves["step"] == 2000)
        share_curve(curves[~gone], "off2on", DATASET, Bootstrap())


def test_the_papers_index_runs_ahead_by_four() -> None:
    """Blocks 0 to 4 learn from the first 1,000 steps, block 5 from the next; an evaluation follows each."""
    index = np.array([0, 1, 2, 3, 4, 5, 6, 10, 249])
    expected = [200, 400, 600, 800, 1000, 2000, 3000, 7000, 246_000]
    np.testing.assert_array_equal(environment_steps(1000 * index), expected)


@given(st.lists(st.integers(0, 1000), min_size=2, unique=True))
def test_later_blocks_lie_later(blocks: list[int]) -> None:
    steps = environment_steps(1000 * np.array(sorted(blocks)))
    assert (np.diff(steps) > 0).all()
