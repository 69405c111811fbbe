"""The arithmetic goes by what a processor says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from algorithms.population.processor import features, this_processor

ZEN_5 = {"avx2": True, "avx512_f": True, "avx512_bf16": True, "l2_cache_size": 1 << 20}
ZEN_3 = {"avx2": True, "l2_cache_size": 512 << 10}
SKYLAKE = {"avx2": True, "avx512_f": True, "l2_cache_size": 1 << 20}
SAPPHIRE_RAPIDS = {**ZEN_5, "amx_bf16": True, "l2_cache_size": 2 << 20}


@pytest.mark.parametrize(
    ("vectors", "capabilities", "onednn", "bfloat16", "rows"),
    [
        ("AVX512", ZEN_5, True, True, 960),  # the committed results were made so
        ("AVX2", ZEN_5, False, False, 960),  # restricted by ATEN_CPU_CAPABILITY
        ("AVX2", ZEN_3, False, False, 480),
        ("AVX512", SKYLAKE, True, False, 960),
        ("AVX512", SAPPHIRE_RAPIDS, False, True, 1920),
        ("DEFAULT", {"neon": True, "bf16": True}, False, True, 960),  # ARM, which does not say its cache
        ("DEFAULT", {}, False, False, 960),
    ],
)
def test_products_bfloat16_and_blocks_follow_from_the_features(
    vectors: str, capabilities: dict[str, Any], onednn: bool, bfloat16: bool, rows: int
) -> None:
    found = features(vectors, capabilities)
    assert (found.onednn, found.bfloat16, found.penalty_block_rows) == (onednn, bfloat16, rows)


def test_this_processor_is_the_same_at_every_look() -> None:
    once = this_processor()
    this_processor.cache_clear()
    assert this_processor() == once and once.penalty_block_rows >= 1
