"""Statistics: point estimates equal slow definitions; intervals are rliable's, and reproducible."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rliable import library, metrics

from analysis.aggregate import (
    THRESHOLDS,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    statistics,
)
from analysis.intervals import Bootstrap, interval_estimate, whole_run_interval
from analysis.scores import normalised, run_values, score_arrays
from analysis.statistics import ALL, COLUMNS, closing_rows, read_statistics, write_statistics
from storage import UserError
from tests.curves import make_curves

FEW = Bootstrap(repetitions=50, seed=3)


def middle_half_mean(values: np.ndarray) -> float:
    """IQM by its definition: sort, drop a quarter (rounded down) at each end, average the rest."""
    ordered = sorted(float(value) for value in values.ravel())
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def share_of_wins(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Probability of improvement by its definition: count pairs task by task, a tie as half a win."""
    tasks = []
    for task in range(ours.shape[1]):
        wins = 0.0
        for x in ours[:, task]:
            for y in theirs[:, task]:
                wins += 1.0 if x > y else 0.5 if x == y else 0.0
        tasks.append(wins / (len(ours) * len(theirs)))
    return sum(tasks) / len(tasks)


@pytest.mark.parametrize(("runs", "tasks"), [(2, 1), (3, 1), (4, 2), (5, 3), (10, 1)])
def test_iqm_is_the_mean_of_the_middle_half(runs: int, tasks: int) -> None:
    scores = np.random.default_rng(runs).normal(50, 20, (runs, tasks, 4))
    iqm, _, mean, _ = sample_efficiency(scores, FEW)
    for step in range(4):
        assert iqm[step] == pytest.approx(middle_half_mean(scores[:, :, step]), rel=1e-12)
        assert iqm[step] == pytest.approx(metrics.aggregate_iqm(scores[:, :, step]), rel=1e-12)
        assert mean[step] == pytest.approx(metrics.aggregate_mean(scores[:, :, step]), rel=1e-12)


@pytest.mark.parametrize("decimals", [0, 6])
def test_probability_of_improvement_counts_pairs_and_ties_half(decimals: int) -> None:
    random = np.random.default_rng(1)
    ours = random.normal(1, 1, (4, 3)).round(decimals)
    theirs = random.normal(0, 1, (5, 3)).round(decimals)
    ours_wins = probability_of_improvement(ours, theirs)
    assert ours_wins == pytest.approx(share_of_wins(ours, theirs), rel=1e-12)
    assert ours_wins == pytest.approx(metrics.probability_of_improvement(ours, theirs), rel=1e-12)
    assert ours_wins + probability_of_improvement(theirs, ours) == pytest.approx(1.0)
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)


def test_final_statistics_equal_their_definitions() -> None:
    curves = make_curves(datasets=("halfcheetah-random", "hopper-medium", "walker2d-medium"))
    result = statistics(curves, repetitions=20)
    scores = score_arrays(curves)
    for method, values in scores.values.items():
        final = values[:, :, -1]
        rows = result.table[(result.table["method"] == method) & (result.table["dataset"] == ALL)]
        rows = rows[(rows["step"] == 2000) & (rows["versus"] == "")].set_index("statistic")["estimate"]
        task_means = [sum(final[:, task]) / len(final) for task in range(final.shape[1])]
        assert rows["iqm"] == pytest.approx(middle_half_mean(final))
        assert rows["mean"] == pytest.approx(sum(task_means) / len(task_means))
        assert rows["median"] == pytest.approx(sorted(task_means)[1])
        shortfall = [max(0.0, 100.0 - score) for score in final.ravel()]
        assert rows["optimality_gap"] == pytest.approx(sum(shortfall) / len(shortfall))
    for row in result.improvements().itertuples():
        ours, theirs = (scores.values[name][:, :, -1] for name in (row.method, row.versus))
        assert row.estimate == pytest.approx(share_of_wins(ours, theirs))


def test_each_method_is_compared_with_those_after_it() -> None:
    pairs = statistics(make_curves(), repetitions=5).improvements()
    assert list(zip(pairs["method"], pairs["versus"], strict=True)) == [
        ("off2on", "sac_ft"),
        ("off2on", "sac"),
        ("sac_ft", "sac"),
    ]


def test_intervals_contain_the_estimate_and_come_from_the_runs() -> None:
    curves = make_curves(seeds=range(5))
    result = statistics(curves, repetitions=500)
    values = score_arrays(curves).values["off2on"][:, 0]
    rows = result.curve("off2on")
    assert (rows["low"] <= rows["estimate"]).all() and (rows["estimate"] <= rows["high"]).all()
    assert (rows["low"] >= values.min(axis=0)).all() and (rows["high"] <= values.max(axis=0)).all()
    assert (rows["high"] > rows["low"]).all()


def test_intervals_are_percentiles_of_resampled_means() -> None:
    """Against a bootstrap of our own with other draws: the ends agree to Monte-Carlo error."""
    scores = np.random.default_rng(5).normal(50, 10, (8, 2, 1))
    _, _, _, (low, high) = sample_efficiency(scores, Bootstrap(repetitions=4000, seed=0))
    random = np.random.default_rng(11)
    means = [
        np.mean([random.choice(scores[:, task, 0], size=8).mean() for task in range(2)]) for _ in range(4000)
    ]
    assert low[0] == pytest.approx(np.percentile(means, 2.5), abs=0.4)
    assert high[0] == pytest.approx(np.percentile(means, 97.5), abs=0.4)


def test_identical_runs_have_an_interval_of_no_width() -> None:
    result = statistics(make_curves(noise=0.0), repetitions=30)
    rows = result.table
    np.testing.assert_allclose(rows["low"], rows["estimate"], rtol=1e-12)
    np.testing.assert_allclose(rows["high"], rows["estimate"], rtol=1e-12)


def test_more_runs_narrow_the_interval() -> None:
    scores = np.random.default_rng(2).normal(50, 10, (40, 1, 1))
    widths = []
    for runs in (5, 40):
        _, interval, _, _ = sample_efficiency(scores[:runs], Bootstrap(repetitions=400))
        widths.append(float(interval[1, 0] - interval[0, 0]))
    assert widths[1] < widths[0]


def test_one_run_has_no_interval() -> None:
    result = statistics(make_curves(seeds=(4,)), repetitions=10)
    assert result.table["low"].isna().all() and result.table["high"].isna().all()
    assert result.table["estimate"].notna().all()


def test_statistics_are_the_same_whenever_they_are_computed() -> None:
    curves = make_curves()
    first = statistics(curves, repetitions=40, seed=1)
    np.random.seed(99)
    second = statistics(curves.sample(frac=1.0, random_state=1), repetitions=40, seed=1)
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    other = statistics(curves, repetitions=40, seed=2)
    assert not first.table["low"].equals(other.table["low"])


def test_an_interval_does_not_depend_on_the_other_methods() -> None:
    curves = make_curves()
    together = statistics(curves, repetitions=40).curve("sac")
    alone = statistics(curves, repetitions=40, methods=["sac"]).curve("sac")
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_the_global_generator_is_left_as_it_was() -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    statistics(make_curves(), repetitions=5)
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_the_global_generator_is_put_back_after_an_error() -> None:
    def fails(scores: np.ndarray) -> np.ndarray:
        np.random.random(3)
        raise ValueError("no estimate")

    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    with pytest.raises(ValueError, match="no estimate"):
        interval_estimate(fails, np.zeros((3, 1)), FEW)
    np.testing.assert_array_equal(np.random.random(3), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetitions": 0}, "repetitions are 0"),
        ({"seed": -1}, "seed is -1"),
        ({"confidence": 1.0}, "coverage of the intervals is 1.0"),
    ],
)
def test_bootstrap_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        statistics(make_curves(), **settings)


def test_a_performance_profile_is_the_share_of_runs_above_each_threshold() -> None:
    curves = make_curves(datasets=("halfcheetah-random", "hopper-medium"), noise=2000.0)
    result = statistics(curves, repetitions=200)
    for method, values in score_arrays(curves).values.items():
        profile, final = result.profile(method), values[:, :, -1].ravel()
        assert list(profile["threshold"]) == list(THRESHOLDS)
        for row in profile.itertuples():
            assert row.estimate == pytest.approx(sum(score > row.threshold for score in final) / len(final))
            assert row.low <= row.estimate <= row.high
        expected = library.create_performance_profile({"m": values[:, :, -1]}, list(THRESHOLDS), reps=5)[0][
            "m"
        ]
        np.testing.assert_allclose(profile["estimate"], expected, rtol=1e-12)
    with pytest.raises(UserError, match="no method 'awac'"):
        result.profile("awac")


def test_a_profile_falls_from_one_to_nought() -> None:
    share, interval = performance_profile(np.array([[-5.0, 30.0], [50.0, 130.0]]), FEW)
    assert (share[0], share[-1]) == (0.75, 0.25) and (np.diff(share) <= 0).all()
    assert interval.shape == (2, len(THRESHOLDS))


def test_run_values_are_what_each_run_measured() -> None:
    curves = make_curves(datasets=("halfcheetah-random", "hopper-medium"))
    late = (curves["dataset"] == "hopper-medium") & (curves["seed"] == 2)
    curves = curves[~late].sample(frac=1.0, random_state=0)
    curves = curves[~((curves["seed"] == 0) & (curves["step"] == 1000) & (curves["method"] == "sac"))]
    datasets = ["hopper-medium", "halfcheetah-random"]
    values, steps = run_values(curves, "sac", datasets)
    assert list(steps) == [0, 2000] and values.shape == (2, 2, 2)
    for run in (0, 1):
        for task, dataset in enumerate(datasets):
            rows = curves[
                (curves["method"] == "sac") & (curves["dataset"] == dataset) & (curves["seed"] == run)
            ]
            expected = normalised(rows.set_index("step")["value"].loc[[0, 2000]].to_numpy(), dataset)
            np.testing.assert_allclose(values[run, task], expected, rtol=1e-12)
    assert run_values(curves, "sac", [*datasets, "walker2d-medium"])[0].size == 0


def test_whole_runs_are_resampled_whole() -> None:
    """Against a bootstrap of our own; drawn anew at each step, the mean over steps would hardly vary."""
    random = np.random.default_rng(6)
    curves = random.normal(50, 10, (6, 2, 1)) + random.normal(0, 1, (6, 2, 40))

    def mean_over_steps(values: np.ndarray) -> np.ndarray:
        return np.array([values.mean()])

    point, interval = whole_run_interval(mean_over_steps, [curves], Bootstrap(repetitions=4000), "test")
    drawn = [
        np.mean([curves[random.integers(6, size=6), task].mean() for task in range(2)]) for _ in range(4000)
    ]
    assert point[0] == pytest.approx(curves.mean())
    assert interval[:, 0] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.5)
    _, by_step = interval_estimate(mean_over_steps, curves, Bootstrap(repetitions=400))
    assert np.ptp(by_step) < np.ptp(interval) / 3


def test_kept_intervals_are_the_computed_ones(tmp_path: Path) -> None:
    curves, kept = make_curves(), tmp_path / "cache"
    fresh = statistics(curves, repetitions=30)
    for _ in range(2):
        again = statistics(curves, repetitions=30, cache=kept)
        pd.testing.assert_frame_equal(again.table, fresh.table, check_exact=True)
    other = statistics(curves, repetitions=30, seed=1, cache=kept)
    assert not other.table["low"].equals(fresh.table["low"])


def test_a_kept_interval_is_not_drawn_again(tmp_path: Path) -> None:
    bootstrap, calls = Bootstrap(repetitions=10, cache=tmp_path), []

    def estimator(values: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.array([values.mean()])

    scores = np.random.default_rng(0).normal(size=(3, 2, 4))
    for interval in (interval_estimate, lambda e, s, b, n: whole_run_interval(e, [s], b, n)):
        first = interval(estimator, scores, bootstrap, "mean")
        drawn = len(calls)
        second = interval(estimator, scores, bootstrap, "mean")
        assert len(calls) == drawn
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        for change in (("another", scores), ("mean", scores + 1)):
            before = len(calls)
            interval(estimator, change[1], bootstrap, change[0])
            assert len(calls) > before


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"point": [1.0], "interval": [[1.0]]}', '{"point": "x"}']
)
def test_a_damaged_cache_is_computed_again(tmp_path: Path, content: str) -> None:
    bootstrap = Bootstrap(repetitions=10, cache=tmp_path)
    scores = np.random.default_rng(0).normal(size=(3, 2))

    def estimate() -> np.ndarray:
        return interval_estimate(lambda values: np.array([values.mean()]), scores, bootstrap, "mean")[1]

    expected = estimate()
    (kept,) = tmp_path.iterdir()
    kept.write_text(content)
    np.testing.assert_array_equal(estimate(), expected)
    np.testing.assert_array_equal(estimate(), expected)


def test_closing_rows_are_the_ends_of_the_curves() -> None:
    result = statistics(make_curves(datasets=("halfcheetah-random", "hopper-medium")), repetitions=20)
    rows = closing_rows(result)
    assert list(rows["dataset"]) == ["halfcheetah-random", "hopper-medium", "all"] * 3
    for row in rows.itertuples():
        curve = result.curve(row.method, row.dataset)
        assert (row.start, row.end) == (curve["estimate"].iloc[0], curve["estimate"].iloc[-1])
        assert (row.end_low, row.end_high) == (curve["low"].iloc[-1], curve["high"].iloc[-1])
        assert (row.first_step, row.last_step, row.seeds) == (0, 2000, 3)


def test_one_dataset_has_no_row_for_all() -> None:
    rows = closing_rows(statistics(make_curves(), repetitions=5))
    assert list(rows["dataset"]) == ["halfcheetah-random"] * 3


@pytest.mark.parametrize(
    ("method", "dataset", "message"),
    [("awac", ALL, "no method 'awac'"), ("sac", "hopper-medium", "no dataset 'hopper-medium'")],
)
def test_an_absent_curve_is_named(method: str, dataset: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        statistics(make_curves(), repetitions=5).curve(method, dataset)


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0,)])
def test_statistics_come_back_from_disk(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    provenance = {"configuration_hash": "0123456789ab"}
    result = statistics(make_curves(seeds=seeds), repetitions=20, provenance=provenance)
    write_statistics(result, tmp_path / "statistics.json", tmp_path / "statistics.parquet")
    again = read_statistics(tmp_path / "statistics.parquet")
    pd.testing.assert_frame_equal(again.table, result.table, check_exact=True)
    assert list(again.table.columns) == list(COLUMNS)
    for name in ("methods", "datasets", "seeds", "steps", "repetitions", "seed", "confidence", "provenance"):
        assert getattr(again, name) == getattr(result, name)
    text = json.loads((tmp_path / "statistics.json").read_text())
    assert text["provenance"] == provenance
    ends = {row["method"]: row["end"] for row in text["by_dataset"]}
    assert ends["off2on"] == result.curve("off2on")["estimate"].iloc[-1]
    assert (text["by_dataset"][0]["end_low"] is None) == (len(seeds) == 1)


def test_the_same_statistics_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_statistics(
            statistics(make_curves(), repetitions=20), tmp_path / f"{name}.json", tmp_path / f"{name}.parquet"
        )
    for suffix in (".json", ".parquet"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_truncated_file_of_statistics_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "statistics.parquet"
    with pytest.raises(UserError, match="does not exist"):
        read_statistics(path)
    write_statistics(statistics(make_curves(), repetitions=5), tmp_path / "statistics.json", path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole Parquet file"):
        read_statistics(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(UserError, match="not a file of statistics"):
        read_statistics(path)
