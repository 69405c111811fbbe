"""What each recipe records, from what a behaviour policy's run left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.training.behaviour import train_behaviour
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineSchedule
from algorithms.training.worlds import collection_seed
from envs.tabletop import ENVIRONMENTS
from offline_data import recipes
from offline_data.transitions import from_episodes
from storage import UserError
from storage.checksums import sha256
from storage.files import write_json
from workflow.steps.record import mixed, recorded

ENVIRONMENT = "InvertedDoublePendulum-v4"
ROLLED_OUT = {"environment": ENVIRONMENT, "transitions": 40, "copies": 2, "seed": 5}


@pytest.fixture(scope="module")
def behaviour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the step `behaviour` leaves, of a run of three blocks."""
    folder = tmp_path_factory.mktemp("behaviour")
    online = OnlineSchedule(
        steps=90,
        block_size=30,
        first_block_multiplier=1,
        evaluation_interval=30,
        evaluation_episodes=1,
        checkpoint_interval=30,
    )
    job = Job("test", "sac", "made-up", ENVIRONMENT, [0], "hash", folder / "state")
    run = train_behaviour(SACConfig(hidden_widths=(8, 8), batch_size=8), online, job)
    for name, tensors in (("replay", run.replay_log), ("medium", run.medium), ("expert", run.expert)):
        checkpoints.save(folder / f"{name}.safetensors", tensors, {})
    write_json(folder / "summary.json", {"medium_steps": 60})
    return folder


@pytest.mark.parametrize(
    ("recipe", "settings", "steps"),
    [
        ("random", ROLLED_OUT, 40),
        ("medium", ROLLED_OUT, 40),
        ("expert", ROLLED_OUT, 40),
        ("medium-expert", ROLLED_OUT, 40),
        ("medium-replay", {"environment": ENVIRONMENT, "seed": 0}, 60),
        ("replay", {"environment": ENVIRONMENT, "seed": 0, "transitions": 70}, 70),
        ("replay", {"environment": ENVIRONMENT, "seed": 0}, 90),
    ],
)
def test_a_recipe_records_as_many_steps_as_it_says(
    behaviour: Path, recipe: str, settings: dict[str, Any], steps: int
) -> None:
    recording = recorded({"recipe": recipe, **settings}, behaviour)
    assert sum(map(len, recording.episodes)) == steps
    assert recording.environment == ENVIRONMENT


def test_medium_expert_begins_with_what_medium_records(behaviour: Path) -> None:
    both = from_episodes(recorded({"recipe": "medium-expert", **ROLLED_OUT}, behaviour).episodes)
    medium = from_episodes(
        recorded({"recipe": "medium", **ROLLED_OUT, "transitions": 20}, behaviour).episodes
    )
    assert np.array_equal(both.actions[:20], medium.actions)
    assert not np.array_equal(both.actions[20:], medium.actions)


def test_medium_replay_is_the_same_from_the_replay_and_from_the_action_log(
    behaviour: Path, tmp_path: Path
) -> None:
    settings = {"recipe": "medium-replay", "environment": ENVIRONMENT, "seed": 0}
    whole = recorded(settings, behaviour)
    log = tmp_path / "actions.safetensors"
    recipes.write_action_log(log, ENVIRONMENT, collection_seed(0), whole.episodes)
    again = recorded(settings, tmp_path)
    for one, other in zip(whole.episodes, again.episodes, strict=True):
        assert np.array_equal(one.observations, other.observations)
        assert np.array_equal(one.rewards, other.rewards)
        assert (one.terminated, one.truncated) == (other.terminated, other.truncated)


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [({}, [3, 2]), ({"episode_ends": "checked"}, [3, 2]), ({"episode_ends": "authors"}, [5])],
)
def test_a_d4rl_file_is_read_by_the_rule_that_is_named(
    tmp_path: Path, settings: dict[str, str], lengths: list[int]
) -> None:
    observations = np.random.default_rng(0).normal(size=(7, 11)).astype(np.float32)
    following = observations[1:].copy()
    following[2] += 1  # row 2 is the last of an episode, and no flag says so
    with h5py.File(tmp_path / "file.hdf5", "w") as file:
        file["observations"], file["next_observations"] = observations[:-1], following
        file["actions"], file["rewards"] = np.zeros((6, 1), np.float32), np.zeros(6, np.float32)
        file["terminals"], file["timeouts"] = np.zeros((2, 6), np.bool_)
    entry = {"environment": ENVIRONMENT, "recipe": "d4rl", "file": str(tmp_path / "file.hdf5")}
    recording = recorded({**entry, **settings}, None)
    assert [len(episode) for episode in recording.episodes] == lengths


def test_a_heterogeneous_dataset_is_made_by_its_actors_and_by_uniform_actions(behaviour: Path) -> None:
    sources = [
        {"actor": "uniform"},
        {"actor": "medium", "policy": behaviour.name, "share": 2.0},
        {"actor": "medium", "policy": behaviour.name, "share": 2.0, "action_noise": 0.3},
    ]
    recording = mixed({**ROLLED_OUT, "transitions": 100, "sources": sources}, [behaviour])
    made_by = recording.metadata["episode_sources"]
    steps = [
        sum(len(e) for e, maker in zip(recording.episodes, made_by, strict=True) if maker == number)
        for number in range(3)
    ]
    assert steps == [20, 40, 40]
    described = recording.metadata["sources"]
    assert described[0] == {"actor": "uniform", "share": 1.0}
    assert described[1]["sha256"] == described[2]["sha256"] == sha256(behaviour / "medium.safetensors")
    alone = mixed({**ROLLED_OUT, "seed": 6, "sources": sources[1:2]}, [behaviour])
    second = from_episodes([e for e, m in zip(recording.episodes, made_by, strict=True) if m == 1])
    assert np.array_equal(second.actions, from_episodes(alone.episodes).actions)


def test_scripts_record_a_task_and_another_ones_episodes_as_its_own() -> None:
    table = {"environment": "SlideDelta-v0", "transitions": 400, "copies": 2, "seed": 3}
    sources = [{"actor": "script"}, {"actor": "script", "environment": "PlaceDelta-v0", "share": 3.0}]
    recording = mixed({**table, "sources": sources}, [])
    assert recording.metadata["episode_sources"] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert recording.metadata["sources"][1]["environment"] == "PlaceDelta-v0"
    assert {len(episode) for episode in recording.episodes} == {50}
    own = mixed({**table, "transitions": 100, "sources": sources[:1]}, [])
    for one, other in zip(own.episodes, recording.episodes, strict=False):
        assert np.array_equal(one.observations, other.observations)
    for episode in recording.episodes:
        rewards = ENVIRONMENTS["SlideDelta-v0"].judged.rewards(episode.observations[1:])
        np.testing.assert_allclose(episode.rewards, rewards, atol=1e-5)
        assert episode.truncated and not episode.terminated


def test_a_source_of_other_sizes_is_refused(behaviour: Path) -> None:
    settings = {**ROLLED_OUT, "environment": "Hopper-v4"}
    with pytest.raises(UserError, match=r"medium.safetensors: expected an actor for 11 observations and 3"):
        mixed({**settings, "sources": [{"actor": "medium", "policy": behaviour.name}]}, [behaviour])


def test_a_recipe_that_needs_a_behaviour_policy_says_so() -> None:
    with pytest.raises(UserError, match="recipe medium records a behaviour policy: expected its folder"):
        recorded({"recipe": "medium", **ROLLED_OUT}, None)
