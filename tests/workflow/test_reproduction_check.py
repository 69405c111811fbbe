"""The check says "equal" on one platform for equal curves alone, and why it is not bit by bit on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import UserError
from storage.curves import read_provenance, write_curves
from tests.curves import curve_row, frame
from workflow.code_hash import ROOT
from workflow.reproduction_check import compare

PROVENANCE: dict[str, Any] = {
    "configuration": {"steps": 10, "fingerprint": "a"},
    "versions": {"torch": "1", "numpy": "2"},
    "hardware": {
        "cpu": "a processor",
        "cpu_model": "family 1",
        "cpu_instructions": "avx2",
        "omp_num_threads": "1",
        "instructions_restricted": "unset",
        "arithmetic": {"float32_products": "oneDNN", "penalty_block_rows": 960},
    },
}


def write(folder: Path, values: tuple[float, ...] = (50.0, 51.0, 52.0), **changes: Any) -> Path:
    curve = frame(curve_row("off2on", "d", seed, 10, value) for seed, value in enumerate(values))
    write_curves(folder / "d" / "curve.parquet", curve, PROVENANCE | changes)
    return folder


def test_equal_curves_on_one_platform_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", configuration={"steps": 10, "fingerprint": "b"}, git_commit="another")
    assert "to the last bit" in compare(ours, write(tmp_path / "reference"))


def test_one_bit_is_found_on_one_platform(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", (50.0, 51.000000000000007, 52.0))
    with pytest.raises(UserError, match="on the same platform, first at step 10 of seed 1"):
        compare(ours, write(tmp_path / "reference"))


def test_another_platform_is_compared_within_bounds_and_the_reason_is_given(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference")
    elsewhere = {
        "hardware": {"cpu": "another", "omp_num_threads": "1"},
        "versions": {"torch": "3", "numpy": "2"},
    }
    said = compare(write(tmp_path / "near", (47.0, 55.0, 52.0), **elsewhere), reference)
    assert "the processor is another, the reference's a processor" in said
    assert "torch's version is 3, the reference's 1" in said
    with pytest.raises(UserError, match=r"ends at a mean return of 5\.0, expected 51\.0"):
        compare(write(tmp_path / "far", (5.0, 4.0, 6.0), **elsewhere), reference)


@pytest.mark.parametrize(
    ("key", "what"), [("cpu_model", "model"), ("cpu_instructions", "set of instructions")]
)
def test_processors_of_one_name_are_told_apart(tmp_path: Path, key: str, what: str) -> None:
    reference = write(tmp_path / "reference")
    found = write(tmp_path / "ours", hardware={**PROVENANCE["hardware"], key: "another"})
    was = PROVENANCE["hardware"][key]
    assert f"the processor's {what} is another, the reference's {was}" in compare(found, reference)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"instructions_restricted": "ATEN_CPU_CAPABILITY=avx2"},
            "what restricts the instructions is ATEN_CPU_CAPABILITY=avx2, the reference's unset",
        ),
        (
            {"arithmetic": {"float32_products": "oneDNN", "penalty_block_rows": 480}},
            "the arithmetic's penalty_block_rows is 480, the reference's 960",
        ),
    ],
)
def test_another_arithmetic_on_the_same_processor_is_not_compared_bit_by_bit(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    reference = write(tmp_path / "reference")
    ours = write(tmp_path / "ours", (51.0, 52.0, 53.0), hardware={**PROVENANCE["hardware"], **change})
    said = compare(ours, reference)
    assert "not compared bit by bit" in said and reason in said


def test_a_gpus_curve_is_compared_with_the_cpus_within_bounds(tmp_path: Path) -> None:
    settings = {**PROVENANCE["configuration"], "compute": {"device": "cuda", "tf32": True}}
    ours = write(tmp_path / "ours", (51.0, 52.0, 53.0), configuration=settings)
    said = compare(ours, write(tmp_path / "reference"))
    assert "what training computed on is cuda, the reference's cpu" in said


def test_a_reference_that_names_the_processor_alone_is_not_compared_bit_by_bit(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours")
    said = compare(ours, write(tmp_path / "old", hardware={"cpu": "a processor", "omp_num_threads": "1"}))
    assert "not compared bit by bit" in said
    assert "the processor's model is family 1, the reference's not recorded" in said


def test_other_settings_are_refused(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", configuration={"steps": 20})
    with pytest.raises(UserError, match="was made with other settings"):
        compare(ours, write(tmp_path / "reference"))


def test_the_committed_reference_says_where_it_was_made() -> None:
    files = sorted((ROOT / "results" / "reference" / "check" / "curves").rglob("*.parquet"))
    assert files
    for file in files:
        provenance = read_provenance(file)
        assert provenance["hardware"]["cpu_model"] and provenance["hardware"]["cpu_instructions"]
        assert provenance["hardware"]["arithmetic"] and provenance["hardware"]["instructions_restricted"]
        assert provenance["versions"]["torch"]
