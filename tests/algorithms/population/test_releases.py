"""The released agents are what their files and curves say, on any processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, load_members
from envs.task import TIME_LIMIT
from offline_data import recipes
from offline_data.transitions import from_episodes
from storage.curves import read_curves
from tests.algorithms import slow_reference as slow
from tests.algorithms.short_starts import TOLERANCE, speeds

RELEASES = Path(__file__).parents[3] / "releases"
SEEDS, OBSERVATION, ACTION = range(5), 17, 6
DATASETS = ["halfcheetah-random", "halfcheetah-medium-replay"]


class Released(NamedTuple):
    """The agents of one dataset: their files' content, and they at work."""

    files: list[dict[str, Tensor]]
    manifests: list[dict[str, Any]]
    agents: ActorCritics
    curve: pd.DataFrame

    def at_the_end(self, metric: str) -> NDArray[np.float64]:
        """What the curve ends with, by seed."""
        rows = self.curve[(self.curve.metric == metric) & (self.curve.step == self.curve.step.max())]
        return rows.set_index("seed").value[list(SEEDS)].to_numpy()


def released(dataset: str) -> Released:
    folder = RELEASES / dataset
    loaded = [checkpoints.load(folder / f"agent_{seed}.safetensors") for seed in SEEDS]
    files = [tensors for tensors, _ in loaded]
    agents = ActorCritics(SEEDS, OBSERVATION, ACTION, SACConfig())
    load_members(agents, files)
    return Released(
        files, [manifest for _, manifest in loaded], agents, read_curves(folder / "curve.parquet")
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_released_agents_compute_what_their_files_say(dataset: str) -> None:
    """Beside float64 on the tensors and names that releases/README.md gives."""
    files, _, agents, _ = released(dataset)
    states = slow.random_batch(1, 8, OBSERVATION, ACTION, seed=5)
    observations, actions = (
        field.expand(len(SEEDS), -1, -1) for field in (states.observations, states.actions)
    )
    with torch.no_grad():
        policy, q = agents.policy(observations), agents.q(observations, actions)
    for seed, file in enumerate(files):
        for row, (observation, action) in enumerate(zip(observations[seed], actions[seed], strict=True)):
            mean, std = slow.gaussian(file, 0, observation)
            torch.testing.assert_close(policy.mean[seed, row].double(), mean, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(policy.log_std[seed, row].double().exp(), std, rtol=1e-4, atol=1e-5)
            for twin in (0, 1):
                expected = slow.q_value(file, "q.", 0, twin, observation, action)
                torch.testing.assert_close(q[seed, twin, row].double(), expected, rtol=1e-4, atol=1e-3)


def test_released_critics_value_their_data_and_their_policies_as_the_curve_ends() -> None:
    """On the first 300 of their 1,000 episodes, every tenth step: Q means within 8 % (they come within 6).

    The curve ends with means over the last 2,500 updates, behind agents whose Q still rises by 3 % in these;
    and episodes differ (means of Q between -2 and 73).
    """
    found = released("halfcheetah-random")
    agents = found.agents
    recorded = recipes.random("HalfCheetah-v4", 300 * TIME_LIMIT, 0, 100, 1, recipes.UNTRAINED)
    data = from_episodes(recorded.episodes)
    observations, actions = (
        torch.from_numpy(array[::10]).expand(len(SEEDS), -1, -1)
        for array in (data.observations, data.actions)
    )
    with torch.no_grad():
        of_data = agents.q(observations, actions).mean(dim=(1, 2))
        noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(0))
        drawn, _ = agents.policy(observations).sample(noise)
        of_policy = agents.q(observations, drawn).amin(dim=1).mean(dim=1)
    assert of_data.numpy() == pytest.approx(found.at_the_end("q_mean"), rel=0.08)
    # the actor's loss is alpha log pi - min Q
    entropy = found.at_the_end("entropy_coefficient") * found.at_the_end("entropy")
    assert of_policy.numpy() == pytest.approx(-found.at_the_end("actor_loss") - entropy, rel=0.08)


@pytest.mark.parametrize("dataset", DATASETS)
def test_released_agents_run_as_fast_as_their_curve_ends(dataset: str) -> None:
    found = released(dataset)
    a_step = found.at_the_end("return") / TIME_LIMIT
    assert speeds(lambda rows: found.agents.policy(rows).mode(), len(SEEDS)) == pytest.approx(
        a_step, rel=TOLERANCE
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_released_agents_have_had_the_updates_that_their_curve_shows(dataset: str) -> None:
    found = released(dataset)
    updates = [manifest["configuration"]["schedule"]["updates"] for manifest in found.manifests]
    assert updates == [found.curve.step.max()] * len(SEEDS)
