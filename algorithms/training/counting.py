"""Floating-point operations, by PyTorch's own formulas, and what a GPU would launch, draw, read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def operations(work: Callable[[], object]) -> int:
    """Count multiplications and additions of the matrix products in `work`, which is called once."""
    products = _Products()
    with products:
        work()
    return products.operations


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What is called at every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Skipping it imports it: a second of every process that counts, none of which compiles anything.
        return False


class _Products(_Mode):  # type: ignore[no-untyped-call]
    """Counts by PyTorch's formulas, without its tracker of modules: features may have no gradient."""

    def __init__(self) -> None:
        super().__init__()

        # PyTorch has no formula for `baddbmm_`.
        def in_place(total: Any, left: Any, right: Any, out_shape: Any = None, **_: Any) -> int:
            return int(2 * left[0] * left[1] * left[2] * right[2])

        mapping = {torch.ops.aten.baddbmm_: in_place}
        self.formulas = FlopCounterMode(display=False, custom_mapping=mapping).flop_registry
        self.operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        formula = self.formulas.get(func.overloadpacket)
        if formula is not None:
            self.operations += int(formula(*args, **(kwargs or {}), out_val=found))
        return found


class Kernels(NamedTuple):
    """What some work would be on a GPU; views launch nothing."""

    launches: int
    draws: int  # of them, each of one agent's random numbers
    traffic: int  # bytes read and written
    written: int  # of them


def kernels(work: Callable[[], object]) -> Kernels:
    """Count the kernels of `work`, which is called once: on the CPU, whose blocks are more than a GPU's."""
    with _Watch() as watch:
        work()
    return Kernels(watch.launches, watch.draws, watch.traffic, watch.written)


class _Watch(_Mode):  # type: ignore[no-untyped-call]
    """Counts operations on tensors and the bytes that they touch."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.draws = self.traffic = self.written = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket not in _NO_KERNELS:
            read, made = (
                sum(leaf.nbytes for leaf in tree_leaves(part) if isinstance(leaf, torch.Tensor))
                for part in ((args, kwargs), found)
            )
            self.launches += 1
            self.draws += torch.Tag.nondeterministic_seeded in func.tags
            self.traffic += read + made
            self.written += made
        return found


_NO_KERNELS = {
    torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty, torch.ops.aten.empty_strided,
    torch.ops.aten.detach, torch.ops.aten.alias, torch.ops.aten._unsafe_view, torch.ops.aten.resize_,
    torch.ops.aten._local_scalar_dense,
}  # fmt: skip
