"""CQL: the penalty equals a slow loop over its candidates, and every optional phase does what it says."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from algorithms.methods import conservative, cql, sac
from algorithms.methods.cql import CQLConfig
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, DRAWN = 4, 2, 4, 3
SEEDS = (21, 22)
CONFIG = CQLConfig(
    **slow.SMALL,
    conservative_weight=3.0,
    sampled_actions=DRAWN,
)


def make_agents(config: CQLConfig = CONFIG) -> ActorCritics:
    return slow.randomise(ActorCritics(SEEDS, OBSERVATION, ACTION, config))


def make_batch(seed: int = 1) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed)


class PenaltyNoise(NamedTuple):
    """The penalty's draws in their order, each [P, B, n, A]."""

    uniform: Tensor
    here: Tensor  # for pi(.|s)
    there: Tensor  # for pi(.|s')


def penalty_noise(streams: Streams) -> PenaltyNoise:
    shape = (SIZE, DRAWN, ACTION)
    return PenaltyNoise(streams.uniform(*shape), streams.normal(*shape), streams.normal(*shape))


def slow_candidates(
    parameters: slow.Parameters, batch: Batch, noise: PenaltyNoise, agent: int, row: int
) -> list[tuple[Tensor, Tensor]]:
    """The 3 n candidate actions of one state and the log density each was drawn with."""
    fixed = slow.constant(parameters)
    found = []
    for draw in range(DRAWN):
        action = -1 + 2 * noise.uniform[agent, row, draw].double()
        found.append((action, torch.tensor(ACTION * math.log(0.5), dtype=torch.float64)))
    sources = ((batch.observations, noise.here), (batch.next_observations, noise.there))
    for states, normals in sources:
        mean, std = slow.gaussian(fixed, agent, states[agent, row])
        found += [slow.squash(mean, std, normals[agent, row, draw]) for draw in range(DRAWN)]
    return found


def slow_penalty(parameters: slow.Parameters, batch: Batch, noise: PenaltyNoise) -> Tensor:
    """E_s[log sum_j exp(Q(s, a_j)) / density_j - Q(s, a_data)]. [P, 2]"""

    def one(agent: int, twin: int) -> Tensor:
        gaps = []
        for row in range(SIZE):
            state = batch.observations[agent, row]
            terms = [
                slow.q_value(parameters, "q.", agent, twin, state, action).exp() / log_density.exp()
                for action, log_density in slow_candidates(parameters, batch, noise, agent, row)
            ]
            data = slow.q_value(parameters, "q.", agent, twin, state, batch.actions[agent, row])
            gaps.append(torch.stack(terms).sum().log() - data)
        return torch.stack(gaps).mean()

    return slow.table((one(agent, twin) for twin in (0, 1)) for agent in range(len(SEEDS)))


def slow_plain_penalty(parameters: slow.Parameters, batch: Batch, noise: PenaltyNoise) -> Tensor:
    """E_s[log sum_j exp Q(s, a_j) - Q(s, a_data)], the data's action among the a_j. [P, 2]"""

    def one(agent: int, twin: int) -> Tensor:
        gaps = []
        for row in range(SIZE):
            state, data = batch.observations[agent, row], batch.actions[agent, row]
            drawn = [action for action, _ in slow_candidates(parameters, batch, noise, agent, row)]
            q = [slow.q_value(parameters, "q.", agent, twin, state, action) for action in [*drawn, data]]
            gaps.append(torch.stack(q).exp().sum().log() - q[-1])
        return torch.stack(gaps).mean()

    return slow.table((one(agent, twin) for twin in (0, 1)) for agent in range(len(SEEDS)))


def penalty(agents: ActorCritics, batch: Batch, config: CQLConfig = CONFIG) -> Tensor:
    q_data = agents.q(batch.observations, batch.actions)
    policy = agents.policy(batch.observations)
    return conservative.penalty(agents, policy, batch, q_data, config)


class TestPenalty:
    def test_value_and_gradient_equal_a_loop_over_the_candidates(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = penalty_noise(slow.same_streams(agents))
        ours = penalty(agents, batch)
        exact = slow.float64_parameters(agents)
        expected = slow_penalty(exact, batch, noise)
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)
        upstream = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        slow.assert_gradients(
            agents, (ours * upstream).sum(), slow.gradients((expected * upstream).sum(), exact, "q.")
        )

    def test_every_candidate_carries_the_density_it_was_drawn_with(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = penalty_noise(slow.same_streams(agents))
        policy = agents.policy(batch.observations)
        actions, log_density = conservative.proposals(agents, policy, batch, CONFIG)
        assert actions.shape == (len(SEEDS), SIZE, 3 * DRAWN, ACTION)
        assert not actions.requires_grad and not log_density.requires_grad
        exact = slow.float64_parameters(agents)
        for agent in range(len(SEEDS)):
            for row in range(SIZE):
                for j, (action, density) in enumerate(slow_candidates(exact, batch, noise, agent, row)):
                    torch.testing.assert_close(actions[agent, row, j].double(), action, rtol=1e-5, atol=1e-6)
                    assert float(log_density[agent, row, j]) == pytest.approx(float(density), abs=1e-4)

    def test_without_importance_sampling_candidates_count_alike_and_the_data_is_one(self) -> None:
        config = dataclasses.replace(CONFIG, importance_sampling=False)
        agents, batch = make_agents(), make_batch()
        noise = penalty_noise(slow.same_streams(agents))
        ours = penalty(agents, batch, config)
        exact = slow.float64_parameters(agents)
        expected = slow_plain_penalty(exact, batch, noise)
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, ours.sum(), slow.gradients(expected.sum(), exact, "q."))

    def test_uniform_candidates_fill_the_whole_box(self) -> None:
        config = dataclasses.replace(CONFIG, sampled_actions=2000)
        agents, batch = make_agents(), make_batch()
        actions, _ = conservative.proposals(agents, agents.policy(batch.observations), batch, config)
        uniform = actions[:, :, :2000]
        assert float(uniform.min()) < -0.999 and float(uniform.max()) > 0.999
        assert float(uniform.mean().abs()) < 0.02
        assert float(uniform.square().mean()) == pytest.approx(1 / 3, abs=0.01)

    def test_it_estimates_the_log_integral_of_exp_q(self) -> None:
        """For Q constant in the action every proposal's mean weight is the box's volume 2^|A|, so the
        sum over 3 n candidates is 3 n 2^|A| e^Q, up to sampling error."""
        count = 4000
        config = dataclasses.replace(CONFIG, sampled_actions=count)
        agents, batch = make_agents(), make_batch()
        with torch.no_grad():
            for parameter in agents.q.parameters():
                parameter.zero_()
            for parameter in agents.policy.parameters():
                parameter.mul_(0.1)  # a policy near N(0, 1) before tanh: its weights have moderate tails
        expected = math.log(3 * count * 2**ACTION)
        torch.testing.assert_close(
            penalty(agents, batch, config), torch.full((len(SEEDS), 2), expected), rtol=0, atol=0.1
        )

    def test_it_pushes_other_actions_down_and_the_datas_up(self) -> None:
        config = dataclasses.replace(CONFIG, hidden_widths=(64, 64))
        agents = ActorCritics(SEEDS, OBSERVATION, ACTION, config)
        agents.initialise()
        batch = make_batch()
        batch = batch._replace(actions=torch.full_like(batch.actions, 0.8))
        others = 2 * Streams((1, 2)).uniform(SIZE, 50, ACTION) - 1

        def q_elsewhere() -> Tensor:
            values = [agents.q(batch.observations, action) for action in others.unbind(dim=2)]
            return torch.stack(values).mean(dim=(0, 3)).detach()

        def q_of_data() -> Tensor:
            return torch.mean(agents.q(batch.observations, batch.actions).detach(), dim=-1)

        elsewhere, data, gap = q_elsewhere(), q_of_data(), penalty(agents, batch).detach()
        for _ in range(60):
            agents.step(penalty(agents, batch))
        assert (q_elsewhere() < elsewhere).all()
        assert (q_of_data() > data).all()
        assert (penalty(agents, batch) < gap).all()

    def test_fewer_candidates_in_the_gradient_leave_the_value_as_it_was(self) -> None:
        drawn = dataclasses.replace(CONFIG, penalty_gradient_actions=2)
        batch = make_batch()
        full, estimated = make_agents(), make_agents()
        one, other = penalty(full, batch), penalty(estimated, batch, drawn)
        torch.testing.assert_close(other, one, rtol=0, atol=0)
        exact, estimate = (
            torch.autograd.grad(value.sum(), agents.q.net.affine_maps()[0].weight)[0]
            for value, agents in ((one, full), (other, estimated))
        )
        assert not torch.isclose(exact, estimate).all()

    def test_the_estimated_gradients_mean_over_updates_is_the_full_gradient(self) -> None:
        """The same candidates under many offsets: the mean error falls as one over their number's root."""
        agents, batch = make_agents(), make_batch()
        policy = agents.policy(batch.observations)
        actions, log_density = conservative.proposals(agents, policy, batch, CONFIG)
        parameters = list(agents.q.parameters())

        def gradient(draws: Tensor | None) -> Tensor:
            value = agents.q.soft_maximum(batch.observations, actions, log_density, draws)
            return torch.cat([g.flatten() for g in torch.autograd.grad(value.sum(), parameters)])

        full, drawn = gradient(None), dataclasses.replace(CONFIG, penalty_gradient_actions=2)
        draws = (conservative.gradient_draws(agents, batch, drawn) for _ in range(600))
        samples = torch.stack([gradient(each) for each in draws])
        error = samples.mean(dim=0) - full
        allowed = 5 * samples.std(dim=0) / math.sqrt(600) + 1e-5
        assert (error.abs() < allowed).all()

    def test_systematic_draws_are_one_offset_spread_evenly(self) -> None:
        agents = make_agents()
        same = slow.same_streams(agents)
        drawn = dataclasses.replace(CONFIG, penalty_gradient_actions=5)
        draws = conservative.gradient_draws(agents, make_batch(), drawn)
        offsets = same.uniform(2, SIZE, 1)
        assert draws is not None and draws.shape == (len(SEEDS), 2, SIZE, 5)
        torch.testing.assert_close(draws, torch.cat([(i + offsets) / 5 for i in range(5)], dim=-1))
        assert float(draws.min()) >= 0 and float(draws.max()) < 1
        assert (draws.diff(dim=-1) > 0).all()


class TestTarget:
    def test_the_deterministic_backup_has_no_entropy_term(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        target = cql.td_target(agents, batch, CONFIG)
        exact = slow.float64_parameters(agents)
        expected = slow.td_target(
            exact, batch, noise, CONFIG.discount, torch.zeros(len(SEEDS)).double(), len(SEEDS)
        )
        assert not target.requires_grad
        torch.testing.assert_close(target.double(), expected, rtol=1e-5, atol=1e-5)

    def test_otherwise_it_is_sacs(self) -> None:
        agents, twin, batch = make_agents(), make_agents(), make_batch()
        config = dataclasses.replace(CONFIG, deterministic_backup=False)
        assert torch.equal(cql.td_target(agents, batch, config), sac.td_target(twin, batch, config))


class TestActor:
    def test_cloning_equals_the_formula_sample_by_sample(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        loss, log_density = cql.actor_loss(
            agents, agents.policy(batch.observations), batch, CONFIG, cloning=True
        )
        exact = slow.float64_parameters(agents)
        losses, densities = [], []
        for agent in range(len(SEEDS)):
            total = torch.zeros((), dtype=torch.float64)
            for row in range(SIZE):
                mean, std = slow.gaussian(exact, agent, batch.observations[agent, row])
                _, density = slow.squash(mean, std, noise[agent, row])
                imitation = slow.squashed_log_density(mean, std, batch.actions[agent, row])
                total = total + slow.alpha(exact)[agent] * density - imitation
                densities.append(density.detach())
            losses.append(total / SIZE)
        expected = torch.stack(losses)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            log_density.double(), torch.stack(densities).reshape(-1, SIZE), rtol=1e-4, atol=1e-4
        )
        gradients = slow.gradients(expected.sum(), exact, "policy.")
        slow.assert_gradients(agents, loss.sum(), gradients, rtol=1e-3, atol=1e-3)

    def test_otherwise_it_is_sacs(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = slow.same_streams(agents).normal(SIZE, ACTION)
        loss, _ = cql.actor_loss(agents, agents.policy(batch.observations), batch, CONFIG, cloning=False)
        exact = slow.float64_parameters(agents)
        expected, _ = slow.actor_loss(exact, batch.observations, noise, slow.alpha(exact))
        torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."))

    def test_a_frozen_actor_rests_while_the_critics_learn(self) -> None:
        config = dataclasses.replace(CONFIG, frozen_actor_updates=2)
        agents = make_agents(config)
        before = {name: tensor.clone() for name, tensor in agents.state_dict().items()}
        for step in range(3):
            cql.update(agents, make_batch(seed=step), config, step)
            frozen = step < 2
            for name, tensor in agents.state_dict().items():
                actor = name.startswith("policy.") or name == "log_entropy_coefficient"
                assert torch.equal(tensor, before[name]) == (actor and frozen), (step, name)

    def test_cloning_ends_after_its_updates(self) -> None:
        config = dataclasses.replace(CONFIG, cloning_updates=2)
        losses = {}
        for step in (1, 2):
            losses[step] = cql.update(make_agents(config), make_batch(), config, step)["actor_loss"]
        plain = cql.update(make_agents(), make_batch(), CONFIG, 1)["actor_loss"]
        assert torch.equal(losses[2], plain)
        assert not torch.isclose(losses[1], plain).any()


class TestUpdate:
    @pytest.mark.parametrize("cloning", [False, True])
    def test_an_updates_draws_have_a_fixed_order(self, cloning: bool) -> None:
        config = dataclasses.replace(CONFIG, penalty_gradient_actions=2, cloning_updates=int(cloning))
        agents = make_agents()
        streams = slow.same_streams(agents)
        cql.update(agents, make_batch(), config, step=0)
        streams.normal(SIZE, ACTION)  # a' of the target
        penalty_noise(streams)
        streams.uniform(2, SIZE, 1)  # which candidates carry the gradient
        streams.normal(SIZE, ACTION)  # the actor's action
        assert torch.equal(streams.state(), agents.streams.state())

    def test_updates_equal_adam_steps_by_hand(self) -> None:
        agents = make_agents()
        optimiser = slow.Adam(slow.float64_parameters(agents))
        for step in range(3):
            batch, streams = make_batch(seed=step), slow.same_streams(agents)
            target_noise = streams.normal(SIZE, ACTION)
            candidates = penalty_noise(streams)
            actor_noise = streams.normal(SIZE, ACTION)

            metrics = cql.update(agents, batch, CONFIG, step)

            exact = optimiser.parameters
            no_entropy = torch.zeros(len(SEEDS)).double()
            target = slow.td_target(exact, batch, target_noise, CONFIG.discount, no_entropy, len(SEEDS))
            td_error = slow.critic_loss(exact, batch, target)
            gap = slow_penalty(exact, batch, candidates)
            critics = td_error.sum() + CONFIG.conservative_weight * gap.sum()
            actor, log_density = slow.actor_loss(exact, batch.observations, actor_noise, slow.alpha(exact))
            critic_gradients = slow.gradients(critics, exact, "q.")
            actor_gradients = slow.gradients(actor.sum(), exact, "policy.")
            actor_gradients["log_entropy_coefficient"] = slow.entropy_gradient(log_density, ACTION)
            optimiser.step(critic_gradients, CONFIG.value_learning_rate)
            optimiser.step(actor_gradients, CONFIG.policy_learning_rate)
            optimiser.move_targets(CONFIG.target_update_rate)

            expected_metrics = {
                "td_error": td_error,
                "conservative_penalty": gap.mean(dim=1),
                "actor_loss": actor,
                "entropy": -log_density.mean(dim=1),
                "entropy_coefficient": slow.alpha(optimiser.parameters),
            }
            slow.assert_metrics(metrics, expected_metrics, rtol=1e-4, atol=1e-4)
        slow.assert_parameters(agents, optimiser.parameters, rtol=0, atol=2e-5)
