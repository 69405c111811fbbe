"""Reproduction error: ours less published at the same step, where both exist."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Bootstrap
from analysis.published import published_runs
from analysis.reproduction_error import COLUMNS, STEPS, error_table, reproduction_errors
from analysis.scores import normalised
from analysis.shares import environment_steps
from tests.curves import curve_row, frame
from tests.published import published_curve

FEW = Bootstrap(repetitions=100)
PANEL = "halfcheetah-random"


def made_up(
    method: str, returns: dict[int, float], *, seeds: int = 4, metric: str = "return", dataset: str = PANEL
) -> pd.DataFrame:
    """Returns at given steps, spread evenly around them by 100 a seed."""
    return frame(
        curve_row(method, dataset, seed, step, value + 100.0 * (seed - (seeds - 1) / 2), metric)
        for seed in range(seeds)
        for step, value in returns.items()
    )


def test_the_published_runs_reproduce_themselves() -> None:
    errors = reproduction_errors(published_runs(3), FEW)
    own = errors[errors["figure"] == "3"]
    assert len(own["curve"].unique()) == 5 and len(own["panel"].unique()) == 12
    assert set(own["step"]) == {*(step for step in STEPS if step < 250_000), 249_000}
    np.testing.assert_allclose(own["difference"], 0, atol=1e-9)
    # Off2On is the same in Figures 3, 8, 11, 12 and 14, to the accuracy of the digitisation.
    same = errors[(errors["method"] == "off2on") & errors["figure"].isin(["8", "11", "12", "14"])]
    assert len(same) and same["difference"].abs().max() < 0.1


def test_the_difference_is_ours_less_published_in_normalised_score() -> None:
    errors = reproduction_errors(made_up("sac_ft", {0: 3000.0, 5000: 4000.0, 7000: 4100.0}), FEW)
    rows = errors[errors["figure"] == "3"].set_index("step")
    assert list(rows.index) == [0, 5000, 7000]
    theirs = published_curve(3, PANEL, "SAC-ft").set_index("step")
    for step, ours in ((0, 3000.0), (5000, 4000.0), (7000, 4100.0)):
        mean, std = theirs.loc[step, "mean"], theirs.loc[step, "std"]
        scale = 100 / (normalised(np.array(1.0), PANEL) - normalised(np.array(0.0), PANEL)) / 100
        row = rows.loc[step]
        assert row["difference"] == pytest.approx((ours - mean) / scale)
        assert row["published_std"] == pytest.approx(std / scale)
        assert row["low"] < row["difference"] < row["high"]
        assert row["high"] - row["low"] == pytest.approx(row["ours_high"] - row["ours_low"])
    assert set(rows["runs"]) == {4}


def test_between_thinned_points_the_published_curve_is_a_line() -> None:
    errors = reproduction_errors(made_up("off2on_uniform", {12_000: 4000.0}), FEW)
    (row,) = errors[errors["figure"] == "11"].itertuples()
    theirs = published_curve(11, PANEL, "Uniform").set_index("step")["mean"]
    expected = 0.6 * theirs[10_000] + 0.4 * theirs[15_000]
    assert row.published == pytest.approx(float(normalised(np.array(expected), PANEL)))


def test_the_last_published_point_stands_for_the_end_and_no_further() -> None:
    errors = reproduction_errors(made_up("awac", {249_000: 1.0, 250_000: 1.0, 300_000: 1.0}), FEW)
    assert list(errors["step"]) == [250_000]
    last = published_curve(3, PANEL, "AWAC")["mean"].to_numpy()[-1:]
    assert errors["published"].item() == pytest.approx(normalised(last, PANEL).item())


def test_a_share_is_compared_on_the_papers_axis_and_as_it_logged_it() -> None:
    curve = published_curve(9, "hopper", "medium")
    places = environment_steps(curve["step"].to_numpy(dtype=np.int64))
    expected = float(np.interp(25_000, places, curve["mean"].to_numpy()))
    true = made_up("off2on", {25_000: 0.5}, metric="offline_fraction", dataset="hopper-medium")
    logged = made_up("off2on", {25_000: 0.25}, metric="offline_fraction_logged", dataset="hopper-medium")
    for curves, metric, ours in (
        (true, "offline_fraction", 0.5),
        (pd.concat([true, logged]), "offline_fraction_logged", 0.25),
    ):
        (row,) = reproduction_errors(curves, FEW).itertuples()
        assert (row.figure, row.metric, row.dataset) == ("9", metric, "hopper-medium")
        assert row.difference == pytest.approx(ours - expected)


@pytest.mark.parametrize(("metric", "name"), [("online_share", "s1"), ("random_share", "s2")])
def test_a_share_of_the_first_episodes_is_compared_with_the_block_of_the_same(metric: str, name: str) -> None:
    """Online samples are drawn at the paper's episode 0: its axis counts those before a block's ten."""
    first, ours = 50, made_up("off2on", {50: 0.5}, metric=metric, dataset="pick-place")
    assert published_curve(17, "pick-place", "s1")["mean"][0] > 0.1
    printed = published_curve(17, "pick-place", name).set_index("step")["mean"]
    (row,) = reproduction_errors(ours, FEW).itertuples()
    assert (row.figure, row.metric, row.step) == ("17", metric, first)
    assert row.difference == pytest.approx(0.5 - printed[first - 10])


def test_what_the_paper_does_not_have_has_no_rows() -> None:
    for curves in (
        made_up("off2on", {0: 1.0}, dataset="inverted-double-pendulum-replay"),
        made_up("mine", {0: 1.0}),
        frame([]),
    ):
        errors = reproduction_errors(curves, FEW)
        assert errors.empty and list(errors.columns) == list(COLUMNS)
        assert error_table(errors).startswith("| figure ")


def test_the_table_holds_the_rows() -> None:
    errors = reproduction_errors(made_up("sac", {0: 0.0, 5000: 200.0}, seeds=1), FEW)
    text = error_table(errors)
    assert text.count(f"| {PANEL} | sac ") == len(errors) == 2
    assert "nan" not in text.lower()
