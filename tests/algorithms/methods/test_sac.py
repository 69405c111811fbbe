"""SAC: every loss and its gradient equal slow float64 loops, an update equals Adam steps written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from algorithms.methods import losses, sac
from algorithms.methods.sac import SAC, SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.replays import OnlineReplay
from algorithms.replay.stores import OnlineBuffer
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (11, 12, 13)
CONFIG = SACConfig(**slow.SMALL)


def make_agents(config: SACConfig = CONFIG) -> ActorCritics:
    return slow.randomise(ActorCritics(SEEDS, OBSERVATION, ACTION, config))


def make_batch(seed: int = 1) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed)


def slow_target(agents: ActorCritics, batch: Batch, noise: Tensor, config: SACConfig = CONFIG) -> Tensor:
    exact = slow.float64_parameters(agents)
    return slow.td_target(exact, batch, noise, config.discount, slow.alpha(exact), len(SEEDS))


class TestLosses:
    def test_the_target_equals_the_formula_sample_by_sample(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        target = sac.td_target(agents, batch, CONFIG)
        assert not target.requires_grad
        torch.testing.assert_close(target.double(), slow_target(agents, batch, noise), rtol=1e-5, atol=1e-5)

    def test_the_critic_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch, target = make_agents(), make_batch(), torch.randn(len(SEEDS), SIZE)
        loss, q = losses.critic_loss(agents, batch, target)
        exact = slow.float64_parameters(agents)
        expected = slow.critic_loss(exact, batch, target.double())
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        assert q.shape == (len(SEEDS), 2, SIZE)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "q."))

    def test_the_actor_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = torch.randn(len(SEEDS), SIZE, ACTION)
        actions, log_density = agents.policy(batch.observations).sample(noise)
        loss = sac.actor_loss(agents, batch.observations, actions, log_density)
        exact = slow.float64_parameters(agents)
        expected, _ = slow.actor_loss(exact, batch.observations, noise, slow.alpha(exact))
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."))

    def test_the_entropy_coefficient_follows_the_excess_over_the_target_entropy(self) -> None:
        agents = make_agents()
        log_density = torch.randn(len(SEEDS), SIZE, requires_grad=True)
        loss = sac.entropy_coefficient_loss(agents, log_density)
        expected = slow.entropy_gradient(log_density.detach().double(), ACTION)
        slow.assert_gradients(agents, loss.sum(), {"log_entropy_coefficient": expected})
        assert log_density.grad is None

    @pytest.mark.parametrize(("log_density", "sign"), [(ACTION + 1.0, 1), (ACTION - 1.0, -1)])
    def test_too_little_entropy_raises_the_coefficient(self, log_density: float, sign: int) -> None:
        # the target entropy is -|A|: log pi above |A| is too little entropy
        agents = make_agents()
        before = agents.entropy_coefficient
        agents.step(sac.entropy_coefficient_loss(agents, torch.full((len(SEEDS), SIZE), log_density)))
        assert (torch.sign(agents.entropy_coefficient - before) == sign).all()


class TestUpdate:
    def test_updates_equal_adam_steps_by_hand(self) -> None:
        agents = make_agents()
        optimiser = slow.Adam(slow.float64_parameters(agents))
        for number in range(3):
            batch, streams = make_batch(seed=number), slow.same_streams(agents)
            target_noise, actor_noise = streams.normal(SIZE, ACTION), streams.normal(SIZE, ACTION)

            metrics = sac.update(agents, batch, CONFIG)

            exact = optimiser.parameters
            old_alpha = slow.alpha(exact)
            target = slow.td_target(exact, batch, target_noise, CONFIG.discount, old_alpha, len(SEEDS))
            critics, q_mean = slow.critic_loss(exact, batch, target), slow.q_mean(exact, batch)
            actor, log_density = slow.actor_loss(exact, batch.observations, actor_noise, old_alpha)
            steps = [
                (slow.gradients(critics.sum(), exact, "q."), CONFIG.value_learning_rate),
                (slow.gradients(actor.sum(), exact, "policy."), CONFIG.policy_learning_rate),
                (
                    {"log_entropy_coefficient": slow.entropy_gradient(log_density, ACTION)},
                    CONFIG.policy_learning_rate,
                ),
            ]
            for gradients, rate in steps:
                optimiser.step(gradients, rate)
            optimiser.move_targets(CONFIG.target_update_rate)

            expected_metrics = {
                "critic_loss": critics,
                "actor_loss": actor,
                "q_mean": q_mean,
                "entropy": -log_density.mean(dim=1),
                "entropy_coefficient": slow.alpha(optimiser.parameters),
            }
            slow.assert_metrics(metrics, expected_metrics, rtol=1e-4, atol=1e-4)
            assert torch.equal(streams.state(), agents.streams.state())
        slow.assert_parameters(agents, optimiser.parameters, rtol=0, atol=1e-5)

    def test_values_rise_to_the_return_of_a_known_problem(self) -> None:
        """One state, reward 1 whatever the action, no entropy bonus to speak of: Q is 1 / (1 - discount)."""
        config = SACConfig(
            (16, 16),
            discount=0.8,
            target_update_rate=0.1,
            initial_entropy_coefficient=1e-6,
            value_learning_rate=1e-2,
        )
        agents = ActorCritics(SEEDS, OBSERVATION, ACTION, config)
        agents.initialise()
        ones, state = torch.ones(len(SEEDS), 64), torch.zeros(len(SEEDS), 64, OBSERVATION)
        actions = Streams((1, 2, 3))
        for _ in range(500):
            action = 2 * actions.uniform(64, ACTION) - 1
            sac.update(agents, Batch(state, action, ones, ones, state), config)
        q = agents.q(state, 2 * actions.uniform(64, ACTION) - 1).detach()
        torch.testing.assert_close(q, torch.full_like(q, 5.0), rtol=0, atol=0.1)


class TestLearner:
    def test_it_explores_by_sampling_and_exploits_by_the_mode(self) -> None:
        agents = make_agents()
        learner = SAC(agents, CONFIG, OnlineReplay(OnlineBuffer(3, 8, OBSERVATION, ACTION)), Streams(SEEDS))
        observations = torch.randn(len(SEEDS), 3, OBSERVATION)
        noise = slow.same_streams(agents).normal(3, ACTION)
        exact = slow.float64_parameters(agents)
        explored, exploited = learner.explore(observations), learner.exploit(observations)
        for agent in range(len(SEEDS)):
            for row in range(3):
                mean, std = slow.gaussian(exact, agent, observations[agent, row])
                sampled, _ = slow.squash(mean, std, noise[agent, row])
                torch.testing.assert_close(explored[agent, row].double(), sampled, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(
                    exploited[agent, row].double(), torch.tanh(mean), rtol=1e-4, atol=1e-5
                )

    def test_it_learns_from_what_its_replay_draws(self) -> None:
        learners = []
        for _ in range(2):
            buffer = OnlineBuffer(len(SEEDS), SIZE, OBSERVATION, ACTION)
            buffer.add(make_batch())
            config = SACConfig(CONFIG.hidden_widths, batch_size=4)
            learners.append(SAC(make_agents(config), config, OnlineReplay(buffer), Streams((1, 2, 3))))
        one, other = learners
        metrics = one.learn()
        batch, _ = other.replay.sample(4, other.draws)
        expected = sac.update(other.agents, batch, other.config)
        assert torch.equal(metrics["offline_fraction"], torch.zeros(len(SEEDS)))
        assert all(torch.equal(metrics[name], value) for name, value in expected.items())
        for name, tensor in one.agents.state_dict().items():
            assert torch.equal(tensor, other.agents.state_dict()[name])
