"""SO2: a step's updates equal a slow float64 statement; what its critics and its batches are of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from algorithms.methods import losses, sac, so2
from algorithms.methods.edac import EDAC
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.so2 import SO2, SO2Config
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import slices
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow
from tests.algorithms.methods import test_edac
from tests.algorithms.methods.test_edac import (
    ACTION,
    LIMITS,
    OBSERVATION,
    SEEDS,
    critics_of,
    make_agents,
    make_batch,
    slow_actor,
)

SIZE = 10
CONFIG = SO2Config(
    **slow.SMALL | {"hidden_widths": (7, 5, 6)},
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    critics=4,
    log_std_range=LIMITS,
    target_noise=0.6,
    target_noise_limit=0.5,
    updates_per_step=3,
)


def test_a_steps_updates_equal_a_slow_float64_statement() -> None:
    """Each critic on its own target, three times; the actor once, on the last part; alpha never."""
    agents = make_agents(CONFIG)
    by_hand = slow.Adam(slow.float64_parameters(agents))
    for number in range(2):
        batch, streams = make_batch(number, SIZE * CONFIG.updates_per_step), slow.same_streams(agents)
        drawn = [(streams.normal(SIZE, ACTION), streams.normal(SIZE, ACTION)) for _ in range(3)]
        actor_noise = streams.normal(SIZE, ACTION)

        metrics = so2.update(agents, batch, CONFIG)

        losses, means = [], []
        for part, (noise, disturbance) in zip(slices(batch, 3), drawn, strict=True):
            exact, errors = by_hand.parameters, []
            for agent in range(len(SEEDS)):
                states = part.next_observations[agent]
                actions, log_density = slow.sample(exact, agent, states, noise[agent], LIMITS)
                clipped = torch.clip((0.6 * disturbance[agent]).double(), -0.5, 0.5)
                q = critics_of(exact, "target_q", agent, states, torch.clip(actions + clipped, -1, 1))
                own = critics_of(exact, "q", agent, part.observations[agent], part.actions[agent])
                each = []
                for k in range(CONFIG.critics):
                    soft = q[k] - slow.alpha(exact)[agent] * log_density
                    target = part.rewards[agent] + CONFIG.discount * part.masks[agent] * soft
                    each.append(((own[k] - target.detach()) ** 2).mean())
                errors.append(torch.stack(each).mean())
            error = torch.stack(errors)
            means.append(slow.q_mean(exact, part, CONFIG.critics))
            by_hand.step(slow.gradients(error.sum(), exact, "q."), CONFIG.value_learning_rate)
            by_hand.move_targets(CONFIG.target_update_rate)
            losses.append(error.detach())
        exact = by_hand.parameters
        actor, excess = slow_actor(exact, slices(batch, 3)[-1].observations, actor_noise)
        by_hand.step(slow.gradients(actor.sum(), exact, "policy."), CONFIG.policy_learning_rate)

        averaged = {"critic_loss": torch.stack(losses), "q_mean": torch.stack(means)}
        slow.assert_metrics(metrics, {name: parts.mean(dim=0) for name, parts in averaged.items()})
        slow.assert_metrics(metrics, {"actor_loss": actor, "entropy": -(excess + ACTION)})
        slow.assert_parameters(agents, by_hand.parameters)


def test_without_noise_the_critic_loss_is_the_mean_of_single_critics_sac_losses_under_one_actor() -> None:
    config = replace(CONFIG, target_noise=0.0)
    agents, batch = make_agents(config), make_batch(1, SIZE)
    before = agents.streams.state()
    found, _ = losses.mean_critic_loss(agents, batch, so2.td_targets(agents, batch, config))
    one = sac.SACConfig(hidden_widths=CONFIG.hidden_widths, discount=0.9, critics=1)
    alone = []
    for k in range(CONFIG.critics):
        single = ActorCritics(SEEDS, OBSERVATION, ACTION, one).double()
        single.policy, single.streams = agents.policy, agents.streams
        for own, all_of_them in ((single.q, agents.q), (single.target_q, agents.target_q)):
            for parameter, many in zip(own.parameters(), all_of_them.parameters(), strict=True):
                parameter.data = many.detach()[k :: CONFIG.critics].clone()
        single.log_entropy_coefficient.data = agents.log_entropy_coefficient.detach()
        agents.streams.restore(before)
        target = sac.td_target(single, batch, one)
        q = single.q(batch.observations, batch.actions)
        alone.append((q[:, 0] - target).square().mean(dim=-1))
    torch.testing.assert_close(found, torch.stack(alone).mean(dim=0), rtol=1e-9, atol=1e-9)


def fine_tuning(config: SO2Config = CONFIG) -> SO2:
    before = EDAC.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), test_edac.CONFIG)
    members = [one_agent(before.agents, index) for index in range(len(SEEDS))]
    offline = slow.offline_data(slow.random_batch(1, 50, OBSERVATION, ACTION, seed=5))
    buffer = OnlineBuffer(len(SEEDS), 300, OBSERVATION, ACTION)
    start = Start((1, 2), Streams((3, 4)), OBSERVATION, ACTION, offline, buffer, members, 1)
    return SO2.begin(start, config)


def test_the_temperature_stays_and_the_warm_up_is_the_policys() -> None:
    learner = fine_tuning()
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    assert learner.warm_up_steps() == 5000 and learner.warming_up()
    metrics = learner.learn()
    torch.testing.assert_close(metrics["entropy_coefficient"], torch.full((len(SEEDS),), 0.3))
    torch.testing.assert_close(metrics["offline_fraction"], torch.full((len(SEEDS),), 0.9))


def test_every_slice_has_its_share_of_collected_rows() -> None:
    learner = fine_tuning()
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    _, indices = learner.replay.sample(SIZE * 3, learner.draws)
    for part in indices.chunk(3, dim=1):
        assert ((part >= 50).sum(dim=1) == 1).all()


def test_what_is_collected_after_the_warm_up_takes_the_place_of_offline_rows() -> None:
    learner = fine_tuning(replace(CONFIG, warm_up_steps=20))
    learner.replay.add(slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=6))
    assert torch.equal(learner.learn()["offline_fraction"], torch.full((len(SEEDS),), 0.9))
    learner.replay.add(slow.random_batch(len(SEEDS), 50, OBSERVATION, ACTION, seed=7))
    assert not learner.learn()["offline_fraction"].any()  # 50 of the 50 offline ones are replaced


def test_a_share_that_is_no_number_of_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"online_fraction 0.1 of batch_size 12 is 1.2 rows"):
        replace(CONFIG, batch_size=12)


def test_critics_of_another_number_than_edacs_are_refused() -> None:
    with pytest.raises(UserError, match="its network is of another size"):
        fine_tuning(replace(CONFIG, critics=3))


def test_a_critics_target_is_its_own_and_no_others() -> None:
    agents, batch = make_agents(CONFIG), make_batch(1, SIZE)
    before = agents.streams.state()
    first = so2.td_targets(agents, batch, CONFIG)
    with torch.no_grad():
        agents.target_q.net.affine_maps()[-1].bias[0] += 5.0
    agents.streams.restore(before)
    second = so2.td_targets(agents, batch, CONFIG)
    raised = second - first
    assert torch.equal(raised[:, 1:], torch.zeros_like(raised[:, 1:]))
    expected = 5.0 * CONFIG.discount * batch.masks[0]
    torch.testing.assert_close(raised[0, 0], expected, rtol=1e-9, atol=1e-9)
