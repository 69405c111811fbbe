"""Evaluation is Gymnasium's: the same returns as a plain loop, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import derived_seed
from algorithms.training.acceleration import Compute
from algorithms.training.evaluation import Act, Evaluation, evaluate

SEEDS, EPISODES = [4, 9], 2


def elementwise_policy(
    action_size: int, gains: tuple[float, ...]
) -> tuple[Act, Callable[[int, NDArray[np.float64]], NDArray[np.float64]]]:
    """A policy for each agent, computed number by number, so that no batch changes its bits.

    As the population acts, and as one agent acts on one observation.
    """
    gain = torch.tensor(gains, dtype=torch.float32)[:, None, None]

    def act(observations: Tensor) -> Tensor:
        return torch.clamp(gain[: len(observations)] * observations[..., :action_size], -1, 1)

    def act_of(agent: int, observation: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = np.float32(gains[agent]) * observation.astype(np.float32)[:action_size]
        return np.clip(scaled, np.float32(-1), np.float32(1)).astype(np.float64)

    return act, act_of


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize(
    ("environment", "action_size"),
    [("InvertedDoublePendulum-v4", 1), ("HalfCheetah-v4", 6), ("Hopper-v4", 3)],
)
def test_returns_equal_a_plain_gymnasium_loop(environment: str, action_size: int) -> None:
    act, act_of = elementwise_policy(action_size, (0.5, -2.0))
    result = evaluate(act, environment, SEEDS, step=3000, episodes=EPISODES)
    gym = gymnasium.make(environment)
    for agent, seed in enumerate(SEEDS):
        for episode in range(EPISODES):
            start = derived_seed(seed, "evaluation", 3000, episode) % 2**32
            observation, _ = gym.reset(seed=start)
            total, length, over = 0.0, 0, False
            while not over:
                action = act_of(agent, observation)
                observation, reward, terminated, truncated, _ = gym.step(action)
                total, length, over = total + float(reward), length + 1, terminated or truncated
            assert result.returns[agent, episode] == total
            assert result.lengths[agent, episode] == length
    gym.close()
    assert len({*result.returns.ravel()}) == len(SEEDS) * EPISODES  # every episode has its own start


def test_threads_that_step_the_episodes_change_nothing() -> None:
    act, _ = elementwise_policy(1, (0.5, -2.0))
    one, two = (
        evaluate(act, "InvertedDoublePendulum-v4", SEEDS, 0, 3, Compute(environment_threads=threads))
        for threads in (1, 2)
    )
    assert (one.returns == two.returns).all() and (one.lengths == two.lengths).all()


def test_an_evaluation_leaves_no_state_behind() -> None:
    agents = ActorCritics(SEEDS, 11, 1, SACConfig(hidden_widths=(8, 8)))
    agents.initialise()

    def measure(step: int) -> Evaluation:
        return evaluate(
            lambda o: agents.policy(o).mode(), "InvertedDoublePendulum-v4", SEEDS, step, episodes=3
        )

    first = measure(100)
    state = {name: tensor.clone() for name, tensor in agents.training_state().items()}
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())
    assert not np.array_equal(measure(200).returns, first.returns)
    again = measure(100)
    assert np.array_equal(again.returns, first.returns) and np.array_equal(again.lengths, first.lengths)
    assert all(torch.equal(tensor, state[name]) for name, tensor in agents.training_state().items())
    assert all(parameter.grad is None for parameter in agents.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state


def test_start_states_depend_on_the_agent_s_own_seed_alone() -> None:
    act, _ = elementwise_policy(1, (0.5, 0.5))
    both = evaluate(act, "InvertedDoublePendulum-v4", [4, 9], 0, EPISODES)
    alone = evaluate(act, "InvertedDoublePendulum-v4", [9], 0, EPISODES)
    assert np.array_equal(both.returns[1], alone.returns[0])


def test_metrics_are_means_over_episodes() -> None:
    result = Evaluation(np.array([[100.0, 300.0], [0.0, 50.0]]), np.array([[10, 20], [1, 2]]))
    metrics = result.metrics("HalfCheetah-v4")
    assert metrics["return"].tolist() == [200.0, 25.0]
    assert metrics["episode_length"].tolist() == [15.0, 1.5]
    expected = [100 * (mean + 280.178953) / (12135.0 + 280.178953) for mean in (200.0, 25.0)]
    assert metrics["normalised_score"].tolist() == pytest.approx(expected)
