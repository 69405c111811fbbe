"""EDAC: an update equals a slow float64 statement whose diversity is autograd's second derivative."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms.methods import edac
from algorithms.methods.edac import EDACAgents, EDACConfig
from algorithms.replay.batch import Batch
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 3, 5
SEEDS = (41, 42)
LIMITS = (-1.5, 0.5)
CONFIG = EDACConfig(
    **slow.SMALL | {"hidden_widths": (7, 5, 6)},
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    critics=4,
    log_std_range=LIMITS,
    diversity_weight=0.7,
)


def make_agents(config: edac.ManyCriticsConfig = CONFIG) -> EDACAgents:
    """Critics with a slope in every state: that of none has no direction, whose derivative autograd lacks."""
    agents = slow.randomise(EDACAgents(SEEDS, OBSERVATION, ACTION, config))
    for layer in agents.q.net.affine_maps():
        layer.bias.data.abs_().add_(0.5)
    return agents.double()


def make_batch(seed: int = 1, rows: int = SIZE) -> Batch:
    return slow.random_batch(len(SEEDS), rows, OBSERVATION, ACTION, seed).map(Tensor.double)


def critics_of(exact: slow.Parameters, prefix: str, agent: int, states: Tensor, actions: Tensor) -> Tensor:
    """Q of each of an agent's critics. [K, B]"""
    return torch.stack(slow.critics(exact, prefix, agent, states, actions, CONFIG.critics))


def slow_diversity(exact: slow.Parameters, batch: Batch, chosen: Tensor, agent: int) -> Tensor:
    """Pair by pair and state by state, slopes by autograd."""
    actions = batch.actions[agent].clone().requires_grad_()
    slopes = []
    for k in chosen[agent].tolist():
        q = critics_of(exact, "q", agent, batch.observations[agent], actions)[k]
        slopes.append(torch.autograd.grad(q.sum(), actions, create_graph=True)[0])
    total = torch.zeros((), dtype=torch.float64)
    for row in range(SIZE):
        units = [slope[row] / (slope[row].square().sum().sqrt() + 1e-10) for slope in slopes]
        for i, one in enumerate(units):
            for j, other in enumerate(units):
                if i != j:
                    total = total + (one * other).sum()
    return total / SIZE / (len(slopes) - 1)


def slow_actor(
    exact: slow.Parameters, observations: Tensor, noise: Tensor, limits: tuple[float, float] = LIMITS
) -> tuple[Tensor, Tensor]:
    """alpha log pi - min over all critics, and by how much log pi exceeds the target. [P] each"""
    actors, excesses = [], []
    for agent in range(len(SEEDS)):
        actions, log_density = slow.sample(exact, agent, observations[agent], noise[agent], limits)
        fixed = slow.constant_critics(exact)
        lowest = critics_of(fixed, "q", agent, observations[agent], actions).min(dim=0).values
        actors.append((slow.alpha(exact)[agent] * log_density - lowest).mean())
        excesses.append((log_density.detach() - ACTION).mean())
    return torch.stack(actors), torch.stack(excesses)


@pytest.mark.parametrize("compared", ["action_size", "all"])
def test_updates_equal_a_slow_float64_statement(compared: str) -> None:
    config = replace(CONFIG, diverse_critics=compared)
    agents = make_agents(config)
    by_hand = slow.Adam(slow.float64_parameters(agents))
    for number in range(2):
        batch, streams = make_batch(number), slow.same_streams(agents)
        next_noise = streams.normal(SIZE, ACTION)
        chosen = streams.subsets(1, ACTION if compared == "action_size" else CONFIG.critics, CONFIG.critics)
        noise = streams.normal(SIZE, ACTION)

        metrics = edac.update(agents, batch, config)

        exact = by_hand.parameters
        errors, diversities = [], []
        for agent in range(len(SEEDS)):
            states = batch.next_observations[agent]
            actions, log_density = slow.sample(exact, agent, states, next_noise[agent], LIMITS)
            soft = critics_of(exact, "target_q", agent, states, actions).min(dim=0).values
            soft = soft - slow.alpha(exact)[agent] * log_density
            target = (batch.rewards[agent] + CONFIG.discount * batch.masks[agent] * soft).detach()
            q = critics_of(exact, "q", agent, batch.observations[agent], batch.actions[agent])
            errors.append(((q - target) ** 2).mean(dim=1).sum())
            diversities.append(slow_diversity(exact, batch, chosen[:, 0], agent))
        error, diversity = torch.stack(errors), torch.stack(diversities)
        q_mean = slow.q_mean(exact, batch, CONFIG.critics)
        actor, excess = slow_actor(exact, batch.observations, noise)
        total = (error + CONFIG.diversity_weight * diversity).sum()
        critics = slow.gradients(total, exact, "q.")
        policy = slow.gradients(actor.sum(), exact, "policy.") | {"log_entropy_coefficient": -excess}
        by_hand.step(critics, CONFIG.value_learning_rate)
        by_hand.step(policy, CONFIG.policy_learning_rate)
        by_hand.move_targets(CONFIG.target_update_rate)

        expected = {"critic_loss": error, "diversity_loss": diversity, "actor_loss": actor}
        expected |= {"q_mean": q_mean, "entropy": -(excess + ACTION)}
        slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, by_hand.parameters)


def test_alike_critics_pay_most_and_opposite_ones_least() -> None:
    """M critics of one slope: (M^2 - M) / (M - 1) = M; pairs of opposite slopes: less than 0."""
    agents, config = make_agents(), replace(CONFIG, diverse_critics="all")
    last = agents.q.net.affine_maps()[-1].weight
    for parameter in agents.q.parameters():
        rows = parameter.data.view(len(SEEDS), CONFIG.critics, -1)
        rows.copy_(rows[:, :1].expand_as(rows).clone())
    alike = edac.diversity_loss(agents, make_batch(), config)
    torch.testing.assert_close(alike, torch.full_like(alike, CONFIG.critics), rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        last[::2] *= -1
    opposite = edac.diversity_loss(agents, make_batch(), config)
    expected = -CONFIG.critics / (CONFIG.critics - 1)
    torch.testing.assert_close(opposite, torch.full_like(opposite, expected), rtol=1e-6, atol=1e-6)


def test_of_actions_with_one_number_two_critics_are_compared() -> None:
    agents = EDACAgents(SEEDS, OBSERVATION, 1, CONFIG)
    slow.randomise(agents, seed=0)
    loss = edac.diversity_loss(agents, slow.random_batch(len(SEEDS), SIZE, OBSERVATION, 1, 1), CONFIG)
    # Both pairs of a state have the cosine 1 or -1, or 0 where a slope is 0.
    assert bool((SIZE * loss).round().sub(SIZE * loss).abs().max() < 1e-4) and bool(loss.any())


def test_critics_without_a_slope_give_no_gradient_but_numbers() -> None:
    agents = make_agents()
    for parameter in agents.q.parameters():
        parameter.data.zero_()
    loss = edac.diversity_loss(agents, make_batch(), CONFIG)
    assert not loss.any()
    gradients = torch.autograd.grad(loss.sum(), [layer.weight for layer in agents.q.net.affine_maps()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_critics_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="critics is 1, expected at least 2 that differ"):
        replace(CONFIG, critics=1)
    with pytest.raises(UserError, match="critic_norm is before, expected none for critics of diverse slopes"):
        replace(CONFIG, critic_norm="before")


def test_fresh_policies_are_near_zero_with_unit_deviation_and_values_near_zero() -> None:
    agents = EDACAgents(SEEDS, 17, 6, EDACConfig())
    agents.initialise()
    for net, bound in ((agents.policy.net, 1e-3), (agents.q.net, 3e-3)):
        *hidden, last = net.affine_maps()
        assert all(bool((layer.bias == 0.1).all()) for layer in hidden)
        for parameter in last.parameters():
            assert 0.5 * bound < float(parameter.detach().abs().max()) <= bound
    with torch.no_grad():
        policy = agents.policy(torch.randn(len(SEEDS), 30, 17))
    for part in policy:
        assert float(part.abs().max()) < 0.05
