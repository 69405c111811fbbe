"""Fingerprints: each quantity equals a slow loop over the agent's own steps, and tells what it should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.diagnostics import fingerprint
from algorithms.diagnostics.fingerprint import DRAWS, Fingerprint, fingerprints
from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.streams import Streams, derived_seed
from storage import UserError
from tests.algorithms import slow_reference as slow
from tests.made_up import made_up_transitions

ROOT = Path(__file__).parents[3]
AUTHORS = ROOT.parent / "shared" / "reference" / "off2on_cql"
ENVIRONMENT, OBSERVATION, ACTION = "InvertedDoublePendulum-v4", 11, 1
SEED, STEPS, DISCOUNT = 5, 6, 0.9
CHEETAH = "HalfCheetah-v4"


def made_agents(count: int = 2) -> list[dict[str, Tensor]]:
    agents = ActorCritics(range(count), OBSERVATION, ACTION, SACConfig(hidden_widths=(6, 5)))
    slow.randomise(agents, seed=3)
    with torch.no_grad():  # small deviations: the slow log density is infinite where tanh rounds to 1
        for parameter in agents.policy.parameters():
            parameter *= 0.3
    return [one_agent(agents, index) for index in range(count)]


def parameters_of(agent: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in agent.items()}


class Play(NamedTuple):
    """An agent's own steps: lists over time."""

    observations: list[Tensor]
    actions: list[Tensor]
    rewards: list[float]


def slow_play(parameters: dict[str, Tensor], streams: Streams) -> Play:
    """What Gymnasium's environment does under the sampled policy."""
    environment = gymnasium.make(ENVIRONMENT)
    current, _ = environment.reset(seed=derived_seed(SEED, "fingerprint") % 2**32)
    play = Play([], [], [])
    for _ in range(STEPS):
        observation = torch.from_numpy(current.astype(np.float32))
        noise = streams.normal(1, ACTION)[0, 0]
        action, _ = slow.squash(*slow.gaussian(parameters, 0, observation), noise)
        current, reward, terminated, truncated, _ = environment.step(action.float().numpy())
        play.observations.append(observation)
        play.actions.append(action)
        play.rewards.append(float(reward))
        if terminated or truncated:
            current, _ = environment.reset()
    return play


def slow_fingerprint(agent: dict[str, Tensor], index: int) -> dict[str, float]:
    """The equations of `Fingerprint`'s comments, a state and an action at a time."""
    parameters = parameters_of(agent)
    streams = Streams([derived_seed(SEED, f"fingerprint {index}")])
    play = slow_play(parameters, streams)
    noise = streams.normal(STEPS, DRAWS, ACTION)[0]
    uniform = 2 * streams.uniform(STEPS, DRAWS, ACTION)[0].double() - 1

    def q(state: Tensor, action: Tensor) -> float:
        return float(slow.smaller_q(parameters, "q.", 0, state, action))

    modes, flips, samples, uniforms, densities, deviations, products, squares = ([] for _ in range(8))
    for time, state in enumerate(play.observations):
        mean, std = slow.gaussian(parameters, 0, state)
        modes.append(q(state, torch.tanh(mean)))
        flips.append(q(state, -torch.tanh(mean)))
        deviations.append(float(std.mean()))
        drawn = [slow.squash(mean, std, noise[time, draw]) for draw in range(DRAWS)]
        at = np.array([q(state, action) for action, _ in drawn])
        density = np.array([float(log_density) for _, log_density in drawn])
        samples.append(at.mean())
        densities.append(density.mean())
        uniforms.append(np.mean([q(state, uniform[time, draw]) for draw in range(DRAWS)]))
        products.append(((at - at.mean()) * (density - density.mean())).sum())
        squares.append(((density - density.mean()) ** 2).sum())
    plain, soft = [], []
    for time in range(STEPS - 1):
        state, following = play.observations[time], play.observations[time + 1]
        error = play.rewards[time] + DISCOUNT * q(following, play.actions[time + 1])
        error -= q(state, play.actions[time])
        mean, std = slow.gaussian(parameters, 0, following)
        plain.append(error)
        soft.append(error - DISCOUNT * float(slow.squashed_log_density(mean, std, play.actions[time + 1])))
    return {
        "q_mode": np.mean(modes),
        "q_sample": np.mean(samples) - np.mean(modes),
        "q_uniform": np.mean(uniforms) - np.mean(modes),
        "q_flipped": np.mean(flips) - np.mean(modes),
        "log_density": np.mean(densities),
        "deviation": np.mean(deviations),
        "pessimism": np.mean(plain),
        "soft_td_error": np.mean(soft),
        "entropy_coefficient": np.sum(products) / np.sum(squares),
    }


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_every_quantity_equals_a_slow_loop_over_the_agents_own_steps() -> None:
    agents = made_agents()
    found = fingerprints(agents, ENVIRONMENT, None, STEPS, SEED, DISCOUNT)
    for index, agent in enumerate(agents):
        for name, expected in slow_fingerprint(agent, index).items():
            assert getattr(found[index], name) == pytest.approx(expected, rel=1e-4, abs=1e-4), name
        assert math.isnan(found[index].q_data)


def test_on_data_it_is_cqls_squared_td_error_and_qs_gap_to_the_policy() -> None:
    agent, transitions = made_agents(1)[0], made_up_transitions([4, 3])
    (found,) = fingerprints([agent], ENVIRONMENT, transitions, STEPS, SEED, DISCOUNT)
    parameters = parameters_of(agent)
    # The same draws: `fingerprints` plays and profiles before it looks at the data.
    streams = Streams([derived_seed(SEED, "fingerprint 0")])
    for _ in range(STEPS):
        streams.normal(1, ACTION)
    streams.normal(STEPS, DRAWS, ACTION)
    streams.uniform(STEPS, DRAWS, ACTION)
    next_noise, noise = streams.normal(7, ACTION)[0], streams.normal(7, ACTION)[0]
    squares, data, policy = [], [], []
    for row in range(7):
        state, following = (
            torch.from_numpy(array[row])
            for array in (transitions.observations, transitions.next_observations)
        )
        action = torch.from_numpy(transitions.actions[row])
        next_action, _ = slow.squash(*slow.gaussian(parameters, 0, following), next_noise[row])
        target = float(transitions.rewards[row]) + DISCOUNT * float(transitions.masks[row]) * float(
            slow.smaller_q(parameters, "q.", 0, following, next_action)
        )
        twins = [float(slow.q_value(parameters, "q.", 0, twin, state, action)) for twin in (0, 1)]
        squares.append(sum((value - target) ** 2 for value in twins))
        data.append(min(twins))
        acted, _ = slow.squash(*slow.gaussian(parameters, 0, state), noise[row])
        policy.append(float(slow.smaller_q(parameters, "q.", 0, state, acted)))
    assert found.squared_td_error == pytest.approx(np.mean(squares), rel=1e-4)
    assert found.q_data == pytest.approx(np.mean(data), rel=1e-4)
    assert found.q_data_policy == pytest.approx(np.mean(policy) - np.mean(data), rel=1e-3, abs=1e-4)


def test_an_agent_is_measured_alike_beside_any_neighbour() -> None:
    (first, second), transitions = made_agents(), made_up_transitions([4, 3])
    alone = fingerprints([first], ENVIRONMENT, transitions, STEPS)
    assert alone[0] == fingerprints([first, second], ENVIRONMENT, transitions, STEPS)[0]


class QOfPolicy(torch.nn.Module):
    """A critic with Q(s, a) = alpha log pi(a|s) + 3, both twins alike."""

    def __init__(self, agents: ActorCritics, alpha: float) -> None:
        super().__init__()
        self.act, self.alpha = agents.distribution, alpha

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        q = self.alpha * self.act(observations).log_density(actions) + 3
        return torch.stack([q, q], dim=1)


def test_the_entropy_coefficient_is_alpha_where_the_policy_is_the_softmax_of_q_over_alpha() -> None:
    agents = fingerprint.population(made_agents(1), ENVIRONMENT)
    agents.q = QOfPolicy(agents, 1.7)  # type: ignore[assignment]
    with torch.no_grad():
        profile = fingerprint._action_profile(agents, torch.randn(1, 50, OBSERVATION))
    assert float(profile["entropy_coefficient"]) == pytest.approx(1.7, rel=1e-3)


def test_agents_of_another_environment_or_width_are_refused_in_one_sentence() -> None:
    wide = ActorCritics([0], OBSERVATION, ACTION, SACConfig(hidden_widths=(7, 5)))
    with pytest.raises(UserError, match="network is of another size"):
        fingerprints([*made_agents(1), one_agent(wide, 0)], ENVIRONMENT)
    with pytest.raises(UserError, match="network is of another size"):
        fingerprints(made_agents(1), CHEETAH)
    with pytest.raises(UserError, match="no policy"):
        fingerprints([{"q.net.layers.0.bias": torch.zeros(2, 1, 4)}], ENVIRONMENT)


# What pre-training left in Q shows at every step that an agent takes: unlike a score, these means hardly
# depend on the course of an episode, and so not on a processor's rounding.
PESSIMISM = {"halfcheetah-random": (1.0, 4.0), "halfcheetah-medium-replay": (0.0, 1.3)}
ENTROPY_COEFFICIENT = {"halfcheetah-random": (0.02, 0.06), "halfcheetah-medium-replay": (0.42, 0.52)}


@pytest.mark.parametrize("dataset", sorted(PESSIMISM))
def test_released_agents_have_the_fingerprint_that_their_page_gives(dataset: str) -> None:
    files = [ROOT / "releases" / dataset / f"agent_{agent}.safetensors" for agent in range(5)]
    found = fingerprints([checkpoints.load(file)[0] for file in files], CHEETAH, steps=300)
    low, high = PESSIMISM[dataset]
    assert low < np.mean([one.pessimism for one in found]) < high
    low, high = ENTROPY_COEFFICIENT[dataset]
    assert all(low < one.entropy_coefficient < high for one in found)


@pytest.mark.skipif(not AUTHORS.is_dir(), reason=f"the authors' checkpoints are not at {AUTHORS}")
def test_the_authors_agents_are_pessimistic_by_six_a_step() -> None:
    from algorithms.population.authors_checkpoints import read_agent

    agents = [read_agent(AUTHORS / f"halfcheetah-medium-v0_seed{seed}") for seed in (0, 4, 8, 12, 16)]
    found = fingerprints(agents, CHEETAH, steps=300)

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    assert mean("pessimism") == pytest.approx(6.0, abs=1.0)
    assert mean("q_mode") == pytest.approx(-221, abs=25)
    assert mean("entropy_coefficient") == pytest.approx(1.7, abs=0.15)
    assert isinstance(found[0], Fingerprint)
