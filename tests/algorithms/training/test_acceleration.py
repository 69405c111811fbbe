"""Settings for speed keep float32's precision and give the same bits each time."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.population.processor import Processor
from algorithms.training import acceleration

# float32 rounds at 6e-8: a sum of k products errs by a small multiple of that times sum |a| |b|.
FLOAT32_ERROR = 1e-6


def precision() -> Any:
    """Where torch keeps what oneDNN may do to float32 products."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _settings_put_back() -> Iterator[None]:
    before = precision().fp32_precision
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads = torch.get_num_threads()
    yield
    precision().fp32_precision = before
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bmm": torch.bmm,
    "transposed left": lambda a, b: torch.bmm(a.transpose(1, 2).contiguous().transpose(1, 2), b),
    "transposed right": lambda a, b: torch.bmm(a, b.transpose(1, 2).contiguous().transpose(1, 2)),
    "baddbmm": lambda a, b: torch.baddbmm(a.new_zeros(len(a), 1, b.shape[2]), a, b),
    "in place": lambda a, b: a.new_zeros(len(a), a.shape[1], b.shape[2]).baddbmm_(a, b),
    "matmul": lambda a, b: torch.stack([x @ y for x, y in zip(a, b, strict=True)]),
    "linear": lambda a, b: torch.stack(
        [torch.nn.functional.linear(x, y.T.contiguous()) for x, y in zip(a, b, strict=True)]
    ),
}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(1, 17, 256), (5, 23, 256), (256, 256, 256), (960, 256, 256), (256, 960, 256), (960, 256, 1)],
)
def test_products_keep_the_precision_of_float32(product: str, rows: int, inner: int, columns: int) -> None:
    acceleration.prepare_process()
    generator = torch.Generator().manual_seed(rows + columns)
    left = torch.randn(2, rows, inner, generator=generator)
    right = torch.randn(2, inner, columns, generator=generator)
    exact = torch.bmm(left.double(), right.double())
    scale = torch.bmm(left.double().abs(), right.double().abs())
    found = PRODUCTS[product](left, right)
    assert found.dtype == torch.float32
    assert ((found.double() - exact).abs() / scale).max() < FLOAT32_ERROR


def processor(**features: Any) -> Processor:
    """One that oneDNN multiplies on, but for `features`."""
    wide = {"vectors": "AVX512", "bfloat16": True, "matrix_unit": False, "l2_cache": 1 << 20}
    return Processor(**{**wide, **features})


@pytest.mark.parametrize(
    ("features", "precision_permitted", "products"),
    [
        ({}, "bf16", "oneDNN"),
        ({"vectors": "AVX2"}, "ieee", "PyTorch's choice"),
        ({"matrix_unit": True}, "ieee", "PyTorch's choice"),
    ],
)
def test_features_of_the_processor_choose_the_products_and_the_provenance_says_which(
    features: dict[str, Any], precision_permitted: str, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "this_processor", lambda: processor(**features))
    acceleration.prepare_process()
    assert precision().fp32_precision == precision_permitted
    assert acceleration.arithmetic() == {
        "vectors": features.get("vectors", "AVX512"),
        "float32_products": products,
        "bfloat16_products": "instructions",
        "penalty_block_rows": 960,
    }


def test_kernels_that_would_use_the_permission_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "this_processor", processor)
    plain = torch.bmm

    def rounding(left: Tensor, right: Tensor) -> Tensor:
        """As on a processor with AMX: bfloat16 inputs where that is permitted."""
        if left.dtype == torch.float32 and precision().fp32_precision == "bf16":
            return plain(left.bfloat16().float(), right.bfloat16().float())
        return plain(left, right)

    monkeypatch.setattr(torch, "bmm", rounding)
    acceleration.prepare_process()
    assert precision().fp32_precision == "ieee"
    assert acceleration.arithmetic()["float32_products"] == "PyTorch's choice"


def test_a_prepared_process_has_the_threads_asked_for_and_deterministic_algorithms() -> None:
    acceleration.prepare_process(threads=2)
    assert torch.get_num_threads() == 2
    acceleration.prepare_process()
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


def test_preparing_twice_chooses_the_same_and_gives_the_same_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(2, 300, 256, generator=generator)
    right = torch.randn(2, 256, 256, generator=generator)
    results = []
    for _ in range(3):
        acceleration.prepare_process()
        results.append((precision().fp32_precision, torch.bmm(left, right)))
    assert len({choice for choice, _ in results}) == 1
    assert all(torch.equal(product, results[0][1]) for _, product in results)


LARGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
WHETHER_LARGE_PAGES_WERE_ASKED_FOR = """
import re
import torch
from algorithms.training import acceleration
acceleration.prepare_process()
tensor = torch.zeros(1 << 22)
for line in open("/proc/self/smaps"):
    if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
        first, last = (int(end, 16) for end in found.groups())
    elif line.startswith("VmFlags:") and first <= tensor.data_ptr() < last:
        print("hg" in line.split())
"""


@pytest.mark.skipif(not LARGE.exists(), reason="this system has no large pages to ask for")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap asked for is glibc's")
def test_large_tensors_of_a_new_process_lie_where_large_pages_were_asked_for() -> None:
    command = [sys.executable, "-c", WHETHER_LARGE_PAGES_WERE_ASKED_FOR]
    assert subprocess.run(command, check=True, capture_output=True).stdout.strip() == b"True"


def test_a_new_process_is_prepared_without_pytorchs_compiler_whose_import_is_half_of_its_start() -> None:
    code = (
        "import sys; from algorithms.training import acceleration; acceleration.prepare_process();"
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True).stdout.strip() == b"False"
