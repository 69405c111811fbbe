"""Warm starts: cloning climbs the likelihood, critics regress on returns, each leaves the rest alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from algorithms.methods.cql import CQL
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (41, 42)
CONFIG = SACConfig(hidden_widths=(7, 5), policy_learning_rate=2e-3, value_learning_rate=5e-3)


def make_agents() -> ActorCritics:
    return slow.randomise(ActorCritics(SEEDS, OBSERVATION, ACTION, CONFIG))


def make_batch() -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed=1)


def assert_moved_by_adam(
    agents: ActorCritics, before: dict[str, Tensor], gradients: dict[str, Tensor], rate: float
) -> None:
    """Parameters with a gradient made one Adam step; all others are bit for bit what they were."""
    optimiser = slow.Adam(dict(before))
    optimiser.step(gradients, rate)
    for name, parameter in agents.named_parameters():
        if name in gradients:
            torch.testing.assert_close(
                parameter.detach().double(), optimiser.parameters[name].detach(), rtol=0, atol=1e-5
            )
        elif not name.startswith("target_q."):
            assert torch.equal(parameter.detach().double(), before[name].detach()), name


def test_cloning_is_one_step_up_the_log_likelihood_of_the_datas_actions() -> None:
    agents, batch = make_agents(), make_batch()
    exact = slow.float64_parameters(agents)
    metrics = CQL(agents, CONFIG).clone(batch)
    losses = []
    for agent in range(len(SEEDS)):
        log_likelihood = [
            slow.squashed_log_density(
                *slow.gaussian(exact, agent, batch.observations[agent, row]), batch.actions[agent, row]
            )
            for row in range(SIZE)
        ]
        losses.append(-torch.stack(log_likelihood).mean())
    expected = torch.stack(losses)
    torch.testing.assert_close(metrics["actor_loss"].double(), expected.detach(), rtol=1e-4, atol=1e-4)
    assert_moved_by_adam(
        agents, exact, slow.gradients(expected.sum(), exact, "policy."), CONFIG.policy_learning_rate
    )
    assert torch.equal(
        agents.target_q.state_dict()["net.layers.0.weight"].double(),
        exact["target_q.net.layers.0.weight"].detach(),
    )


def test_fitting_returns_is_one_step_of_both_twins_towards_them() -> None:
    agents, batch = make_agents(), make_batch()
    returns = torch.randn(len(SEEDS), SIZE, generator=torch.Generator().manual_seed(2))
    exact = slow.float64_parameters(agents)
    metrics = CQL(agents, CONFIG).fit_returns(batch, returns)
    expected = slow.critic_loss(exact, batch, returns.double())
    torch.testing.assert_close(metrics["td_error"].double(), expected.detach(), rtol=1e-4, atol=1e-4)
    assert_moved_by_adam(
        agents, exact, slow.gradients(expected.sum(), exact, "q."), CONFIG.value_learning_rate
    )
    for name, tensor in agents.target_q.state_dict().items():
        assert torch.equal(tensor, agents.q.state_dict()[name])


def test_cloning_reaches_the_datas_actions_and_fitting_their_returns() -> None:
    agents, batch = make_agents(), make_batch()
    goal = torch.tanh(batch.observations[..., :ACTION])
    batch = batch._replace(actions=goal)
    returns = batch.observations[..., 0]
    for _ in range(800):
        CQL(agents, CONFIG).clone(batch)
        metrics = CQL(agents, CONFIG).fit_returns(batch, returns)
    actions = agents.policy(batch.observations).mode().detach()
    assert float((actions - goal).abs().mean()) < 0.1
    assert metrics["td_error"].max() == pytest.approx(0, abs=0.05)
