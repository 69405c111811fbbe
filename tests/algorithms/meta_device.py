"""Agents, data and draws on PyTorch's "meta" device: what a GPU would find wrong, without a GPU.

Its tensors have shapes and no content: reading a number from one is an error, and each operation is watched
for tensors that lie elsewhere and for what a CUDA graph does not capture.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms.population.agents import Population
from algorithms.population.streams import Streams

DEVICE = torch.device("meta")
NOT_CAPTURED = {
    "scatter", "scatter_", "scatter_add_", "index_put", "index_put_", "_index_put_impl_", "index_add_",
    "index_copy_", "put_", "sort", "nonzero", "masked_select", "_unique2",
}  # fmt: skip
"""What waits for the host or, in deterministic mode, copies from it or sorts: no CUDA graph captures that."""


class DrawsWithoutNumbers(Streams):
    """Streams on the meta device, for which there are no generators."""

    def __init__(self, seeds: Any, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds)
        self.device = torch.device(device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.empty(len(self), *shape, device=self.device)

    normal = uniform

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.empty(len(self), *shape, dtype=torch.int64, device=self.device)


class EveryTensorOn(TorchDispatchMode):
    """Fails at an operation that has a tensor on another device or cannot be captured; counts the others."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.operations = device, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # PyTorch has no meta kernel of Adam at a rate that is a tensor; it returns nothing.
        known = func is not torch.ops.aten._fused_adam_.tensor_lr
        found = func(*args, **(kwargs or {})) if known else None
        tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, Tensor)]
        assert all(tensor.device == self.device for tensor in tensors), f"{func} left {self.device}"
        name = func.overloadpacket.__name__
        assert name not in NOT_CAPTURED, f"{func} cannot be captured"
        assert name != "cumsum" or not found.is_floating_point(), "a GPU refuses cumsum of floats"
        self.operations[name] += 1
        return found


@pytest.fixture
def _draws_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents can be moved to the meta device."""
    monkeypatch.setattr(Streams, "on", lambda self, device: DrawsWithoutNumbers(range(len(self)), device))
    plain = Population.move_to

    def moved(agents: Population, device: torch.device | str) -> None:
        """Moved to a GPU, parameters stay the same objects; of those on "meta" the optimiser is told."""
        names = {id(parameter): name for name, parameter in agents.named_parameters()}
        plain(agents, device)
        now = dict(agents.named_parameters())
        for group in agents.optimiser.param_groups:
            group["params"] = [now[names[id(parameter)]] for parameter in group["params"]]

    monkeypatch.setattr(Population, "move_to", moved)
