"""ReBRAC: updates of both kinds equal a slow float64 statement; without penalties it is TD3."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms.methods import rebrac
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.rebrac import ReBRAC, ReBRACAgents, ReBRACConfig, ReBRACFineTuning
from algorithms.population.agents import one_agent
from algorithms.population.passes import Norm
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow
from workflow.configuration import CONFIGURATIONS, read

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (31, 32)
CONFIG = ReBRACConfig(
    **slow.SMALL | {"hidden_widths": (7, 5, 6)},
    batch_size=SIZE,
    target_noise=0.6,
    target_noise_limit=0.375,
    actor_penalty=0.7,
    critic_penalty=0.4,
)
TD3 = replace(CONFIG, actor_penalty=0.0, critic_penalty=0.0, normalise_q=False)
FINE_TUNING = rebrac.ReBRACFineTuningConfig(
    **{name: value for name, value in vars(CONFIG).items() if name != "critic_penalty"},
    decay_updates=10,
    smallest_decay=0.75,
)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def make_agents(config: rebrac.TD3Config = CONFIG) -> ReBRACAgents:
    return slow.randomise(ReBRACAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(seed: int) -> Batch:
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed)
    following = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed + 50)
    extras = {"next_actions": following.actions, "continues": following.masks}
    return batch._replace(extras=extras).map(Tensor.double)


def twins(exact: slow.Parameters, prefix: str, agent: int, states: Tensor, actions: Tensor) -> list[Tensor]:
    rows = torch.cat([states, actions], dim=1)
    return [after_norm(exact, prefix, 2 * agent + twin, rows)[:, 0] for twin in (0, 1)]


def after_norm(exact: slow.Parameters, prefix: str, copy: int, rows: Tensor) -> Tensor:
    """Dense, ReLU, LayerNorm, row by row."""
    return torch.stack([slow.perceptron(exact, f"{prefix}.", copy, row, "after") for row in rows])


def slow_target(
    exact: slow.Parameters, batch: Batch, noise: Tensor, agent: int, config: rebrac.TD3Config, penalty: float
) -> Tensor:
    """r + discount mask (min Q(s', a') - penalty |a' - a_next|^2 where there is a next action). [B]"""
    states = batch.next_observations[agent]
    limit = config.target_noise_limit
    disturbance = torch.clip((noise[agent] * config.target_noise).double(), -limit, limit)
    actions = torch.clip(torch.tanh(slow.network(exact, "target_policy", agent, states)) + disturbance, -1, 1)
    apart = ((actions - batch.extras["next_actions"][agent]) ** 2).sum(dim=1)
    apart = torch.where(batch.extras["continues"][agent] == 1, apart, torch.zeros_like(apart))
    value = torch.minimum(*twins(exact, "target_q", agent, states, actions)) - penalty * apart
    return (batch.rewards[agent] + config.discount * batch.masks[agent] * value).detach()


def slow_actor(
    exact: slow.Parameters, batch: Batch, agent: int, config: rebrac.TD3Config, penalty: float
) -> Tensor:
    states = batch.observations[agent]
    actions = torch.tanh(slow.network(exact, "policy", agent, states))
    q = torch.minimum(*twins(slow.constant_critics(exact), "q", agent, states, actions))
    scale = 1 / q.abs().mean().detach() if config.normalise_q else 1.0
    return (penalty * ((actions - batch.actions[agent]) ** 2).sum(dim=1) - scale * q).mean()


def step_by_hand(
    by_hand: slow.Adam,
    batch: Batch,
    noise: Tensor,
    config: rebrac.TD3Config,
    number: int,
    critic_penalty: float,
    actor_penalty: float,
) -> tuple[Tensor, Tensor | None]:
    """One update of all agents by the paper's code; the critics' and the actor's loss."""
    exact, losses = by_hand.parameters, []
    for agent in range(len(SEEDS)):
        target = slow_target(exact, batch, noise, agent, config, critic_penalty)
        own = twins(exact, "q", agent, batch.observations[agent], batch.actions[agent])
        losses.append(sum(((q - target) ** 2).mean() for q in own))
    critics = torch.stack(losses)
    by_hand.step(slow.gradients(critics.sum(), exact, "q."), config.value_learning_rate)
    if number % config.policy_delay:
        return critics.detach(), None
    exact = by_hand.parameters
    actor = torch.stack([slow_actor(exact, batch, p, config, actor_penalty) for p in range(len(SEEDS))])
    gradients = slow.gradients(actor.sum(), exact, "policy.")
    before = {name: tensor.detach() for name, tensor in exact.items() if name.startswith("policy.")}
    by_hand.step(gradients, config.policy_learning_rate)
    by_hand.move_targets(config.target_update_rate)
    for name, old in before.items():
        target = by_hand.parameters[f"target_{name}"].detach()
        moved = (1 - config.target_update_rate) * target + config.target_update_rate * old
        by_hand.parameters[f"target_{name}"] = moved
    return critics.detach(), actor.detach()


@pytest.mark.parametrize("config", [CONFIG, TD3], ids=["rebrac", "td3"])
def test_updates_equal_a_slow_float64_statement_the_actors_every_second(config: ReBRACConfig) -> None:
    """Also with no penalties and Q as it is: TD3 with layer-normed critics."""
    agents = make_agents(config)
    learner, by_hand = ReBRAC(agents, config), slow.Adam(slow.float64_parameters(agents))
    last = None
    for number in range(4):
        batch, noise = make_batch(number), slow.same_streams(agents).normal(SIZE, ACTION)
        metrics, exact = learner.update(batch, number), by_hand.parameters
        pairs = enumerate(zip(batch.observations, batch.actions, strict=True))
        judged = [torch.stack(twins(exact, "q", agent, *pair)).mean() for agent, pair in pairs]
        slow.assert_metrics(metrics, {"q_mean": torch.stack(judged)})
        critics, actor = step_by_hand(
            by_hand, batch, noise, config, number, config.critic_penalty, config.actor_penalty
        )
        last = actor if actor is not None else last
        assert last is not None
        torch.testing.assert_close(metrics["critic_loss"], critics, **EXACT)
        torch.testing.assert_close(metrics["actor_loss"], last, **EXACT)
        slow.assert_parameters(agents, by_hand.parameters)


def test_its_period_is_from_one_update_of_the_actor_to_the_next() -> None:
    config = replace(CONFIG, policy_delay=3)
    learner, moved = ReBRAC(make_agents(config), config), []
    for number in range(7):
        before = learner.agents.policy.net.tensors()[0].detach().clone()
        learner.update(make_batch(number), number)
        moved.append(not torch.equal(learner.agents.policy.net.tensors()[0], before))
    assert moved == [number % learner.period() == 0 for number in range(7)] and not all(moved)


def test_settings_decide_the_norms_of_critics_and_policy() -> None:
    norms: list[tuple[Norm, Norm]] = [("after", "none"), ("none", "before")]
    for critics, policy in norms:
        agents = make_agents(replace(CONFIG, critic_norm=critics, policy_norm=policy))
        assert (agents.q.net.norm, agents.target_q.net.norm) == (critics, critics)
        assert (agents.policy.net.norm, agents.target_policy.net.norm) == (policy, policy)


def test_q_of_either_sign_is_divided_by_the_mean_of_its_size() -> None:
    agents, batch = make_agents(), make_batch(0)
    q = agents.q(batch.observations, agents.policy(batch.observations)).amin(dim=1).detach()
    with torch.no_grad():
        middle = q.median(dim=1).values.repeat_interleave(2).reshape(-1, 1, 1)
        agents.q.net.affine_maps()[-1].bias -= middle
    loss, exact = rebrac.actor_loss(agents, batch, CONFIG, 0.7), slow.float64_parameters(agents)
    expected = [slow_actor(exact, batch, agent, CONFIG, 0.7) for agent in range(len(SEEDS))]
    torch.testing.assert_close(loss, torch.stack(expected), **EXACT)


def test_online_the_critics_pay_nothing_and_the_actors_penalty_falls_to_its_least() -> None:
    agents = make_agents(FINE_TUNING)
    learner, by_hand = ReBRACFineTuning(agents, FINE_TUNING), slow.Adam(slow.float64_parameters(agents))
    for number in range(6):
        batch, noise = make_batch(number), slow.same_streams(agents).normal(SIZE, ACTION)
        learner.update_online(batch._replace(extras={}))
        penalty = CONFIG.actor_penalty * max(0.75, 1 - number / 10)
        step_by_hand(by_hand, batch, noise, FINE_TUNING, number, 0.0, penalty)
    slow.assert_parameters(agents, by_hand.parameters)


def pretrained(updates: int) -> ReBRAC:
    learner = ReBRAC.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), CONFIG)
    for number in range(updates):
        learner.update(make_batch(number).map(Tensor.float), number)
    return learner


def test_the_switch_keeps_targets_and_moments_and_counts_anew() -> None:
    before = pretrained(3)
    members = [one_agent(before.agents, index) for index in range(len(SEEDS))]
    offline = slow.offline_data(slow.random_batch(1, 50, OBSERVATION, ACTION, seed=5))
    buffer = OnlineBuffer(len(SEEDS), 50, OBSERVATION, ACTION)
    start = Start((1, 2), Streams((3, 4)), OBSERVATION, ACTION, offline, buffer, members, 1)
    learner = ReBRACFineTuning.begin(start, FINE_TUNING)
    state, expected = learner.agents.training_state(), before.agents.training_state()
    assert state.keys() == expected.keys()
    for name in state.keys() - {"streams", "networks.updates"}:
        assert torch.equal(state[name], expected[name]), name
    assert not state["networks.updates"].any() and learner.agents.made == 0
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    assert torch.equal(learner.learn()["offline_fraction"], torch.full((len(SEEDS),), 0.5))


def test_a_resumed_learner_is_where_it_was_between_two_updates_of_the_actor() -> None:
    one, other = pretrained(3), pretrained(0)
    other.agents.restore_training_state(one.agents.training_state())
    for learner in (one, other):
        for number in range(3, 6):
            learner.update(make_batch(number).map(Tensor.float), number)
    state = other.agents.training_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.agents.training_state().items())


def test_it_evaluates_by_the_action_and_explores_inside_the_box() -> None:
    agents = make_agents(replace(CONFIG, exploration_noise=1.0))
    states = torch.randn(len(SEEDS), 200, OBSERVATION).double()
    assert torch.equal(agents.exploit(states), agents.policy(states))
    assert float(agents.explore(states).detach().abs().max()) == 1.0
    assert torch.equal(make_agents().explore(states), agents.exploit(states))


def test_fresh_networks_have_small_heads_and_constant_hidden_biases() -> None:
    agents = ReBRACAgents(SEEDS, 17, 6, ReBRACConfig())
    agents.initialise()
    for net, bound in ((agents.policy.net, 1e-3), (agents.q.net, 3e-3)):
        *hidden, last = net.affine_maps()
        for layer in hidden:
            assert bool((layer.bias == 0.1).all())
            assert float(layer.weight.detach().abs().max()) == pytest.approx(
                layer.weight.shape[1] ** -0.5, rel=0.01
            )
        for parameter in last.parameters():
            assert 0 < float(parameter.detach().abs().max()) <= bound


def test_in_the_shipped_configuration_the_penalty_falls_over_the_runs_own_updates() -> None:
    fine_tuning = read(CONFIGURATIONS / "rebrac.yaml")["fine_tuning"]
    own = fine_tuning["methods"]["rebrac_ft"]
    assert own["config"]["decay_updates"] == fine_tuning["schedule"]["steps"]
    assert own["schedule"]["first_block_multiplier"] == 1


def test_a_share_that_is_no_number_of_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"offline_fraction 0.25 of batch_size 6 is 1.5 rows"):
        replace(FINE_TUNING, offline_fraction=0.25)


def test_td3_bc_is_without_the_critics_penalty_and_pays_by_the_mean_square() -> None:
    own = rebrac.TD3BCConfig(hidden_widths=(24, 17), batch_size=SIZE, critic_norm="after")
    agents = make_agents(own)
    learner, by_hand = rebrac.TD3BC(agents, own), slow.Adam(slow.float64_parameters(agents))
    for number in range(4):
        batch, noise = make_batch(number), slow.same_streams(agents).normal(SIZE, ACTION)
        learner.update(batch._replace(extras={}), number)
        step_by_hand(by_hand, batch, noise, own, number, 0.0, 0.4 / ACTION)
    slow.assert_parameters(agents, by_hand.parameters)
