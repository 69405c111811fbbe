"""Recorded manipulation data: of each kind what was asked for, prior rewards zeroed, decided by the seed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from envs.manipulation.closed_drawer import GraspClosedDrawer
from envs.manipulation.controllers import NONE, Noise
from offline_data.image_episodes import PRIOR, RANDOM, TASK, ImageEpisode, from_image_episodes
from offline_data.manipulation import Settings, image_summary, record, store
from storage import UserError

NAME = "GraspClosedDrawer-v0"
CLEAN = Settings(
    prior=2, task=3, random=1, prior_noise=NONE, task_noise=NONE, action_form="position", horizon=30
)


@pytest.fixture(scope="module")
def episodes() -> list[ImageEpisode]:
    return record(NAME, CLEAN).episodes


def test_there_are_as_many_of_each_kind_as_asked_for(episodes: list[ImageEpisode]) -> None:
    assert [episode.source for episode in episodes] == [PRIOR] * 2 + [TASK] * 3 + [RANDOM]
    for episode in episodes:
        assert episode.images.shape == (31, 48, 48, 3)
        assert episode.states.shape == (31, 10)
        assert episode.actions.shape == (30, 4)
        assert episode.rewards.shape == (30,)


def test_task_episodes_are_rewarded_and_others_are_not(episodes: list[ImageEpisode]) -> None:
    assert [bool(episode.rewards[-1]) for episode in episodes] == [False] * 2 + [True] * 3 + [False]


def test_rewards_of_prior_data_are_zeroed_even_in_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GraspClosedDrawer, "success", lambda task, physics: True)
    recording = record(NAME, dataclasses.replace(CLEAN, prior=1, task=1, horizon=3))
    rewards = [episode.rewards.tolist() for episode in recording.episodes]
    assert rewards == [[0.0] * 3, [1.0] * 3, [1.0] * 3]


def test_the_seed_decides_and_numbers_of_episodes_do_not(episodes: list[ImageEpisode]) -> None:
    fewer = record(NAME, dataclasses.replace(CLEAN, prior=1, task=1, random=1)).episodes
    for again, first in zip(fewer, (episodes[0], episodes[2], episodes[5]), strict=True):
        np.testing.assert_array_equal(again.images, first.images)
        np.testing.assert_array_equal(again.actions, first.actions)
    other = record(NAME, dataclasses.replace(CLEAN, prior=0, task=0, seed=1)).episodes[0]
    assert not np.array_equal(other.actions, episodes[5].actions)


def test_the_summary_counts_what_is_there(tmp_path: Path) -> None:
    recording = record(NAME, CLEAN)
    dataset_id = "manipulation/grasp-closed-drawer-local-v0"
    told = store(tmp_path, dataset_id, recording)
    joined = from_image_episodes(recording.episodes, recording.metadata)
    assert json.loads(json.dumps(told)) == told
    assert told == image_summary(joined) | {"dataset_id": dataset_id, "environment": NAME}
    assert (told["steps"], told["episodes"], told["length_mean"]) == (180, 6, 30.0)
    assert told["rewarded_steps"] == sum(episode.rewards.sum() for episode in recording.episodes)
    assert told["sources"]["prior"] == {"episodes": 2, "steps": 60, "success": 0.0, "first_stage": 1.0}
    assert told["sources"]["task"] == {"episodes": 3, "steps": 90, "success": 1.0, "first_stage": 1.0}
    assert told["sources"]["random"]["steps"] == 30


def test_task_episodes_may_start_around_the_middle() -> None:
    spread = dataclasses.replace(CLEAN, prior=1, task=4, random=0, horizon=3, middle_spread=0.03)
    prior, *task = record(NAME, spread).episodes
    np.testing.assert_allclose(prior.states[0, :3], [0, 0, 0], atol=0.05)  # decimetres from the start
    assert np.ptp([episode.states[0, :3] for episode in task], axis=0).max() > 0.1


def test_prior_episodes_may_end_with_their_script() -> None:
    long = dataclasses.replace(CLEAN, prior=1, task=1, random=0, horizon=40)
    resting, *_ = record(NAME, long).episodes
    ended, task = record(NAME, dataclasses.replace(long, prior_rests=False)).episodes
    assert 15 < len(ended) < 30
    np.testing.assert_array_equal(ended.images, resting.images[: len(ended) + 1])
    np.testing.assert_array_equal(ended.actions, resting.actions[: len(ended)])
    np.testing.assert_array_equal(resting.actions[len(ended) :, :3], 0)
    assert len(task) == 40


SPOILT = dataclasses.replace(CLEAN, prior=0, random=0, task_noise=Noise(pick=0.03, close=0.02))


def test_task_episodes_succeed_as_often_as_asked_for_spread_over_their_numbers() -> None:
    asked = dataclasses.replace(SPOILT, task=6, task_success=0.34)
    ends = [bool(episode.rewards[-1]) for episode in record(NAME, asked).episodes]
    assert ends == [False, False, True, False, False, True]


def test_episodes_that_end_as_asked_at_once_are_those_that_come_unasked() -> None:
    as_they_come = record(NAME, dataclasses.replace(SPOILT, task=4)).episodes
    failed = record(NAME, dataclasses.replace(SPOILT, task=4, task_success=0.0)).episodes
    ends = [bool(episode.rewards[-1]) for episode in as_they_come]
    assert any(ends) and not all(ends)
    for succeeded, before, after in zip(ends, as_they_come, failed, strict=True):
        assert np.array_equal(before.actions, after.actions) is not succeeded


def test_a_share_of_successes_that_the_noise_does_not_leave_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offline_data.manipulation.ATTEMPTS", 3)
    with pytest.raises(UserError) as refusal:
        record(NAME, dataclasses.replace(CLEAN, prior=0, task=1, random=0, horizon=3, task_success=1.0))
    assert str(refusal.value) == (
        "task_success is 1.0, and 3 attempts at one task episode of GraspClosedDrawer-v0 all fail:"
        " expected a share that task_noise leaves room for"
    )


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, -1, 1)])
def test_numbers_of_episodes_out_of_range_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="expected at least one in all"):
        record(NAME, Settings(*counts))
