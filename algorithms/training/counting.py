"""Floating-point operations, by PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def operations(work: Callable[[], object]) -> int:
    """Count multiplications and additions of the matrix products in `work`, which is called once."""

    # The counter does not know `baddbmm_`.
    def in_place(total: Any, left: Any, right: Any, out_shape: Any = None, **_: Any) -> int:
        return int(2 * left[0] * left[1] * left[2] * right[2])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place}) as counter:
        work()
    return int(counter.get_total_flops())
