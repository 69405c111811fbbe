"""An update makes no more operations than it did: each, however small, is a kernel that a GPU launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms.methods import cql, off2on, sac
from algorithms.population.agents import ActorCritics, Population
from algorithms.replay.batch import Batch
from tests.algorithms.meta_device import DEVICE, _draws_without_numbers  # noqa: F401

NO_KERNELS = {"empty", "empty_like", "new_empty", "empty_strided", "detach", "_unsafe_view"}


class Kernels(TorchDispatchMode):
    """Counts operations that are more than another look at a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.launched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launched += not (func.is_view or func.overloadpacket.__name__ in NO_KERNELS)
        return func(*args, **(kwargs or {}))


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
    with Kernels() as kernels:
        update()
    assert kernels.launched <= budget
