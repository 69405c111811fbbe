"""The released agents are what their curves say."""

from __future__ import annotations

from pathlib import Path

import pytest

from algorithms import checkpoints
from algorithms.agents import Agents, load_members
from algorithms.evaluation import evaluate
from algorithms.sac import SACConfig
from records.curves import read_curves

RELEASES = Path(__file__).parents[2] / "releases"


@pytest.mark.parametrize("dataset", ["halfcheetah-random", "halfcheetah-medium-replay"])
def test_released_agents_score_what_their_curve_ends_with(dataset: str) -> None:
    seeds = range(5)
    released = [checkpoints.load(RELEASES / dataset / f"agent_{seed}.safetensors") for seed in seeds]
    curve = read_curves(RELEASES / dataset / "curve.parquet")
    last = curve.step.max()
    ends = curve[(curve.metric == "normalised_score") & (curve.step == last)].set_index("seed").value
    agents = Agents(seeds, 17, 6, SACConfig())
    load_members(agents, [tensors for tensors, _ in released])

    played = evaluate(lambda rows: agents.policy(rows).mode(), "HalfCheetah-v4", seeds, last, episodes=5)
    scores = played.metrics("HalfCheetah-v4")
    # the same start states; rounding alone moves a mean of five long episodes by some percent
    assert scores["normalised_score"] == pytest.approx(ends[list(seeds)].to_numpy(), abs=4.0)
    assert all(manifest["configuration"]["schedule"]["updates"] == last for _, manifest in released)
