"""The dataset report draws exactly its table, the same every time, and refuses what it cannot draw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from offline_data.transitions import Episode, from_episodes, summary
from paper_figures import dataset_report
from storage import UserError

ROOT = Path(__file__).parents[2]
RETURNS = {
    "halfcheetah/expert-local-v0": ("HalfCheetah-v4", [-300.0, -200.0, -250.0]),
    "hopper/random-local-v0": ("Hopper-v4", [10.0, 20.0, 30.0, 12.0]),
    "hopper/medium-expert-local-v0": ("Hopper-v4", [1000.0, 3200.0, 1200.0]),
}


def described(dataset_id: str, environment: str, returns: list[float]) -> dict[str, Any]:
    episodes = [
        Episode(
            observations=np.zeros((3, 11), np.float32),
            actions=np.zeros((2, 3), np.float32),
            rewards=np.array([value, 0], np.float32),
            terminated=True,
            truncated=False,
        )
        for value in returns
    ]
    return summary(from_episodes(episodes, {"dataset_id": dataset_id}), environment)


@pytest.fixture
def summaries() -> list[dict[str, Any]]:
    return [described(dataset_id, *of) for dataset_id, of in RETURNS.items()]


def lines(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines]


def test_a_panel_is_an_environment_and_a_row_a_dataset(summaries: list[dict[str, Any]]) -> None:
    figure = dataset_report.draw(summaries)
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == ["HalfCheetah-v4", "Hopper-v4"]
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert rows == [["expert"], ["random", "medium-expert"]]
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts[0] == ["mean 0.2, 3 episodes, 6 steps"]
    assert texts[1][0] == "mean 1.2 (D4RL 1.2), 4 episodes, 8 steps"


def test_it_draws_exactly_its_csv(summaries: list[dict[str, Any]], tmp_path: Path) -> None:
    table = dataset_report.write(summaries, tmp_path / "report")
    written = pd.read_csv(
        tmp_path / "report.csv",
        float_precision="round_trip",
        na_values={"d4rl_mean": [""]},
        keep_default_na=False,
    )
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    panels = {axes.get_title(): axes for axes in dataset_report.draw(summaries).axes}
    for environment, of_panel in written.groupby("environment"):
        axes = panels[str(environment)]
        for place, (_, rows) in enumerate(of_panel.groupby("dataset", sort=False)):
            filled, outline = axes.patches[2 * place : 2 * place + 2]
            for stairs in (filled, outline):
                heights, edges, base = stairs.get_data()
                np.testing.assert_array_equal(edges, [*rows["low"], rows["high"].iloc[-1]])
                shares = (heights - base) / (heights - base).max()
                np.testing.assert_allclose(shares, rows["episodes"] / rows["episodes"].max(), atol=1e-12)
            first = rows.iloc[0]
            drawn = lines(axes)
            assert any((line[:, 0] == first["mean"]).all() and len(line) == 2 for line in drawn)
            if pd.notna(first["d4rl_mean"]):
                assert any(line.tolist() == [[first["d4rl_mean"], -place]] for line in drawn)


def test_scores_and_means_are_those_of_the_episodes(summaries: list[dict[str, Any]]) -> None:
    rows = dataset_report.table(summaries)
    for dataset_id, (environment, returns) in RETURNS.items():
        drawn = rows[rows["dataset"] == dataset_id]
        low, high = {"HalfCheetah-v4": (-280.178953, 12135.0), "Hopper-v4": (-20.272305, 3234.3)}[environment]
        scores = 100 * (np.array(returns) - low) / (high - low)
        assert drawn["episodes"].sum() == len(returns)
        np.testing.assert_allclose(
            [drawn["low"].min(), drawn["high"].max(), drawn["mean"].iloc[0]],
            [scores.min(), scores.max(), scores.mean()],
        )


def test_the_caption_names_what_is_known_of_d4rl_and_its_source(summaries: list[dict[str, Any]]) -> None:
    text = dataset_report.caption(dataset_report.table(summaries))
    assert "known of hopper/random-local-v0 (D4RL issue 86" in text and "40 equal bins" in text
    assert "not known" in dataset_report.caption(dataset_report.table(summaries[:1]))


def test_a_dataset_of_equal_returns_is_drawn() -> None:
    figure = dataset_report.draw([described("plain", "Hopper-v4", [5.0, 5.0])])
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plain"]


def test_the_same_summaries_give_the_same_bytes(summaries: list[dict[str, Any]], tmp_path: Path) -> None:
    for name in ("a", "b"):
        dataset_report.write(summaries, tmp_path / name)
    for suffix in (".pdf", ".png", ".csv"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_it_needs_no_training_code() -> None:
    code = "import sys, paper_figures.dataset_report; print(' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"torch", "mujoco", "gymnasium", "offline_data"}.isdisjoint(result.stdout.split())


def test_what_cannot_be_drawn_is_refused_by_name(summaries: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="given no summaries"):
        dataset_report.draw([])
    del summaries[1]["return_histogram"]
    with pytest.raises(UserError, match=r"dataset 'hopper/random-local-v0' lacks 'return_histogram'"):
        dataset_report.draw(summaries)
    with pytest.raises(UserError, match="'Ant-v4' has no reference scores"):
        dataset_report.draw([{**summaries[0], "environment": "Ant-v4"}])
