"""RLPD: a whole environment step equals a slow float64 statement; what each batch and target is of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms.methods import losses, rlpd, sac
from algorithms.methods.interface import Start
from algorithms.methods.rlpd import RLPD, ManyCriticsConfig, RLPDAgents, RLPDConfig
from algorithms.population.passes import Norm
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch, slices
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 6
SEEDS = (11, 12)
CONFIG = RLPDConfig(
    **slow.SMALL,
    batch_size=SIZE,
    initial_entropy_coefficient=0.3,
    critics=4,
    updates_per_step=3,
    warm_up_steps=0,
)


def make_agents(config: RLPDConfig = CONFIG) -> RLPDAgents:
    """Agents in float64, so that the two statements may differ by rounding of that alone."""
    return slow.randomise(RLPDAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(config: RLPDConfig = CONFIG, seed: int = 1) -> Batch:
    rows = config.batch_size * config.updates_per_step
    batch = slow.random_batch(len(SEEDS), rows, OBSERVATION, ACTION, seed)
    return batch.map(Tensor.double)


def slow_critic_loss(
    exact: slow.Parameters,
    part: Batch,
    noise: Tensor,
    chosen: Tensor,
    config: ManyCriticsConfig,
    limits: tuple[float, float] = (-20.0, 2.0),
) -> Tensor:
    """The mean squared error of each agent's critics to the target of its drawn ones. [P]"""
    losses = []
    for agent in range(len(SEEDS)):
        states = part.next_observations[agent]
        actions, log_density = slow.sample(exact, agent, states, noise[agent], limits)
        all_of_them = slow.critics(exact, "target_q", agent, states, actions, config.critics)
        lowest = torch.stack([all_of_them[k] for k in chosen[agent].tolist()]).min(dim=0).values
        soft = lowest - slow.alpha(exact)[agent] * log_density if config.entropy_backup else lowest
        target = (part.rewards[agent] + config.discount * part.masks[agent] * soft).detach()
        states, actions = part.observations[agent], part.actions[agent]
        own = slow.critics(exact, "q", agent, states, actions, config.critics)
        losses.append(torch.stack([((q - target) ** 2).mean() for q in own]).mean())
    return torch.stack(losses)


def slow_actor_loss(
    exact: slow.Parameters, observations: Tensor, noise: Tensor, config: RLPDConfig
) -> tuple[Tensor, Tensor]:
    """Each agent's actor loss, and the entropy of its actions. [P] each"""
    losses, entropies = [], []
    for agent in range(len(SEEDS)):
        actions, log_density = slow.sample(exact, agent, observations[agent], noise[agent])
        fixed = slow.constant(exact)
        own = slow.critics(fixed, "q", agent, observations[agent], actions, config.critics)
        losses.append((slow.alpha(exact)[agent] * log_density - torch.stack(own).mean(dim=0)).mean())
        entropies.append(-log_density.mean())
    return torch.stack(losses), torch.stack(entropies).detach()


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, critic_norm="none", entropy_backup=False, target_entropy_per_dimension=-0.8),
        replace(CONFIG, target_critics=4),
    ],
)
def test_a_steps_updates_equal_a_slow_float64_statement(config: RLPDConfig) -> None:
    agents = make_agents(config)
    optimiser = slow.Adam(slow.float64_parameters(agents))
    for number in range(2):
        batch, streams = make_batch(config, seed=number), slow.same_streams(agents)
        rows = config.batch_size
        next_noise = streams.normal(rows * config.updates_per_step, ACTION)
        chosen = streams.subsets(config.updates_per_step, config.target_critics, config.critics)
        actor_noise = streams.normal(rows, ACTION)

        metrics = rlpd.update(agents, batch, config)

        losses, values = [], []
        for index in range(config.updates_per_step):
            own = slice(index * rows, (index + 1) * rows)
            part = batch.map(lambda field, own=own: field[:, own])
            exact = optimiser.parameters
            values.append(slow.q_mean(exact, part, config.critics))
            loss = slow_critic_loss(exact, part, next_noise[:, own], chosen[:, index], config)
            optimiser.step(slow.gradients(loss.sum(), exact, "q."), config.value_learning_rate)
            optimiser.move_targets(config.target_update_rate)
            losses.append(loss.detach())
        exact = optimiser.parameters
        actor, entropy = slow_actor_loss(exact, part.observations, actor_noise, config)
        target_entropy = config.target_entropy_per_dimension * ACTION
        policy = slow.gradients(actor.sum(), exact, "policy.")
        policy["log_entropy_coefficient"] = slow.alpha(exact) * (entropy - target_entropy)
        optimiser.step(policy, config.policy_learning_rate)

        means = {"critic_loss": torch.stack(losses).mean(dim=0), "q_mean": torch.stack(values).mean(dim=0)}
        slow.assert_metrics(metrics, means | {"actor_loss": actor, "entropy": entropy})
        slow.assert_metrics(metrics, {"entropy_coefficient": slow.alpha(optimiser.parameters)})
        slow.assert_parameters(agents, optimiser.parameters)


def test_as_plain_as_sac_its_critics_have_sacs_loss() -> None:
    """Two critics, both drawn, without norm: SAC's target, and half of SAC's loss, which adds the twins."""
    config = replace(CONFIG, critics=2, critic_norm="none", updates_per_step=1)
    agents, batch = make_agents(config), make_batch(config)
    streams = agents.streams.state()
    actions, bonus = rlpd.next_samples(agents, batch.next_observations, config)
    both = torch.tensor([[1, 0]]).expand(len(SEEDS), -1)
    target = rlpd.td_target(agents, batch, actions, bonus, both, config.discount)
    agents.streams.restore(streams)
    expected = sac.td_target(agents, batch, config)
    torch.testing.assert_close(target, expected, rtol=1e-12, atol=1e-12)
    loss, _ = losses.mean_critic_loss(agents, batch, target)
    torch.testing.assert_close(2 * loss, losses.critic_loss(agents, batch, expected)[0])


def test_with_layer_norm_q_stays_bounded_whatever_the_action() -> None:
    """At actions far away Q of normalised critics stays where it is, without norm it grows with them."""
    far = torch.full((1, 8, ACTION), 1e6)
    states = torch.randn(1, 8, OBSERVATION)
    for norm, bounded in (("before", True), ("none", False)):
        agents = RLPDAgents([3], OBSERVATION, ACTION, replace(CONFIG, critic_norm=norm))  # type: ignore[arg-type]
        agents.initialise()
        largest = float(agents.q(states, far).detach().abs().amax())
        assert (largest < 100) == bounded


@pytest.mark.parametrize(("norm", "bounded"), [("before", True), ("none", False)])
def test_learned_from_narrow_data_q_stays_below_what_rewards_can_sum_up_to_with_norm_alone(
    norm: Norm, bounded: bool
) -> None:
    """Rewards up to 1, actions within 0.02 of 0.9; Q of actions in and far beyond the box."""
    config = replace(CONFIG, hidden_widths=(32, 32), batch_size=64, updates_per_step=1, critic_norm=norm)
    agents = RLPDAgents([3], OBSERVATION, ACTION, config)
    agents.initialise()
    for number in range(200):
        batch = slow.random_batch(1, 64, OBSERVATION, ACTION, number)
        narrow = batch._replace(actions=0.9 + 0.02 * batch.actions, rewards=batch.rewards.sigmoid())
        rlpd.update(agents, narrow, replace(config, entropy_backup=False))
    states, actions = torch.randn(1, 64, OBSERVATION), 2 * torch.rand(1, 64, ACTION) - 1
    found = torch.cat([agents.q(states, scale * actions) for scale in (1, 50)]).detach().abs()
    assert bool((found < 1 / (1 - config.discount)).all()) == bounded


def begun(config: RLPDConfig, collected: int) -> RLPD:
    offline = slow.offline_data(slow.random_batch(1, 50, OBSERVATION, ACTION, seed=5))
    buffer = OnlineBuffer(len(SEEDS), 100, OBSERVATION, ACTION)
    start = Start(SEEDS, Streams((1, 2)), OBSERVATION, ACTION, offline, buffer, [], 1)
    learner = RLPD.begin(start, config)
    if collected:
        learner.replay.add(slow.random_batch(len(SEEDS), collected, OBSERVATION, ACTION, seed=6))
    return learner


def test_every_slice_of_a_step_is_half_offline_and_half_online() -> None:
    config = RLPDConfig(hidden_widths=(4,))
    learner = begun(config, collected=40)
    batch, indices = learner.replay.sample(config.batch_size * config.updates_per_step, learner.draws)
    is_offline = indices < 50
    for part in is_offline.chunk(config.updates_per_step, dim=1):
        assert (part.sum(dim=1) == 128).all()
    assert is_offline[:, ::2].all() and not is_offline[:, 1::2].any()
    assert len(slices(batch, config.updates_per_step)) == 20


def test_it_draws_a_whole_steps_batches_and_reports_their_offline_share() -> None:
    learner = begun(CONFIG, collected=40)
    metrics = learner.learn()
    assert torch.equal(metrics["offline_fraction"], torch.full((2,), 0.5))
    again = begun(CONFIG, collected=40)
    batch, _ = again.replay.sample(SIZE * CONFIG.updates_per_step, again.draws)
    expected = rlpd.update(again.agents, batch, CONFIG)
    assert all(torch.equal(metrics[name], value) for name, value in expected.items())


def test_the_first_steps_are_uniform_actions_of_the_runs_streams() -> None:
    learner = begun(replace(CONFIG, warm_up_steps=10), collected=0)
    streams = slow.same_streams(learner.agents)
    observations = torch.randn(len(SEEDS), 200, OBSERVATION)
    actions = learner.explore(observations)
    assert torch.equal(actions, 2 * streams.uniform(200, ACTION) - 1)
    learner.replay.add(slow.random_batch(len(SEEDS), 10, OBSERVATION, ACTION, seed=6))
    own = learner.agents.distribution(observations).actions(
        slow.same_streams(learner.agents).normal(200, ACTION)
    )
    assert torch.equal(learner.explore(observations), own)


def test_only_the_drawn_target_critics_count() -> None:
    agents, batch = make_agents(), make_batch()
    actions, bonus = rlpd.next_samples(agents, batch.next_observations, CONFIG)
    chosen = torch.tensor([[0, 3], [2, 1]])
    target = rlpd.td_target(agents, batch, actions, bonus, chosen, CONFIG.discount)
    with torch.no_grad():
        for agent, left_out in ((0, (1, 2)), (1, (0, 3))):
            for k in left_out:
                for parameter in agents.target_q.parameters():
                    parameter[agent * CONFIG.critics + k] = torch.nan
    assert torch.equal(rlpd.td_target(agents, batch, actions, bonus, chosen, CONFIG.discount), target)


def test_its_fresh_weights_are_xaviers_and_the_actors_heads_count_apart() -> None:
    agents = RLPDAgents(SEEDS, 17, 6, RLPDConfig())
    agents.initialise()
    bounds = {
        "policy.net.layers.0": (6 / (17 + 256)) ** 0.5,
        "policy.net.layers.2": (6 / (256 + 6)) ** 0.5,
        "q.net.layers.1": (6 / (256 + 256)) ** 0.5,
        "q.net.layers.2": (6 / (256 + 1)) ** 0.5,
    }
    parameters = dict(agents.named_parameters())
    for name, bound in bounds.items():
        assert 0.995 * bound < float(parameters[f"{name}.weight"].detach().abs().amax()) <= bound
        assert (parameters[f"{name}.bias"] == 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target_critics": 11}, "target_critics is 11, expected at most critics, 10"),
        ({"offline_fraction": 1.5}, "offline_fraction is 1.5, expected from 0 to 1"),
        ({"offline_fraction": -0.1}, "offline_fraction is -0.1, expected from 0 to 1"),
        (
            {"offline_fraction": 0.3},
            "offline_fraction 0.3 of batch_size 256 is 76.8 rows, expected a whole number of them",
        ),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        RLPDConfig(**settings)  # type: ignore[arg-type]
    assert str(refusal.value) == sentence


def test_without_offline_data_it_does_not_begin() -> None:
    buffer = OnlineBuffer(len(SEEDS), 100, OBSERVATION, ACTION)
    start = Start(SEEDS, Streams((1, 2)), OBSERVATION, ACTION, None, buffer, [], 1)
    with pytest.raises(UserError, match="offline data, and none were given"):
        RLPD.begin(start, CONFIG)
