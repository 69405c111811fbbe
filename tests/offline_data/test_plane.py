"""Scripted data of the points in the plane: who arrives, by which way, and where actions vary how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs import plane
from offline_data import recipes
from offline_data.minari_io import read_transitions
from offline_data.plane import CAREFUL, NOISY, SCRIPTS
from offline_data.recipes import Recording, Source
from offline_data.transitions import Episode


def recorded(environment: str, noise: float = 0.0, **shares: float) -> Recording:
    sources = [
        Source(
            recipes.disturbed(environment, SCRIPTS[environment][name](seed), seed + 50, noise=noise),
            {"actor": name},
            seed,
            share,
        )
        for seed, (name, share) in enumerate(shares.items())
    ]
    return recipes.heterogeneous(environment, sources, 5000, copies=10, threads=1)


def of_source(recording: Recording, number: int) -> list[Episode]:
    """The episodes of one source that its share of the steps did not cut."""
    pairs = zip(recording.episodes, recording.metadata["episode_sources"], strict=True)
    return [episode for episode, source in pairs if source == number and episode.terminated]


def test_round_the_disc_two_scripts_arrive_on_either_side_and_the_third_hits_it() -> None:
    recording = recorded("TwoWays-v0", noise=0.1, left=2, right=2, straight=1)
    for number, (side, arrives) in enumerate([(-1, 1), (1, 1), (0, 0)]):
        episodes = of_source(recording, number)
        assert len(episodes) > 50
        returns = np.array([episode.rewards.sum() for episode in episodes])
        assert abs(returns.mean() - arrives) < 0.02
        if side:
            ends = np.array([episode.observations[-1, 0] for episode in episodes])
            assert (side * ends > 0).all()


def test_at_the_start_the_two_ways_first_actions_are_apart_and_their_mean_leads_into_the_disc() -> None:
    start = np.array([[0.0, -0.8]])
    left, right = (SCRIPTS["TwoWays-v0"][name](0)(start)[0] for name in ("left", "right"))
    np.testing.assert_allclose(left, [-1, 1])
    np.testing.assert_allclose(right, [1, 1])


@pytest.mark.parametrize(("script", "in_rooms"), [("careful", CAREFUL), ("noisy", NOISY)])
def test_through_rooms_and_hallways_noise_is_wide_where_it_should_be(script: str, in_rooms: float) -> None:
    task = plane.RoomsAndHallways(0)
    policy = SCRIPTS["RoomsAndHallways-v0"][script](0)
    for room, deviation in ((True, in_rooms), (False, CAREFUL)):
        states = np.flatnonzero(task.grid.rooms == room)
        observations = (task.centre(states) - task.middle) / task.unit
        actions = np.stack([policy(observations) for _ in range(400)])
        free = np.abs(actions).max(axis=0) < 1  # not clipped
        assert free.any() or deviation == NOISY
        spread = np.median(actions.std(axis=0)[np.abs(np.median(actions, axis=0)) < 0.2])
        assert spread == pytest.approx(min(deviation, 0.62), rel=0.2)  # the box takes from a wide one


def test_careful_and_noisy_ones_arrive_and_the_biased_takes_longer() -> None:
    recording = recorded("RoomsAndHallways-v0", careful=1, noisy=1, biased=2)
    lengths = []
    for number in range(3):
        episodes = of_source(recording, number)
        assert episodes and all(episode.rewards.sum() == 1 for episode in episodes)
        lengths.append(np.mean([len(episode) for episode in episodes]))
    assert lengths[0] < lengths[1] < lengths[2]


def test_a_recording_is_stored_and_read_as_others_are(tmp_path: Path) -> None:
    recording = recorded("TwoWays-v0", left=1, right=1)
    summary = recipes.store(tmp_path, "two-ways/both-local-v0", recording)
    data = read_transitions(tmp_path, "two-ways/both-local-v0", "TwoWays-v0")
    assert len(data.rewards) == 5000
    assert data.metadata["sources"] == [{"actor": "left", "share": 1}, {"actor": "right", "share": 1}]
    assert summary["normalised_score"] > 90
