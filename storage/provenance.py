"""Where a result comes from: configuration, code, package versions, seeds and hardware; no times."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PACKAGES = (
    "torch", "numpy", "scipy", "mujoco", "dm-control", "gymnasium", "minari", "h5py", "pandas", "pyarrow",
    "safetensors",
)  # fmt: skip

# By what processors of one name differ, and by what libraries choose the kernels that round: x86 and ARM.
_MODEL = (
    "vendor_id", "cpu family", "model", "stepping",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
)  # fmt: skip
# By which variables a person keeps PyTorch, oneDNN, MKL and numpy from instructions that the processor has.
_RESTRICTIONS = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES",
)  # fmt: skip
_INSTRUCTIONS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "asimd", "asimdhp", "bf16", "sve", "sve2",
)  # fmt: skip


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that stand for `configuration` (JSON values, keys in any order)."""
    canonical = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def collect(
    configuration: Mapping[str, Any], seeds: Sequence[int], arithmetic: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return all a result can be traced to, as JSON values.

    `arithmetic` is what a job that trains chose by the processor's features; it stands beside the hardware.
    It holds no time and no path, so two runs of one configuration on one machine have equal provenance.
    """
    return {
        "configuration_hash": configuration_hash(configuration),
        "configuration": dict(configuration),
        "git_commit": git_commit(),
        "versions": versions(),
        "seeds": [int(seed) for seed in seeds],
        "hardware": hardware() | ({"arithmetic": dict(arithmetic)} if arithmetic else {}),
    }


def git_commit() -> str:
    """Return the commit of this code, with `+changes` when tracked files differ from it, or "unknown"."""
    root = Path(__file__).resolve().parent.parent
    found = _git(root, "rev-parse", "--show-toplevel", "HEAD")
    # Installed code may lie inside somebody else's repository: its commit says nothing about ours.
    if found is None or Path(found.splitlines()[0]) != root:
        return "unknown"
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return found.splitlines()[1] + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that results depend on, without imports."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return the processor, the number of its cores and the threads that BLAS was given, and `gpus` if any.

    `cpu` is its name, which many kinds share in a cloud; `cpu_model` tells the kinds apart, and
    `cpu_instructions` what of them a virtual machine passes on. Both are empty where the system does not say.
    `instructions_restricted` are the variables that keep a library from some of them.
    """
    information = Path("/proc/cpuinfo")
    return {
        **processor(information.read_text() if information.exists() else ""),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "instructions_restricted": restrictions(os.environ),
        **gpus(Path("/proc/driver/nvidia/gpus")),
    }


def restrictions(environment: Mapping[str, str]) -> str:
    """Return variables of `environment` that restrict a library's instructions, with values, or "unset"."""
    found = (f"{name}={environment[name]}" for name in _RESTRICTIONS if environment.get(name))
    return " ".join(found) or "unset"


def gpus(folder: Path) -> dict[str, list[str]]:
    """List NVIDIA's GPUs by model, from the driver's `folder`, an entry of `hardware`; none without GPUs."""
    text = "".join(file.read_text() for file in sorted(folder.glob("*/information")))
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Model:")]
    return {"gpus": models} if models else {}


def processor(information: str) -> dict[str, str]:
    """Return entries of `hardware` on the processor, from the text of Linux's /proc/cpuinfo, or from none."""
    lines = (line.partition(":") for line in information.partition("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, _, value in lines}
    flags = said.get("flags", said.get("Features", "")).split()
    return {
        "cpu": said.get("model name") or platform.processor() or platform.machine(),
        "cpu_model": ", ".join(f"{name} {said[name]}" for name in _MODEL if name in said),
        "cpu_instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
