"""The gridworlds: mazes as they are drawn, exact returns, and data that are careless in rooms alone."""

from __future__ import annotations

import numpy as np
import pytest

from envs.gridworld import HORIZON, LEFT, MOVES, Gridworld, epsilon_greedy
from envs.reference_scores import reference_scores
from offline_data.gridworld import heteroskedastic_weights, sampled
from storage import UserError


@pytest.mark.parametrize(("name", "steps"), [("maze3", 32), ("maze5", 92)])
def test_every_cell_is_reached_and_the_goal_on_the_shortest_way(name: str, steps: int) -> None:
    world = Gridworld.named(name)
    distance = {world.start: 0}
    queue = [world.start]
    for state in queue:
        for following in world.next_states[state].tolist():
            if following not in distance:
                distance[following] = distance[state] + 1
                queue.append(following)
    assert len(distance) == len(world.cells)
    assert distance[int(world.rewards.argmax())] == steps
    assert world.optimal_q[world.start].max() == pytest.approx(
        world.maze.discount**steps / (1 - world.maze.discount)
    )


def test_a_move_into_a_wall_rests_and_another_goes_where_it_says() -> None:
    world = Gridworld.named("maze3")
    cells = world.cells.tolist()
    for state, (row, column) in enumerate(cells):
        for action, (across, down) in enumerate(MOVES):
            there = [row + down, column + across]
            expected = there if there in cells else [row, column]
            assert cells[world.next_states[state, action]] == expected


def test_returns_are_those_of_many_played_episodes() -> None:
    world = Gridworld.named("maze3")
    exact = float(world.returns(world.optimal_q[None])[0])
    generator, policy = np.random.default_rng(0), epsilon_greedy(world.optimal_q)
    played = []
    for _ in range(40):
        state, total = world.start, 0.0
        for draw in generator.random(HORIZON):
            total += world.rewards[state]
            state = int(world.next_states[state, int(np.searchsorted(policy[state].cumsum(), draw))])
        played.append(total)
    assert exact == pytest.approx(np.mean(played), abs=4 * np.std(played) / np.sqrt(40))


@pytest.mark.parametrize("name", ["maze3", "maze5"])
def test_the_reference_return_is_the_optimal_policys(name: str) -> None:
    world = Gridworld.named(name)
    low, high = reference_scores(name.capitalize())
    assert low == 0 and high == pytest.approx(float(world.returns(world.optimal_q[None])[0]), abs=1e-3)


def test_an_unknown_maze_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"there is no maze 'maze4': expected one of maze3, maze5"):
        Gridworld.named("maze4")


def test_data_pull_left_in_rooms_and_are_near_optimal_in_hallways() -> None:
    world = Gridworld.named("maze5")
    weights = np.mean([heteroskedastic_weights(world, seed) for seed in range(20)], axis=0)
    shares = weights / weights.sum(axis=1, keepdims=True)
    assert weights.sum() == pytest.approx(1)
    assert 0.6 < shares[world.rooms, LEFT].mean() < 0.8
    hallways = np.flatnonzero(~world.rooms)
    np.testing.assert_allclose(shares[hallways, world.optimal_q[hallways].argmax(axis=1)], 0.92)


def test_a_finite_dataset_has_as_many_transitions_as_asked_and_its_seeds_differ() -> None:
    world = Gridworld.named("maze3")
    weights = heteroskedastic_weights(world, 0)
    shares = sampled(weights, 16, 0)
    counts = shares * 16 * len(weights)
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert counts.sum() == pytest.approx(16 * len(weights))
    assert np.array_equal(shares, sampled(weights, 16, 0)) and not np.array_equal(
        shares, sampled(weights, 16, 1)
    )
