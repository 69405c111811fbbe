"""An update makes no more operations than it did: each, however small, is a kernel that a GPU launches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from algorithms.methods import cql, off2on, sac
from algorithms.population.agents import ActorCritics, Population
from algorithms.replay.batch import Batch
from algorithms.training import counting
from tests.algorithms.meta_device import DEVICE, _draws_without_numbers  # noqa: F401


def batch(runs: int) -> Batch:
    sizes = ((runs, 8, 5), (runs, 8, 2), (runs, 8), (runs, 8), (runs, 8, 5))
    return Batch(*(torch.empty(size, device=DEVICE) for size in sizes))


def cql_update() -> tuple[Population, Callable[[], object]]:
    config = cql.CQLConfig()
    agents = ActorCritics([0, 1], 5, 2, config)
    return agents, lambda: cql.update(agents, batch(2), config, 10**9)


def off2on_update() -> tuple[Population, Callable[[], object]]:
    config = off2on.Off2OnConfig()
    agents = off2on.Off2OnAgents([0, 1], 5, 2, config, 5)
    return agents, lambda: off2on.update(agents, batch(2), batch(2), batch(2), config)


def sac_update() -> tuple[Population, Callable[[], object]]:
    config = sac.SACConfig()
    agents = ActorCritics([0, 1], 5, 2, config)
    return agents, lambda: sac.update(agents, batch(2), config)


@pytest.mark.usefixtures("_draws_without_numbers")
@pytest.mark.parametrize(("make", "budget"), [(cql_update, 269), (off2on_update, 323), (sac_update, 165)])
def test_an_update_launches_no_more_than_its_budget(
    make: Callable[[], tuple[Population, Callable[[], object]]], budget: int
) -> None:
    agents, update = make()
    agents.move_to(DEVICE)
    update()
    assert counting.kernels(update).launches <= budget
