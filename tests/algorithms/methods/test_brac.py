"""BRAC: its losses, gradients and updates equal slow float64 statements of the paper's equations to 1e-9."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.methods import brac, losses
from algorithms.methods.behaviour_cloning import BehaviourCloning, ClonedPolicies, CloningConfig
from algorithms.methods.brac import BRACP, BRACV, BRACAgents, BRACConfig
from algorithms.methods.interface import OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.networks import TanhGaussian
from algorithms.replay.batch import Batch
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, SAMPLES = 4, 2, 5, 3
SEEDS = (71, 72)
CONFIG = BRACConfig(
    **slow.SMALL,
    policy_hidden_widths=(6,),
    behaviour_hidden_widths=(5,),
    batch_size=SIZE,
    weight_learning_rate=1e-2,
    divergence_actions=SAMPLES,
    divergence_weight=0.7,
    warm_start_updates=2,
)
KINDS: dict[str, dict[str, Any]] = {
    "kl": {},
    "rectified": {"rectified_divergence": True},
    "mmd": {"divergence": "mmd", "kernel_width": 0.5},
}
EXACT = {"rtol": 1e-9, "atol": 1e-9}
CLONING = CloningConfig(
    behaviour_hidden_widths=(6,), policy_learning_rate=3e-3, initial_entropy_coefficient=0.4
)


def make_agents(config: BRACConfig = CONFIG) -> BRACAgents:
    """Agents of float64 at which every term of a loss counts: policies sample beyond 0.999 too."""
    agents = slow.randomise(BRACAgents(SEEDS, OBSERVATION, ACTION, config)).double()
    with torch.no_grad():
        agents.policy.net.affine_maps()[-1].bias[:, :, 0] += 3.5
        agents.divergence_weight.copy_(torch.tensor([0.7, 1.3]))
    return agents


def make_batch(seed: int = 1) -> Batch:
    """Transitions, one of whose actions lies at the edge of the box."""
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(lambda field: field.double())
    batch.actions[:, 0, 0] = 1.0
    return batch


def distribution(
    parameters: slow.Parameters, prefix: str, agent: int, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation before tanh; the log deviation passes through tanh into [-5, 0]."""
    outputs = slow.perceptron(parameters, prefix, agent, state)
    mean, raw = outputs[:ACTION], outputs[ACTION:]
    return mean, torch.exp(-5 + 2.5 * (torch.tanh(raw) + 1))


def slow_divergence(
    parameters: slow.Parameters, agent: int, state: Tensor, noises: list[Tensor], config: BRACConfig
) -> Tensor:
    """D in one state, from `noises` [n, A]: of the policy's actions, then (MMD) of the behaviour's."""
    policy, behaviour = (distribution(parameters, name, agent, state) for name in ("policy.", "behaviour."))
    if config.divergence == "kl":
        terms = []
        for noise in noises[0]:
            action, log_density = slow.squash(*policy, noise)
            likelihood = slow.squashed_log_density(*behaviour, action.clamp(-0.999, 0.999))
            terms.append(log_density - likelihood)
        estimate = torch.stack(terms).sum() / len(terms)
        return estimate if not config.rectified_divergence or float(estimate.detach()) > 0 else 0 * estimate
    ours = [slow.squash(*policy, noise)[0] for noise in noises[0]]
    theirs = [slow.squash(*behaviour, noise)[0].detach() for noise in noises[1]]

    def kernel(xs: list[Tensor], ys: list[Tensor]) -> Tensor:
        values = [torch.exp(-(x - y).abs().sum() / config.kernel_width) for x in xs for y in ys]
        return torch.stack(values).sum() / len(values)

    return kernel(ours, ours) + kernel(theirs, theirs) - 2 * kernel(ours, theirs)


class Draws:
    """What an update draws, once more: the noise of actions, then of divergences."""

    def __init__(self, agents: BRACAgents, config: BRACConfig) -> None:
        self.streams, self.sets = agents.streams, 1 if config.divergence == "kl" else 2

    def of_an_action(self) -> Tensor:
        return self.streams.normal(SIZE, ACTION)

    def of_a_divergence(self) -> list[Tensor]:
        return [self.streams.normal(SIZE, SAMPLES, ACTION) for _ in range(self.sets)]


def slow_target(
    parameters: slow.Parameters, batch: Batch, draws: Draws, config: BRACConfig, penalised: bool
) -> Tensor:
    noise = draws.of_an_action()
    noises = draws.of_a_divergence() if penalised else []

    def one(agent: int, row: int) -> Tensor:
        state = batch.next_observations[agent, row]
        action, _ = slow.squash(*distribution(parameters, "policy.", agent, state), noise[agent, row])
        value = slow.smaller_q(parameters, "target_q.", agent, state, action)
        if penalised:
            own = [part[agent, row] for part in noises]
            apart = slow_divergence(parameters, agent, state, own, config)
            value = value - parameters["divergence_weight"][agent] * apart
        return batch.rewards[agent, row] + config.discount * batch.masks[agent, row] * value

    return slow.table((one(agent, row) for row in range(SIZE)) for agent in range(len(SEEDS))).detach()


def slow_actor(
    parameters: slow.Parameters, batch: Batch, draws: Draws, config: BRACConfig, warm_start: bool
) -> tuple[Tensor, Tensor]:
    """The actor's loss [P], and the mean divergence [P]."""
    noise, noises = draws.of_an_action(), draws.of_a_divergence()
    critics, weights = slow.constant(parameters), parameters["divergence_weight"].detach()
    actors, divergences = [], []
    for agent in range(len(SEEDS)):
        total, apart = torch.zeros((2,), dtype=torch.float64)
        for row in range(SIZE):
            state = batch.observations[agent, row]
            own = slow_divergence(parameters, agent, state, [part[agent, row] for part in noises], config)
            apart = apart + own / SIZE
            total = total + weights[agent] * own / SIZE
            action, _ = slow.squash(*distribution(parameters, "policy.", agent, state), noise[agent, row])
            if not warm_start:
                total = total - slow.smaller_q(critics, "q.", agent, state, action) / SIZE
        actors.append(total)
        divergences.append(apart)
    return torch.stack(actors), torch.stack(divergences)


@pytest.mark.parametrize("kind", KINDS)
class TestLosses:
    def test_the_critics_bootstrap_from_a_value_that_pays_for_the_divergence(self, kind: str) -> None:
        config = replace(CONFIG, **KINDS[kind])
        agents, batch = make_agents(config), make_batch()
        exact, start = slow.float64_parameters(agents), agents.streams.state()
        for penalised in (True, False):
            target = brac.td_target(agents, batch, config, penalised)
            agents.streams.restore(start)
            expected = slow_target(exact, batch, Draws(agents, config), config, penalised)
            torch.testing.assert_close(target, expected, **EXACT)
            agents.streams.restore(start)
        loss, wanted = losses.critic_loss(agents, batch, target)[0], slow.critic_loss(exact, batch, target)
        torch.testing.assert_close(loss, wanted, **EXACT)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(wanted.sum(), exact, "q."), **EXACT)

    @pytest.mark.parametrize("warm_start", [True, False])
    def test_the_actor_climbs_q_held_to_the_behaviour(self, kind: str, warm_start: bool) -> None:
        config = replace(CONFIG, **KINDS[kind])
        agents, batch = make_agents(config), make_batch()
        exact, start = slow.float64_parameters(agents), agents.streams.state()
        loss, apart = brac.actor_loss(agents, batch, config, warm_start)
        agents.streams.restore(start)
        expected, divergence = slow_actor(exact, batch, Draws(agents, config), config, warm_start)
        torch.testing.assert_close(loss, expected, **EXACT)
        torch.testing.assert_close(apart, divergence, **EXACT)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "policy."), **EXACT)


def test_a_rectified_estimate_is_zero_where_the_plain_one_is_negative() -> None:
    agents, batch = make_agents(), make_batch()
    policy, start = agents.policy(batch.observations), agents.streams.state()
    behaviour = TanhGaussian(policy.mean + 0.05, policy.log_std)
    noise = agents.streams.normal(SIZE, SAMPLES, ACTION)
    agents.streams.restore(start)
    plain, rectified = (brac.kl_divergence(policy, behaviour, noise, flag) for flag in (False, True))
    assert (plain < 0).any() and (plain > 0).any()
    torch.testing.assert_close(rectified, plain.clamp(min=0), rtol=0, atol=0)


def test_the_cloned_behaviour_is_likely_and_keeps_its_entropy() -> None:
    """alpha E[log b(a')] - E[log b(a)], alpha learned towards an entropy of -|A|; updates by hand."""
    agents = ClonedPolicies(SEEDS, OBSERVATION, ACTION, CLONING).double()
    slow.randomise(agents, seed=3)
    method, by_hand = BehaviourCloning(agents, CLONING), slow.Adam(slow.float64_parameters(agents))
    for number in range(4):
        batch, start = make_batch(number), agents.streams.state()
        metrics = method.update(batch, number)
        after = agents.streams.state()
        agents.streams.restore(start)
        noise = agents.streams.normal(SIZE, ACTION)
        torch.testing.assert_close(agents.streams.state(), after)
        exact, found, densities = by_hand.parameters, [], []
        for agent in range(len(SEEDS)):
            alpha, total = exact["log_entropy_coefficient"][agent].detach().exp(), torch.zeros(())
            for row in range(SIZE):
                own = distribution(exact, "policy.", agent, batch.observations[agent, row])
                _, log_density = slow.squash(*own, noise[agent, row])
                action = batch.actions[agent, row].clamp(-0.999, 0.999)
                total = total + (alpha * log_density - slow.squashed_log_density(*own, action)) / SIZE
                densities.append(log_density.detach())
            found.append(total)
        loss = torch.stack(found)
        torch.testing.assert_close(metrics["actor_loss"], loss.detach(), **EXACT)
        moved = slow.gradients(loss.sum(), exact, "policy.")
        density = torch.stack(densities).reshape(len(SEEDS), SIZE)
        moved["log_entropy_coefficient"] = slow.entropy_gradient(density, ACTION)
        by_hand.step(moved, CLONING.policy_learning_rate)
        learned = {"entropy": -density.mean(dim=1), "entropy_coefficient": slow.alpha(by_hand.parameters)}
        slow.assert_metrics(metrics, learned)
    slow.assert_parameters(agents, by_hand.parameters)


class TestUpdate:
    @pytest.mark.parametrize("method", [BRACV, BRACP])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("held_to", [None, 0.3])
    def test_updates_equal_adam_steps_by_hand(
        self, method: type[BRACV], kind: str, held_to: float | None
    ) -> None:
        """Targets first, then critics, then the actor by the new critics; Q counts after the warm start."""
        config = replace(CONFIG, target_divergence=held_to, **KINDS[kind])
        agents = make_agents(config)
        learner, by_hand = method(agents, config), slow.Adam(slow.float64_parameters(agents))
        for number in range(4):
            batch, start = make_batch(number), agents.streams.state()
            metrics = learner.update(batch, number)
            after = agents.streams.state()
            agents.streams.restore(start)
            draws = Draws(agents, config)
            by_hand.move_targets(config.target_update_rate)
            exact = by_hand.parameters
            target = slow_target(exact, batch, draws, config, method is BRACV)
            critics, q_mean = slow.critic_loss(exact, batch, target), slow.q_mean(exact, batch)
            by_hand.step(slow.gradients(critics.sum(), exact, "q."), config.value_learning_rate)
            actor, apart = slow_actor(exact, batch, draws, config, number < 2)
            by_hand.step(slow.gradients(actor.sum(), exact, "policy."), config.policy_learning_rate)
            if held_to is not None:
                by_hand.step({"divergence_weight": held_to - apart.detach()}, config.weight_learning_rate)
            assert torch.equal(agents.streams.state(), after)
            weight = by_hand.parameters["divergence_weight"]
            expected = {"critic_loss": critics, "actor_loss": actor, "divergence": apart, "q_mean": q_mean}
            slow.assert_metrics(metrics, {**expected, "divergence_weight": weight})
        slow.assert_parameters(agents, by_hand.parameters)

    def test_the_policy_does_not_depend_on_the_critics_before_the_turning_point(self) -> None:
        one, other = (BRACV(make_agents(), CONFIG) for _ in range(2))
        with torch.no_grad():
            for parameter in other.agents.q.parameters():
                parameter.mul_(-1)
        alike = []
        for number in range(4):
            for learner in (one, other):
                learner.update(make_batch(number), number)
            policies = zip(one.agents.policy.parameters(), other.agents.policy.parameters(), strict=True)
            alike.append(all(torch.equal(own, others) for own, others in policies))
        (point,) = one.turning_points()
        assert alike == [number < point for number in range(4)] and any(alike)

    def test_a_learned_weight_does_not_fall_below_zero(self) -> None:
        config = replace(CONFIG, target_divergence=1e6, weight_learning_rate=1.0)
        learner = BRACV(make_agents(config), config)
        for number in range(3):
            metrics = learner.update(make_batch(number), number)
        assert (metrics["divergence_weight"] == 0).all()


class TestStart:
    def test_the_behaviour_is_the_cloned_policy_and_the_rest_is_fresh(self) -> None:
        cloned = ClonedPolicies(SEEDS, OBSERVATION, ACTION, CLONING)
        cloned.initialise()
        members = [one_agent(cloned, index) for index in range(2)]
        config = replace(CONFIG, behaviour_hidden_widths=(6,), policy_hidden_widths=(6,))
        agents = BRACV.begin_offline(OfflineStart((3, 4), OBSERVATION, ACTION, members), config).agents
        own, before = agents.behaviour.state_dict(), cloned.policy.state_dict()
        assert all(torch.equal(own[name], before[name]) for name in before)
        assert not any(parameter.requires_grad for parameter in agents.behaviour.parameters())
        assert not torch.equal(agents.policy.net.tensors()[0], agents.behaviour.net.tensors()[0])

    def test_fresh_networks_have_their_own_widths_glorots_weights_and_the_coefficients_that_are_set(
        self,
    ) -> None:
        agents = BRACAgents(SEEDS, OBSERVATION, ACTION, CONFIG)
        agents.initialise()
        cloned = ClonedPolicies(SEEDS, OBSERVATION, ACTION, CLONING)
        cloned.initialise()
        for net, widths in (
            (agents.policy.net, [6, 2 * ACTION]),
            (agents.behaviour.net, [5, 2 * ACTION]),
            (agents.q.net, [7, 5, 1]),
            (cloned.policy.net, [6, 2 * ACTION]),
        ):
            assert slow.widths(net.affine_maps()) == widths
            slow.assert_glorot(net.affine_maps())
        assert agents.divergence_weight.tolist() == pytest.approx([0.7, 0.7])
        assert cloned.log_entropy_coefficient.exp().tolist() == pytest.approx([0.4, 0.4])

    def test_without_a_behaviour_it_does_not_begin(self) -> None:
        with pytest.raises(
            UserError, match="BRAC starts from nothing, expected a phase before it that clones"
        ):
            BRACV.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), CONFIG)


def test_it_finds_the_best_of_the_datas_actions_and_stays_among_them() -> None:
    """Reward 10 a_0; the data's actions lie within 0.3 of the middle, and so does the policy."""
    sizes, batch_size = (OBSERVATION, 1), 64
    state, last = torch.zeros(1, batch_size, OBSERVATION), torch.zeros(1, batch_size)

    def batch() -> Batch:
        actions = 0.3 * (2 * torch.rand(1, batch_size, 1, generator=generator) - 1)
        return Batch(state, actions, 10 * actions[..., 0], last, state)

    generator = torch.Generator().manual_seed(0)
    cloning = CloningConfig((16,), policy_learning_rate=1e-2)
    behaviour = BehaviourCloning.begin_offline(OfflineStart([1], *sizes, []), cloning)
    for number in range(400):
        behaviour.update(batch(), number)
    members = [one_agent(behaviour.agents, 0)]
    config = BRACConfig((32,), (16,), (16,), policy_learning_rate=1e-2, value_learning_rate=1e-2)
    learner = BRACV.begin_offline(OfflineStart([1], *sizes, members), replace(config, warm_start_updates=50))
    for number in range(400):
        learner.update(batch(), number)
    assert 0.2 < float(learner.exploit(state)[0, 0, 0].detach()) < 0.8
