"""Settings of a training process that change its speed, not its method."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch

from algorithms.population.processor import this_processor
from storage import UserError
from storage.constraints import Count, FewCount

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEEP_BYTES = 1 << 30
_HEAP_OF_LARGE_PAGES = 1 << 29  # bytes: networks, moments and activations of one agent are some 10 MB


@dataclass(frozen=True)
class Compute:
    """The device and threads of a training process. UserError for what only a GPU can, asked of a CPU."""

    device: Literal["cpu", "cuda"] = "cpu"
    tf32: bool = False  # a GPU's float32 products with 10 bits of mantissa: faster, another result
    updates_per_graph: Count = 0  # captured together as a CUDA graph; 0: each update is launched anew
    environment_threads: FewCount = 1  # that step a batch of environments; they change no result
    evaluation_beside: bool = False  # of vectors: on a copy of the agents on the CPU, while they learn on

    def __post_init__(self) -> None:
        if self.device == "cpu" and (self.tf32 or self.updates_per_graph):
            asked = "tf32" if self.tf32 else "updates_per_graph"
            raise UserError(f"{asked} is {getattr(self, asked)}, expected device cuda with it")


def one_by_one(compute: Compute) -> Compute:
    """Return the settings for a custom method: the same without graphs, and evaluated in turn.

    Nothing says that its updates are alike, or that its agents are all it acts with.
    """
    return replace(compute, updates_per_graph=0, evaluation_beside=False)


def prepare_process(compute: Compute | None = None, threads: int = 1) -> None:
    """Call once at the start of a training process: threads, memory reuse, matrix products.

    The thread count is part of the numerical record: another count may round differently. UserError where
    `compute` (None: the CPU) asks for a device that is not there.
    """
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms` imports PyTorch's compiler
    # Everything made empty here is written before it is read, and each fill takes a pass over the memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    _use_large_pages()
    _choose_matrix_products()
    if compute is not None and compute.device == "cuda":
        _prepare_cuda(compute)


def _prepare_cuda(compute: Compute) -> None:
    """Deterministic products of the precision asked for, on the one device that the process sees first."""
    if not torch.cuda.is_available():
        raise UserError(
            "compute.device is cuda, and PyTorch sees no such device: expected an NVIDIA GPU with its driver"
            " and PyTorch's CUDA build (make setup TORCH=index), or compute.device cpu"
        )
    # cuBLAS is deterministic only with a workspace of fixed size; it reads this when first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    precision = "tf32" if compute.tf32 else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    backend: Any = torch.backends.cudnn
    backend.conv.fp32_precision = precision


def arithmetic() -> dict[str, str | int]:
    """By which arithmetic this process computes on the CPU, as JSON values for the provenance."""
    processor = this_processor()
    return {
        "vectors": processor.vectors,
        "float32_products": "oneDNN" if _products().fp32_precision == "bf16" else "PyTorch's choice",
        "bfloat16_products": "instructions" if processor.bfloat16 else "emulated",
        "penalty_block_rows": processor.penalty_block_rows,
    }


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory, on Linux.

    Returned to the system, every large activation costs its page faults again (a CQL update took 57 ms
    instead of 35).
    """
    if platform.libc_ver()[0] == "glibc" and os.name == "posix":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


@cache
def _use_large_pages() -> None:
    """Ask Linux for pages of 2 MiB in the part of glibc's heap that tensors will lie in, as they are touched.

    Activations and moments span thousands of pages of 4 KiB, more than a processor knows the places of
    (an Off2On update took 26.2 ms instead of 24.9). Where the system has none to give, small ones serve.
    """
    if platform.libc_ver()[0] != "glibc" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    block = libc.malloc(ctypes.c_size_t(_HEAP_OF_LARGE_PAGES))  # from the heap: the calls above see to that
    if block is None:
        return
    first = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (block + _HEAP_OF_LARGE_PAGES - first) // mmap.PAGESIZE * mmap.PAGESIZE
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    libc.free(ctypes.c_void_p(block))


def _choose_matrix_products() -> None:
    """Let oneDNN multiply float32 matrices where the processor asks for it (`Processor.onednn`).

    Permitting oneDNN a lower precision is the switch that selects it; its kernels for float32 ignore the
    permission, which is checked here by a product.
    """
    products = _products()
    products.fp32_precision = "bf16" if this_processor().onednn else "ieee"
    if not _products_are_float32():
        products.fp32_precision = "ieee"


def _products() -> Any:
    """Return torch's settings of oneDNN for float32 products."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


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
