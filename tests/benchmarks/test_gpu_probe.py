"""The probe of a GPU names what fails and goes on, shown where there is none."""

from __future__ import annotations

from pathlib import Path

from benchmarks import gpu_probe
from storage.files import read_json


def test_a_number_of_agents_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    output = tmp_path / "probe.json"
    gpu_probe.survey([0, 1], "cpu", 5, 120.0, output)
    document = read_json(output)
    assert document[gpu_probe.CARD]["copy_gigabytes_per_second"] > 0
    assert "failed with status 1" in document["0"]["failed"]
    assert document["1"]["eager_ms"] > 0 and any("bmm" in row["name"] for row in document["1"]["kernels"])


def test_what_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    found = gpu_probe.survey([1], "cpu", 5, 0.01, tmp_path / "probe.json")
    assert found["1"] == {"failed": "was not done in 0 s"}
