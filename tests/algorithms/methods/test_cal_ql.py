"""Cal-QL: an update equals a slow float64 statement; without bounds it is CQL, bound everywhere it rests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.methods import cal_ql, conservative, cql
from algorithms.methods.cal_ql import CalQL, CalQLAgents, CalQLConfig
from algorithms.methods.interface import OfflineStart, Start
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.extras import EPISODE_ENDS
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (11, 12)
CONFIG = CalQLConfig(
    **slow.SMALL,
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    conservative_weight=2.0,
    sampled_actions=3,
)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def make_agents(config: CalQLConfig = CONFIG) -> CalQLAgents:
    """Agents in float64, so that the two statements may differ by rounding of that alone."""
    return slow.randomise(CalQLAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(seed: int = 1) -> Batch:
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)
    returns = torch.randn(len(SEEDS), SIZE, generator=torch.Generator().manual_seed(seed)).double()
    return batch._replace(extras={"returns_to_go": returns})


def bounded_at(batch: Batch, value: float) -> Batch:
    return batch._replace(extras={"returns_to_go": torch.full_like(batch.rewards, value)})


def sample(exact: slow.Parameters, agent: int, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions [B, A] and log densities [B] of a policy with scaled deviations."""
    mean, log_std = slow.network(exact, "policy", agent, states).chunk(2, dim=1)
    scaled = exact["policy.log_std_scale"][agent] * log_std + exact["policy.log_std_offset"][agent]
    return slow.squash_rows(mean, scaled.clamp(-20, 2).exp(), noise)


def slow_target(exact: slow.Parameters, batch: Batch, noise: Tensor, agent: int) -> Tensor:
    """r + discount mask max over actions of the twins' min. [B]"""
    states, of_each = batch.next_observations[agent], []
    for j in range(CONFIG.sampled_actions):
        action, _ = sample(exact, agent, states, noise[agent, :, j])
        of_each.append(slow.smaller_critic(exact, "target_q", agent, states, action))
    best = torch.stack(of_each).max(dim=0).values
    return (batch.rewards[agent] + CONFIG.discount * batch.masks[agent] * best).detach()


def slow_penalty(
    exact: slow.Parameters, batch: Batch, noises: tuple[Tensor, ...], agent: int, importance: bool
) -> tuple[Tensor, float]:
    """The twins' sum of E[log sum exp(max(Q, R) - log density) - Q of the data], and the bound share."""
    uniform, here, there = (noise[agent] for noise in noises)
    states, returns = batch.observations[agent], batch.extras["returns_to_go"][agent]
    candidates = [(2 * uniform[:, j].double() - 1, None) for j in range(CONFIG.sampled_actions)]
    for seen, noise in ((states, here), (batch.next_observations[agent], there)):
        for j in range(CONFIG.sampled_actions):
            candidates.append(sample(exact, agent, seen, noise[:, j]))
    if not importance:
        candidates.append((batch.actions[agent], None))
    data = slow.critics(exact, "q", agent, states, batch.actions[agent])
    total, bound, judged = [torch.zeros(SIZE, dtype=torch.float64) for _ in (0, 1)], 0.0, 0
    for action, density in candidates:
        for twin, q in enumerate(slow.critics(exact, "q", agent, states, action.detach())):
            if density is not None:
                judged += SIZE
                bound += float((q < returns).sum())
                q = torch.where(q < returns, returns, q)
            weight = density.detach() if density is not None else torch.tensor(-ACTION * math.log(2.0))
            total[twin] = total[twin] + (q - (weight if importance else 0)).exp()
    gaps = [(each.log() - q).mean() for each, q in zip(total, data, strict=True)]
    return gaps[0] + gaps[1], bound / judged


@pytest.mark.parametrize("importance", [True, False])
@pytest.mark.parametrize("norm", ["none", "before"])
def test_an_update_equals_a_slow_float64_statement(importance: bool, norm: str) -> None:
    config = replace(CONFIG, importance_sampling=importance, critic_norm=norm)
    agents = make_agents(config)
    optimiser = slow.Adam(slow.float64_parameters(agents))
    n, shape = config.sampled_actions, (SIZE, CONFIG.sampled_actions, ACTION)
    for number in range(2):
        batch, streams = make_batch(number), slow.same_streams(agents)
        target_noise = streams.normal(SIZE, n, ACTION)
        noises = (streams.uniform(*shape), streams.normal(*shape), streams.normal(*shape))
        actor_noise = streams.normal(SIZE, ACTION)

        metrics = cal_ql.update(agents, batch, config)

        exact = optimiser.parameters
        errors, penalties, shares, actors, excesses = [], [], [], [], []
        for agent in range(len(SEEDS)):
            target = slow_target(exact, batch, target_noise, agent)
            q = slow.critics(exact, "q", agent, batch.observations[agent], batch.actions[agent])
            errors.append(sum(((each - target) ** 2).mean() for each in q))
            penalty, share = slow_penalty(exact, batch, noises, agent, importance)
            penalties.append(penalty)
            shares.append(share)
            states = batch.observations[agent]
            action, log_density = sample(exact, agent, states, actor_noise[agent])
            lowest = slow.smaller_critic(slow.constant_critics(exact), "q", agent, states, action)
            actors.append((slow.alpha(exact)[agent] * log_density - lowest).mean())
            excesses.append(-(log_density.detach() - ACTION).mean())
        error, penalty = torch.stack(errors), torch.stack(penalties)
        critics = slow.gradients((error + config.conservative_weight * penalty).sum(), exact, "q.")
        policy = slow.gradients(torch.stack(actors).sum(), exact, "policy.")
        policy["log_entropy_coefficient"] = torch.stack(excesses)
        optimiser.step(critics, CONFIG.value_learning_rate)
        optimiser.step(policy, CONFIG.policy_learning_rate)
        optimiser.move_targets(CONFIG.target_update_rate)

        expected = {
            "td_error": error,
            "conservative_penalty": penalty / 2,
            "bound_share": torch.tensor(shares, dtype=torch.float64),
            "actor_loss": torch.stack(actors),
        }
        slow.assert_metrics(metrics, expected)
        assert min(shares) > 0 and max(shares) < 1
        slow.assert_parameters(agents, optimiser.parameters)


def penalty_and_gradients(
    agents: CalQLAgents, batch: Batch, config: CalQLConfig = CONFIG
) -> tuple[Tensor, Tensor, list[Tensor]]:
    policy, q = agents.policy(batch.observations), agents.q(batch.observations, batch.actions)
    penalty, share = cal_ql.calibrated_penalty(agents, policy, batch, q, config)
    return penalty, share, list(torch.autograd.grad(penalty.sum(), list(agents.q.parameters())))


@pytest.mark.parametrize("faster", [{}, {"penalty_gradient_actions": 2, "reduced_precision_penalty": True}])
def test_with_a_return_of_minus_infinity_the_penalty_is_cqls_to_the_bit(faster: dict[str, Any]) -> None:
    agents, batch = make_agents().float(), make_batch().map(Tensor.float)
    before = agents.streams.state()
    own = replace(CONFIG, **faster)
    found, share, gradients = penalty_and_gradients(agents, bounded_at(batch, -math.inf), own)
    agents.streams.restore(before)
    q, policy = agents.q(batch.observations, batch.actions), agents.policy(batch.observations)
    config = cql.CQLConfig(sampled_actions=CONFIG.sampled_actions, **faster)
    expected = conservative.penalty(agents, policy, batch, q, config)
    assert torch.equal(found, expected) and not share.any()
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected.sum(), list(agents.q.parameters())), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_with_a_very_large_return_all_of_the_policys_values_are_bound_and_give_no_gradient() -> None:
    agents, batch = make_agents(), bounded_at(make_batch(), 1e6)
    q = agents.q(batch.observations, batch.actions)
    _, share, gradients = penalty_and_gradients(agents, batch)
    assert torch.equal(share, torch.ones_like(share))
    of_the_data = torch.autograd.grad(-q.mean(dim=-1).sum(), list(agents.q.parameters()))
    for ours, theirs in zip(gradients, of_the_data, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def pretrained() -> CalQL:
    learner = CalQL.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), CONFIG)
    for number in range(3):
        learner.update(make_batch(number).map(Tensor.float), number)
    return learner


def fine_tuning(before: CalQL) -> CalQL:
    needed = CalQL.needed(CONFIG)
    offline = slow.offline_data(slow.random_batch(1, 50, OBSERVATION, ACTION, seed=5), needed)
    buffer = OnlineBuffer(len(SEEDS), 50, OBSERVATION, ACTION, needed=needed)
    members = [one_agent(before.agents, index) for index in range(len(SEEDS))]
    start = Start((1, 2), Streams((3, 4)), OBSERVATION, ACTION, offline, buffer, members, 1)
    return CalQL.begin(start, CONFIG)


def test_the_switch_keeps_targets_temperature_and_moments() -> None:
    before = pretrained()
    state, expected = fine_tuning(before).agents.training_state(), before.agents.training_state()
    assert state.keys() == expected.keys()
    for name in state.keys() - {"streams"}:
        assert torch.equal(state[name], expected[name]), name


def test_online_half_of_a_batch_is_offline_and_each_row_has_its_return() -> None:
    learner = fine_tuning(pretrained())
    block = slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6)
    ends = (torch.arange(20) % 10 == 9).expand(len(SEEDS), -1)
    learner.replay.add(block._replace(extras={EPISODE_ENDS: ends}))
    metrics = learner.learn()
    assert torch.equal(metrics["offline_fraction"], torch.full((len(SEEDS),), 0.5))
    assert "bound_share" in metrics


def test_a_share_that_is_no_number_of_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"offline_fraction 0.5 of batch_size 7 is 3.5 rows, expected"):
        replace(CONFIG, batch_size=7)


def test_layer_norm_beside_the_faster_penalty_is_refused() -> None:
    with pytest.raises(UserError, match="critic_norm is before, expected none beside penalty_gradient_actio"):
        replace(CONFIG, critic_norm="before", reduced_precision_penalty=True)


def test_a_policys_log_deviation_is_clipped_after_it_is_scaled() -> None:
    agents, states = make_agents(), make_batch().observations
    for offset, limit in ((-50.0, -20.0), (50.0, 2.0)):
        with torch.no_grad():
            agents.policy.log_std_offset.fill_(offset)
        log_std = agents.policy(states).log_std
        assert torch.equal(log_std, torch.full_like(log_std, limit))


def test_fresh_policies_are_near_zero_with_a_log_deviation_near_minus_one() -> None:
    agents = CalQLAgents(SEEDS, 17, 6, CalQLConfig())
    agents.initialise()
    with torch.no_grad():
        policy = agents.policy(torch.randn(len(SEEDS), 30, 17))
    assert float(policy.mean.abs().max()) < 0.2
    torch.testing.assert_close(policy.log_std, torch.full_like(policy.log_std, -1.0), rtol=0, atol=0.2)
    for weight in agents.q.net.affine_maps()[1].weight.detach():
        torch.testing.assert_close(weight.T @ weight, 2 * torch.eye(256), rtol=1e-4, atol=1e-4)
