"""What the choice of arithmetic goes by: features of the processor, never how long something took.

A timing may fall out differently at the next start, and a job that goes on would then round differently. The
features are those that PyTorch uses: ATEN_CPU_CAPABILITY restricts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

_USUAL_L2 = 1 << 20  # bytes, where the system does not say
_ROW = 1024  # bytes of one row of 256 float32 activations


@dataclass(frozen=True)
class Processor:
    """The features of a processor, from `torch.cpu.get_capabilities`."""

    vectors: str  # of PyTorch's kernels: "AVX512", "AVX2", "DEFAULT" or another architecture's
    bfloat16: bool  # it has instructions for products in bfloat16
    matrix_unit: bool  # AMX, which would multiply float32 in bfloat16 where oneDNN is permitted to
    l2_cache: int  # bytes a core

    @property
    def onednn(self) -> bool:
        """True where oneDNN multiplies float32 matrices, or what PyTorch chooses by itself.

        That is MKL on x86, which uses half the vector width on AMD's processors with AVX-512 (a CQL update
        took 86 ms instead of 51 on a Zen 5 core). With AVX2 the two take the same time within 5 %.
        """
        return self.vectors == "AVX512" and not self.matrix_unit

    @property
    def penalty_block_rows(self) -> int:
        """Rows of the soft maximum worked on at a time: their activations stay in L2.

        A sixteenth of it is left to the weights: 960 rows in 1 MiB.
        """
        return max(1, self.l2_cache * 15 // 16 // _ROW)


def features(vectors: str, capabilities: Mapping[str, Any]) -> Processor:
    """Return the features that `vectors` and `capabilities`, PyTorch's words for them, come to."""
    wide = vectors == "AVX512"
    matrix_unit = wide and bool(capabilities.get("amx_bf16"))
    x86 = matrix_unit or (wide and bool(capabilities.get("avx512_bf16")))
    arm = bool(capabilities.get("bf16"))
    return Processor(vectors, x86 or arm, matrix_unit, int(capabilities.get("l2_cache_size") or _USUAL_L2))


@lru_cache(maxsize=1)
def this_processor() -> Processor:
    """Return the features of the processor that this process runs on."""
    return features(torch.backends.cpu.get_cpu_capability(), torch.cpu.get_capabilities())
