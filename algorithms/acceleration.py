"""Settings of a training process that change its speed, not its method."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEEP_BYTES = 1 << 30


def prepare_process(threads: int = 1) -> None:
    """Call once at the start of a training process: threads, memory reuse, matrix products.

    The thread count is part of the numerical record: another count may round differently.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    _keep_freed_memory()
    _choose_matrix_products()


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory, on Linux.

    Returned to the system, every large activation costs its page faults again (a CQL update took 57 ms
    instead of 35).
    """
    if platform.libc_ver()[0] == "glibc" and os.name == "posix":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def _choose_matrix_products() -> None:
    """Let oneDNN multiply float32 matrices where it keeps float32's precision.

    PyTorch's default on x86 is MKL, which uses half the vector width on AMD processors (120 against 270
    GFLOP/s on one Zen 5 core). Permitting oneDNN a lower precision is the switch that selects it; on
    processors without AMX its float32 kernels ignore the permission, which is checked here by a product.
    """
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    products.fp32_precision = "bf16"
    if not _products_are_float32():
        products.fp32_precision = "ieee"


def _products_are_float32() -> bool:
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 32, 256, 960):
        left = torch.rand(2, rows, 256, generator=generator)
        right = torch.rand(2, 256, 256, generator=generator)
        exact = torch.bmm(left.double(), right.double())
        # bfloat16 errs by about 1e-4 of such a sum, float32 by 1e-7
        if not torch.allclose(torch.bmm(left, right).double(), exact, rtol=3e-6):
            return False
    return True
