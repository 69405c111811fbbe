"""Held-out likelihood of estimated behaviours: that of a mixture over whole trajectories, by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from algorithms.diagnostics import behaviours
from algorithms.methods.interface import OfflineStart
from algorithms.methods.multi_source import MultiSource, MultiSourceConfig
from algorithms.population.agents import one_agent
from offline_data.transitions import Transitions
from tests.algorithms import slow_reference as slow
from tests.made_up import made_up_transitions

CONFIG = MultiSourceConfig((6, 5), (6, 5), policies=3, embedding_size=2)
DATA = made_up_transitions((3, 2, 4))


def agent() -> dict[str, torch.Tensor]:
    start = OfflineStart([1, 2], 11, 1, (), returns=range(7))
    learner = MultiSource.begin_offline(start, CONFIG)
    slow.randomise(learner.agents, seed=3)
    return one_agent(learner.agents, 1)


def at_the_edge(data: Transitions) -> Transitions:
    """The same transitions, some of whose actions lie at the edge of the box."""
    actions = data.actions.copy()
    actions[[0, 5]] = [[1.0], [-1.0]]
    return dataclasses.replace(data, actions=actions)


def test_a_density_is_that_of_the_behaviours_own_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviours, "ROWS", 4)  # in parts
    tensors, data = agent(), at_the_edge(DATA)
    found = behaviours.log_densities(tensors, CONFIG, data)
    assert found.shape == (3, 9)
    agents = MultiSource.begin_offline(OfflineStart([5], 11, 1, [tensors], returns=range(7)), CONFIG).agents
    states, actions = (torch.from_numpy(part).unsqueeze(0) for part in (data.observations, data.actions))
    for policy in range(3):
        distribution = agents.of_numbers(states, torch.tensor([[policy]]))
        expected = distribution.log_density(actions.clamp(-0.999, 0.999))[0].detach()
        np.testing.assert_allclose(found[policy], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_trajectories_are_judged_whole_by_the_shares_of_the_policies() -> None:
    densities = np.log(np.random.default_rng(0).uniform(0.1, 2.0, size=(3, 9)))
    for other in (1, 2):  # of three policies, that which is neither the first nor this one made none
        total = 0.0
        for rows in (slice(0, 3), slice(3, 5), slice(5, 9)):
            likely, less = (math.exp(float(densities[k, rows].sum())) for k in (0, other))
            total += math.log(0.75 * likely + 0.25 * less)
        found = behaviours.mixture_log_likelihood(densities, np.array([0, 0, 0, other]), DATA)
        assert found == pytest.approx(total / 9)


def test_who_made_what_is_handed_on_with_the_agent() -> None:
    found = behaviours.assignment(agent())
    assert found.shape == (7,) and found.dtype == np.int64 and set(found) <= {0, 1, 2}


def test_directions_are_of_length_one_and_the_learned_policys_is_the_last() -> None:
    tensors = agent()
    for name, found in zip(("trajectories", "policies"), behaviours.directions(tensors), strict=True):
        for row, vector in zip(found, tensors[f"{name}.vectors"][0].tolist(), strict=True):
            np.testing.assert_allclose(row, np.array(vector) / math.hypot(*vector), rtol=1e-6)
