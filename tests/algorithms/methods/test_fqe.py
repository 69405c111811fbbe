"""FQE: losses equal slow float64 loops, the policy never moves, values are those of a chain's closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.methods import fqe, losses
from algorithms.methods.fqe import FQEAgents, FQEConfig
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (71, 72, 73)
CONFIG = FQEConfig(hidden_widths=(7, 5), discount=0.9, target_update_rate=0.05, value_learning_rate=5e-3)


def make_agents() -> FQEAgents:
    return slow.randomise(FQEAgents(SEEDS, OBSERVATION, ACTION, CONFIG))


def make_batch(seed: int = 1) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed)


def slow_target(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """r + discount mask Q_target(s', a') of each twin. [P, 2, B]"""

    def one(agent: int, twin: int, row: int) -> Tensor:
        state = batch.next_observations[agent, row]
        action, _ = slow.squash(*slow.gaussian(parameters, agent, state), noise[agent, row])
        value = slow.q_value(parameters, "target_q.", agent, twin, state, action)
        mask = batch.masks[agent, row].double()
        return (batch.rewards[agent, row].double() + CONFIG.discount * mask * value).detach()

    return torch.stack(
        [
            slow.table((one(agent, twin, row) for row in range(SIZE)) for twin in (0, 1))
            for agent in range(len(SEEDS))
        ]
    )


def slow_critic_loss(parameters: slow.Parameters, batch: Batch, target: Tensor) -> Tensor:
    """Squared error of each twin from its own target, twins added, averaged over rows. [P]"""
    losses = []
    for agent in range(len(SEEDS)):
        total = torch.zeros((), dtype=torch.float64)
        for twin in (0, 1):
            for row in range(SIZE):
                state, action = batch.observations[agent, row], batch.actions[agent, row]
                q = slow.q_value(parameters, "q.", agent, twin, state, action)
                total = total + (q - target[agent, twin, row]) ** 2
        losses.append(total / SIZE)
    return torch.stack(losses)


class TestLosses:
    def test_each_twins_target_equals_the_formula_sample_by_sample(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        target = fqe.td_target(agents, batch, CONFIG)
        expected = slow_target(slow.float64_parameters(agents), batch, noise)
        assert not target.requires_grad
        torch.testing.assert_close(target.double(), expected, rtol=1e-5, atol=1e-5)

    def test_the_critic_loss_reaches_the_critics_alone_and_equals_slow_loops(self) -> None:
        agents, batch, target = make_agents(), make_batch(), torch.randn(len(SEEDS), 2, SIZE)
        loss, q = losses.critic_loss(agents, batch, target)
        exact = slow.float64_parameters(agents)
        expected = slow_critic_loss(exact, batch, target.double())
        assert q.shape == (len(SEEDS), 2, SIZE)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "q."))


class TestUpdate:
    def test_updates_equal_adam_steps_by_hand_and_leave_the_policy_alone(self) -> None:
        agents = make_agents()
        policy = {name: tensor.clone() for name, tensor in agents.policy.state_dict().items()}
        optimiser = slow.Adam(slow.float64_parameters(agents))
        for number in range(3):
            batch = make_batch(seed=number)
            noise = slow.same_streams(agents).normal(SIZE, ACTION)
            metrics = fqe.update(agents, batch, CONFIG)
            exact = optimiser.parameters
            critics = slow_critic_loss(exact, batch, slow_target(exact, batch, noise))
            optimiser.step(slow.gradients(critics.sum(), exact, "q."), CONFIG.value_learning_rate)
            optimiser.move_targets(CONFIG.target_update_rate)
            slow.assert_metrics(metrics, {"critic_loss": critics}, rtol=1e-4, atol=1e-4)
        slow.assert_parameters(agents, optimiser.parameters, rtol=0, atol=1e-5)
        assert all(torch.equal(tensor, policy[name]) for name, tensor in agents.policy.state_dict().items())
        assert torch.equal(agents.entropy_coefficient, make_agents().entropy_coefficient)


class TestValues:
    STATES, DISCOUNT = 4, 0.8
    ACTIONS = torch.tensor([0.6, -0.5, 0.1, 0.8])  # the policy's, in each state
    REWARDS = torch.tensor([1.0, -2.0, 0.5, 3.0])  # of each state, to which the action is added

    def chain(self, draws: Streams, size: int) -> Batch:
        """State i leads to state i + 1, the last one ends; the data act at random, reward r_i + a."""
        places = draws.integers(self.STATES, size)
        actions = 2 * draws.uniform(size, 1) - 1
        states = torch.eye(self.STATES)
        return Batch(
            observations=states[places],
            actions=actions,
            rewards=self.REWARDS[places] + actions.squeeze(-1),
            masks=(places < self.STATES - 1).float(),
            next_observations=states[(places + 1) % self.STATES],
        )

    def test_they_converge_to_a_chains_closed_form(self) -> None:
        """Q(s_i, a) = r_i + a + sum_k discount^k (r_(i+k) + pi(s_(i+k))): linear, so are the networks."""
        config = FQEConfig(
            hidden_widths=(), discount=self.DISCOUNT, target_update_rate=0.1, value_learning_rate=3e-2
        )
        agents = ActorCritics(SEEDS, self.STATES, 1, config)
        agents.initialise()
        [layer] = agents.policy.net.affine_maps()
        with torch.no_grad():
            layer.weight[:, :, 0] = torch.atanh(self.ACTIONS)
            layer.weight[:, :, 1] = -15.0  # log deviation: the policy is all but deterministic
            layer.bias.zero_()
        draws = Streams((1, 2, 3))
        for _ in range(600):
            fqe.update(agents, self.chain(draws, 64), config)

        values = torch.zeros(self.STATES + 1)
        for state in reversed(range(self.STATES)):
            values[state] = self.REWARDS[state] + self.ACTIONS[state] + self.DISCOUNT * values[state + 1]
        for action in (-0.7, 0.4):
            observations = torch.eye(self.STATES).expand(len(SEEDS), -1, -1)
            q = agents.q(observations, torch.full((len(SEEDS), self.STATES, 1), action))
            expected = self.REWARDS + action + self.DISCOUNT * values[1:]
            torch.testing.assert_close(q, expected.expand_as(q), rtol=0, atol=0.02)


class TestStart:
    def members(self) -> list[dict[str, Tensor]]:
        pretrained = ActorCritics(range(len(SEEDS)), OBSERVATION, ACTION, CONFIG)
        slow.randomise(pretrained, seed=5)
        return [one_agent(pretrained, index) for index in range(len(SEEDS))]

    def test_policies_are_taken_over_and_critics_are_fresh_ones_of_the_agents_streams(self) -> None:
        agents, members = make_agents(), self.members()
        agents.start_from(members)
        for name, tensor in agents.policy.state_dict().items():
            assert torch.equal(tensor, torch.cat([member[f"policy.{name}"] for member in members]))
        fresh = ActorCritics(SEEDS, OBSERVATION, ACTION, CONFIG)
        fresh.q.initialise(Streams(SEEDS))
        for name, tensor in fresh.q.state_dict().items():
            assert torch.equal(agents.q.state_dict()[name], tensor)
            assert torch.equal(agents.target_q.state_dict()[name], tensor)
