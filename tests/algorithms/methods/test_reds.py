"""ReDS: an update of either form equals a slow float64 statement; what rho learns, what is CQL's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from algorithms.methods import cql, reds
from algorithms.methods.interface import OfflineStart
from algorithms.methods.reds import REDS, REDSAgents, REDSConfig
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow
from tests.algorithms.methods.test_rlpd import network

OBSERVATION, ACTION, SIZE, DRAWN = 4, 2, 6, 3
SEEDS = (11, 12)
CONFIG = REDSConfig(
    hidden_widths=(7, 5),
    batch_size=SIZE,
    discount=0.9,
    target_update_rate=0.05,
    policy_learning_rate=2e-3,
    value_learning_rate=5e-3,
    initial_entropy_coefficient=0.3,
    conservative_weight=2.0,
    sampled_actions=DRAWN,
    inverse_temperature=0.7,
)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def make_agents(config: REDSConfig = CONFIG) -> REDSAgents:
    """Agents in float64, so that the two statements may differ by rounding of that alone."""
    agents = REDSAgents(SEEDS, OBSERVATION, ACTION, config)
    slow.randomise(agents, seed=0)
    return agents.double()


def make_batch(seed: int = 1) -> Batch:
    """Transitions, one of whose actions lies at the edge of the box."""
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)
    batch.actions[:, 0, 0] = 1.0
    return batch


def same_streams(agents: REDSAgents) -> Streams:
    streams = Streams(SEEDS)
    streams.restore(agents.streams.state())
    return streams


def gaussian(exact: slow.Parameters, name: str, agent: int, states: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = network(exact, name, agent, states).chunk(2, dim=1)
    return mean, log_std.clamp(-20, 2).exp()


def drawn(exact: slow.Parameters, name: str, agent: int, states: Tensor, noise: Tensor) -> list[Tensor]:
    """Actions [B, A] and log densities [B] of the policy `name`."""
    each = [slow.squash(*one) for one in zip(*gaussian(exact, name, agent, states), noise, strict=True)]
    return [torch.stack([action for action, _ in each]), torch.stack([density for _, density in each])]


def values(exact: slow.Parameters, prefix: str, agent: int, states: Tensor, actions: Tensor) -> list[Tensor]:
    rows = torch.cat([states, actions], dim=1)
    return [network(exact, prefix, 2 * agent + twin, rows)[:, 0] for twin in (0, 1)]


def slow_poor_loss(
    exact: slow.Parameters, batch: Batch, noise: Tensor, agent: int, temperature: float
) -> tuple[Tensor, float]:
    """-mean(exp(clip(-A c, -10, 5)) log rho(a|s)), and the largest of the weights."""
    states, actions = batch.observations[agent], batch.actions[agent]
    own, _ = drawn(exact, "policy", agent, states, noise)
    first, second = values(exact, "q", agent, states, actions)
    advantage = (first + second) / 2 - torch.minimum(*values(exact, "q", agent, states, own))
    weights = [math.exp(min(max(-temperature * each, -10), 5)) for each in advantage.tolist()]
    mean, std = gaussian(exact, "poor", agent, states)
    total = torch.zeros((), dtype=torch.float64)
    for row, weight in enumerate(weights):
        action = torch.clamp(actions[row], -0.999, 0.999)
        total = total - weight * slow.squashed_log_density(mean[row], std[row], action)
    return total / SIZE, max(weights)


def slow_penalty(
    exact: slow.Parameters, batch: Batch, noises: tuple[Tensor, ...], agent: int, config: REDSConfig
) -> Tensor:
    """The twins' sum of E[soft maximum - Q of the data], by sums of exponentials."""
    uniform, here, there, poor = (noise[agent] for noise in noises)
    states, data = batch.observations[agent], batch.actions[agent]
    fixed = slow.constant(exact)
    box = torch.full((SIZE,), -ACTION * math.log(2.0), dtype=torch.float64)
    candidates = [(2 * uniform[:, j].double() - 1, box) for j in range(DRAWN)]
    for seen, noise in ((states, here), (batch.next_observations[agent], there)):
        candidates += [tuple(drawn(fixed, "policy", agent, seen, noise[:, j])) for j in range(DRAWN)]
    if not config.importance_sampling:
        candidates.append((data, box))
    of_rho = [tuple(drawn(fixed, "poor", agent, states, poor[:, j])) for j in range(DRAWN)]
    total = torch.zeros((), dtype=torch.float64)
    for twin in (0, 1):
        ratios = [
            [
                values(exact, "q", agent, states, action)[twin].exp()
                / (density.exp() if config.importance_sampling else 1.0)
                for action, density in group
            ]
            for group in (candidates, of_rho)
        ]
        if config.mixture == "joint":
            pushed = sum(ratios[0] + ratios[1]).log()
        else:
            pushed = 0.5 * sum(ratios[0]).log() + 0.5 * sum(ratios[1]).log()
        total = total + (pushed - values(exact, "q", agent, states, data)[twin]).mean()
    return total


@pytest.mark.parametrize("mixture", ["joint", "halves"])
@pytest.mark.parametrize("importance", [True, False])
def test_an_update_equals_a_slow_float64_statement(
    mixture: Literal["joint", "halves"], importance: bool
) -> None:
    config = replace(CONFIG, mixture=mixture, importance_sampling=importance)
    learner = REDS(make_agents(config), config)
    agents, optimiser = learner.agents, slow.Adam(slow.float64_parameters(learner.agents))
    shape = (SIZE, DRAWN, ACTION)
    for number in range(2):
        batch, streams = make_batch(number), same_streams(agents)
        own_noise, target_noise = streams.normal(SIZE, ACTION), streams.normal(SIZE, ACTION)
        noises = (streams.uniform(*shape), *(streams.normal(*shape) for _ in range(3)))
        actor_noise = streams.normal(SIZE, ACTION)

        metrics = learner.update(batch, number)

        exact = optimiser.parameters
        alpha = exact["log_entropy_coefficient"].detach().exp()
        critics, rho, actors, excesses, largest = [], [], [], [], []
        for agent in range(len(SEEDS)):
            states, following = batch.observations[agent], batch.next_observations[agent]
            next_action, _ = drawn(exact, "policy", agent, following, target_noise[agent])
            lowest = torch.minimum(*values(exact, "target_q", agent, following, next_action))
            target = (batch.rewards[agent] + config.discount * batch.masks[agent] * lowest).detach()
            of_data = values(exact, "q", agent, states, batch.actions[agent])
            error = sum(((q - target) ** 2).mean() for q in of_data)
            penalty = slow_penalty(exact, batch, noises, agent, config)
            critics.append(torch.stack([error, penalty]))
            loss, weight = slow_poor_loss(exact, batch, own_noise[agent], agent, config.inverse_temperature)
            rho.append(loss)
            largest.append(weight)
            action, density = drawn(exact, "policy", agent, states, actor_noise[agent])
            of_own = torch.minimum(*values(slow.constant_critics(exact), "q", agent, states, action))
            actors.append((alpha[agent] * density - of_own).mean())
            excesses.append(-(density.detach() - ACTION).mean())
        errors, penalties = torch.stack(critics).unbind(dim=1)
        of_critics = slow.gradients((errors + config.conservative_weight * penalties).sum(), exact, "q.")
        of_policy = slow.gradients(torch.stack(actors).sum(), exact, "policy.")
        of_policy["log_entropy_coefficient"] = torch.stack(excesses)
        of_rho = slow.gradients(torch.stack(rho).sum(), exact, "poor.")
        optimiser.step(of_critics, config.value_learning_rate)
        optimiser.step(of_policy | of_rho, config.policy_learning_rate)
        optimiser.move_targets(config.target_update_rate)

        for name, found in {
            "td_error": errors,
            "conservative_penalty": penalties / 2,
            "poor_loss": torch.stack(rho),
            "actor_loss": torch.stack(actors),
            "advantage_weight_max": torch.tensor(largest, dtype=torch.float64),
        }.items():
            torch.testing.assert_close(metrics[name], found.detach(), **CLOSE, msg=name)
        for name, parameter in agents.named_parameters():
            expected = optimiser.parameters[name].detach()
            torch.testing.assert_close(parameter.detach(), expected, **CLOSE, msg=name)


def test_candidates_of_rho_are_in_the_box_with_the_density_that_rho_is_trained_by() -> None:
    agents, batch = make_agents(), make_batch()
    actions, density = reds.poor_proposals(agents, batch, CONFIG)
    assert actions.shape == (len(SEEDS), SIZE, DRAWN, ACTION) and bool((actions.abs() <= 1).all())
    assert not actions.requires_grad and not density.requires_grad
    states = batch.observations
    for j in range(DRAWN):
        trained = agents.poor(states).log_density(actions[:, :, j])
        inside = (actions[:, :, j].abs() < 0.999).all(
            dim=-1
        )  # closer to the edge the inverse of tanh is rounded
        torch.testing.assert_close(density[:, :, j][inside], trained.detach()[inside], rtol=1e-6, atol=1e-6)


def test_weights_rank_poor_actions_first_and_stay_in_their_range() -> None:
    agents, batch = make_agents(), make_batch()
    before = agents.streams.state()
    weights = reds.poor_weights(agents, batch, CONFIG)
    q = agents.q(batch.observations, batch.actions).mean(dim=1)
    agents.streams.restore(before)
    noise = agents.streams.normal(SIZE, ACTION)
    own = agents.q(batch.observations, agents.policy(batch.observations).actions(noise)).amin(dim=1)
    assert torch.equal((own - q).argsort(dim=1), weights.argsort(dim=1))
    agents.streams.restore(before)
    extreme = reds.poor_weights(agents, batch, replace(CONFIG, inverse_temperature=1e6))
    assert set(extreme.flatten().tolist()) <= {math.exp(-10), math.exp(5)}
    flat = reds.poor_weights(agents, batch, replace(CONFIG, inverse_temperature=0.0))
    assert torch.equal(flat, torch.ones_like(flat))


def test_policy_and_critics_of_fresh_agents_are_cqls_to_the_bit() -> None:
    start = OfflineStart(SEEDS, OBSERVATION, ACTION, [])
    ours, theirs = (method.begin_offline(start, CONFIG).agents for method in (REDS, cql.CQL))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_in_a_long_run_rho_becomes_likely_where_the_data_are_poor() -> None:
    """One state, data of two actions alike, and critics that prefer the larger one."""
    agents = make_agents(replace(CONFIG, inverse_temperature=3.0))
    batch = make_batch()
    batch = batch._replace(
        observations=torch.zeros_like(batch.observations),
        actions=torch.tensor([0.5, -0.5]).double().repeat(3).reshape(1, SIZE, 1).expand(2, SIZE, ACTION),
    )
    weights = torch.where(batch.actions[..., 0] < 0, 1.0, 0.05).double()
    for _ in range(500):
        agents.step(reds.poor_loss(agents, batch, weights))
    likely = agents.poor(batch.observations).log_density(batch.actions)
    assert bool((likely[:, 1] > likely[:, 0] + 1).all())
