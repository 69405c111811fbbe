"""AUROC of Q on taken and random actions: exact, each run's own, and without a trace in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.diagnostics import action_auroc
from algorithms.diagnostics.action_auroc import ActionAUROCConfig, measure
from algorithms.methods.off2on import Off2OnAgents, Off2OnConfig
from algorithms.population.streams import Streams
from algorithms.replay.stores import OnlineBuffer
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, MEMBERS, COLLECTED = 4, 2, 3, 40
SEEDS = (31, 32)
CONFIG = ActionAUROCConfig(random_actions=5, max_states=7)


def make_agents(members: int = MEMBERS, runs: int = len(SEEDS)) -> Off2OnAgents:
    config = Off2OnConfig(hidden_widths=(7, 5), ensemble_size=members, density_hidden_widths=(6, 5))
    agents = Off2OnAgents(SEEDS[:runs], OBSERVATION, ACTION, config, config.ensemble_size)
    slow.randomise(agents, seed=0)
    return agents


def make_buffer(runs: int = len(SEEDS)) -> OnlineBuffer:
    buffer = OnlineBuffer(runs, COLLECTED + 10, OBSERVATION, ACTION)
    batch = slow.random_batch(len(SEEDS), COLLECTED, OBSERVATION, ACTION, seed=1)
    buffer.add(batch.map(lambda field: field[:runs]))
    return buffer


def by_definition(real: list[float], fake: list[float]) -> float:
    """Every real value against every fake one: above counts one, a tie half."""
    wins = sum((r > f) + 0.5 * (r == f) for r in real for f in fake)
    return wins / (len(real) * len(fake))


# few different values, so that ties are common
values = st.integers(-3, 3).map(lambda k: k / 4)


@settings(deadline=None)
@given(st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=12))
def test_it_is_the_probability_that_a_real_pair_is_above_a_fake_one(rows: list[list[float]]) -> None:
    q = torch.tensor(rows)
    found = action_auroc.action_auroc(q[:, 0], q[:, 1:])
    assert found == pytest.approx(by_definition(q[:, 0].tolist(), q[:, 1:].flatten().tolist()), abs=1e-12)


def test_its_ends_are_zero_and_one_and_its_middle_is_one_half() -> None:
    low, high = torch.zeros(3), torch.ones(3, 5)
    assert action_auroc.action_auroc(low, high) == 0.0
    assert action_auroc.action_auroc(low + 2, high) == 1.0
    assert action_auroc.action_auroc(low + 1, high) == 0.5


def test_fake_pairs_of_all_states_are_pooled() -> None:
    """A state whose Q values are all high counts against the real pairs of other states."""
    q = torch.tensor([[1.0, 0.0], [11.0, 10.0]])
    assert action_auroc.action_auroc(q[:, 0], q[:, 1:]) == 0.75


def test_measuring_is_the_definition_with_each_members_smaller_twin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(action_auroc, "BLOCK_STATES", 3)  # blocks of 3, 3 and 1
    agents, buffer = make_agents(), make_buffer()
    found = measure(agents, buffer, Streams([5, 6]), CONFIG)
    parameters = slow.constant(slow.float64_parameters(agents))
    rows = buffer.state()
    streams = Streams([5, 6])
    kept = streams.uniform(COLLECTED).argsort(dim=-1)[:, :7]
    fake = 2 * streams.uniform(7, 5, ACTION) - 1
    for run in range(len(SEEDS)):
        assert len(set(kept[run].tolist())) == 7
        q = np.empty((MEMBERS, 7, 6))
        for member in range(MEMBERS):
            for place, index in enumerate(kept[run].tolist()):
                candidates = [rows["actions"][run, index], *fake[run, place]]
                for j, action in enumerate(candidates):
                    state = rows["observations"][run, index]
                    agent = run * MEMBERS + member
                    q[member, place, j] = slow.smaller_q(parameters, "q.", agent, state, action)
        ensemble = by_definition(q.mean(axis=0)[:, 0].tolist(), q.mean(axis=0)[:, 1:].ravel().tolist())
        own = [by_definition(one[:, 0].tolist(), one[:, 1:].ravel().tolist()) for one in q]
        assert float(found["auroc_ensemble"][run]) == pytest.approx(100 * ensemble, abs=1e-9)
        assert float(found["auroc_individual"][run]) == pytest.approx(100 * np.mean(own), abs=1e-9)


def test_an_ensemble_of_one_is_its_member() -> None:
    found = measure(make_agents(members=1), make_buffer(), Streams([5, 6]), CONFIG)
    assert torch.equal(found["auroc_ensemble"], found["auroc_individual"])
    assert found["auroc_ensemble"].dtype == torch.float64


def test_a_q_function_that_knows_the_taken_actions_is_certain() -> None:
    """Q = -|a| by two ReLUs a component; all taken actions are zero."""
    agents, buffer = make_agents(), OnlineBuffer(2, COLLECTED, OBSERVATION, ACTION)
    batch = slow.random_batch(len(SEEDS), COLLECTED, OBSERVATION, ACTION, seed=1)
    buffer.add(batch._replace(actions=torch.zeros_like(batch.actions)))
    first, second, last = agents.q.net.affine_maps()
    with torch.no_grad():
        for parameter in agents.q.parameters():
            parameter.zero_()
        for component in range(ACTION):
            for unit, sign in ((2 * component, 1.0), (2 * component + 1, -1.0)):
                first.weight[:, OBSERVATION + component, unit] = sign
                second.weight[:, unit, unit] = 1.0
                last.weight[:, unit, 0] = -1.0
    found = measure(agents, buffer, Streams([5, 6]), CONFIG)
    assert found["auroc_ensemble"].tolist() == [100.0, 100.0] == found["auroc_individual"].tolist()


def test_measuring_leaves_training_as_it_is() -> None:
    agents, buffer = make_agents(), make_buffer()
    before = {name: tensor.clone() for name, tensor in agents.training_state().items()}
    rows, global_state = buffer.state(), torch.get_rng_state()
    first = measure(agents, buffer, Streams([5, 6]), CONFIG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in agents.training_state().items())
    assert all(torch.equal(tensor, rows[name]) for name, tensor in buffer.state().items())
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(parameter.grad is None for parameter in agents.parameters())
    again = measure(agents, buffer, Streams([5, 6]), CONFIG)
    assert all(torch.equal(again[name], value) for name, value in first.items())


def test_a_run_is_measured_the_same_beside_another() -> None:
    both = measure(make_agents(), make_buffer(), Streams([5, 6]), CONFIG)
    alone = make_agents(runs=1)
    whole = make_agents().state_dict()
    alone.load_state_dict(
        {name: whole[name][: len(tensor)].clone() for name, tensor in alone.state_dict().items()}
    )
    one = measure(alone, make_buffer(runs=1), Streams([5]), CONFIG)
    assert all(torch.equal(one[name][0], both[name][0]) for name in both)


def test_all_pairs_are_taken_where_they_are_few() -> None:
    config = ActionAUROCConfig(random_actions=400, max_states=COLLECTED)
    large = ActionAUROCConfig(random_actions=400, max_states=10 * COLLECTED)
    agents, buffer = make_agents(), make_buffer()
    few, many = (measure(agents, buffer, Streams([5, 6]), each) for each in (config, large))
    assert all(torch.equal(few[name], many[name]) for name in few)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="nothing has been collected"):
        measure(make_agents(), OnlineBuffer(2, 9, OBSERVATION, ACTION), Streams([5, 6]), CONFIG)
    with pytest.raises(UserError, match="max_states is 0, expected at least 1"):
        ActionAUROCConfig(max_states=0)
