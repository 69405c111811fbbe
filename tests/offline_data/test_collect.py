"""A recording is the environment's own steps, exactly as many as asked, whatever the threads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from envs.locomotion import Transition
from offline_data import collect
from offline_data.collect import environment_seeds, record
from offline_data.transitions import Episode, from_episodes
from storage import UserError

PENDULUM = "InvertedDoublePendulum-v4"


class Counters:
    """A made-up batch: copy i counts; it terminates after i + 3 steps, and times out after 5.

    Observation: (copy, episode, steps taken), reward: 100 copy + 10 episode + steps taken.
    """

    def __init__(self, name: str, seeds: Sequence[int], threads: int) -> None:
        self.copies = len(seeds)
        self.episode = np.full(self.copies, -1)
        self.time = np.zeros(self.copies, dtype=np.int64)
        self.running = np.zeros(self.copies, dtype=np.bool_)

    def reset(self, which: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        which = np.ones(self.copies, np.bool_) if which is None else which
        self.episode[which] += 1
        self.time[which] = 0
        self.running[which] = True
        return self.observe()

    def observe(self) -> NDArray[np.float64]:
        numbers = np.stack([np.arange(self.copies), self.episode, self.time], axis=1)
        return np.pad(numbers.astype(np.float64), ((0, 0), (0, 8)))

    def step(self, actions: NDArray[np.float32]) -> Transition:
        assert self.running.all()
        self.time += 1
        terminations, truncations = self.time >= np.arange(self.copies) + 3, self.time >= 5
        self.running = ~(terminations | truncations)
        rewards = 100.0 * np.arange(self.copies) + 10 * self.episode + self.time
        return Transition(self.observe(), rewards, terminations, truncations)


def still(observations: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.zeros((len(observations), 1))


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "EnvironmentBatch", Counters)


@pytest.mark.usefixtures("counters")
def test_episodes_are_cut_where_they_end_and_never_twice() -> None:
    episodes = record(PENDULUM, still, steps=4 * 12, seed=0, copies=4, threads=1)
    found = [
        (int(episode.observations[0, 0]), len(episode), episode.terminated, episode.truncated)
        for episode in episodes
    ]
    assert found == [
        *[(0, 3, True, False)] * 4,
        *[(1, 4, True, False)] * 3,
        *[(2, 5, True, True)] * 2,
        (2, 2, False, True),
        *[(3, 5, False, True)] * 2,
        (3, 2, False, True),
    ]


@pytest.mark.usefixtures("counters")
def test_each_row_holds_one_step() -> None:
    for episode in record(PENDULUM, still, steps=4 * 12, seed=0, copies=4, threads=1):
        copy, number, _ = episode.observations[0, :3]
        length = len(episode)
        np.testing.assert_array_equal(episode.observations[:, 2], np.arange(length + 1))
        assert (episode.observations[:, :2] == [copy, number]).all()
        np.testing.assert_array_equal(episode.rewards, 100 * copy + 10 * number + np.arange(1, length + 1))


@pytest.mark.usefixtures("counters")
@pytest.mark.parametrize(("steps", "copies"), [(1, 1), (7, 3), (40, 4), (5, 5), (29, 6)])
def test_exactly_the_steps_asked_for_are_recorded(steps: int, copies: int) -> None:
    episodes = record(PENDULUM, still, steps, seed=0, copies=copies, threads=1)
    transitions = from_episodes(episodes)
    assert len(transitions) == steps
    shares = [int((transitions.observations[:, 0] == copy).sum()) for copy in range(copies)]
    assert max(shares) - min(shares) <= 1


@pytest.mark.usefixtures("counters")
def test_an_episode_cut_by_the_end_is_not_terminal() -> None:
    episodes = record(PENDULUM, still, steps=2, seed=0, copies=1, threads=1)
    assert [(len(e), e.terminated, e.truncated) for e in episodes] == [(2, False, True)]
    assert from_episodes(episodes).masks.tolist() == [1, 1]


@pytest.mark.parametrize(("steps", "copies"), [(10, 0), (10, 11), (10, -1), (0, 1)])
def test_numbers_of_copies_that_make_no_sense_are_refused(steps: int, copies: int) -> None:
    with pytest.raises(UserError, match=f"copies is {copies}, expected a number from 1 to"):
        record(PENDULUM, still, steps, seed=0, copies=copies, threads=1)


def lean(observations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keeps the pendulum up for a while: its angles' sines and velocities, weighed."""
    return np.clip(observations[:, [1]] * 2 + observations[:, [6]], -1, 1)


def assert_same(first: list[Episode], second: list[Episode]) -> None:
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left.observations, right.observations)
        np.testing.assert_array_equal(left.actions, right.actions)
        np.testing.assert_array_equal(left.rewards, right.rewards)
        assert (left.terminated, left.truncated) == (right.terminated, right.truncated)


def test_a_recording_depends_on_the_seed_and_not_on_the_threads() -> None:
    first = record(PENDULUM, lean, steps=2000, seed=1, copies=7, threads=1)
    assert_same(first, record(PENDULUM, lean, steps=2000, seed=1, copies=7, threads=2))
    other = record(PENDULUM, lean, steps=2000, seed=2, copies=7, threads=1)
    assert not np.isin(other[0].observations[0, 0], [episode.observations[0, 0] for episode in first])


@pytest.mark.parametrize("name", ["InvertedDoublePendulum-v4", "Hopper-v4"])
def test_a_recording_is_what_gymnasium_does(name: str) -> None:
    def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sin(7 * observations[:, :3]) if name == "Hopper-v4" else lean(observations)

    copies, share = 3, 150
    found = record(name, policy, steps=copies * share, seed=5, copies=copies, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        environment = gymnasium.make(name)
    expected = []
    for seed in environment_seeds(5, copies):
        observation, _ = environment.reset(seed=seed)
        rows: list[list[np.ndarray]] = [[observation], [], []]
        for step in range(share):
            action = policy(observation[None])[0].astype(np.float32)
            observation, reward, terminated, truncated, _ = environment.step(action)
            rows[0].append(observation)
            rows[1].append(action)
            rows[2].append(np.asarray(reward))
            if terminated or truncated or step == share - 1:
                arrays = [np.array(row, np.float32) for row in rows]
                expected.append(Episode(*arrays, terminated, truncated or not terminated))
                observation, _ = environment.reset()
                rows = [[observation], [], []]
    environment.close()
    assert len(expected) > copies
    assert_same(found, expected)


def test_the_seeds_of_neighbouring_recordings_are_unrelated() -> None:
    seeds = [seed for start in range(50) for seed in environment_seeds(start, 20)]
    assert len(set(seeds)) == len(seeds)
