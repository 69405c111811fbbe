"""Recipes record what D4RL's would, and a replay log becomes the episodes it was made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from datasets import recipes
from datasets.collect import record
from datasets.minari_io import read_transitions, sha256
from datasets.transitions import Episode, Transitions, from_episodes
from records import UserError

PENDULUM = "InvertedDoublePendulum-v4"
Make = Callable[..., list[Episode]]
FIELDS = ("observations", "actions", "rewards", "masks", "next_observations", "episode_ends")


def arrays(transitions: Transitions) -> dict[str, NDArray[Any]]:
    return {name: getattr(transitions, name) for name in FIELDS}


def test_random_actions_are_uniform_over_the_action_box() -> None:
    recording = recipes.random("HalfCheetah-v4", steps=4000, seed=0, copies=20, threads=1)
    actions = np.concatenate([episode.actions for episode in recording.episodes])
    assert actions.shape == (4000, 6)
    assert actions.min() >= -1 and actions.max() <= 1
    deciles = np.histogram(actions, bins=10, range=(-1, 1))[0] / actions.size
    np.testing.assert_allclose(deciles, 0.1, atol=0.01)
    assert recording.metadata == {
        "recipe": "random",
        "algorithm_name": "random",
        "seeds": [0],
        "steps": 4000,
        "copies": 20,
    }


def test_random_is_decided_by_its_seed() -> None:
    first, again, other = (
        from_episodes(recipes.random(PENDULUM, 500, seed, 5, threads).episodes)
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.isin(first.actions, other.actions).any()


def test_random_cheetahs_never_terminate_and_time_out() -> None:
    recording = recipes.random("HalfCheetah-v4", steps=2500, seed=0, copies=2, threads=1)
    assert [len(episode) for episode in recording.episodes] == [1000, 250, 1000, 250]
    assert (from_episodes(recording.episodes).masks == 1).all()


def test_stored_random_data_come_back_with_their_summary(tmp_path: Path) -> None:
    recording = recipes.random(PENDULUM, steps=300, seed=0, copies=3, threads=1)
    summary = recipes.store(tmp_path, "inverted-double-pendulum/random-local-v0", recording)
    transitions = read_transitions(tmp_path, "inverted-double-pendulum/random-local-v0")
    expected = from_episodes(recording.episodes)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(transitions, name), getattr(expected, name))
    assert summary["steps"] == 300
    assert summary["dataset_id"] == "inverted-double-pendulum/random-local-v0"
    assert -1 < summary["normalised_score"] < 1
    assert transitions.metadata["recipe"] == "random"


def test_medium_records_the_policy_and_names_its_file(tmp_path: Path) -> None:
    def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(observations[:, [1]], -1, 1)

    (tmp_path / "policy.safetensors").write_bytes(b"weights")
    file = tmp_path / "policy.safetensors"
    recording = recipes.medium(PENDULUM, policy, file, steps=200, seed=1, copies=4, threads=1)
    expected = record(PENDULUM, policy, steps=200, seed=1, copies=4, threads=1)
    np.testing.assert_array_equal(from_episodes(recording.episodes).actions, from_episodes(expected).actions)
    assert recording.metadata["behaviour_policies"] == [sha256(file)]
    assert recording.metadata["recipe"] == "medium"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 50))
def test_a_replay_log_becomes_its_episodes(
    tmp_path_factory: pytest.TempPathFactory, make_episodes: Make, lengths: list[int], seed: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "replay.safetensors"
    transitions = from_episodes(make_episodes(lengths, seed))
    save_file(arrays(transitions), path)
    read = from_episodes(recipes.from_replay_log(path))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(read, name), getattr(transitions, name))


def test_a_replay_log_is_taken_until_a_step_and_the_cut_is_no_terminal(
    tmp_path: Path, make_episodes: Make
) -> None:
    transitions = from_episodes(make_episodes([4, 4, 4]))
    save_file(arrays(transitions), tmp_path / "log")
    recording = recipes.replay(PENDULUM, tmp_path / "log", seeds=[7], steps=10)
    found = [(len(e), e.terminated, e.truncated) for e in recording.episodes]
    assert found == [(4, True, False), (4, False, True), (2, False, True)]
    assert recording.metadata["steps"] == 10
    assert recording.metadata["seeds"] == [7]
    assert recording.metadata["replay_log_sha256"] == sha256(tmp_path / "log")
    for steps in (0, 13):
        with pytest.raises(UserError, match="holds 12 transitions"):
            recipes.from_replay_log(tmp_path / "log", steps)


def test_a_log_that_a_running_episode_ends_is_cut_there(tmp_path: Path, make_episodes: Make) -> None:
    log = arrays(from_episodes(make_episodes([4, 4])))
    log["episode_ends"] = log["episode_ends"].copy()
    log["episode_ends"][-1] = False
    save_file(log, tmp_path / "log")
    assert [len(episode) for episode in recipes.from_replay_log(tmp_path / "log")] == [4, 4]


def test_a_replay_log_that_is_not_in_order_of_time_is_refused(tmp_path: Path, make_episodes: Make) -> None:
    log = arrays(from_episodes(make_episodes([4, 4])))
    order = np.array([0, 2, 1, 3, 4, 5, 6, 7])
    save_file({key: np.ascontiguousarray(array[order]) for key, array in log.items()}, tmp_path / "log")
    with pytest.raises(UserError, match="in order of time"):
        recipes.from_replay_log(tmp_path / "log")


def test_a_file_that_is_no_replay_log_is_refused_by_name(tmp_path: Path, make_episodes: Make) -> None:
    log = arrays(from_episodes(make_episodes([4])))
    save_file({key: array for key, array in log.items() if key != "masks"}, tmp_path / "lacking")
    with pytest.raises(UserError, match="lacking is not a replay log: it lacks 'masks'"):
        recipes.from_replay_log(tmp_path / "lacking")
    save_file(log, tmp_path / "whole")
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:-20])
    for name in ("half", "missing"):
        with pytest.raises(UserError, match=f"{name} is missing, truncated or not a safetensors file"):
            recipes.from_replay_log(tmp_path / name)
    save_file({**log, "rewards": np.full(4, np.nan, np.float32)}, tmp_path / "nan")
    with pytest.raises(UserError, match="nan: rewards holds a value that is not a finite number"):
        recipes.from_replay_log(tmp_path / "nan")
