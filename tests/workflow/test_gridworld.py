"""The command of the gridworlds: what it leaves, the choice of a best setting, and what it refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytest

from algorithms.discrete.sweep import OBJECTIVES
from analysis.claims import read_claims
from analysis.intervals import Bootstrap
from analysis.judging import judge
from paper_figures.gridworld import draw_sweep, sweep_table
from storage import UserError
from storage.curves import read_curves
from workflow import gridworld

SMALL = """
mazes: [maze3]
seeds: [0, 3, 4]
alphas: [0.1, 0.4]
iterations: 400
"""
CLAIMS = Path(gridworld.__file__).parents[1] / "analysis" / "claims_reds.yaml"


def run(folder: Path, settings: str = SMALL, alpha: float | None = 0.4) -> Path:
    (folder / "settings.yaml").write_text(settings)
    options = {"settings": folder / "settings.yaml", "output": folder / "out", "map": alpha}
    gridworld.main(argparse.Namespace(**options))
    return folder / "out"


def test_it_leaves_curves_that_are_judged_and_figures_with_what_they_draw(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    out, again = run(tmp_path), run(tmp_path / "again")
    curves = read_curves(out / "curves.parquet")
    assert set(curves["method"]) == set(OBJECTIVES)
    assert set(curves["dataset"]) == {
        f"maze3-exact-tables-{end}" for end in ("alpha-0.1", "alpha-0.4", "best")
    }
    judgements = judge(read_claims(CLAIMS, methods=set(curves["method"])), curves, Bootstrap(50, 0, 0.95))
    verdicts = {each.claim.id: each.verdict for each in judgements}
    assert verdicts["reds_above_cql"] != "not_run" and verdicts["reds_above_cql_with_networks"] == "not_run"
    for name in ("sweep", "values"):
        for suffix in (".pdf", ".png", ".csv", ".txt"):
            assert (out / "figures" / f"{name}{suffix}").stat().st_size > 0
        assert (out / "figures" / f"{name}.csv").read_bytes() == (
            again / "figures" / f"{name}.csv"
        ).read_bytes()
    with pytest.raises(UserError, match=r"--map is 0.3: expected one of the file's alphas"):
        run(tmp_path, alpha=0.3)


def test_the_sweep_names_each_weight_and_what_is_shaded() -> None:
    places = [(method, alpha) for method in ("cql_half", "reds") for alpha in (0.1, 0.4, 0.7)]
    rows = pd.DataFrame(places, columns=["method", "alpha"]).assign(
        maze="maze3", samples_a_state=0, approximator="tables", temperature=1.0, seed=0, percent=50.0
    )
    above, below = draw_sweep(sweep_table(rows)).axes
    assert [text.get_text() for text in below.get_xticklabels()] == ["0.1", "0.4", "0.7"]
    texts = below.get_legend().get_texts()
    assert [text.get_text() for text in texts][:2] == ["ReDS, temperature 1", "its worst to best draw"]
    assert above.lines[1].get_color() == below.lines[0].get_color()


def test_the_best_setting_is_chosen_without_the_seed_that_it_is_judged_on() -> None:
    points = [(0.1, 0, 9.0), (0.1, 1, 1.0), (0.2, 0, 2.0), (0.2, 1, 5.0)]
    own = pd.DataFrame(points, columns=["alpha", "seed", "return"]).assign(temperature=1.0)
    chosen = gridworld.chosen_on_other_seeds(own).set_index("seed")["alpha"].to_dict()
    assert chosen == {0: 0.2, 1: 0.1}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("mazes: [maze4]", r"there is no maze 'maze4': expected one of maze3, maze5"),
        ("alphas: [-1.0]", r"alphas.*-1"),
        ("networks: {steps: 0}", r"networks.steps is 0"),
        ("colour: red", r"colour"),
        ("[1, 2]", r"expected keys with values"),
    ],
)
def test_what_a_file_says_wrong_is_one_sentence(tmp_path: Path, settings: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run(tmp_path, settings)
