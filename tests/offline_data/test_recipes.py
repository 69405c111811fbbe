"""Recipes record what D4RL's would, and a replay log becomes the episodes it was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from algorithms.population.networks import Policy
from algorithms.population.streams import Streams
from envs.locomotion import EnvironmentBatch, Transition, specification
from offline_data import recipes
from offline_data.collect import record
from offline_data.minari_io import read_transitions, write_dataset
from offline_data.transitions import Episode, Transitions, from_episodes
from storage import UserError
from storage.checksums import sha256
from tests.made_up import make_episodes

PENDULUM = "InvertedDoublePendulum-v4"
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


def test_an_untrained_policys_actions_are_those_that_a_new_policy_network_draws() -> None:
    recording = recipes.random("HalfCheetah-v4", 4000, 0, 20, threads=1, actions=recipes.UNTRAINED)
    actions = np.concatenate([episode.actions for episode in recording.episodes])
    # A tanh-Gaussian policy whose outputs, mean and log deviation, are zero but for the last layer's 1e-3.
    policy = Policy(1, 17, 6, (32,))
    policy.initialise(Streams([0]))
    noise = torch.randn(1, 4000, 6, generator=torch.Generator().manual_seed(0))
    drawn, _ = policy(torch.zeros(1, 4000, 17)).sample(noise)
    for moment in (np.mean, np.std, np.max):
        np.testing.assert_allclose(moment(actions), moment(drawn.detach().numpy()), atol=0.02)
    assert recording.metadata["actions"] == "untrained"


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


def lean(observations: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(observations[:, [1]], -1, 1)


def push(observations: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.full((len(observations), 1), 0.5)


def test_policies_are_recorded_one_after_the_other_and_their_files_named(tmp_path: Path) -> None:
    policies = {"medium": lean, "expert": push}
    for name in policies:
        (tmp_path / name).write_text(name)
    rollouts = [
        recipes.Rollout(policy, tmp_path / name, seed)
        for seed, (name, policy) in enumerate(policies.items(), start=1)
    ]
    both = recipes.policy_rollouts(PENDULUM, "medium-expert", rollouts, steps=401, copies=4, threads=1)
    actions = from_episodes(both.episodes).actions
    for rows, rollout, steps in zip((slice(0, 201), slice(201, None)), rollouts, (201, 200), strict=True):
        expected = record(PENDULUM, rollout.policy, steps, rollout.seed, copies=4, threads=1)
        np.testing.assert_array_equal(actions[rows], from_episodes(expected).actions)
    assert both.metadata == {
        "recipe": "medium-expert",
        "algorithm_name": "medium-expert",
        "seeds": [1, 2],
        "steps": 401,
        "copies": 4,
        "behaviour_policies": [sha256(tmp_path / "medium"), sha256(tmp_path / "expert")],
    }


def test_medium_is_the_first_half_of_medium_expert(tmp_path: Path) -> None:
    (tmp_path / "actor").write_bytes(b"weights")
    medium, expert = (recipes.Rollout(policy, tmp_path / "actor", 3) for policy in (lean, push))
    alone = recipes.policy_rollouts(PENDULUM, "medium", [medium], steps=150, copies=3, threads=1)
    both = recipes.policy_rollouts(PENDULUM, "medium-expert", [medium, expert], 300, copies=3, threads=1)
    first = from_episodes(both.episodes[: len(alone.episodes)])
    for name, array in arrays(from_episodes(alone.episodes)).items():
        np.testing.assert_array_equal(getattr(first, name), array)


def test_a_heterogeneous_dataset_says_who_made_each_of_its_episodes() -> None:
    sources = [recipes.Source(lean, {"actor": "lean"}, 1), recipes.Source(push, {"actor": "push"}, 2, 2.0)]
    both = recipes.heterogeneous(PENDULUM, sources, steps=302, copies=4, threads=1)
    made_by = both.metadata["episode_sources"]
    assert len(made_by) == len(both.episodes) and set(made_by) == {0, 1}
    for number, (source, steps) in enumerate(zip(sources, (101, 201), strict=True)):
        own = [episode for episode, maker in zip(both.episodes, made_by, strict=True) if maker == number]
        expected = record(PENDULUM, source.policy, steps, source.seed, copies=4, threads=1)
        np.testing.assert_array_equal(from_episodes(own).actions, from_episodes(expected).actions)
    assert both.metadata["sources"] == [{"actor": "lean", "share": 1.0}, {"actor": "push", "share": 2.0}]
    assert (both.metadata["recipe"], both.metadata["seeds"]) == ("heterogeneous", [1, 2])


def test_a_source_with_too_few_steps_is_refused() -> None:
    sources = [recipes.Source(lean, {}, 1), recipes.Source(push, {}, 2, share=999.0)]
    with pytest.raises(
        UserError, match=r"copies is 4, expected a number from 1 to the number of steps \(0\)"
    ):
        recipes.heterogeneous(PENDULUM, sources, steps=100, copies=4, threads=1)


def test_disturbed_actions_are_uniform_now_and_then_or_noisy_and_stay_in_the_box() -> None:
    observations = np.zeros((20_000, 11))
    still = recipes.disturbed(PENDULUM, push, 0)(observations)
    assert (still == 0.5).all()
    noisy = recipes.disturbed(PENDULUM, push, 0, noise=0.1)(observations)
    np.testing.assert_allclose((noisy.mean(), noisy.std()), (0.5, 0.1), atol=0.005)
    sometimes = recipes.disturbed(PENDULUM, push, 0, random_share=0.3)(observations)
    instead = sometimes[sometimes != 0.5]
    np.testing.assert_allclose(len(instead) / 20_000, 0.3, atol=0.01)
    np.testing.assert_allclose((instead.min(), instead.max(), instead.mean()), (-1, 1, 0), atol=0.03)
    assert np.abs(recipes.disturbed(PENDULUM, push, 0, 0.5, 2.0)(observations)).max() <= 1
    again = recipes.disturbed(PENDULUM, push, 0, 0.5, 2.0)(observations)
    assert not np.array_equal(again, recipes.disturbed(PENDULUM, push, 1, 0.5, 2.0)(observations))


def test_a_published_dataset_becomes_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "theirs"))
    episodes = make_episodes([4, 3])
    write_dataset(tmp_path / "theirs", "mujoco/pendulum-local-v0", episodes, PENDULUM, {})
    recording = recipes.published(PENDULUM, "mujoco/pendulum-local-v0")
    summary = recipes.store(tmp_path / "ours", "pendulum/medium-local-v0", recording)
    read = read_transitions(tmp_path / "ours", "pendulum/medium-local-v0", PENDULUM)
    for name, array in arrays(from_episodes(episodes)).items():
        np.testing.assert_array_equal(getattr(read, name), array)
    assert summary["steps"] == read.metadata["steps"] == 7
    assert (read.metadata["recipe"], read.metadata["source"]) == ("minari", "mujoco/pendulum-local-v0")


def test_the_summary_of_a_published_dataset_says_how_its_episodes_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "theirs"))
    episodes = make_episodes([4, 3, 5, 2])
    episodes[3] = dataclasses.replace(episodes[3], truncated=False)  # a recording that stopped
    write_dataset(tmp_path / "theirs", "mujoco/pendulum-local-v0", episodes, PENDULUM, {})
    recording = recipes.published(PENDULUM, "mujoco/pendulum-local-v0")
    summary = recipes.store(tmp_path / "ours", "pendulum/medium-local-v0", recording)
    ends = {"rule": "minari", "marked_terminals": 2, "marked_time_outs": 1, "unmarked_ends": 1}
    assert summary["episode_ends"] == recording.metadata["episode_ends"] == ends


def test_a_published_episode_longer_than_the_time_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for lengths in ([1000, 5], [5, 1001]):
        write_dataset(tmp_path, "mujoco/pendulum-local-v0", make_episodes(lengths), PENDULUM, {})
        if max(lengths) == 1000:
            recipes.published(PENDULUM, "mujoco/pendulum-local-v0")
    with pytest.raises(
        UserError, match=f"episode 1 has 1001 steps, more than the 1000 that {PENDULUM} allows"
    ):
        recipes.published(PENDULUM, "mujoco/pendulum-local-v0")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 50))
def test_a_replay_log_becomes_its_episodes(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "replay.safetensors"
    transitions = from_episodes(make_episodes(lengths, seed))
    save_file(arrays(transitions), path)
    read = from_episodes(recipes.from_replay_log(path))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(read, name), getattr(transitions, name))


def test_a_replay_log_is_taken_until_a_step_and_the_cut_is_no_terminal(tmp_path: Path) -> None:
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


def test_a_log_that_a_running_episode_ends_is_cut_there(tmp_path: Path) -> None:
    log = arrays(from_episodes(make_episodes([4, 4])))
    log["episode_ends"] = log["episode_ends"].copy()
    log["episode_ends"][-1] = False
    save_file(log, tmp_path / "log")
    assert [len(episode) for episode in recipes.from_replay_log(tmp_path / "log")] == [4, 4]


def test_a_replay_log_that_is_not_in_order_of_time_is_refused(tmp_path: Path) -> None:
    log = arrays(from_episodes(make_episodes([4, 4])))
    order = np.array([0, 2, 1, 3, 4, 5, 6, 7])
    save_file({key: np.ascontiguousarray(array[order]) for key, array in log.items()}, tmp_path / "log")
    with pytest.raises(UserError, match="in order of time"):
        recipes.from_replay_log(tmp_path / "log")


def test_a_file_that_is_no_replay_log_is_refused_by_name(tmp_path: Path) -> None:
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


class Run(NamedTuple):
    """What a training run met: its episodes in order of time, and the seed of its resets."""

    environment: str
    seed: int
    episodes: list[Episode]


def online_run(environment: str, seed: int, blocks: list[int], force: float = 1.0) -> Run:
    """A run as the online loop collects it: each block from a fresh reset, its last episode cut.

    Stated independently: one copy, a list of rows, actions drawn at random in float32 and taken in float64.
    """
    environments = EnvironmentBatch(environment, [seed])
    draws = np.random.default_rng(seed)
    size = specification(environment).action_size
    episodes = []
    for block in blocks:
        observation = environments.reset()
        rows: list[Any] = [[observation[0]], [], []]
        for step in range(block):
            action = (force * draws.uniform(-1, 1, size=(1, size))).astype(np.float32)
            outcome = environments.step(action.astype(np.float64))
            for column, value in zip(
                rows, (outcome.observations[0], action[0], outcome.rewards[0]), strict=True
            ):
                column.append(value)
            ended = outcome.terminations | outcome.truncations
            if ended[0] or step == block - 1:
                arrays = [np.array(column, np.float32) for column in rows]
                terminated = bool(outcome.terminations[0])
                episodes.append(Episode(*arrays, terminated, not terminated))
                observation = environments.reset(ended) if ended[0] else outcome.observations
                rows = [[observation[0]], [], []]
    return Run(environment, seed, episodes)


def hopper_run() -> Run:
    """Falls, cut blocks, and a fall at the very end of a block, whose length is what a first try stood."""
    first = len(online_run("Hopper-v4", 5, [200]).episodes[0])
    return online_run("Hopper-v4", 5, [first, 150, 60])


RUNS: dict[str, Callable[[], Run]] = {
    "cheetah, cut blocks": lambda: online_run("HalfCheetah-v4", 3, [120, 80, 100]),
    "cheetah, time-outs at a block's end": lambda: online_run("HalfCheetah-v4", 4, [1000, 50]),
    "hopper, falls": hopper_run,
}


def assert_same(first: list[Episode], second: list[Episode]) -> None:
    for left, right in zip(first, second, strict=True):
        for name in ("observations", "actions", "rewards"):
            assert getattr(left, name).dtype == getattr(right, name).dtype == np.float32
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert (left.terminated, left.truncated) == (right.terminated, right.truncated)


@pytest.mark.parametrize("name", RUNS)
def test_an_action_log_simulates_the_run_again_to_the_last_bit(tmp_path: Path, name: str) -> None:
    run = RUNS[name]()
    assert len(run.episodes) >= 2
    log = tmp_path / "actions.safetensors"
    recipes.write_action_log(log, run.environment, run.seed, run.episodes)
    assert_same(recipes.resimulate(log), run.episodes)


def test_runs_to_test_with_have_falls_cuts_and_both_at_once() -> None:
    hopper = hopper_run().episodes
    assert hopper[0].terminated and {episode.terminated for episode in hopper} == {True, False}
    cheetah = RUNS["cheetah, time-outs at a block's end"]().episodes
    assert [(len(episode), episode.terminated) for episode in cheetah] == [(1000, False), (50, False)]


def test_an_action_log_from_a_replay_log_is_the_same_dataset(tmp_path: Path) -> None:
    run = hopper_run()
    save_file(arrays(from_episodes(run.episodes)), tmp_path / "replay")
    log, steps = tmp_path / "actions", 100
    recipes.write_action_log(
        log, run.environment, run.seed, recipes.from_replay_log(tmp_path / "replay", steps)
    )
    whole = recipes.replay("Hopper-v4", tmp_path / "replay", [9], steps)
    again = recipes.replay_of_actions("Hopper-v4", log, [9])
    assert_same(again.episodes, whole.episodes)
    assert again.metadata == {
        "recipe": "replay",
        "algorithm_name": "replay",
        "seeds": [9],
        "steps": steps,
        "action_log_sha256": sha256(log),
    }
    # a header and a few numbers an episode beside the actions
    assert log.stat().st_size < 4 * 3 * steps + 16 * len(whole.episodes) + 1000


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run._replace(seed=run.seed + 1),
        lambda run: run._replace(episodes=run.episodes[1:]),
        lambda run: run._replace(episodes=[run.episodes[0], *run.episodes[2:]]),
        lambda run: run._replace(environment="Hopper-v5"),
        lambda run: run._replace(
            episodes=[dataclasses.replace(episode, rewards=episode.rewards / 2) for episode in run.episodes]
        ),
    ],
    ids=["another seed", "the first missing", "one missing", "another version", "scaled rewards"],
)
def test_a_run_that_the_simulator_does_not_repeat_is_not_written(
    tmp_path: Path, change: Callable[[Run], Run]
) -> None:
    run = change(hopper_run())
    with pytest.raises(UserError, match=r"actions was not written: episode \d+ is not what Hopper-v\d"):
        recipes.write_action_log(tmp_path / "actions", run.environment, run.seed, run.episodes)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_another_simulator_rounds_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hopper_run()
    log = tmp_path / "actions"
    recipes.write_action_log(log, run.environment, run.seed, run.episodes)
    step = EnvironmentBatch.step

    def rounded(environments: EnvironmentBatch, actions: NDArray[np.float64]) -> Transition:
        return step(environments, actions * (1 + 1e-6))

    monkeypatch.setattr(EnvironmentBatch, "step", rounded)
    with pytest.raises(UserError, match=r"was simulated with mujoco .* and gives another run"):
        recipes.resimulate(log)


def test_a_file_that_is_no_action_log_is_refused_by_name(tmp_path: Path) -> None:
    run = online_run("Hopper-v4", 1, [8])
    whole = tmp_path / "whole"
    recipes.write_action_log(whole, run.environment, run.seed, run.episodes)
    with safe_open(whole, framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = file.metadata()

    def written(name: str, tensors: dict[str, NDArray[Any]], header: dict[str, str]) -> Path:
        save_file(tensors, tmp_path / name, header)
        return tmp_path / name

    without = {key: value for key, value in header.items() if key != "reset_seed"}
    for log, message in (
        (tmp_path / "missing", "missing, truncated or not a safetensors file"),
        (written("a", {"actions": tensors["actions"]}, header), "a is not an action log: it lacks 'lengths'"),
        (written("b", tensors, without), "b is not an action log: its header .*'reset_seed'"),
        (written("c", tensors, {**header, "reset_seed": "x"}), "c is not an action log: its header"),
        (written("d", {**tensors, "lengths": np.array([9])}, header), "d is not an action log: its arrays"),
        (written("e", {**tensors, "resets": np.array([0])}, header), "e is not an action log: its arrays"),
        (written("f", tensors, {**header, "environment": "Ant-v4"}), "environment 'Ant-v4' is unknown"),
    ):
        with pytest.raises(UserError, match=message):
            recipes.resimulate(log)
    with pytest.raises(
        UserError, match="whole is an action log of Hopper-v4, expected one of HalfCheetah-v4"
    ):
        recipes.replay_of_actions("HalfCheetah-v4", whole, [1])
