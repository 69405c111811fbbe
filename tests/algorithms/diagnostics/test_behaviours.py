"""Held-out likelihood of estimated behaviours: that of a mixture over whole trajectories, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from algorithms.diagnostics import behaviours
from algorithms.methods.interface import OfflineStart
from algorithms.methods.multi_source import MultiSource, MultiSourceConfig
from algorithms.population.agents import one_agent
from tests.algorithms import slow_reference as slow
from tests.made_up import made_up_transitions

CONFIG = MultiSourceConfig((6, 5), (6, 5), policies=3, embedding_size=2)
DATA = made_up_transitions((3, 2, 4))


def agent() -> dict[str, torch.Tensor]:
    start = OfflineStart([1, 2], 11, 1, (), returns=range(7))
    learner = MultiSource.begin_offline(start, CONFIG)
    slow.randomise(learner.agents, seed=3)
    return one_agent(learner.agents, 1)


def test_a_density_is_that_of_the_behaviours_own_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviours, "ROWS", 4)  # in parts
    tensors = agent()
    found = behaviours.log_densities(tensors, CONFIG, DATA)
    assert found.shape == (3, 9)
    agents = MultiSource.begin_offline(OfflineStart([5], 11, 1, [tensors], returns=range(7)), CONFIG).agents
    states, actions = (torch.from_numpy(part).unsqueeze(0) for part in (DATA.observations, DATA.actions))
    for policy in range(3):
        distribution = agents.of_numbers(states, torch.tensor([[policy]]))
        expected = distribution.log_density(actions.clamp(-0.999, 0.999))[0].detach()
        np.testing.assert_allclose(found[policy], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_trajectories_are_judged_whole_by_the_shares_of_the_policies() -> None:
    densities = np.log(np.random.default_rng(0).uniform(0.1, 2.0, size=(3, 9)))
    made = np.array([0, 0, 0, 2])
    total = 0.0
    for rows in (slice(0, 3), slice(3, 5), slice(5, 9)):
        first, third = (math.exp(float(densities[k, rows].sum())) for k in (0, 2))
        total += math.log(0.75 * first + 0.25 * third)
    found = behaviours.mixture_log_likelihood(densities, made, DATA)
    assert found == pytest.approx(total / 9)


def test_who_made_what_is_handed_on_with_the_agent() -> None:
    found = behaviours.assignment(agent())
    assert found.shape == (7,) and found.dtype == np.int64 and set(found) <= {0, 1, 2}
