"""A result can be traced, and equal configurations have equal names."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import provenance

ROOT = Path(__file__).resolve().parents[2]

configurations = st.dictionaries(
    st.text(),
    st.recursive(
        st.integers() | st.text() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=6,
)


def shuffled(value: object, generator: random.Random) -> object:
    if isinstance(value, dict):
        items = [(key, shuffled(inner, generator)) for key, inner in value.items()]
        generator.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(inner, generator) for inner in value]
    return value


@settings(deadline=None, derandomize=True)
@given(configuration=configurations, seed=st.integers(0, 1000))
def test_the_hash_does_not_depend_on_the_order_of_keys(configuration: dict[str, object], seed: int) -> None:
    other = shuffled(configuration, random.Random(seed))
    assert isinstance(other, dict)
    assert provenance.configuration_hash(configuration) == provenance.configuration_hash(other)


def test_the_hash_is_twelve_hexadecimal_digits_and_tells_values_apart() -> None:
    first = provenance.configuration_hash({"discount": 0.99, "sizes": [256, 256]})
    assert first == hashlib.sha256(b'{"discount":0.99,"sizes":[256,256]}').hexdigest()[:12]
    assert first != provenance.configuration_hash({"discount": 0.99, "sizes": [256, 255]})
    with pytest.raises(ValueError, match="JSON"):
        provenance.configuration_hash({"discount": float("nan")})


def test_provenance_is_json_the_same_twice_and_holds_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = provenance.collect({"steps": 10}, [3, 4])
    assert first == provenance.collect({"steps": 10}, [3, 4])
    assert json.loads(json.dumps(first)) == first
    assert first["seeds"] == [3, 4]
    assert first["configuration"] == {"steps": 10}
    assert first["hardware"]["omp_num_threads"] == "1"
    assert {"python", "torch", "numpy", "mujoco", "gymnasium"} <= set(first["versions"])


def test_the_commit_is_unknown_where_the_code_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "site-packages" / "storage" / "provenance.py"))
    (tmp_path / "site-packages").mkdir()
    assert provenance.git_commit() == "unknown"


def test_the_commit_says_when_tracked_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "storage" / "provenance.py"))
    assert provenance.git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "result").write_text("untracked results change nothing")
    assert provenance.git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert provenance.git_commit() == git("rev-parse", "HEAD") + "+changes"


def test_records_import_no_simulator_and_no_networks() -> None:
    code = """
import sys
import storage.curves, storage.files, storage.provenance
storage.provenance.collect({}, [])
heavy = {"torch", "mujoco", "gymnasium"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


ZEN_5 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu avx fma avx2 avx512f avx512_bf16 clzero

processor\t: 1
model\t\t: 3
"""
ARM = """processor\t: 0
Features\t: fp asimd sve bf16
CPU implementer\t: 0x41
CPU part\t: 0xd4f
"""


def test_a_processor_is_known_by_its_model_and_its_arithmetic_too() -> None:
    assert provenance.processor(ZEN_5) == {
        "cpu": "AMD EPYC",
        "cpu_model": "vendor_id AuthenticAMD, cpu family 26, model 2, stepping 1",
        "cpu_instructions": "avx avx2 fma avx512f avx512_bf16",
    }
    arm = provenance.processor(ARM)
    assert arm["cpu_model"] == "CPU implementer 0x41, CPU part 0xd4f"
    assert arm["cpu_instructions"] == "asimd bf16 sve"
    assert provenance.processor(ZEN_5.replace("stepping\t: 1", "stepping\t: 0")) != provenance.processor(
        ZEN_5
    )


def test_gpus_are_named_where_the_driver_lists_them(tmp_path: Path) -> None:
    assert provenance.gpus(tmp_path / "no driver") == {}
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 50\n")
    assert provenance.gpus(tmp_path) == {"gpus": ["NVIDIA H200", "NVIDIA H200"]}


def test_where_the_system_does_not_say_the_processor_still_has_a_name() -> None:
    unknown = provenance.processor("")
    assert unknown["cpu"] and unknown["cpu_model"] == unknown["cpu_instructions"] == ""


def test_what_restricts_the_instructions_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert provenance.hardware()["instructions_restricted"] == "ONEDNN_MAX_CPU_ISA=AVX2"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert provenance.hardware()["instructions_restricted"] == "unset"


def test_the_arithmetic_of_a_job_stands_beside_its_hardware() -> None:
    chosen = {"float32_products": "oneDNN", "penalty_block_rows": 960}
    found = provenance.collect({}, [], chosen)["hardware"]
    assert found == {**provenance.hardware(), "arithmetic": chosen}
    assert "arithmetic" not in provenance.collect({}, [])["hardware"]
