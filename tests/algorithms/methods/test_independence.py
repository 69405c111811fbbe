"""An agent's result does not depend on its neighbours.

Beside: whatever stands in the other rows of a population, an agent's own numbers are the same bits.
Alone: at the paper's sizes an agent alone is the same bits as beside others. At odd widths a population of
another size may get other kernels of the matrix library: there the two agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.methods import cql, off2on, sac, warm_start
from algorithms.methods.cql import CQLConfig
from algorithms.methods.off2on import Off2On, Off2OnAgents, Off2OnConfig
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.stores import BalancedReplay, OnlineBuffer
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, UPDATES = 5, 2, 37, 4
SEEDS = (51, 52, 53)
WIDTHS = (24, 17)  # no multiples of a vector's length: every kernel has a remainder
SAC = SACConfig(WIDTHS)
OFF2ON = Off2OnConfig(WIDTHS, ensemble_size=2, density_hidden_widths=WIDTHS, density_batch_size=SIZE)
CQL = {
    "cql": CQLConfig(WIDTHS),
    "cql_sampled": CQLConfig(WIDTHS, penalty_gradient_actions=5),
    "cql_reduced": CQLConfig(WIDTHS, penalty_gradient_actions=5, reduced_precision_penalty=True),
    "cql_cloning": CQLConfig(WIDTHS, cloning_updates=2, frozen_actor_updates=1),
}
METHODS = ["sac", *CQL, "off2on", "warm_start"]
State = dict[str, Tensor]
Change = Callable[[Tensor], Tensor]


def make_batches(rows: tuple[int, ...], number: int) -> list[Batch]:
    """Three batches of one update; row i of the population gets the data of `rows[i]`."""

    def one(part: int) -> Batch:
        single = [
            slow.random_batch(1, SIZE, OBSERVATION, ACTION, 100 * row + 10 * number + part) for row in rows
        ]
        return Batch(*(torch.cat(fields) for fields in zip(*single, strict=True)))

    return [one(part) for part in range(3)]


def make_agents(method: str, rows: tuple[int, ...]) -> ActorCritics:
    seeds = [SEEDS[row] for row in rows]
    if method == "off2on":
        agents: ActorCritics = Off2OnAgents(seeds, OBSERVATION, ACTION, OFF2ON)
    else:
        agents = ActorCritics(seeds, OBSERVATION, ACTION, CQL.get(method, SAC))
    agents.initialise()
    if isinstance(agents, Off2OnAgents):
        agents.density.initialise(agents.streams)
    return agents


def one_update(method: str, agents: ActorCritics, batches: list[Batch], number: int) -> State:
    """One update; what it reports, by name."""
    batch, offline, online = batches
    if isinstance(agents, Off2OnAgents):
        new_priorities, metrics = off2on.update(agents, batch, offline, online, OFF2ON)
        return {**metrics, "priorities": new_priorities}
    if method == "sac":
        return sac.update(agents, batch, SAC)
    if method == "warm_start":
        returns = torch.cumsum(batch.rewards, dim=1)
        return {**warm_start.clone(agents, batch), **warm_start.fit_returns(agents, batch, returns)}
    return cql.update(agents, batch, CQL[method], number)


def row_of(state: State, row: int, rows: int) -> State:
    """One agent's (or one run's) share of every tensor; the optimiser's step counts belong to all."""
    shares = {}
    for name, tensor in state.items():
        if tensor.ndim:
            share = len(tensor) // rows
            shares[name] = tensor[row * share : (row + 1) * share]
    return shares


def train(
    method: str,
    rows: tuple[int, ...],
    change_data: Change | None = None,
    change_weights: Change | None = None,
) -> tuple[State, State]:
    """State after some updates and the last metrics; the changes strike row 0 of the population alone."""
    agents = make_agents(method, rows)
    if change_weights is not None:
        with torch.no_grad():
            for tensor in row_of(dict(agents.named_parameters()), 0, len(rows)).values():
                tensor.copy_(change_weights(tensor))
    metrics: State = {}
    for number in range(UPDATES):
        batches = make_batches(rows, number)
        if change_data is not None:
            for batch in batches:
                for field in batch:
                    field[0] = change_data(field[0])
        metrics = one_update(method, agents, batches, number)
    return agents.training_state(), metrics


def assert_same_bits(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


CHANGES: dict[str, dict[str, Any]] = {
    "other data": {"change_data": lambda rows: rows.flip(0) * 1.5 + 0.1},
    "other weights": {"change_weights": lambda weights: 1.1 * weights + 0.01},
    "diverged data": {"change_data": lambda rows: torch.full_like(rows, torch.inf)},
    "diverged weights": {"change_weights": lambda weights: torch.full_like(weights, torch.nan)},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", METHODS)
def test_beside_any_neighbour_an_agent_stays_bit_identical(method: str, change: str) -> None:
    rows = (0, 1, 2)
    state, metrics = train(method, rows)
    changed_state, changed_metrics = train(method, rows, **CHANGES[change])
    first = row_of(state, 0, 3)
    changed_first = row_of(changed_state, 0, 3)
    assert not torch.equal(
        first["networks.q.net.layers.0.weight"], changed_first["networks.q.net.layers.0.weight"]
    )
    for row in (1, 2):
        assert all(torch.isfinite(tensor).all() for tensor in row_of(changed_state, row, 3).values())
        assert_same_bits(row_of(changed_state, row, 3), row_of(state, row, 3))
        assert_same_bits(row_of(changed_metrics, row, 3), row_of(metrics, row, 3))


@pytest.mark.parametrize("method", METHODS)
def test_alone_an_agent_learns_the_same_to_rounding(method: str) -> None:
    together, _ = train(method, (0, 1, 2))
    for row in range(3):
        alone, _ = train(method, (row,))
        for name, tensor in row_of(together, row, 3).items():
            # float32 rounds at 6e-8; Adam's first steps are of size 3e-4 whatever the gradient's
            torch.testing.assert_close(alone[name], tensor, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("config", [CQLConfig(), CQLConfig(penalty_gradient_actions=6), SACConfig()])
def test_at_the_papers_sizes_alone_is_the_same_bits(config: SACConfig) -> None:
    def train_rows(rows: tuple[int, ...]) -> State:
        agents = ActorCritics([SEEDS[row] for row in rows], 17, 6, config)
        agents.initialise()
        for number in range(2):
            single = [slow.random_batch(1, 256, 17, 6, 100 * row + number) for row in rows]
            batch = Batch(*(torch.cat(fields) for fields in zip(*single, strict=True)))
            if isinstance(config, CQLConfig):
                cql.update(agents, batch, config, number)
            else:
                sac.update(agents, batch, config)
        return agents.training_state()

    together = train_rows((0, 1, 2))
    for row in (0, 2):
        alone = train_rows((row,))
        for name, tensor in row_of(together, row, 3).items():
            assert torch.equal(alone[name], tensor), name


def test_a_run_of_off2on_ignores_what_the_others_collect_and_draw() -> None:
    def learn(neighbour: float) -> tuple[State, Tensor]:
        replay = BalancedReplay(
            slow.offline_data(slow.random_batch(1, 90, OBSERVATION, ACTION, seed=0)),
            OnlineBuffer(len(SEEDS), 40, OBSERVATION, ACTION),
            initial_online_fraction=0.5,
            block_size=20,
        )
        agents = make_agents("off2on", (0, 1, 2))
        assert isinstance(agents, Off2OnAgents)
        draws = Streams([9 if neighbour else 8, 5, 6])
        learner = Off2On(agents, OFF2ON, replay, draws)
        for block in range(2):
            collected = slow.random_batch(len(SEEDS), 20, OBSERVATION, ACTION, seed=block + 1)
            for field in collected:
                field[0] += neighbour
            replay.add(collected)
            for _ in range(4):
                learner.learn()
        return agents.training_state(), replay.state()["priority_units"]

    (state, priorities), (changed_state, changed_priorities) = learn(0.0), learn(0.7)
    assert not torch.equal(priorities[0], changed_priorities[0])
    for row in (1, 2):
        assert_same_bits(row_of(changed_state, row, 3), row_of(state, row, 3))
        assert torch.equal(changed_priorities[row], priorities[row])


def test_a_stream_draws_the_same_alone_and_beside_others() -> None:
    together, alone = Streams(SEEDS), Streams(SEEDS[1:2])
    for _ in range(3):
        assert torch.equal(together.normal(7, 3)[1:2], alone.normal(7, 3))
        assert torch.equal(together.uniform(5)[1:2], alone.uniform(5))
        assert torch.equal(together.integers(1000, 4)[1:2], alone.integers(1000, 4))
