"""WSRL: both phases' updates equal a slow float64 statement; the switch keeps all but the data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from algorithms.methods import wsrl
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.wsrl import WSRL, WSRLAgents, WSRLConfig
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch, slices
from algorithms.replay.stores import OnlineBuffer
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineSchedule, run_online
from envs.locomotion import specification
from storage import UserError
from tests.algorithms import slow_reference as slow
from tests.algorithms.methods.test_rlpd import slow_critic_loss

OBSERVATION, ACTION, SIZE = 4, 2, 5
SEEDS = (11, 12)
CONFIG = WSRLConfig(
    **slow.SMALL,
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    critics=4,
    updates_per_step=3,
    sampled_actions=3,
    conservative_weight=2.0,
)
PLAIN = replace(CONFIG, shared_critic_output=False, idle_adam_steps=False, target_entropy_per_dimension=-0.5)
OUTPUT_LAYER = "q.net.layers.2."
LIMITS = (math.log(1e-5), math.log(10.0))  # of a deviation, 1e-5 to 10


def make_agents(config: WSRLConfig = CONFIG) -> WSRLAgents:
    """Agents in float64, so that the two statements may differ by rounding of that alone."""
    agents = slow.randomise(WSRLAgents(SEEDS, OBSERVATION, ACTION, config))
    if config.shared_critic_output:
        for name, parameter in agents.named_parameters():
            if OUTPUT_LAYER in name:
                parameter.data = of_first_critic(parameter.data)
    return agents.double()


def of_first_critic(rows: Tensor) -> Tensor:
    """Rows [K P, ...] with each agent's first critic's at the place of all."""
    return rows[:: CONFIG.critics].repeat_interleave(CONFIG.critics, dim=0)


def make_batch(rows: int, seed: int) -> Batch:
    batch = slow.random_batch(len(SEEDS), rows, OBSERVATION, ACTION, seed)
    return batch.map(Tensor.double)


def several(
    exact: slow.Parameters, agent: int, states: Tensor, noise: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Several actions in each state, from noise [B, n, A]: n of actions [B, A] and log densities [B]."""
    drawn = [slow.sample(exact, agent, states, noise[:, j], LIMITS) for j in range(noise.shape[1])]
    return [action.detach() for action, _ in drawn], [density.detach() for _, density in drawn]


def slow_target(exact: slow.Parameters, batch: Batch, noise: Tensor, chosen: Tensor, agent: int) -> Tensor:
    """r + discount mask max over actions of the min over drawn targets. [B]"""
    states = batch.next_observations[agent]
    actions, _ = several(exact, agent, states, noise[agent])
    of_each = []
    for action in actions:
        q = slow.critics(exact, "target_q", agent, states, action, CONFIG.critics)
        of_each.append(torch.stack([q[k] for k in chosen[agent].tolist()]).min(dim=0).values)
    best = torch.stack(of_each).max(dim=0).values
    return (batch.rewards[agent] + CONFIG.discount * batch.masks[agent] * best).detach()


def slow_penalty(
    exact: slow.Parameters, batch: Batch, noises: tuple[Tensor, Tensor, Tensor], chosen: Tensor, agent: int
) -> Tensor:
    """The mean over drawn critics of E[log sum exp(Q - log density) - Q of the data]."""
    uniform, own, following = (noise[agent] for noise in noises)
    states = batch.observations[agent]
    candidates = [2 * uniform[:, j].double() - 1 for j in range(uniform.shape[1])]
    densities = [torch.full((SIZE,), -ACTION * math.log(2), dtype=torch.float64)] * len(candidates)
    for seen, noise in ((states, own), (batch.next_observations[agent], following)):
        actions, log_densities = several(exact, agent, seen, noise)
        candidates += actions
        densities += log_densities
    of_data, *judged = (
        slow.critics(exact, "q", agent, states, action, CONFIG.critics)
        for action in (batch.actions[agent], *candidates)
    )
    terms = []
    for k in chosen[agent].tolist():
        total = torch.zeros(SIZE, dtype=torch.float64)
        for q, density in zip(judged, densities, strict=True):
            total = total + (q[k] - density).exp()
        terms.append((total.log() - of_data[k]).mean())
    return torch.stack(terms).mean()


def slow_actor(exact: slow.Parameters, observations: Tensor, noise: Tensor) -> Tensor:
    """alpha log pi - min over all critics. [P]"""
    losses = []
    for agent in range(len(SEEDS)):
        alpha = torch.nn.functional.softplus(exact["log_entropy_coefficient"][agent].detach())
        states, fixed = observations[agent], slow.constant_critics(exact)
        actions, log_density = slow.sample(exact, agent, states, noise[agent], LIMITS)
        judged = slow.critics(fixed, "q", agent, states, actions, CONFIG.critics)
        losses.append((alpha * log_density - torch.stack(judged).min(dim=0).values).mean())
    return torch.stack(losses)


def slow_excess(exact: slow.Parameters, states: Tensor, noise: Tensor, target: float) -> Tensor:
    """By how much the entropy in `states`, by new actions from noise [P, B, n, A], exceeds its target. [P]"""
    entropies = []
    for agent in range(len(SEEDS)):
        _, log_densities = several(exact, agent, states[agent], noise[agent])
        entropies.append(-torch.stack(log_densities).mean())
    return torch.stack(entropies) - target * ACTION


def actor_gradients(exact: slow.Parameters, actor: Tensor, excess: Tensor) -> dict[str, Tensor]:
    """The gradients of the actor's and the temperature's loss, by name."""
    slope = torch.sigmoid(exact["log_entropy_coefficient"].detach())
    return slow.gradients(actor.sum(), exact, "policy.") | {"log_entropy_coefficient": slope * excess}


def critic_gradients(exact: slow.Parameters, loss: Tensor, config: WSRLConfig) -> dict[str, Tensor]:
    """The gradients of the critics' loss by name, of a shared output layer the sum of all critics'."""
    found = slow.gradients(loss, exact, "q.")
    if config.shared_critic_output:
        for name in (name for name in found if name.startswith(OUTPUT_LAYER)):
            parts = found[name].unflatten(0, (len(SEEDS), -1))
            found[name] = parts.sum(dim=1).repeat_interleave(config.critics, dim=0)
    return found


def stand_still(exact: slow.Parameters, *prefixes: str) -> dict[str, Tensor]:
    """Gradients of zero, by name."""
    return {
        name: torch.zeros_like(tensor.detach()) for name, tensor in exact.items() if name.startswith(prefixes)
    }


@pytest.mark.parametrize("config", [CONFIG, PLAIN], ids=["as its code", "plain"])
def test_an_offline_update_equals_a_slow_float64_statement(config: WSRLConfig) -> None:
    """With the penalty's own drawn critics, and the temperature by new actions in the next states."""
    agents = make_agents(config)
    optimiser = slow.Adam(slow.float64_parameters(agents))
    n, m = CONFIG.sampled_actions, CONFIG.target_critics
    for number in range(2):
        batch, streams = make_batch(SIZE, number), slow.same_streams(agents)
        target_noise = streams.normal(SIZE, n, ACTION)
        for_target = streams.subsets(1, m, CONFIG.critics, True)[:, 0]
        noises = (streams.uniform(SIZE, n, ACTION), *(streams.normal(SIZE, n, ACTION) for _ in range(2)))
        for_penalty = streams.subsets(1, m, CONFIG.critics, True)[:, 0]
        actor_noise, temperature_noise = streams.normal(SIZE, ACTION), streams.normal(SIZE, n, ACTION)

        metrics = wsrl.pretrain(agents, batch, config)

        exact = optimiser.parameters
        errors, penalties = [], []
        for agent in range(len(SEEDS)):
            target = slow_target(exact, batch, target_noise, for_target, agent)
            states, actions = batch.observations[agent], batch.actions[agent]
            q = slow.critics(exact, "q", agent, states, actions, CONFIG.critics)
            errors.append(torch.stack([((each - target) ** 2).mean() for each in q]).mean())
            penalties.append(slow_penalty(exact, batch, noises, for_penalty, agent))
        error, penalty = torch.stack(errors), torch.stack(penalties)
        q_mean = slow.q_mean(exact, batch, CONFIG.critics)
        actor = slow_actor(exact, batch.observations, actor_noise)
        target_entropy = config.target_entropy_per_dimension
        excess = slow_excess(exact, batch.next_observations, temperature_noise, target_entropy)
        critics = critic_gradients(exact, (error + CONFIG.conservative_weight * penalty).sum(), config)
        policy = actor_gradients(exact, actor, excess)
        optimiser.step(critics, CONFIG.value_learning_rate)
        optimiser.step(policy, CONFIG.policy_learning_rate)
        optimiser.move_targets(CONFIG.target_update_rate)

        expected = {"td_error": error, "conservative_penalty": penalty, "actor_loss": actor, "q_mean": q_mean}
        slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, optimiser.parameters)


@pytest.mark.parametrize("config", [CONFIG, PLAIN], ids=["as its code", "plain"])
def test_a_steps_updates_online_equal_a_slow_float64_statement(config: WSRLConfig) -> None:
    """Critics on slices without an entropy term, then the actor on the whole batch, when targets rest."""
    agents = make_agents(config)
    optimiser = slow.Adam(slow.float64_parameters(agents))
    count = CONFIG.updates_per_step
    for number in range(2):
        batch, streams = make_batch(SIZE * count, number), slow.same_streams(agents)
        drawn = [
            (streams.normal(SIZE, ACTION), streams.subsets(1, CONFIG.target_critics, CONFIG.critics, True))
            for _ in range(count)
        ]
        actor_noise = streams.normal(SIZE * count, ACTION)
        temperature_noise = streams.normal(SIZE * count, 1, ACTION)

        metrics = wsrl.fine_tune(agents, batch, config)

        errors, means = [], []
        for part, (next_noise, chosen) in zip(slices(batch, count), drawn, strict=True):
            exact = optimiser.parameters
            loss = slow_critic_loss(exact, part, next_noise, chosen[:, 0], CONFIG, LIMITS)
            critics = critic_gradients(exact, loss.sum(), config)
            errors.append(loss.detach())
            means.append(slow.q_mean(exact, part, CONFIG.critics))
            if config.idle_adam_steps:
                idle = stand_still(exact, "policy.", "log_entropy_coefficient")
                optimiser.step(idle, CONFIG.policy_learning_rate)
            optimiser.step(critics, CONFIG.value_learning_rate)
            optimiser.move_targets(CONFIG.target_update_rate)
        exact = optimiser.parameters
        actor = slow_actor(exact, batch.observations, actor_noise)
        target_entropy = config.target_entropy_per_dimension
        excess = slow_excess(exact, batch.next_observations, temperature_noise, target_entropy)
        policy = actor_gradients(exact, actor, excess)
        if config.idle_adam_steps:
            optimiser.step(stand_still(exact, "q."), CONFIG.value_learning_rate)
        optimiser.step(policy, CONFIG.policy_learning_rate)
        alpha = torch.nn.functional.softplus(optimiser.parameters["log_entropy_coefficient"])
        slow.assert_metrics(metrics, {"actor_loss": actor, "entropy_coefficient": alpha})
        averaged = {"critic_loss": torch.stack(errors), "q_mean": torch.stack(means)}
        slow.assert_metrics(metrics, {name: parts.mean(dim=0) for name, parts in averaged.items()})
        slow.assert_parameters(agents, optimiser.parameters)


def pretrained(updates: int = 3, config: WSRLConfig = CONFIG) -> WSRL:
    learner = WSRL.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), config)
    for number in range(updates):
        learner.update(slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, number), number)
    return learner


def fine_tuning(members: list[dict[str, Tensor]], config: WSRLConfig = CONFIG) -> WSRL:
    buffer = OnlineBuffer(len(SEEDS), 50, OBSERVATION, ACTION)
    return WSRL.begin(Start((1, 2), Streams((3, 4)), OBSERVATION, ACTION, None, buffer, members, 1), config)


def test_the_switch_keeps_targets_temperature_and_moments() -> None:
    before = pretrained()
    members = [one_agent(before.agents, index) for index in range(len(SEEDS))]
    after = fine_tuning(members)
    state, expected = after.agents.training_state(), before.agents.training_state()
    assert state.keys() == expected.keys()
    for name in state.keys() - {"streams"}:
        assert torch.equal(state[name], expected[name]), name
    assert not torch.equal(
        state["networks.target_q.net.layers.0.weight"], state["networks.q.net.layers.0.weight"]
    )
    assert int(state["adam.step.q.net.layers.0.weight"]) == 3


@pytest.mark.parametrize("before_rate", [None, 0.1])
@pytest.mark.parametrize("rate", [None, 0.2])
def test_at_the_switch_averages_go_on_and_begin_as_the_policy_where_there_were_none(
    before_rate: float | None, rate: float | None
) -> None:
    before = pretrained(config=replace(CONFIG, averaging_rate=before_rate)).agents
    members = [one_agent(before, index) for index in range(len(SEEDS))]
    after = fine_tuning(members, replace(CONFIG, averaging_rate=rate)).agents
    states = torch.randn(len(SEEDS), 6, OBSERVATION)
    averaged = rate is not None and before_rate is not None
    acting = before.evaluated() if averaged else before
    assert torch.equal(after.evaluated().exploit(states), acting.exploit(states))
    assert (after.averaged is None) is (rate is None)
    assert torch.equal(after.evaluated().exploit(states), before.exploit(states)) is not averaged


def test_the_first_update_after_the_warm_up_is_of_collected_rows_alone() -> None:
    learner = fine_tuning([one_agent(pretrained().agents, index) for index in range(len(SEEDS))])
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    metrics = learner.learn()
    assert torch.equal(metrics["offline_fraction"], torch.zeros(len(SEEDS)))


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_until_the_warm_up_is_over_the_loop_leaves_all_that_is_learned_as_it_was(tmp_path: Path) -> None:
    environment, config = "InvertedDoublePendulum-v4", replace(CONFIG, warm_up_steps=20)
    spec = specification(environment)
    sizes = (spec.observation_size, spec.action_size)
    offline = WSRL.begin_offline(OfflineStart(SEEDS, *sizes, []), config)
    offline.update(slow.random_batch(len(SEEDS), SIZE, *sizes, seed=0), 0)
    members = [one_agent(offline.agents, index) for index in range(len(SEEDS))]
    schedule = OnlineSchedule(
        steps=20, block_size=10, evaluation_interval=10, evaluation_episodes=1, checkpoint_interval=10
    )
    for steps, still in ((20, True), (30, False)):
        buffer = OnlineBuffer(len(SEEDS), steps, *sizes)
        start = Start(SEEDS, Streams(SEEDS), *sizes, None, buffer, members, 1)
        learner = WSRL.begin(start, config)
        before = {name: tensor.clone() for name, tensor in learner.agents.training_state().items()}
        job = Job("test", "wsrl", "made-up", environment, SEEDS, "hash", tmp_path / str(steps))
        run_online(replace(schedule, steps=steps), learner, job, 1.0)
        after = learner.agents.training_state()
        learned = [name for name in after if name != "streams"]
        assert all(torch.equal(after[name], before[name]) for name in learned) == still


def test_in_the_warm_up_the_policy_acts_as_it_was_handed_on() -> None:
    learner = fine_tuning([one_agent(pretrained().agents, index) for index in range(len(SEEDS))])
    assert learner.warm_up_steps() == 5000 and learner.warming_up()
    observations = torch.randn(len(SEEDS), 6, OBSERVATION)
    streams = slow.same_streams(learner.agents)
    expected = learner.agents.distribution(observations).actions(streams.normal(6, ACTION))
    assert torch.equal(learner.explore(observations), expected)


def test_agents_that_learned_for_other_times_or_other_things_are_refused() -> None:
    members = [one_agent(pretrained(updates).agents, index) for index, updates in enumerate((3, 4))]
    with pytest.raises(UserError, match=r"have learned for \[3\.0, 4\.0\] updates, expected equally long"):
        fine_tuning(members)
    with pytest.raises(UserError, match="pre-trained agent 1 has not learned the same as agent 0"):
        fine_tuning([members[0], one_agent(pretrained(0).agents, 1)])
    policies_and_critics = [
        {name: tensor for name, tensor in member.items() if name.startswith(("policy.", "q."))}
        for member in members
    ]
    with pytest.raises(
        UserError, match=r"the pre-trained agents lack .*, expected agents of the method that"
    ):
        fine_tuning(policies_and_critics)


def test_fresh_weights_are_orthogonal_and_the_temperature_starts_where_it_is_set() -> None:
    agents = WSRLAgents(SEEDS, 17, 6, WSRLConfig())
    agents.initialise()
    torch.testing.assert_close(agents.entropy_coefficient, torch.ones(len(SEEDS)))
    scales = {
        "policy.net.layers.0": 2.0,
        "policy.net.layers.1": 1e-4,
        "q.net.layers.0": 2.0,
        "q.net.layers.1": 1e-4,
        "q.net.layers.2": 2.0,
    }
    parameters = dict(agents.named_parameters())
    for name, square in scales.items():
        for weight in parameters[f"{name}.weight"].detach():
            wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
            torch.testing.assert_close(wide @ wide.T, square * torch.eye(len(wide)), rtol=1e-4, atol=1e-5)
    for head in parameters["policy.net.layers.2.weight"].detach()[0].chunk(2, dim=1):
        torch.testing.assert_close(head.T @ head, 2 * torch.eye(6), rtol=1e-4, atol=1e-5)


def test_settings_decide_the_policys_widths_and_norm_and_the_temperature_that_it_begins_with() -> None:
    config = replace(CONFIG, policy_hidden_widths=(6, 4, 3))
    for norm in ("before", "none"):
        agents = WSRLAgents(SEEDS, OBSERVATION, ACTION, replace(config, policy_norm=norm))
        assert slow.widths(agents.policy.net.affine_maps()) == [6, 4, 3, 2 * ACTION]
        gains = [name for name, _ in agents.policy.named_parameters() if "scales" in name and "gain" in name]
        assert len(gains) == (3 if norm == "before" else 0)
        assert agents.entropy_coefficient.tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("shared", [True, False])
def test_an_agents_critics_begin_and_stay_with_one_output_layer_where_they_share_it(shared: bool) -> None:
    config = replace(CONFIG, shared_critic_output=shared)
    learner = WSRL.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), config)
    agents = learner.agents
    for number in range(3):
        for critics in (agents.q, agents.target_q):
            weight = critics.net.affine_maps()[-1].weight.detach()
            assert torch.allclose(weight, of_first_critic(weight), rtol=1e-5, atol=1e-7) is shared
            assert not torch.allclose(weight[0], weight[CONFIG.critics])  # of another agent
        learner.update(slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, number), number)


def test_agents_whose_critics_share_no_output_layer_are_refused_where_they_are_to() -> None:
    agents = make_agents(replace(CONFIG, shared_critic_output=False)).float()
    members = [one_agent(agents, index) for index in range(len(SEEDS))]
    fine_tuning(members, replace(CONFIG, shared_critic_output=False))
    with pytest.raises(UserError, match=r"shared_critic_output is true, .* expected false"):
        fine_tuning(members)


def test_a_policys_deviation_stays_within_its_limits() -> None:
    agents, states = make_agents(), make_batch(SIZE, 0).observations
    for added, limit in ((-50.0, LIMITS[0]), (100.0, LIMITS[1])):
        with torch.no_grad():
            agents.policy.net.affine_maps()[-1].bias[:, :, ACTION:] += added
        log_std = agents.policy(states).log_std
        torch.testing.assert_close(log_std, torch.full_like(log_std, limit))


def test_more_drawn_critics_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match="target_critics is 5, expected at most critics, 4"):
        replace(CONFIG, target_critics=5)


def test_an_update_of_the_online_phase_is_the_online_one() -> None:
    learner, batch = pretrained(), slow.random_batch(len(SEEDS), 3 * SIZE, OBSERVATION, ACTION, 7)
    assert "conservative_penalty" not in learner.update_online(batch)
