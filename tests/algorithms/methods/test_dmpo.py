"""DMPO: updates with all settings equal a slow float64 statement, and it acts by its best sub-policy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from algorithms.methods import dmpo, losses
from algorithms.methods.dmpo import DMPO, DMPOAgents, DMPOConfig
from algorithms.methods.interface import OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, LATENTS = 4, 2, 6, 3
SEEDS = (31, 32)
CONFIG = DMPOConfig(
    **slow.SMALL,
    sub_policies=LATENTS,
    batch_size=SIZE,
    target_noise=0.6,
    target_noise_limit=0.375,
    advantage_scale=3.0,
    divergence_weight=0.7,
    encoder_temperature=0.5,
)
INFORMED = replace(CONFIG, information="published", information_learning_rate=1e-3)
BOUND = replace(INFORMED, information="bound", advantage_weighting="clamped", advantage_scale=0.4)
VALUES = replace(CONFIG, learns_values=True, minimum_weight=0.7, value_range=(-0.3, 0.4), policy_delay=1)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def make_agents(config: DMPOConfig = CONFIG) -> DMPOAgents:
    return slow.randomise(DMPOAgents(SEEDS, OBSERVATION, ACTION, config)).double()


def make_batch(seed: int) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)


class Statement:
    """One update of one agent after the other, as the paper's code does it."""

    def __init__(self, agents: DMPOAgents, config: DMPOConfig) -> None:
        self.config = config
        self.exact = slow.float64_parameters(agents)
        self.adam, self.informed = slow.Adam(self.exact), slow.Adam(self.exact)

    def action(self, prefix: str, agent: int, states: Tensor, latents: Tensor) -> Tensor:
        weight = self.exact[f"{prefix}.embedding.weight"][agent]
        bias = self.exact[f"{prefix}.embedding.bias"][agent]
        rows = torch.cat([states, torch.clip(latents @ weight + bias, min=0)], dim=1)
        return torch.tanh(slow.network(self.exact, prefix, agent, rows))

    def twins(self, prefix: str, agent: int, states: Tensor, actions: Tensor) -> list[Tensor]:
        return slow.critics(self.exact, prefix, agent, states, actions)

    def mixed(self, prefix: str, agent: int, states: Tensor, actions: Tensor) -> Tensor:
        first, second = self.twins(prefix, agent, states, actions)
        share = self.config.minimum_weight
        return share * torch.minimum(first, second) + (1 - share) * torch.maximum(first, second)

    def values(self, prefix: str, agent: int, states: Tensor) -> Tensor:
        """The critics' value of each sub-policy's action. [B, K]"""
        columns = []
        for z in range(LATENTS):
            latents = one_hot(torch.tensor([z] * len(states)), LATENTS).double()
            columns.append(self.mixed("q", agent, states, self.action(prefix, agent, states, latents)))
        return torch.stack(columns, dim=1).detach()

    def best(self, agent: int, states: Tensor) -> Tensor:
        chosen = one_hot(self.values("target_policy", agent, states).argmax(dim=1), LATENTS)
        return self.action("target_policy", agent, states, chosen.double()).detach()

    def v(self, agent: int, states: Tensor) -> Tensor:
        return slow.network(self.exact, "v", agent, states)[:, 0]

    def value_loss(self, batch: Batch, agent: int) -> Tensor:
        states = batch.observations[agent]
        target = self.mixed("target_q", agent, states, self.best(agent, states))
        target = torch.clip(target, *(self.config.value_range or (None, None))).detach()
        return ((self.v(agent, states) - target) ** 2).mean()

    def critics(self, batch: Batch, noise: Tensor, agent: int) -> Tensor:
        """The critics' loss."""
        config, states, following = self.config, batch.observations[agent], batch.next_observations[agent]
        if config.learns_values:
            value = self.v(agent, following)
        else:
            near = torch.clip((noise[agent] * config.target_noise).double(), -0.375, 0.375)
            actions = torch.clip(self.best(agent, following) + near, -1, 1)
            value = torch.minimum(*self.twins("target_q", agent, following, actions))
        aim = (batch.rewards[agent] + config.discount * batch.masks[agent] * value).detach()
        own = self.twins("q", agent, states, batch.actions[agent])
        return sum((((q - aim) ** 2).mean() for q in own), torch.zeros(()))

    def weights(self, batch: Batch, agent: int) -> Tensor:
        states, scale = batch.observations[agent], self.config.advantage_scale
        q = self.mixed("q", agent, states, batch.actions[agent])
        learned = self.config.learns_values
        v = self.v(agent, states) if learned else self.values("target_policy", agent, states).max(dim=1)[0]
        a = (q - v).detach()
        if self.config.advantage_weighting == "clamped":
            return torch.clip(torch.exp(scale * a), 0, 100)
        weight = torch.exp(scale * (a - a.max()) / (a.max() - a.min()))
        return weight / weight.mean()

    def information(self, batch: Batch, chosen: Tensor, agent: int) -> Tensor:
        states, latents = batch.observations[agent], one_hot(chosen[agent], LATENTS).double()
        rows = torch.cat([states, self.action("policy", agent, states, latents)], dim=1)
        logits = slow.network(self.exact, "guess", agent, rows)
        if self.config.information == "published":
            logits = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
        return torch.nn.functional.cross_entropy(logits, chosen[agent])

    def actor(
        self, batch: Batch, uniform: Tensor, weights: Tensor, agent: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its weighted divergence, and how many sub-policies are the best somewhere."""
        states, actions = batch.observations[agent], batch.actions[agent]
        logits = slow.network(self.exact, "encoder", agent, torch.cat([states, actions], dim=1))
        alpha = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
        gumbel = -torch.log(-torch.log(uniform[agent].double() + 1e-12) + 1e-12)
        latents = torch.softmax((torch.log(alpha + 1e-12) + gumbel) / 0.5, dim=1)
        decoded = self.action("policy", agent, states, latents)
        values = self.values("policy", agent, states)
        used = torch.tensor(float(len(set(values.argmax(dim=1).tolist()))))
        prior = torch.softmax(values, dim=1)
        error = ACTION * (weights[:, None] * (decoded - actions) ** 2).mean()
        divergence = (alpha * torch.log((alpha + 1e-12) / (prior + 1e-12))).sum(dim=1)
        weighted = (weights * divergence).mean()
        return error + self.config.divergence_weight * weighted, weighted, used.double()

    def step(self, adam: slow.Adam, loss: Tensor, prefixes: tuple[str, ...], rate: float) -> None:
        adam.step(slow.gradients(loss, self.exact, prefixes), rate)

    def update(self, batch: Batch, streams: Streams, number: int) -> dict[str, Tensor]:
        """One update of all agents; its losses."""
        config, rows = self.config, range(len(SEEDS))
        noise = torch.zeros(()) if config.learns_values else streams.normal(SIZE, ACTION)
        if config.learns_values:  # V first: the critics bootstrap from the new one
            of_v = torch.stack([self.value_loss(batch, agent) for agent in rows]).sum()
            self.step(self.adam, of_v, ("v.",), config.value_learning_rate)
        found = {"critic_loss": torch.stack([self.critics(batch, noise, agent) for agent in rows])}
        found["q_mean"] = slow.q_mean(self.exact, batch)
        self.step(self.adam, found["critic_loss"].sum(), ("q.",), config.value_learning_rate)
        if (number + 1) % config.policy_delay:
            return found
        weights = [self.weights(batch, agent) for agent in rows]
        if config.information != "none":
            chosen = streams.integers(LATENTS - (config.information == "published"), SIZE)
            found["information_loss"] = torch.stack([self.information(batch, chosen, p) for p in rows])
            self.step(
                self.informed,
                found["information_loss"].sum(),
                ("policy.", "guess."),
                config.information_learning_rate,
            )
        uniform = streams.uniform(SIZE, LATENTS)
        of_actor = zip(*(self.actor(batch, uniform, weights[p], p) for p in rows), strict=True)
        names = ("actor_loss", "latent_divergence", "sub_policies_used")
        found |= {name: torch.stack(parts) for name, parts in zip(names, of_actor, strict=True)}
        found["advantage_weight_max"] = torch.stack([each.max() for each in weights])
        both = ("policy.", "encoder.")
        self.step(self.adam, found["actor_loss"].sum(), both, config.policy_learning_rate)
        self.adam.move_targets(config.target_update_rate, "target_")
        return found


@pytest.mark.parametrize(
    "config", [CONFIG, INFORMED, BOUND, VALUES], ids=["dmpo", "info", "bound", "learned values"]
)
def test_updates_equal_a_slow_float64_statement_the_actors_every_second(config: DMPOConfig) -> None:
    agents = make_agents(config)
    learner, statement = DMPO(agents, config), Statement(agents, config)
    for number in range(4):
        batch, streams = make_batch(number), slow.same_streams(agents)
        metrics, expected = learner.update(batch, number), statement.update(batch, streams, number)
        assert ("actor_loss" in expected) == (config.policy_delay == 1 or number % 2 == 1)
        slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, statement.exact)
        assert torch.equal(streams.state(), agents.streams.state())


def test_its_period_is_from_one_update_of_the_actor_to_the_next() -> None:
    config = replace(CONFIG, policy_delay=3)
    learner, moved = DMPO(make_agents(config), config), []
    for number in range(7):
        before = learner.agents.policy.embedding.weight.detach().clone()
        learner.update(make_batch(number), number)
        moved.append(not torch.equal(learner.agents.policy.embedding.weight, before))
    assert moved == [(number + 1) % learner.period() == 0 for number in range(7)] and any(moved)


def test_it_acts_by_the_sub_policy_that_the_smaller_critic_values_most() -> None:
    agents = make_agents()
    states = torch.randn(len(SEEDS), 9, OBSERVATION, generator=torch.Generator().manual_seed(3)).double()
    acted, statement = agents.exploit(states), Statement(agents, CONFIG)
    used = set()
    for agent, row in product(range(len(SEEDS)), range(9)):
        state = states[agent, row : row + 1]
        candidates = [statement.action("policy", agent, state, one_hot(torch.tensor([z]), LATENTS).double())
                      for z in range(LATENTS)]  # fmt: skip
        values = [float(torch.minimum(*statement.twins("q", agent, state, a)).detach()) for a in candidates]
        best = max(range(LATENTS), key=values.__getitem__)
        used.add(best)
        torch.testing.assert_close(acted[agent, row], candidates[best][0])
    assert len(used) > 1
    assert torch.equal(agents.explore(states), acted)


def test_weights_lie_between_the_exponential_of_the_scale_and_one_whatever_the_advantages_units() -> None:
    advantage = torch.tensor([[1.0, -3.0, 5.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    weights = losses.range_weights(advantage, 10.0)
    torch.testing.assert_close(weights[0], torch.tensor([-5.0, -10.0, 0.0], dtype=torch.float64).exp())
    assert torch.equal(weights[1], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(losses.range_weights(1000 * advantage, 10.0), weights)


def test_clamped_weights_are_exponential_in_the_advantage_up_to_a_hundred() -> None:
    agents, batch = make_agents(BOUND), make_batch(3)
    small, large = (
        dmpo.value_weights(agents, batch, replace(BOUND, advantage_scale=scale)) for scale in (1.0, 10.0)
    )
    assert 0 < int((large == 100).sum()) < large.numel()
    torch.testing.assert_close(large, (small**10).clamp(max=100), **EXACT)


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_two_modes_are_told_apart_where_that_is_worth_its_divergence(weight: float) -> None:
    """Actions 0.6 and -0.6 in one state: telling them apart saves 0.36 and costs log 2 nats."""
    numbers = {"sub_policies": 4, "advantage_scale": 0.0, "policy_learning_rate": 3e-3}
    config = replace(CONFIG, hidden_widths=(32, 32), divergence_weight=weight, **numbers)
    learner = DMPO.begin_offline(OfflineStart((5,), 2, 1, []), config)
    generator, states, zeros = torch.Generator().manual_seed(1), torch.ones(1, 64, 2), torch.zeros(1, 64)
    for number in range(600):
        side = torch.randint(2, (1, 64, 1), generator=generator) * 2.0 - 1
        learner.update(Batch(states, 0.6 * side, zeros, zeros, states), number)
    actions = learner.agents.policy.of_all(states[:, :1])[0, 0, :, 0].detach()
    if weight == 1.0:
        assert float(actions.abs().max()) < 0.1
    else:
        assert float((actions.abs() - 0.6).abs().max()) < 0.05
        assert float(actions.min()) < 0 < float(actions.max())


def test_what_goes_on_with_an_agent_has_its_v_and_its_guess() -> None:
    config = replace(VALUES, information="bound")
    learner = DMPO.begin_offline(OfflineStart(SEEDS, OBSERVATION, ACTION, []), config)
    members = [one_agent(learner.agents, index) for index in range(len(SEEDS))]
    again = DMPO.begin_offline(OfflineStart((1, 2), OBSERVATION, ACTION, members), config)
    for part in ("policy", "encoder", "q", "v", "guess"):
        one, other = (run.agents.get_submodule(part).state_dict() for run in (learner, again))
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_range_of_values_that_are_not_learned_is_refused() -> None:
    with pytest.raises(UserError, match=r"value_range is \[0, 1\] and learns_values false"):
        replace(CONFIG, value_range=(0, 1))
