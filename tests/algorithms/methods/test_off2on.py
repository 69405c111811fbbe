"""Off2On: one Gaussian with the mixture's moments, a target for each member, priorities from old weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.methods import off2on, sac
from algorithms.methods.density_ratio import TINY
from algorithms.methods.interface import Start
from algorithms.methods.off2on import Off2On, Off2OnAgents, Off2OnConfig
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.networks import TanhGaussian, mixture_policy
from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay
from algorithms.replay.batch import Batch
from algorithms.replay.stores import OnlineBuffer
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 5
SEEDS = (31, 32)
MEMBERS = 3
CONFIG = Off2OnConfig(
    **slow.SMALL,
    batch_size=SIZE,
    ensemble_size=MEMBERS,
    density_hidden_widths=(6, 5),
    density_learning_rate=4e-3,
    density_batch_size=4,
)
MEAN_CONFIG = dataclasses.replace(CONFIG, critic_regression="mean")


def make_agents(config: Off2OnConfig = CONFIG) -> Off2OnAgents:
    agents = Off2OnAgents(SEEDS, OBSERVATION, ACTION, config, config.ensemble_size)
    slow.randomise(agents)
    with torch.no_grad():
        agents.density.net.affine_maps()[-1].bias.fill_(1.0)  # as it starts: most weights above zero
    return agents


def make_batch(seed: int = 1, size: int = SIZE) -> Batch:
    return slow.random_batch(len(SEEDS), size, OBSERVATION, ACTION, seed)


def slow_mixture(
    parameters: slow.Parameters, run: int, state: Tensor, members: int = MEMBERS
) -> tuple[Tensor, Tensor]:
    """[P] eq. 5 as it is printed: mean_i mu_i and mean_i(sigma_i^2 + mu_i^2) - mu^2."""
    parts = [slow.gaussian(parameters, run * members + member, state) for member in range(members)]
    mean = torch.stack([mu for mu, _ in parts]).mean(dim=0)
    second_moment = torch.stack([mu**2 + sigma**2 for mu, sigma in parts]).mean(dim=0)
    return mean, (second_moment - mean**2).sqrt()


def slow_targets(
    parameters: slow.Parameters, batch: Batch, noise: Tensor, config: Off2OnConfig = CONFIG
) -> Tensor:
    """Each member's target [S, N, B]; with "mean" the members' mean in each place."""
    members = config.ensemble_size
    found = torch.empty(*batch.rewards.shape, members, dtype=torch.float64)
    for run in range(len(SEEDS)):
        for row in range(batch.rewards.shape[1]):
            state = batch.next_observations[run, row]
            mean, std = slow_mixture(parameters, run, state, members)
            action, log_density = slow.squash(mean, std, noise[run, row])
            values = [
                slow.smaller_q(parameters, "target_q.", run * members + member, state, action)
                for member in range(members)
            ]
            if config.critic_regression == "mean":
                values = [torch.stack(values).mean()] * members
            for member, value in enumerate(values):
                soft = value - slow.alpha(parameters)[run] * log_density
                reward, mask = batch.rewards[run, row].double(), batch.masks[run, row].double()
                found[run, row, member] = (reward + config.discount * mask * soft).detach()
    return found.transpose(1, 2)


def slow_critic_loss(
    parameters: slow.Parameters, batch: Batch, targets: Tensor, config: Off2OnConfig = CONFIG
) -> Tensor:
    """Every member's squared error, or that of the members' mean; twins added, averaged over rows. [S]"""
    members = config.ensemble_size
    losses = []
    for run in range(len(SEEDS)):
        total = torch.zeros((), dtype=torch.float64)
        for row in range(SIZE):
            for twin in (0, 1):
                state, action = batch.observations[run, row], batch.actions[run, row]
                own = range(run * members, (run + 1) * members)
                q = [slow.q_value(parameters, "q.", member, twin, state, action) for member in own]
                if config.critic_regression == "mean":
                    total = total + (torch.stack(q).mean() - targets[run, 0, row]) ** 2
                else:
                    for member in range(members):
                        total = total + (q[member] - targets[run, member, row]) ** 2
        losses.append(total / SIZE)
    return torch.stack(losses)


def slow_actor_loss(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
    """E[alpha log pi(a|s) - mean_i min_twin Q_i(s, a)] [S], and log pi(a|s) [S, B]."""
    critics = slow.constant(parameters)
    losses, densities = [], []
    for run in range(len(SEEDS)):
        total = torch.zeros((), dtype=torch.float64)
        for row in range(SIZE):
            state = batch.observations[run, row]
            action, log_density = slow.squash(*slow_mixture(parameters, run, state), noise[run, row])
            values = [
                slow.smaller_q(critics, "q.", run * MEMBERS + member, state, action)
                for member in range(MEMBERS)
            ]
            total = total + slow.alpha(parameters)[run] * log_density - torch.stack(values).mean()
            densities.append(log_density.detach())
        losses.append(total / SIZE)
    return torch.stack(losses), torch.stack(densities).reshape(len(SEEDS), SIZE)


def slow_cloning(parameters: slow.Parameters, batch: Batch) -> Tensor:
    """-E[log pi(a|s)] of the batch's actions under the mixture. [S]"""
    losses = []
    for run in range(len(SEEDS)):
        total = torch.zeros((), dtype=torch.float64)
        for state, action in zip(batch.observations[run], batch.actions[run], strict=True):
            mean, std = slow_mixture(parameters, run, state)
            noise = (torch.atanh(action.double()) - mean) / std
            total = total - slow.squash(mean, std, noise)[1]
        losses.append(total / SIZE)
    return torch.stack(losses)


def slow_weights(parameters: slow.Parameters, batch: Batch) -> Tensor:
    """w(s, a) of every transition of a batch. [S, B]"""

    def one(run: int, row: int) -> Tensor:
        pair = torch.cat([batch.observations[run, row], batch.actions[run, row]]).double()
        return slow.perceptron(parameters, "density.", run, pair)[0].clamp(min=0)

    return slow.table((one(run, row) for row in range(batch.rewards.shape[1])) for run in range(len(SEEDS)))


def slow_density_loss(parameters: slow.Parameters, offline: Batch, online: Batch) -> Tensor:
    """Minus the bound [P] eq. 4: P is d_online, Q is d_offline. [S]"""
    on, off = slow_weights(parameters, online), slow_weights(parameters, offline)
    gain = (2 * on / (on + 1) + TINY).log().mean(dim=1)
    return -(gain + (2 / (off + 1) + TINY).log().mean(dim=1))


class TestMixture:
    @pytest.mark.parametrize("members", [1, 2, 5])
    def test_it_has_the_moments_of_the_members_mixture(self, members: int) -> None:
        generator = torch.Generator().manual_seed(members)
        mean = torch.randn(2 * members, 3, ACTION, generator=generator)
        log_std = torch.rand(2 * members, 3, ACTION, generator=generator) * 3 - 2
        found = mixture_policy(TanhGaussian(mean, log_std), members)
        assert found.mean.shape == found.log_std.shape == (2, 3, ACTION)
        for run in range(2):
            mu = mean[run * members : (run + 1) * members].double()
            sigma = log_std[run * members : (run + 1) * members].double().exp()
            first, second = mu.mean(dim=0), (mu**2 + sigma**2).mean(dim=0)
            torch.testing.assert_close(found.mean[run].double(), first, rtol=1e-5, atol=1e-6)
            variance = (2 * found.log_std[run].double()).exp()
            torch.testing.assert_close(variance, second - first**2, rtol=1e-5, atol=1e-7)

    def test_it_agrees_with_samples_of_the_mixture(self) -> None:
        mean = torch.tensor([[-1.0], [0.5], [2.0]]).view(3, 1, 1)
        log_std = torch.tensor([[0.3], [1.0], [0.1]]).log().view(3, 1, 1)
        generator = np.random.default_rng(0)
        member = generator.integers(3, size=400_000)
        samples = generator.normal(mean.flatten().numpy()[member], log_std.exp().flatten().numpy()[member])
        found = mixture_policy(TanhGaussian(mean, log_std), 3)
        assert float(found.mean) == pytest.approx(samples.mean(), abs=0.01)
        assert float(found.log_std.exp()) == pytest.approx(samples.std(), abs=0.01)

    def test_one_member_is_itself(self) -> None:
        one = TanhGaussian(torch.randn(2, 5, ACTION), 3 * torch.rand(2, 5, ACTION) - 2)
        found = mixture_policy(one, 1)
        assert torch.equal(found.mean, one.mean)
        torch.testing.assert_close(found.log_std, one.log_std, rtol=1e-5, atol=1e-6)

    def test_members_that_agree_to_the_last_bit_leave_a_finite_deviation(self) -> None:
        """Where the paper's un-centred variance, in float32, falls below zero and its root is NaN."""
        generator = torch.Generator().manual_seed(0)
        mean = (6 * torch.randn(1, 500, 1, generator=generator)).expand(5, 500, 1).clone().requires_grad_()
        log_std = torch.full((5, 500, 1), -8.0, requires_grad=True)
        uncentred = (mean.square() + (2 * log_std).exp()).mean(dim=0) - mean.mean(dim=0).square()
        assert (uncentred < 0).any()
        assert uncentred.sqrt().isnan().any()

        found = mixture_policy(TanhGaussian(mean, log_std), 5)
        torch.testing.assert_close(found.log_std, torch.full((1, 500, 1), -8.0), rtol=1e-5, atol=1e-5)
        found.log_std.sum().backward()
        assert mean.grad is not None and log_std.grad is not None
        assert torch.isfinite(mean.grad).all() and torch.isfinite(log_std.grad).all()

    def test_the_deviation_is_held_within_the_members_range(self) -> None:
        mean = torch.tensor([-30.0, 30.0]).view(2, 1, 1)  # a spread of 30, above e^2 = 7.4
        found = mixture_policy(TanhGaussian(mean, torch.zeros(2, 1, 1)), 2)
        assert float(found.log_std) == 2.0

    def test_deviations_at_either_end_of_their_range_stay_finite(self) -> None:
        mean = torch.zeros(5, 2, 1, requires_grad=True)
        log_std = torch.tensor([-20.0, 2.0]).view(1, 2, 1).repeat(5, 1, 1).requires_grad_()
        found = mixture_policy(TanhGaussian(mean, log_std), 5)
        torch.testing.assert_close(found.log_std, log_std.detach()[:1], rtol=1e-5, atol=1e-5)
        found.log_std.sum().backward()
        assert log_std.grad is not None and torch.isfinite(log_std.grad).all()


class TestLosses:
    @pytest.mark.parametrize("config", [CONFIG, MEAN_CONFIG], ids=["per_member", "mean"])
    def test_targets_equal_the_formula_member_by_member(self, config: Off2OnConfig) -> None:
        agents, batch = make_agents(config), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        target = off2on.td_target(agents, batch, config)
        expected = slow_targets(slow.float64_parameters(agents), batch, noise, config)
        assert not target.requires_grad
        torch.testing.assert_close(target.double(), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("config", [CONFIG, MEAN_CONFIG], ids=["per_member", "mean"])
    def test_the_critic_loss_and_its_gradient_equal_slow_loops(self, config: Off2OnConfig) -> None:
        agents, batch = make_agents(config), make_batch()
        target = torch.randn(len(SEEDS), MEMBERS, SIZE, generator=torch.Generator().manual_seed(0))
        if config.critic_regression == "mean":
            target = target[:, :1].expand_as(target)
        loss, q = off2on.critic_loss(agents, batch, target, config)
        exact = slow.float64_parameters(agents)
        expected = slow_critic_loss(exact, batch, target.double(), config)
        assert q.shape == (len(SEEDS), MEMBERS, 2, SIZE)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "q."))

    def test_the_actor_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        loss, log_density = off2on.actor_loss(agents, agents.distribution(batch.observations), batch, CONFIG)
        exact = slow.float64_parameters(agents)
        expected, expected_density = slow_actor_loss(exact, batch, noise)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(log_density.double(), expected_density, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."))

    @pytest.mark.parametrize("rows", ["drawn", "offline"])
    def test_what_is_cloned_are_the_drawn_rows_or_offline_ones(self, rows: str) -> None:
        agents, batch, other = make_agents(), make_batch(), make_batch(seed=9)
        config = dataclasses.replace(CONFIG, cloning_weight=0.3)
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        policy = agents.distribution(batch.observations)
        loss, _ = off2on.actor_loss(agents, policy, batch, config, other if rows == "offline" else None)
        exact = slow.float64_parameters(agents)
        expected, _ = slow_actor_loss(exact, batch, noise)
        expected = expected + 0.3 * slow_cloning(exact, other if rows == "offline" else batch)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."))

    def test_the_gradient_reaches_mean_and_deviation_of_every_member(self) -> None:
        agents = make_agents()
        batch = make_batch()
        loss, _ = off2on.actor_loss(agents, agents.distribution(batch.observations), batch, CONFIG)
        loss.sum().backward()
        head = agents.policy.net.affine_maps()[-1].bias.grad
        assert head is not None and head.shape == (len(SEEDS) * MEMBERS, 1, 2 * ACTION)
        assert (head != 0).all()


class TestUpdate:
    @pytest.mark.parametrize("config", [CONFIG, MEAN_CONFIG], ids=["per_member", "mean"])
    def test_updates_equal_adam_steps_by_hand(self, config: Off2OnConfig) -> None:
        agents = make_agents(config)
        optimiser = slow.Adam(slow.float64_parameters(agents))
        for number in range(2):
            batch = make_batch(seed=3 * number)
            offline, online = (make_batch(seed=3 * number + k, size=4) for k in (1, 2))
            streams = slow.same_streams(agents)
            target_noise, actor_noise = streams.normal(SIZE, ACTION), streams.normal(SIZE, ACTION)

            new_priorities, metrics = off2on.update(agents, batch, offline, online, config)

            exact = optimiser.parameters
            power = 1 / config.weight_temperature
            normaliser = (slow_weights(exact, offline) ** power).mean(dim=1, keepdim=True)
            expected_priorities = (slow_weights(exact, batch) ** power / normaliser).clamp(1e-3, 1e3)
            torch.testing.assert_close(
                new_priorities.double(), expected_priorities.detach(), rtol=1e-4, atol=1e-4
            )

            targets = slow_targets(exact, batch, target_noise, config)
            critics = slow_critic_loss(exact, batch, targets, config)
            actor, log_density = slow_actor_loss(exact, batch, actor_noise)
            density = slow_density_loss(exact, offline, online)
            steps = [
                (slow.gradients(critics.sum(), exact, "q."), config.value_learning_rate),
                (slow.gradients(actor.sum(), exact, "policy."), config.policy_learning_rate),
                (slow.gradients(density.sum(), exact, "density."), config.density_learning_rate),
                (
                    {"log_entropy_coefficient": slow.entropy_gradient(log_density, ACTION)},
                    config.policy_learning_rate,
                ),
            ]
            for gradients, rate in steps:
                optimiser.step(gradients, rate)
            optimiser.move_targets(config.target_update_rate)

            expected_metrics = {
                "critic_loss": critics,
                "actor_loss": actor,
                "density_ratio_loss": density,
                "entropy": -log_density.mean(dim=1),
                "entropy_coefficient": slow.alpha(optimiser.parameters),
            }
            slow.assert_metrics(metrics, expected_metrics, rtol=1e-4, atol=1e-4)
        slow.assert_parameters(agents, optimiser.parameters, rtol=0, atol=2e-5)

    def test_one_member_learns_as_sac_does(self) -> None:
        config = dataclasses.replace(CONFIG, ensemble_size=1)
        ensemble = Off2OnAgents(SEEDS, OBSERVATION, ACTION, config, config.ensemble_size)
        single = ActorCritics(SEEDS, OBSERVATION, ACTION, config)
        slow.randomise(single, seed=0)
        ensemble.load_state_dict(single.state_dict(), strict=False)
        for number in range(3):
            batch = make_batch(seed=number)
            off2on.update(ensemble, batch, make_batch(seed=8), make_batch(seed=9), config)
            sac.update(single, batch, config)
        assert torch.equal(ensemble.streams.state(), single.streams.state())
        for name, tensor in single.state_dict().items():
            torch.testing.assert_close(ensemble.state_dict()[name], tensor, rtol=1e-5, atol=2e-6)

    def test_a_dead_density_network_harms_nothing_else(self) -> None:
        agents = make_agents()
        with torch.no_grad():
            agents.density.net.affine_maps()[-1].bias.fill_(-1e3)
        before = {name: tensor.clone() for name, tensor in agents.density.state_dict().items()}
        new_priorities, metrics = off2on.update(agents, make_batch(1), make_batch(2), make_batch(3), CONFIG)
        assert torch.equal(new_priorities, torch.full((len(SEEDS), SIZE), 1e-3))
        assert torch.equal(metrics["online_weight_zero_fraction"], torch.ones(len(SEEDS)))
        assert all(torch.isfinite(value).all() for value in metrics.values())
        assert all(torch.isfinite(tensor).all() for tensor in agents.state_dict().values())
        for name, tensor in agents.density.state_dict().items():
            assert torch.equal(tensor, before[name])


def constant_batch(value: float, size: int) -> Batch:
    state = torch.full((len(SEEDS), size, OBSERVATION), value)
    row = torch.ones(len(SEEDS), size)
    return Batch(state, torch.full((len(SEEDS), size, ACTION), value / 2), row, row, state)


class TestLearner:
    def make(self, offline: float = -1.0, online: float = 1.0) -> Off2On:
        """A learner whose offline transitions all look alike, and its online ones too."""
        buffer = OnlineBuffer(len(SEEDS), 20, OBSERVATION, ACTION)
        data = slow.offline_data(constant_batch(offline, 40))
        replay = BalancedReplay(data, buffer, 0.5, block_size=20)
        replay.add(constant_batch(online, 20))
        return Off2On(make_agents(), CONFIG, replay, Streams((1, 2)))

    def test_online_transitions_gain_weight_and_offline_ones_lose_it(self) -> None:
        learner = self.make()
        for _ in range(60):
            learner.learn()
        on, off = constant_batch(1.0, 1), constant_batch(-1.0, 1)
        online = learner.agents.density(on.observations, on.actions)
        offline = learner.agents.density(off.observations, off.actions)
        assert (online > 3 * offline).all()
        rows = torch.arange(60).expand(len(SEEDS), -1)
        found = learner.replay.priorities(rows)
        drawn_offline = found[:, :40][found[:, :40] != 1.0]  # priority 1 until drawn
        assert len(drawn_offline) > 0
        assert float(found[:, 40:].min()) > float(drawn_offline.median())

    def test_the_drawn_transitions_get_the_priorities_of_the_old_weights(self) -> None:
        learner, other = self.make(), self.make()
        _, indices = other.replay.sample(CONFIG.batch_size, other.draws)
        learner.learn()
        on, off = constant_batch(1.0, 1), constant_batch(-1.0, 1)
        with torch.no_grad():
            weight = {
                "online": other.agents.density(on.observations, on.actions),
                "offline": other.agents.density(off.observations, off.actions),
            }
        ratio = (weight["online"] / weight["offline"]).double() ** (1 / CONFIG.weight_temperature)
        expected = torch.where(indices >= 40, ratio.clamp(1e-3, 1e3), torch.ones(()))
        torch.testing.assert_close(learner.replay.priorities(indices), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("replay", ["balanced", "online_only"])
    def test_offline_rows_are_cloned_whatever_the_replay_draws(self, replay: str) -> None:
        settings = {"replay": replay, "cloning_weight": 50.0, "cloning_rows": "offline"}
        config = dataclasses.replace(CONFIG, **settings)
        buffer = OnlineBuffer(len(SEEDS), 20, OBSERVATION, ACTION)
        data = slow.offline_data(constant_batch(-1.0, 40))
        pretrained = ActorCritics(range(len(SEEDS) * MEMBERS), OBSERVATION, ACTION, CONFIG)
        slow.randomise(pretrained, seed=5)
        members = [one_agent(pretrained, index) for index in range(pretrained.count)]
        start = Start(SEEDS, Streams((1, 2)), OBSERVATION, ACTION, data, buffer, members, 20)
        learner = Off2On.begin(start, config)
        learner.replay.add(constant_batch(1.0, 20))
        for _ in range(300):
            learner.learn()
        offline = constant_batch(-1.0, 1)
        found = learner.exploit(offline.observations)
        torch.testing.assert_close(found, offline.actions, rtol=0, atol=0.05)

    def test_it_explores_by_one_sample_of_the_mixture_and_exploits_by_its_mode(self) -> None:
        learner = self.make()
        observations = torch.randn(len(SEEDS), 2, OBSERVATION)
        noise = slow.same_streams(learner.agents).normal(2, ACTION)
        exact = slow.float64_parameters(learner.agents)
        explored, exploited = learner.explore(observations), learner.exploit(observations)
        for run in range(len(SEEDS)):
            for row in range(2):
                mean, std = slow_mixture(exact, run, observations[run, row])
                sampled, _ = slow.squash(mean, std, noise[run, row])
                torch.testing.assert_close(explored[run, row].double(), sampled, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(
                    exploited[run, row].double(), torch.tanh(mean), rtol=1e-4, atol=1e-5
                )


class TestStart:
    def pretrained(self) -> ActorCritics:
        agents = ActorCritics(range(len(SEEDS) * MEMBERS), OBSERVATION, ACTION, CONFIG)
        slow.randomise(agents, seed=5)
        return agents

    def test_a_started_ensemble_keeps_nothing_else_of_pre_training(self) -> None:
        """[C] Fresh Adam states, an entropy coefficient of one, weights w near one."""
        pretrained = self.pretrained()
        agents = Off2OnAgents(SEEDS, OBSERVATION, ACTION, CONFIG, CONFIG.ensemble_size)
        agents.start_from([one_agent(pretrained, index) for index in range(pretrained.count)])
        assert not agents.optimiser.state
        assert torch.equal(agents.entropy_coefficient, torch.ones(len(SEEDS)))
        batch = make_batch()
        weights = agents.density(batch.observations, batch.actions)
        torch.testing.assert_close(weights, torch.ones_like(weights), rtol=0, atol=0.1)
