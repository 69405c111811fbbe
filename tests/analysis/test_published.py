"""The paper's digitised curves: what is kept equals its source, and says what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.published import (
    FIGURES,
    TABLE,
    build,
    main,
    published_curve,
    published_panels,
    published_table,
)
from records import UserError

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
        if figure not in ("4b", "10"):  # those two are measured every 10,000 steps only
            assert set(range(0, 10_001, 1000)) <= steps
            assert {15_000, 20_000, 245_000, max(steps)} <= steps
    assert np.isfinite(table[["mean", "std"]].to_numpy()).all()


def test_the_table_is_compact() -> None:
    assert TABLE.stat().st_size < 300_000


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the full digitised table is not at {REFERENCE}")
def test_the_table_equals_the_full_digitised_one() -> None:
    full = pd.read_csv(REFERENCE, dtype={"figure": str})
    full["step"] = (full["x"] * 1000).round().astype("int64")
    both = published_table().merge(full, on=["figure", "panel", "curve", "step"], how="left")
    assert len(both) == len(published_table())
    for column in ("mean", "std"):
        np.testing.assert_allclose(both[f"{column}_x"], both[f"{column}_y"], rtol=0, atol=1e-3)


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the full digitised table is not at {REFERENCE}")
def test_rebuilding_gives_the_same_rows(tmp_path: Path) -> None:
    build(REFERENCE, tmp_path / "again.parquet")
    again = pd.read_parquet(tmp_path / "again.parquet").astype({"mean": "float64", "std": "float64"})
    pd.testing.assert_frame_equal(again, published_table())


@pytest.mark.parametrize(
    ("figure", "panel", "curve", "wrong", "known"),
    [
        (2, "halfcheetah-random", "Ours", "figure '2'", "3, 4a"),
        (3, "ant-random", "Ours", "panel 'ant-random'", "halfcheetah-random"),
        (3, "halfcheetah-random", "IQL", "curve 'IQL'", "Ours, SAC"),
    ],
)
def test_an_unknown_curve_is_refused_with_the_known_names(
    figure: int, panel: str, curve: str, wrong: str, known: str
) -> None:
    with pytest.raises(UserError, match=wrong) as refusal:
        published_curve(figure, panel, curve)
    assert known in str(refusal.value)


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
