"""The points in the plane: steps equal numbers by hand, walls hold, copies depend on no neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from envs import plane
from envs.gridworld import Gridworld
from envs.locomotion import EnvironmentBatch, specification
from envs.reference_scores import normalised_score

NAMES = tuple(plane.TASKS)


def at(name: str, *positions: tuple[float, float]) -> EnvironmentBatch:
    """A batch whose copies stand at these positions: of the plane, or in cells of the plan."""
    batch = EnvironmentBatch(name, range(len(positions)))
    batch.reset()
    batch.restore({**batch.state(), "physics": np.array(positions)})
    return batch


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_same_to_the_bit_alone_and_beside_others_and_from_a_saved_state(name: str) -> None:
    together, alone = EnvironmentBatch(name, [4, 5, 6]), EnvironmentBatch(name, [5])
    assert np.array_equal(together.reset()[1], alone.reset()[0])
    actions = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 3, 2))
    for number, action in enumerate(actions):
        if number == 10:
            state, again = together.state(), EnvironmentBatch(name, [0, 0, 0])
            again.restore(state)
            together = again
        outcome, lone = together.step(action), alone.step(action[1:2])
        for one, other in zip(outcome, lone, strict=True):
            assert np.array_equal(one[1], other[0])
        done = outcome.terminations | outcome.truncations
        if done.any():
            observations = together.reset(done)
            if done[1]:
                assert np.array_equal(alone.reset()[0], observations[1])


@pytest.mark.parametrize(("name", "limit"), [("TwoWays-v0", 50), ("RoomsAndHallways-v0", 300)])
def test_an_episode_without_an_end_is_cut_at_its_time_limit(name: str, limit: int) -> None:
    batch = EnvironmentBatch(name, [1])
    batch.reset()
    for step in range(1, limit + 1):
        outcome = batch.step(np.zeros((1, 2)))
        assert not outcome.terminations[0] and outcome.rewards[0] == 0
        assert outcome.truncations[0] == (step == limit)
    assert specification(name).time_limit == limit


class TestTwoWays:
    def test_a_step_moves_by_a_tenth_of_the_clipped_action_inside_the_plane(self) -> None:
        batch = at("TwoWays-v0", (0.0, -0.8), (0.0, -0.8), (-0.95, -0.5))
        found = batch.step(np.array([[0.5, -1.0], [3.0, -9.0], [-1.0, 0.0]])).observations
        np.testing.assert_allclose(found, [[0.05, -0.9], [0.1, -0.9], [-1.0, -0.5]], atol=1e-15)

    def test_the_disc_ends_an_episode_with_nothing_and_each_goal_with_one(self) -> None:
        batch = at("TwoWays-v0", (0.0, -0.4), (-0.5, 0.65), (0.5, 0.65), (0.0, 0.8))
        outcome = batch.step(np.array([[0.0, 1.0]] * 3 + [[0.0, 0.0]]))
        assert outcome.terminations.tolist() == [True, True, True, False]
        assert outcome.rewards.tolist() == [0, 1, 1, 0]

    def test_episodes_begin_below_the_disc(self) -> None:
        starts = EnvironmentBatch("TwoWays-v0", range(400)).reset()
        np.testing.assert_allclose(starts.mean(axis=0), [0, -0.8], atol=0.004)
        np.testing.assert_allclose(starts.std(axis=0), [0.02, 0.02], rtol=0.15)


class TestRoomsAndHallways:
    def test_no_move_ends_in_a_wall_and_one_against_it_slides_along(self) -> None:
        grid, name = Gridworld.named("maze3"), "RoomsAndHallways-v0"
        task, generator = plane.RoomsAndHallways(0), np.random.default_rng(2)
        batch = EnvironmentBatch(name, range(50))
        observations = batch.reset()
        for _ in range(100):
            batch_actions = generator.uniform(-1, 1, (50, 2))
            observations = batch.step(batch_actions).observations
            for column, row in np.floor(task.unit * observations + task.middle).astype(int):
                assert grid.maze.rows[row][column] != "#"
        beside = at(name, (3.5, 0.5))  # the wall lies right of the fourth cell
        moved = task.unit * beside.step(np.array([[1.0, 1.0]])).observations[0] + task.middle
        np.testing.assert_allclose(moved, [3.5, 1.0])

    def test_the_goals_cell_ends_an_episode_with_one(self) -> None:
        grid, task = Gridworld.named("maze3"), plane.RoomsAndHallways(0)
        goal = task.centre(np.array(int(grid.rewards.argmax())))
        batch = at("RoomsAndHallways-v0", (goal[0], goal[1] - 0.9), (goal[0], goal[1] - 1.4))
        outcome = batch.step(np.array([[0.0, 1.0], [0.0, 1.0]]))
        assert outcome.terminations.tolist() == [True, False] and outcome.rewards.tolist() == [1, 0]


def test_the_score_is_the_share_of_episodes_that_reach_the_goal() -> None:
    for name in NAMES:
        np.testing.assert_array_equal(normalised_score([0.0, 0.25, 1.0], name), [0, 25, 100])
