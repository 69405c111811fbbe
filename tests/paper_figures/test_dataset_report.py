"""The dataset report draws exactly its table, the same every time, and refuses what it cannot draw."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from offline_data.transitions import Episode, from_episodes, summary
from paper_figures import dataset_report
from paper_figures.index import write
from paper_figures.results import Results
from storage import UserError
from storage.files import write_json

ROOT = Path(__file__).parents[2]
ResultsOf = Callable[[list[dict[str, Any]]], Results]
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


@pytest.fixture
def results_of(tmp_path: Path) -> ResultsOf:
    def written(summaries: list[dict[str, Any]]) -> Results:
        files = tuple(tmp_path / f"{number}.json" for number in range(len(summaries)))
        for file, content in zip(files, summaries, strict=True):
            write_json(file, content)
        return Results(pd.DataFrame, 1, {}, files=files)

    return written


def lines(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines]


def test_a_panel_is_an_environment_and_a_row_a_dataset(
    summaries: list[dict[str, Any]], results_of: ResultsOf
) -> None:
    figure = dataset_report.draw(dataset_report.table(results_of(summaries)))
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == ["HalfCheetah-v4", "Hopper-v4"]
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert rows == [["expert"], ["random", "medium-expert"]]
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts[0] == ["mean 0.2, 3 episodes, 6 steps"]
    assert texts[1][0] == "mean 1.2 (D4RL 1.2), 4 episodes, 8 steps"


def test_it_draws_exactly_its_csv(
    summaries: list[dict[str, Any]], results_of: ResultsOf, tmp_path: Path
) -> None:
    table = write("datasets", results_of(summaries), tmp_path / "report")
    written = pd.read_csv(
        tmp_path / "report.csv",
        float_precision="round_trip",
        na_values={"d4rl_mean": [""]},
        keep_default_na=False,
    )
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    panels = {axes.get_title(): axes for axes in dataset_report.draw(written).axes}
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


def test_scores_and_means_are_those_of_the_episodes(
    summaries: list[dict[str, Any]], results_of: ResultsOf
) -> None:
    rows = dataset_report.table(results_of(summaries))
    for dataset_id, (environment, returns) in RETURNS.items():
        drawn = rows[rows["dataset"] == dataset_id]
        low, high = {"HalfCheetah-v4": (-280.178953, 12135.0), "Hopper-v4": (-20.272305, 3234.3)}[environment]
        scores = 100 * (np.array(returns) - low) / (high - low)
        assert drawn["episodes"].sum() == len(returns)
        np.testing.assert_allclose(
            [drawn["low"].min(), drawn["high"].max(), drawn["mean"].iloc[0]],
            [scores.min(), scores.max(), scores.mean()],
        )


def test_the_caption_names_what_is_known_of_d4rl_and_its_source(
    summaries: list[dict[str, Any]], results_of: ResultsOf
) -> None:
    whole, first = (results_of(some) for some in (summaries, summaries[:1]))
    text = dataset_report.caption(dataset_report.table(whole), whole)
    assert "known of hopper/random-local-v0 (D4RL issue 86" in text and "40 equal bins" in text
    assert "not known" in dataset_report.caption(dataset_report.table(first), first)


def test_a_dataset_of_equal_returns_is_drawn(results_of: ResultsOf) -> None:
    figure = dataset_report.draw(
        dataset_report.table(results_of([described("plain", "Hopper-v4", [5.0, 5.0])]))
    )
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plain"]


def test_the_same_summaries_give_the_same_bytes(
    summaries: list[dict[str, Any]], results_of: ResultsOf, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write("datasets", results_of(summaries), tmp_path / name)
    for suffix in (".pdf", ".png", ".csv"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_it_needs_no_training_code() -> None:
    code = "import sys, paper_figures.dataset_report; print(' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"torch", "mujoco", "gymnasium", "offline_data"}.isdisjoint(result.stdout.split())


def test_what_cannot_be_drawn_is_refused_by_name(
    summaries: list[dict[str, Any]], results_of: ResultsOf
) -> None:
    with pytest.raises(UserError, match="given no summaries"):
        dataset_report.table(results_of([]))
    del summaries[1]["return_histogram"]
    with pytest.raises(UserError, match=r"1\.json is no dataset's summary: it lacks 'return_histogram'"):
        dataset_report.table(results_of(summaries))
    with pytest.raises(UserError, match="'Ant-v4' has no reference scores"):
        dataset_report.table(results_of([{**summaries[0], "environment": "Ant-v4"}]))
