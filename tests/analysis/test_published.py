"""The paper's digitised curves: what is kept equals its source, and says what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.published import (
    EPISODE_FIGURES,
    FIGURES,
    METHOD_OF_CURVE,
    TABLE,
    build,
    main,
    published_runs,
    published_table,
    runs_behind,
)
from storage import UserError
from tests.published import published_curve, published_panels

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "off2on_figures.csv.gz"


@pytest.mark.parametrize(
    ("panel", "curve", "mean", "std"),
    [
        ("halfcheetah-random", "Ours", 3159, 122),
        ("halfcheetah-random", "SAC-ft", 3024, 242),
        ("halfcheetah-medium", "Ours", 4603, 43),
        ("halfcheetah-medium-expert", "SAC-ft", 6161, 634),
        ("hopper-medium", "Ours", 2178, 162),
        ("hopper-random", "SAC-ft", 322, 1),
        ("walker2d-medium-expert", "Ours", 4686, 352),
        ("walker2d-medium-expert", "SAC-ft", 2567, 2530),
    ],
)
def test_offline_starting_points_are_those_of_the_paper(panel: str, curve: str, mean: int, std: int) -> None:
    start = published_curve(3, panel, curve).iloc[0]
    assert start["step"] == 0
    assert (round(start["mean"]), round(start["std"])) == (mean, std)


def test_early_fine_tuning_on_halfcheetah_random_is_that_of_the_paper() -> None:
    points = {
        curve: published_curve(3, "halfcheetah-random", curve).set_index("step")["mean"]
        for curve in ("Ours", "SAC-ft", "SAC")
    }
    assert [round(points["Ours"][step]) for step in (5000, 10_000)] == [5906, 6504]
    assert [round(points["SAC-ft"][step]) for step in (5000, 10_000)] == [3766, 4243]
    assert [round(points["SAC"][step]) for step in (5000, 10_000)] == [-133, -124]


def test_figure_3_is_whole() -> None:
    panels = published_panels(3)
    assert len(panels) == 12
    for panel in panels:
        for curve in ("Ours", "AWAC", "BCQ-ft", "SAC-ft", "SAC"):
            assert list(published_curve("3", panel, curve)["step"]) == list(range(0, 250_000, 1000))


def test_every_kept_figure_has_a_dense_start_and_its_last_step() -> None:
    table = published_table()
    assert set(table["figure"]) == set(FIGURES)
    for (figure, _, _), rows in table.groupby(["figure", "panel", "curve"]):
        steps = set(rows["step"])
        if figure in EPISODE_FIGURES:
            assert set(range(0, 991, 10)) <= steps
            continue
        if figure not in ("4b", "10"):  # those two are measured every 10,000 steps only
            assert set(range(0, 10_001, 1000)) <= steps
            assert {15_000, 20_000, 245_000, max(steps)} <= steps
    assert np.isfinite(table[["mean", "std"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("figure", "panel", "curve", "step", "mean"),
    [
        ("5a", "pick-place", "Ours", 0, 0.350),
        ("5a", "grasp-closed-drawer", "Ours", 1000, 0.978),
        ("5a", "grasp-blocked-drawer", "CQL-ft Online only", 400, 0.675),
        ("16", "grasp-closed-drawer", "c-black", 300, 0.730),
        ("17", "pick-place", "s1", 0, 0.155),
        ("17", "grasp-blocked-drawer", "s2", 990, 0.006),
    ],
)
def test_the_manipulation_tasks_are_kept_by_episodes(
    figure: str, panel: str, curve: str, step: int, mean: float
) -> None:
    points = published_curve(figure, panel, curve).set_index("step")["mean"]
    assert points[step] == pytest.approx(mean, abs=6e-4)


def test_the_swapped_legend_of_figure_15_is_undone() -> None:
    """An ensemble starts where its balanced twin does, and a single agent where its own does."""
    for figure in ("15", "16"):
        starts = {
            METHOD_OF_CURVE[figure, curve]: published_curve(figure, "grasp-closed-drawer", curve)["mean"][0]
            for curve in ("c-black", "c-blue", "c-pink", "c-purple")
        }
        of_ensembles = [mean for method, mean in starts.items() if "ensemble" in method or method == "off2on"]
        of_one = [mean for method, mean in starts.items() if "single" in method or method == "cql_ft"]
        assert max(of_ensembles) < 0.2 < 0.35 < min(of_one)


def test_figure_5_averages_eight_runs_and_the_others_four() -> None:
    assert {figure: runs_behind(figure) for figure in ("3", "5a", "5b", "15")} == {
        "3": 4,
        "5a": 8,
        "5b": 8,
        "15": 4,
    }
    assert set(published_runs("5a")["seed"]) == set(range(8))


@pytest.mark.parametrize("figure", ["4a", "9"])
def test_runs_of_the_offline_share_are_in_environment_steps(figure: str) -> None:
    printed = published_curve(figure, "walker2d", "random").set_index("step")["mean"]
    runs = published_runs(figure)
    means = runs[runs["dataset"] == "walker2d-random"].groupby("step")["value"].mean()
    # Block 25 of 1,000 gradient steps: after the first 1,000 environment steps came five, then one for each.
    assert means[22_000] == pytest.approx(printed[25_000])
    assert means[1_000] == pytest.approx(printed[4_000])


def test_the_table_is_compact() -> None:
    assert TABLE.stat().st_size < 300_000


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the full digitised table is not at {REFERENCE}")
def test_the_table_equals_the_full_digitised_one() -> None:
    full = pd.read_csv(REFERENCE, dtype={"figure": str})
    scale = full["figure"].map(lambda name: 1 if name in ("5a", "5b", "15", "16", "17") else 1000)
    full["step"] = (full["x"] * scale).round().astype("int64")
    both = published_table().merge(full, on=["figure", "panel", "curve", "step"], how="left")
    assert len(both) == len(published_table())
    for column in ("mean", "std"):
        np.testing.assert_allclose(both[f"{column}_x"], both[f"{column}_y"], rtol=0, atol=1e-3)


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the full digitised table is not at {REFERENCE}")
def test_rebuilding_gives_the_same_rows(tmp_path: Path) -> None:
    build(REFERENCE, tmp_path / "again.parquet")
    again = pd.read_parquet(tmp_path / "again.parquet").astype({"mean": "float64", "std": "float64"})
    pd.testing.assert_frame_equal(again, published_table())


def test_a_source_without_a_column_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "curves.csv").write_text("figure,panel,curve,x,mean\n3,a,b,0,1\n")
    arguments = ["--from", str(tmp_path / "curves.csv"), "--to", str(tmp_path / "out.parquet")]
    assert main(arguments) == 1
    assert "no column 'std'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.csv"):
        build(tmp_path / "absent.csv", tmp_path / "out.parquet")
