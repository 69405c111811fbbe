"""AWAC: losses and gradients equal slow float64 loops, members learn apart and act by their mixture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from algorithms.methods import awac, losses
from algorithms.methods.awac import AWAC, AWACAgents, AWACConfig, Gaussian
from algorithms.methods.interface import Method
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.replays import UniformReplay
from algorithms.replay.stores import OnlineBuffer
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 5
SEEDS = (61, 62)
MEMBERS = 3
COUNT = len(SEEDS) * MEMBERS
CONFIG = AWACConfig(
    **slow.SMALL,
    policy_hidden_widths=(6, 5, 4),
    batch_size=SIZE,
    policy_weight_decay=0.1,
    advantage_temperature=0.7,
    ensemble_size=MEMBERS,
)
EXPONENTIAL = dataclasses.replace(CONFIG, advantage_weighting="exponential")
both_weightings = pytest.mark.parametrize("config", [CONFIG, EXPONENTIAL], ids=["softmax", "exponential"])


def make_agents(config: AWACConfig = CONFIG) -> AWACAgents:
    return slow.randomise(AWACAgents(SEEDS, OBSERVATION, ACTION, config, MEMBERS))


def make_batch(seed: int = 1, rows: int = len(SEEDS)) -> Batch:
    return slow.random_batch(rows, SIZE, OBSERVATION, ACTION, seed)


def agents_noise(streams: Streams) -> Tensor:
    """One action's noise for each member of each run, run by run. [P, B, A]"""
    return streams.normal(MEMBERS, SIZE, ACTION).reshape(COUNT, SIZE, ACTION)


def slow_gaussian(parameters: slow.Parameters, agent: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """Mean tanh(net(s)) and deviation exp(-6 + 6 sigmoid(logits)) of one agent's actions."""
    mean = torch.tanh(slow.perceptron(parameters, "policy.", agent, state.double()))
    return mean, (-6 + 6 / (1 + (-parameters["policy.log_std_logits"][agent, 0]).exp())).exp()


def slow_target(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """r + discount mask min Q_target(s', a'), a' of the agent's own policy. [P, B]"""

    def one(agent: int, row: int) -> Tensor:
        state = batch.next_observations[agent, row]
        mean, std = slow_gaussian(parameters, agent, state)
        value = slow.smaller_q(parameters, "target_q.", agent, state, mean + std * noise[agent, row])
        mask = batch.masks[agent, row].double()
        return batch.rewards[agent, row].double() + CONFIG.discount * mask * value

    return slow.table((one(agent, row) for row in range(SIZE)) for agent in range(COUNT)).detach()


def slow_weights(
    parameters: slow.Parameters, batch: Batch, noise: Tensor, config: AWACConfig = CONFIG
) -> Tensor:
    """exp(A / beta), divided by its mean over the batch but for "exponential". [P, B]"""

    def one(agent: int, row: int) -> Tensor:
        state, action = batch.observations[agent, row], batch.actions[agent, row]
        mean, std = slow_gaussian(parameters, agent, state)
        own = slow.smaller_q(parameters, "q.", agent, state, mean + std * noise[agent, row])
        advantage = slow.smaller_q(parameters, "q.", agent, state, action) - own
        return advantage

    advantages = slow.table((one(agent, row) for row in range(SIZE)) for agent in range(COUNT)).detach()
    weights = (advantages / config.advantage_temperature).exp()
    if config.advantage_weighting != "exponential":
        weights = weights / weights.mean(dim=1, keepdim=True)
    return weights


def slow_actor_loss(parameters: slow.Parameters, batch: Batch, weights: Tensor) -> Tensor:
    """-E[weight log pi(a|s)]. [P]"""
    losses = []
    for agent in range(COUNT):
        total = torch.zeros((), dtype=torch.float64)
        for row in range(SIZE):
            mean, std = slow_gaussian(parameters, agent, batch.observations[agent, row])
            density = slow.normal_log_density(batch.actions[agent, row].double(), mean, std)
            total = total - weights[agent, row] * density
        losses.append(total / SIZE)
    return torch.stack(losses)


class TestPolicy:
    def test_the_deviation_is_the_same_in_every_state_and_keeps_to_its_range(self) -> None:
        policy = make_agents().policy
        for logit, log_std in ((-100.0, -6.0), (0.0, -3.0), (100.0, 0.0)):
            nn.init.constant_(policy.log_std_logits, logit)
            found = policy(torch.randn(COUNT, SIZE, OBSERVATION)).log_std
            assert torch.equal(found, torch.full((COUNT, 1, ACTION), log_std))

    def test_the_mean_stays_inside_the_box_and_samples_may_leave_it(self) -> None:
        policy = make_agents().policy
        with torch.no_grad():
            policy.net.affine_maps()[-1].bias.fill_(5.0)
            policy.log_std_logits.fill_(100.0)
        found = policy(torch.randn(COUNT, SIZE, OBSERVATION))
        assert (found.mean.abs() <= 1).all()
        assert (found.actions(torch.ones(COUNT, SIZE, ACTION)) > 1).any()

    def test_the_log_density_is_the_normal_distributions(self) -> None:
        agents, states, actions = make_agents(), torch.randn(COUNT, 3, OBSERVATION), torch.randn(COUNT, 3, 2)
        found = agents.policy(states).log_density(actions).double()
        exact = slow.float64_parameters(agents)
        for agent in range(COUNT):
            for row in range(3):
                mean, std = slow_gaussian(exact, agent, states[agent, row])
                expected = slow.normal_log_density(actions[agent, row].double(), mean, std)
                torch.testing.assert_close(found[agent, row], expected, rtol=1e-4, atol=1e-4)

    def test_fresh_agents_act_near_zero_with_a_deviation_in_the_middle_of_the_range(self) -> None:
        agents = make_agents()
        agents.initialise()
        found = agents.policy(torch.randn(COUNT, SIZE, OBSERVATION))
        assert float(found.mean.detach().abs().max()) < 0.05
        assert torch.equal(found.log_std, torch.full((COUNT, 1, ACTION), -3.0))
        states, actions = torch.randn(COUNT, SIZE, OBSERVATION), torch.randn(COUNT, SIZE, ACTION)
        assert torch.equal(agents.q(states, actions), agents.target_q(states, actions))


class TestLosses:
    def test_the_target_equals_the_formula_sample_by_sample(self) -> None:
        agents, batch = make_agents(), make_batch(rows=COUNT)
        noise = agents_noise(slow.same_streams(agents))
        target = awac.td_target(agents, batch, CONFIG)
        expected = slow_target(slow.float64_parameters(agents), batch, noise)
        assert not target.requires_grad
        torch.testing.assert_close(target.double(), expected, rtol=1e-5, atol=1e-5)

    @both_weightings
    def test_the_weights_equal_the_formula_sample_by_sample(self, config: AWACConfig) -> None:
        agents, batch = make_agents(), make_batch(rows=COUNT)
        noise = agents_noise(slow.same_streams(agents))
        policy = agents.policy(batch.observations)
        q = agents.q(batch.observations, batch.actions)
        weights = awac.advantage_weights(agents, policy, batch, q, config)
        expected = slow_weights(slow.float64_parameters(agents), batch, noise, config)
        assert not weights.requires_grad
        torch.testing.assert_close(weights.double(), expected, rtol=1e-4, atol=1e-5)

    def test_advantages_of_thousands_leave_finite_weights_of_mean_one(self) -> None:
        agents, batch = make_agents(), make_batch(rows=COUNT)
        q = 1e4 * torch.randn(COUNT, 2, SIZE)
        weights = awac.advantage_weights(agents, agents.policy(batch.observations), batch, q, CONFIG)
        torch.testing.assert_close(weights.mean(dim=1), torch.ones(COUNT))
        torch.testing.assert_close(weights.amax(dim=1), torch.full((COUNT,), float(SIZE)))

    def test_the_actor_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch, weights = make_agents(), make_batch(rows=COUNT), torch.rand(COUNT, SIZE)
        loss = awac.actor_loss(agents.policy(batch.observations), batch, weights)
        exact = slow.float64_parameters(agents)
        expected = slow_actor_loss(exact, batch, weights.double())
        torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-4)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."))

    def test_the_gradients_are_the_losses_finite_differences(self) -> None:
        config = dataclasses.replace(CONFIG, hidden_widths=(3,), policy_hidden_widths=(3,))
        agents = make_agents(config).double()
        batch = make_batch(rows=COUNT).map(Tensor.double)
        weights = torch.rand(COUNT, SIZE, dtype=torch.float64)
        target = torch.randn(COUNT, SIZE, dtype=torch.float64)
        of_networks: dict[str, Callable[[], Tensor]] = {
            "policy.": lambda: awac.actor_loss(agents.policy(batch.observations), batch, weights).sum(),
            "q.": lambda: losses.critic_loss(agents, batch, target)[0].sum(),
        }
        step = 1e-6
        for prefix, loss in of_networks.items():
            expected = finite_differences(agents, loss, prefix, step)
            slow.assert_gradients(agents, loss(), expected)


@torch.no_grad()
def finite_differences(
    agents: AWACAgents, loss: Callable[[], Tensor], prefix: str, step: float
) -> dict[str, Tensor]:
    """(loss(x + step) - loss(x - step)) / (2 step) for each number of the parameters under `prefix`."""
    found = {}
    for name, parameter in agents.named_parameters():
        if name.startswith(prefix):
            slopes = torch.zeros_like(parameter)
            for place in range(parameter.numel()):
                number = parameter.view(-1)[place]
                ends = []
                for move in (step, -2 * step):
                    number += move
                    ends.append(loss())
                number += step
                slopes.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
            found[name] = slopes
    return found


class TestUpdate:
    @both_weightings
    def test_updates_equal_adam_steps_by_hand(self, config: AWACConfig) -> None:
        """Each member steps as an agent of its own on its run's batch; weight decay is in the gradient."""
        agents = make_agents(config)
        optimiser = slow.Adam(slow.float64_parameters(agents))
        for number in range(2):
            batch, streams = make_batch(seed=number), slow.same_streams(agents)
            target_noise, value_noise = agents_noise(streams), agents_noise(streams)

            metrics = awac.update(agents, batch, config)

            exact = optimiser.parameters
            rows = batch.map(lambda field: field[[0, 0, 0, 1, 1, 1]])
            critics = slow.critic_loss(exact, rows, slow_target(exact, rows, target_noise))
            weights = slow_weights(exact, rows, value_noise, config)
            actor = slow_actor_loss(exact, rows, weights)
            policy = slow.gradients(actor.sum(), exact, "policy.")
            decayed = {name: g + config.policy_weight_decay * exact[name] for name, g in policy.items()}
            optimiser.step(slow.gradients(critics.sum(), exact, "q."), config.value_learning_rate)
            optimiser.step(decayed, config.policy_learning_rate)
            optimiser.move_targets(config.target_update_rate)

            largest = weights.amax(dim=1)
            expected = {"critic_loss": critics, "actor_loss": actor, "advantage_weight_max": largest}
            per_run = {name: value.reshape(-1, MEMBERS).mean(dim=1) for name, value in expected.items()}
            slow.assert_metrics(metrics, per_run, rtol=1e-4, atol=1e-4)
        slow.assert_parameters(agents, optimiser.parameters, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("spoil", [lambda tensor: 1.1 * tensor, lambda tensor: tensor * math.nan])
    def test_an_agents_bits_do_not_depend_on_its_neighbours(self, spoil: Callable[[Tensor], Tensor]) -> None:
        """Neither on other members of its run nor on other runs."""

        def train(changed: bool) -> dict[str, Tensor]:
            agents = make_agents()
            if changed:
                with torch.no_grad():
                    for parameter in agents.parameters():
                        first = parameter[: len(parameter) // COUNT]
                        first.copy_(spoil(first))
            for number in range(3):
                batch = make_batch(seed=number)
                awac.update(agents, batch, CONFIG)
            return agents.state_dict()

        plain, changed = train(False), train(True)
        for name, tensor in plain.items():
            own = len(tensor) // COUNT
            assert not torch.equal(tensor[:own], changed[name][:own]), name
            assert torch.equal(tensor[own:], changed[name][own:]), name

    def test_it_does_better_than_the_data_on_a_bandit(self) -> None:
        """Reward -10 |a - (0.5, -0.3)|^2, actions from all over the box: their mean is (0, 0)."""
        config = AWACConfig(
            (32,),
            (32,),
            batch_size=64,
            policy_learning_rate=1e-2,
            value_learning_rate=1e-2,
            advantage_temperature=0.5,
        )
        agents = AWACAgents(SEEDS, OBSERVATION, ACTION, config)
        agents.initialise()
        best, draws = torch.tensor([0.5, -0.3]), Streams((1, 2))
        state, last = torch.zeros(len(SEEDS), 64, OBSERVATION), torch.zeros(len(SEEDS), 64)

        def reward(actions: Tensor) -> Tensor:
            return -10 * (actions - best).square().sum(dim=-1)

        for _ in range(600):
            actions = 2 * draws.uniform(64, ACTION) - 1
            awac.update(agents, Batch(state, actions, reward(actions), last, state), config)
        data = reward(2 * draws.uniform(4096, ACTION) - 1).mean()
        policy: Gaussian = agents.policy(state)
        sampled = reward(policy.actions(draws.normal(64, ACTION))).mean(dim=1)
        assert (sampled > 0.25 * data).all()  # a uniform choice costs 10, the best Gaussian here about 1
        torch.testing.assert_close(
            policy.mode().detach(), best.expand(len(SEEDS), 64, ACTION), rtol=0, atol=0.15
        )


class TestLearner:
    def make(self) -> AWAC:
        buffer = OnlineBuffer(len(SEEDS), SIZE, OBSERVATION, ACTION)
        replay = UniformReplay(slow.offline_data(make_batch(seed=8)), buffer)
        replay.add(make_batch(seed=9))
        return AWAC(make_agents(), CONFIG, replay, Streams((1, 2)))

    def test_it_explores_by_one_sample_of_the_moment_matched_gaussian_and_exploits_by_its_mean(self) -> None:
        learner: Method = self.make()
        observations = torch.randn(len(SEEDS), 3, OBSERVATION)
        assert isinstance(learner.agents, AWACAgents)
        noise = slow.same_streams(learner.agents).normal(3, ACTION)
        exact = slow.float64_parameters(learner.agents)
        explored, exploited = learner.explore(observations), learner.exploit(observations)
        for run in range(len(SEEDS)):
            for row in range(3):
                parts = [
                    slow_gaussian(exact, MEMBERS * run + member, observations[run, row])
                    for member in range(MEMBERS)
                ]
                mean = torch.stack([mu for mu, _ in parts]).mean(dim=0)
                second_moment = torch.stack([mu**2 + sigma**2 for mu, sigma in parts]).mean(dim=0)
                sampled = mean + (second_moment - mean**2).sqrt() * noise[run, row]
                torch.testing.assert_close(explored[run, row].double(), sampled, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(exploited[run, row].double(), mean, rtol=1e-4, atol=1e-5)
