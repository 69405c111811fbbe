"""PEX: an update equals a slow float64 statement; how the two policies share the acting; what never moves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms.methods import pex
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.iql import IQL, IQLConfig
from algorithms.methods.pex import PEX, PEXAgents, PEXConfig
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (71, 72)
LIMITS = (-0.5, 0.25)
CONFIG = PEXConfig(
    **slow.SMALL,
    batch_size=SIZE,
    expectile=0.8,
    inverse_temperature=1.5,
    acting_inverse_temperature=0.7,
    largest_weight=0.9,
    log_std_range=LIMITS,
    policy_decay_updates=4,
)


def make_agents(config: PEXConfig = CONFIG) -> PEXAgents:
    return slow.randomise(PEXAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(seed: int) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)


def slow_choice(
    exact: slow.Parameters, agent: int, states: Tensor, noise: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """The composite's actions [B, A], and whether each is the new policy's, by the softmax as written."""
    old = torch.tanh(slow.network(exact, "policy", agent, states))
    std = exact["new_policy.log_std"][agent].clamp(*LIMITS).exp()
    new = torch.tanh(slow.network(exact, "new_policy", agent, states)) + std * noise.double()
    logits = [
        CONFIG.acting_inverse_temperature * slow.smaller_critic(exact, "q", agent, states, a)
        for a in (old, new)
    ]
    of_new = logits[1].exp() / (logits[0].exp() + logits[1].exp())
    is_new = uniform.double() < of_new
    return torch.where(is_new[:, None], new, old).detach(), is_new


def test_updates_equal_a_slow_float64_statement() -> None:
    """V and critics on the old V; then the policy by the new ones, towards the composite's own actions."""
    agents = make_agents()
    by_hand = slow.Adam(slow.float64_parameters(agents))
    chosen_new = []
    for number in range(3):
        batch, streams = make_batch(number), slow.same_streams(agents)
        noise, uniform = streams.normal(SIZE, ACTION), streams.uniform(SIZE)

        metrics = pex.update(agents, batch, CONFIG)

        exact = by_hand.parameters
        values, critics = [], []
        for agent in range(len(SEEDS)):
            states, actions = batch.observations[agent], batch.actions[agent]
            q = slow.smaller_critic(exact, "target_q", agent, states, actions).detach()
            gap = q - slow.network(exact, "v", agent, states)[:, 0]
            weight = torch.where(gap > 0, CONFIG.expectile, 1 - CONFIG.expectile)
            values.append((weight * gap**2).mean())
            bootstrap = slow.network(exact, "v", agent, batch.next_observations[agent])[:, 0].detach()
            target = batch.rewards[agent] + CONFIG.discount * batch.masks[agent] * bootstrap
            first, second = slow.critics(exact, "q", agent, states, actions)
            critics.append(((first - target) ** 2 + (second - target) ** 2).mean() / 2)
        of_v = slow.gradients(torch.stack(values).sum(), exact, "v.")
        of_q = slow.gradients(torch.stack(critics).sum(), exact, "q.")
        q_mean = slow.q_mean(exact, batch)
        by_hand.step({**of_v, **of_q}, CONFIG.value_learning_rate)
        by_hand.move_targets(CONFIG.target_update_rate)

        exact, actors, largest = by_hand.parameters, [], []
        for agent in range(len(SEEDS)):
            states = batch.observations[agent]
            actions, is_new = slow_choice(exact, agent, states, noise[agent], uniform[agent])
            chosen_new += is_new.tolist()
            advantage = (
                slow.smaller_critic(exact, "target_q", agent, states, actions)
                - slow.network(exact, "v", agent, states)[:, 0]
            )
            weights = (CONFIG.inverse_temperature * advantage).exp().clamp(max=0.9).detach()
            largest.append(weights.max())
            mean = torch.tanh(slow.network(exact, "new_policy", agent, states))
            std = exact["new_policy.log_std"][agent, 0].clamp(*LIMITS).exp()
            density = torch.stack(
                [slow.normal_log_density(a, m, std) for a, m in zip(actions, mean, strict=True)]
            )
            actors.append(-(weights * density).mean())
        of_policy = slow.gradients(torch.stack(actors).sum(), exact, "new_policy.")
        by_hand.step(of_policy, CONFIG.policy_learning_rate * (1 + math.cos(math.pi * number / 4)) / 2)

        expected = {"critic_loss": critics, "actor_loss": actors, "advantage_weight_max": largest}
        slow.assert_metrics(metrics, {name: torch.stack(found) for name, found in expected.items()})
        slow.assert_metrics(metrics, {"q_mean": q_mean})
        slow.assert_parameters(agents, by_hand.parameters)
    assert 0 < sum(chosen_new) < len(chosen_new)


def test_with_an_inverse_temperature_of_zero_each_policy_acts_half_of_the_time() -> None:
    agents = make_agents(replace(CONFIG, acting_inverse_temperature=0.0))
    states = torch.randn(len(SEEDS), 4000, OBSERVATION, dtype=torch.float64)
    acted = agents.explore(states)
    old = (acted == agents.policy(states).mode()).all(dim=-1)
    assert abs(float(old.float().mean()) - 0.5) < 0.03


def test_at_an_evaluation_the_better_of_the_two_means_acts() -> None:
    agents = make_agents()
    states = torch.randn(len(SEEDS), 50, OBSERVATION, dtype=torch.float64)
    before = agents.streams.state()
    acted = agents.exploit(states)
    old, new = agents.policy(states).mode(), agents.new_policy(states).mode()
    q_old, q_new = (agents.q(states, actions).amin(dim=1) for actions in (old, new))
    assert torch.equal(acted, torch.where((q_new > q_old).unsqueeze(-1), new, old))
    assert torch.equal(agents.streams.state(), before)
    assert 0 < int((q_new > q_old).sum()) < q_new.numel()


def of_iql() -> list[dict[str, Tensor]]:
    config = IQLConfig(hidden_widths=CONFIG.hidden_widths, batch_size=SIZE)
    learner = IQL.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), config)
    for number in range(3):
        learner.update(slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, number), number)
    return [one_agent(learner.agents, index) for index in range(len(SEEDS))]


def fine_tuning(members: list[dict[str, Tensor]]) -> PEX:
    offline = slow.offline_data(slow.random_batch(1, 50, OBSERVATION, ACTION, seed=5))
    buffer = OnlineBuffer(len(SEEDS), 50, OBSERVATION, ACTION)
    start = Start((1, 2), Streams((3, 4)), OBSERVATION, ACTION, offline, buffer, members, 1)
    return PEX.begin(start, CONFIG)


def test_iqls_policy_never_changes_while_the_new_one_learns_on_half_offline_batches() -> None:
    members = of_iql()
    learner = fine_tuning(members)
    fresh = {name: tensor.clone() for name, tensor in learner.agents.new_policy.state_dict().items()}
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    assert learner.warm_up_steps() == 5000
    for _ in range(3):
        metrics = learner.learn()
        assert torch.equal(metrics["offline_fraction"], torch.full((len(SEEDS),), 0.5))
    for index, member in enumerate(members):
        after = one_agent(learner.agents, index)
        for name in (name for name in member if name.startswith("policy.")):
            assert torch.equal(after[name], member[name]), name
        assert any(name.startswith("new_policy.") for name in after)
        assert not torch.equal(after["q.net.layers.0.weight"], member["q.net.layers.0.weight"])
    for name, tensor in learner.agents.new_policy.state_dict().items():
        assert not torch.equal(tensor, fresh[name]), name


def test_the_new_policy_begins_with_xaviers_weights_and_a_deviation_of_one() -> None:
    agents = fine_tuning(of_iql()).agents
    for layer in agents.new_policy.net.affine_maps():
        inputs, outputs = layer.weight.shape[1:]
        bound = math.sqrt(6 / (inputs + outputs))
        assert 0.7 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert not layer.bias.any()
    assert not agents.new_policy.log_std.any()


def test_agents_that_pex_has_fine_tuned_go_on_with_their_new_policies() -> None:
    before = fine_tuning(of_iql())
    before.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    before.learn()
    again = fine_tuning([one_agent(before.agents, index) for index in range(len(SEEDS))])
    for name in ("policy", "new_policy", "q", "v"):
        expected = before.agents.get_submodule(name).state_dict()
        for part, tensor in again.agents.get_submodule(name).state_dict().items():
            assert torch.equal(tensor, expected[part]), f"{name}.{part}"


def test_agents_that_are_not_iqls_are_refused() -> None:
    others = ActorCritics(SEEDS, OBSERVATION, ACTION, SACConfig(hidden_widths=CONFIG.hidden_widths))
    others.initialise()
    with pytest.raises(UserError, match="agent 0 has no value function: pex expects agents of iql"):
        fine_tuning([one_agent(others, index) for index in range(len(SEEDS))])


def test_a_share_that_is_no_number_of_rows_and_a_policy_that_waits_are_refused() -> None:
    with pytest.raises(UserError, match=r"policy_delay is 2, expected 1: PEX's policy never waits"):
        replace(CONFIG, policy_delay=2)
    with pytest.raises(UserError, match=r"offline_fraction is 1.5, expected from 0 to 1"):
        replace(CONFIG, offline_fraction=1.5)
