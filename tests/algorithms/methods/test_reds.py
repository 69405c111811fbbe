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
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, DRAWN = 4, 2, 6, 3
SEEDS = (11, 12)
CONFIG = REDSConfig(
    **slow.SMALL,
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    conservative_weight=2.0,
    sampled_actions=DRAWN,
    inverse_temperature=0.7,
)


def make_agents(config: REDSConfig = CONFIG) -> REDSAgents:
    """Agents in float64, so that the two statements may differ by rounding of that alone."""
    return slow.randomise(REDSAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(seed: int = 1) -> Batch:
    """Transitions, one of whose actions lies at the edge of the box."""
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)
    batch.actions[:, 0, 0] = 1.0
    return batch


def slow_poor_loss(
    exact: slow.Parameters, batch: Batch, noise: Tensor, agent: int, temperature: float
) -> tuple[Tensor, float]:
    """-mean(exp(clip(-A c, -10, 5)) log rho(a|s)), and the largest of the weights."""
    states, actions = batch.observations[agent], batch.actions[agent]
    own, _ = slow.sample(exact, agent, states, noise)
    first, second = slow.critics(exact, "q", agent, states, actions)
    advantage = (first + second) / 2 - slow.smaller_critic(exact, "q", agent, states, own)
    weights = [math.exp(min(max(-temperature * each, -10), 5)) for each in advantage.tolist()]
    mean, log_std = slow.network(exact, "poor", agent, states).chunk(2, dim=1)
    std = log_std.clamp(-20, 2).exp()
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
        candidates += [slow.sample(fixed, agent, seen, noise[:, j]) for j in range(DRAWN)]
    if not config.importance_sampling:
        candidates.append((data, box))
    of_rho = [slow.sample(fixed, agent, states, poor[:, j], policy="poor") for j in range(DRAWN)]
    total = torch.zeros((), dtype=torch.float64)
    for twin in (0, 1):
        ratios = [
            [
                slow.critics(exact, "q", agent, states, action)[twin].exp()
                / (density.exp() if config.importance_sampling else 1.0)
                for action, density in group
            ]
            for group in (candidates, of_rho)
        ]
        if config.mixture == "joint":
            pushed = sum(ratios[0] + ratios[1]).log()
        else:
            pushed = 0.5 * sum(ratios[0]).log() + 0.5 * sum(ratios[1]).log()
        total = total + (pushed - slow.critics(exact, "q", agent, states, data)[twin]).mean()
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
        batch, streams = make_batch(number), slow.same_streams(agents)
        own_noise, target_noise = streams.normal(SIZE, ACTION), streams.normal(SIZE, ACTION)
        noises = (streams.uniform(*shape), *(streams.normal(*shape) for _ in range(3)))
        actor_noise = streams.normal(SIZE, ACTION)

        metrics = learner.update(batch, number)

        exact = optimiser.parameters
        critics, rho, actors, excesses, largest = [], [], [], [], []
        for agent in range(len(SEEDS)):
            states, following = batch.observations[agent], batch.next_observations[agent]
            next_action, _ = slow.sample(exact, agent, following, target_noise[agent])
            lowest = slow.smaller_critic(exact, "target_q", agent, following, next_action)
            target = (batch.rewards[agent] + config.discount * batch.masks[agent] * lowest).detach()
            of_data = slow.critics(exact, "q", agent, states, batch.actions[agent])
            error = sum(((q - target) ** 2).mean() for q in of_data)
            penalty = slow_penalty(exact, batch, noises, agent, config)
            critics.append(torch.stack([error, penalty]))
            loss, weight = slow_poor_loss(exact, batch, own_noise[agent], agent, config.inverse_temperature)
            rho.append(loss)
            largest.append(weight)
            action, density = slow.sample(exact, agent, states, actor_noise[agent])
            of_own = slow.smaller_critic(slow.constant_critics(exact), "q", agent, states, action)
            actors.append((slow.alpha(exact)[agent] * density - of_own).mean())
            excesses.append(-(density.detach() - ACTION).mean())
        errors, penalties = torch.stack(critics).unbind(dim=1)
        of_critics = slow.gradients((errors + config.conservative_weight * penalties).sum(), exact, "q.")
        of_policy = slow.gradients(torch.stack(actors).sum(), exact, "policy.")
        of_policy["log_entropy_coefficient"] = torch.stack(excesses)
        of_rho = slow.gradients(torch.stack(rho).sum(), exact, "poor.")
        optimiser.step(of_critics, config.value_learning_rate)
        optimiser.step(of_policy | of_rho, config.policy_learning_rate)
        optimiser.move_targets(config.target_update_rate)

        expected = {
            "td_error": errors,
            "conservative_penalty": penalties / 2,
            "poor_loss": torch.stack(rho),
            "actor_loss": torch.stack(actors),
            "advantage_weight_max": torch.tensor(largest, dtype=torch.float64),
        }
        slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, optimiser.parameters)


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
