"""IQL: its losses, gradients and updates equal slow float64 statements of the paper's equations to 1e-9."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from algorithms.methods import awac, iql, losses
from algorithms.methods.iql import IQL, IQLAgents, IQLConfig, IQLFineTuningConfig
from algorithms.replay.batch import Batch
from algorithms.training.jobs import Job
from algorithms.training.offline import OfflineSchedule, StartingAgents, pretrain
from tests.algorithms import slow_reference as slow
from tests.made_up import made_up_transitions

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (71, 72)
CONFIG = IQLConfig(
    **slow.SMALL,
    batch_size=SIZE,
    policy_decay_updates=4,
    expectile=0.8,
    inverse_temperature=1.5,
    largest_weight=0.3,
)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def make_agents(config: IQLConfig = CONFIG) -> IQLAgents:
    """Agents of float64 at which every term counts: weights at their ceiling, a deviation at its edge."""
    agents = slow.randomise(IQLAgents(SEEDS, OBSERVATION, ACTION, config)).double()
    with torch.no_grad():
        agents.policy.log_std[0, 0, 0] = 3.0
    return agents


def make_batch(seed: int = 1) -> Batch:
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed)
    return batch.map(Tensor.double)


def value(parameters: slow.Parameters, agent: int, state: Tensor) -> Tensor:
    """V(s), a number."""
    return slow.perceptron(parameters, "v.", agent, state)[0]


def per_row(one: object, batch: Batch) -> Tensor:
    """`one(agent, row)` for every row. [P, B]"""
    rows = range(batch.rewards.shape[1])
    return slow.table((one(agent, row) for row in rows) for agent in range(len(SEEDS)))  # type: ignore[operator]


def slow_q(parameters: slow.Parameters, batch: Batch) -> Tensor:
    def one(agent: int, row: int) -> Tensor:
        state, action = batch.observations[agent, row], batch.actions[agent, row]
        return slow.smaller_q(parameters, "target_q.", agent, state, action)

    return per_row(one, batch).detach()


def slow_value_loss(parameters: slow.Parameters, batch: Batch, q: Tensor) -> Tensor:
    def one(agent: int, row: int) -> Tensor:
        difference = q[agent, row] - value(parameters, agent, batch.observations[agent, row])
        below = 1.0 if float(difference.detach()) < 0 else 0.0
        return abs(CONFIG.expectile - below) * difference**2

    return per_row(one, batch).mean(dim=1)


def slow_weights(parameters: slow.Parameters, batch: Batch, q: Tensor) -> Tensor:
    def one(agent: int, row: int) -> Tensor:
        advantage = float(q[agent, row]) - float(
            value(parameters, agent, batch.observations[agent, row]).detach()
        )
        weight = min(math.exp(CONFIG.inverse_temperature * advantage), CONFIG.largest_weight)
        return torch.tensor(weight, dtype=torch.float64)

    return per_row(one, batch)


def slow_actor_loss(parameters: slow.Parameters, batch: Batch, weights: Tensor) -> Tensor:
    def one(agent: int, row: int) -> Tensor:
        mean = torch.tanh(slow.perceptron(parameters, "policy.", agent, batch.observations[agent, row]))
        std = parameters["policy.log_std"][agent, 0].clamp(-5.0, 2.0).exp()
        return -weights[agent, row] * slow.normal_log_density(batch.actions[agent, row], mean, std)

    return per_row(one, batch).mean(dim=1)


def slow_target(parameters: slow.Parameters, batch: Batch) -> Tensor:
    def one(agent: int, row: int) -> Tensor:
        bootstrap = value(parameters, agent, batch.next_observations[agent, row])
        return batch.rewards[agent, row] + CONFIG.discount * batch.masks[agent, row] * bootstrap

    return per_row(one, batch).detach()


class TestLosses:
    def test_v_climbs_to_an_expectile_of_the_targets_smaller_q(self) -> None:
        agents, batch = make_agents(), make_batch()
        exact = slow.float64_parameters(agents)
        q = iql.smaller_target_q(agents, batch)
        torch.testing.assert_close(q, slow_q(exact, batch), **EXACT)
        loss, expected = iql.value_loss(agents, batch, q, CONFIG.expectile), slow_value_loss(exact, batch, q)
        torch.testing.assert_close(loss, expected, **EXACT)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "v."), **EXACT)

    def test_an_expectile_of_a_half_is_regression_on_q(self) -> None:
        agents, batch = make_agents(), make_batch()
        q = iql.smaller_target_q(agents, batch)
        error = (q - agents.v(batch.observations)).square().mean(dim=-1)
        torch.testing.assert_close(2 * iql.value_loss(agents, batch, q, 0.5), error, **EXACT)

    def test_weights_are_exponential_in_the_advantage_up_to_their_ceiling(self) -> None:
        agents, batch = make_agents(), make_batch()
        q = iql.smaller_target_q(agents, batch)
        weights = iql.advantage_weights(agents, batch, q, CONFIG)
        assert not weights.requires_grad
        at_ceiling = (weights == CONFIG.largest_weight).sum()
        assert 0 < int(at_ceiling) < weights.numel()
        torch.testing.assert_close(
            weights, slow_weights(slow.float64_parameters(agents), batch, q), rtol=1e-6, atol=0
        )
        assert (iql.advantage_weights(agents, batch, q + 1e5, IQLConfig()) == 100).all()

    def test_weights_by_range_do_not_depend_on_the_unit_of_rewards(self) -> None:
        """exp(scale (A - max A) / (max A - min A)) of each batch, whatever values are multiplied by."""
        agents, batch = make_agents(), make_batch()
        config = replace(CONFIG, advantage_weighting="range", inverse_temperature=10.0)
        q = iql.smaller_target_q(agents, batch)
        exact, found = slow.float64_parameters(agents), iql.advantage_weights(agents, batch, q, config)
        for agent in range(len(SEEDS)):
            states = batch.observations[agent]
            advantages = [
                float(q[agent, row]) - float(value(exact, agent, states[row]).detach()) for row in range(SIZE)
            ]
            low, high = min(advantages), max(advantages)
            expected = [math.exp(10 * (advantage - high) / (high - low)) for advantage in advantages]
            torch.testing.assert_close(found[agent], torch.tensor(expected, dtype=torch.float64), **EXACT)
        with torch.no_grad():
            for parameter in agents.v.net.affine_maps()[-1].parameters():
                parameter.mul_(50)
        torch.testing.assert_close(iql.advantage_weights(agents, batch, 50 * q, config), found, **EXACT)

    def test_the_actor_imitates_the_datas_actions_by_these_weights(self) -> None:
        agents, batch = make_agents(), make_batch()
        exact = slow.float64_parameters(agents)
        weights = torch.rand(len(SEEDS), SIZE, dtype=torch.float64)
        loss = awac.actor_loss(agents.policy(batch.observations), batch, weights)
        expected = slow_actor_loss(exact, batch, weights)
        torch.testing.assert_close(loss, expected, **EXACT)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."), **EXACT)

    def test_the_critics_bootstrap_from_v_and_no_action(self) -> None:
        agents, batch = make_agents(), make_batch()
        exact = slow.float64_parameters(agents)
        target = iql.td_target(agents, batch, CONFIG)
        torch.testing.assert_close(target, slow_target(exact, batch), **EXACT)
        loss, expected = losses.critic_loss(agents, batch, target)[0], slow.critic_loss(exact, batch, target)
        torch.testing.assert_close(loss, expected, **EXACT)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "q."), **EXACT)


class TestUpdate:
    @pytest.mark.parametrize(("decay", "delay"), [(0, 1), (4, 1), (4, 2)])
    def test_updates_equal_adam_steps_by_hand_one_network_after_the_other(
        self, decay: int, delay: int
    ) -> None:
        """V first; policy and critics with the new V; the policy's rate falls to 0 by a cosine.

        With a delay of 2 policy and targets stay where they are at every first of two updates.
        """
        config = replace(CONFIG, policy_decay_updates=decay, policy_delay=delay)
        agents = make_agents(config)
        by_hand = slow.Adam(slow.float64_parameters(agents))
        for number in range(6):
            batch = make_batch(number)
            metrics = iql.update(agents, batch, config)
            exact = by_hand.parameters
            q, q_mean = slow_q(exact, batch), slow.q_mean(exact, batch)
            of_value = slow.gradients(slow_value_loss(exact, batch, q).sum(), exact, "v.")
            by_hand.step(of_value, config.value_learning_rate)
            critics = slow.critic_loss(exact, batch, slow_target(exact, batch))
            expected = {"critic_loss": critics, "q_mean": q_mean}
            if number % delay == delay - 1:
                weights = slow_weights(exact, batch, q)
                actor = slow_actor_loss(exact, batch, weights)
                passed = min(number / decay, 1.0) if decay else 0.0
                rate = config.policy_learning_rate * 0.5 * (1 + math.cos(math.pi * passed))
                by_hand.step(slow.gradients(actor.sum(), exact, "policy."), rate)
                expected |= {"actor_loss": actor, "advantage_weight_max": weights.amax(dim=1)}
            by_hand.step(slow.gradients(critics.sum(), exact, "q."), config.value_learning_rate)
            if number % delay == delay - 1:
                by_hand.move_targets(config.target_update_rate)
            slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, by_hand.parameters)

    def test_online_the_policys_rate_is_constant(self) -> None:
        agents = IQLAgents(SEEDS, OBSERVATION, ACTION, IQLConfig())
        agents.updates.fill_(1e6)
        assert iql.policy_rate(agents, IQLFineTuningConfig()) == 3e-4
        assert float(iql.policy_rate(agents, IQLConfig())) == 0.0

    def test_agents_trained_further_go_on_with_the_rate_that_they_were_left_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two runs of 2 and 3 updates have the rates of one of 5: a cosine's, by all updates so far."""
        config, environment, rates = replace(CONFIG, policy_decay_updates=5), "InvertedDoublePendulum-v4", []
        rate = iql.policy_rate
        monkeypatch.setattr(iql, "policy_rate", lambda *of: rates.append(float(rate(*of))) or rate(*of))
        starting = None
        for updates in (2, 5):
            schedule = OfflineSchedule(updates=updates, evaluation_interval=9, evaluation_episodes=1)
            job = Job("test", "iql", "made-up", environment, SEEDS, "hash", tmp_path / str(updates))
            data = made_up_transitions((30, 20))
            agents = pretrain(IQL, config, schedule, data, job, starting).agents
            starting = StartingAgents(agents, updates)
        expected = [config.policy_learning_rate * 0.5 * (1 + math.cos(math.pi * n / 5)) for n in range(5)]
        assert rates == pytest.approx(expected)

    def test_it_does_better_than_the_data_on_a_bandit(self) -> None:
        """Reward -10 |a - (0.5, -0.3)|^2, actions from all over the box: their mean is (0, 0)."""
        config = IQLConfig(
            (32,), batch_size=64, policy_learning_rate=1e-2, value_learning_rate=1e-2, expectile=0.9
        )
        agents = IQLAgents(SEEDS, OBSERVATION, ACTION, config)
        agents.initialise()
        best = torch.tensor([0.5, -0.3])
        state, last = torch.zeros(len(SEEDS), 64, OBSERVATION), torch.zeros(len(SEEDS), 64)
        for _ in range(400):
            actions = 2 * torch.rand(len(SEEDS), 64, ACTION) - 1
            rewards = -10 * (actions - best).square().sum(dim=-1)
            iql.update(agents, Batch(state, actions, rewards, last, state), config)
        mode = agents.exploit(state)
        torch.testing.assert_close(mode, best.expand_as(mode), rtol=0, atol=0.15)


class TestActing:
    def test_it_evaluates_by_the_squashed_mean_and_explores_inside_the_box(self) -> None:
        learner = IQL(make_agents(), CONFIG)
        states = torch.randn(len(SEEDS), 300, OBSERVATION, dtype=torch.float64)
        exact = slow.float64_parameters(learner.agents)
        found = learner.exploit(states)
        for agent in range(len(SEEDS)):
            expected = torch.tanh(slow.perceptron(exact, "policy.", agent, states[agent, 0]))
            torch.testing.assert_close(found[agent, 0], expected, **EXACT)
        explored = learner.explore(states)
        assert explored.abs().max() == 1.0 and not torch.equal(explored, found)

    def test_fresh_networks_are_orthogonal(self) -> None:
        agents = IQLAgents(SEEDS, OBSERVATION, ACTION, IQLConfig())
        agents.initialise()
        for net in (agents.policy.net, agents.v.net, agents.q.net):
            for layer in net.affine_maps():
                assert not layer.bias.any()
                for weight in layer.weight.double():
                    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
                    torch.testing.assert_close(
                        tall.T @ tall, 2 * torch.eye(tall.shape[1], dtype=torch.float64), rtol=0, atol=1e-5
                    )
        assert not torch.equal(*agents.v.net.affine_maps()[0].weight.detach())
