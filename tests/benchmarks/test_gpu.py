"""The benchmark that is meant for a GPU times what it says, shown where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from algorithms.training.acceleration import prepare_process
from benchmarks import gpu
from storage.files import read_json

SIZES = gpu.Sizes("cpu", rows=2000, per_graph=0, rounds=2, updates=1, loop_updates=1, loop_steps=2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_process()
    for name, size in (("AGENTS", 2), ("SEEDS", 1)):
        monkeypatch.setattr(gpu, name, size)


OURS_AND_PYTORCH_PEERS = [
    index for index, entry in enumerate(gpu.contenders(SIZES)) if "JAX" not in entry.name
]


@pytest.mark.parametrize("index", OURS_AND_PYTORCH_PEERS)
def test_every_contender_makes_as_many_updates_as_it_is_asked_for(index: int) -> None:
    entry = gpu.contenders(SIZES)[index]
    found = gpu.measured(entry.name, SIZES)
    assert found["name"] == entry.name and len(found["clock_ms"]) == 2 and min(found["clock_ms"]) > 0


@pytest.mark.parametrize("name", gpu.LOOPS)
def test_a_longer_loop_is_estimated_from_two_lengths(name: str) -> None:
    loop = gpu.measured(name, SIZES)
    first, second = loop["seconds"]
    published = {"pre-training": gpu.OFFLINE_UPDATES, "fine-tuning": gpu.ONLINE_STEPS}[name]
    expected = first + (second - first) * (published / loop["length"] - 1)
    assert loop["published_hours"] == pytest.approx(expected / 3600)


def test_a_contender_that_fails_is_named_and_the_next_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["nobody", "rlkit's SAC"]
    chosen = [gpu.Contender(name, 1, False, lambda: lambda count: None) for name in names]
    monkeypatch.setattr(gpu, "contenders", lambda sizes: chosen)
    output = tmp_path / "gpu.json"
    gpu.survey(["updates"], SIZES, 300.0, output)
    failed, done = read_json(output)["updates"]
    assert "failed with status 1" in failed["failed"] and len(done["clock_ms"]) == SIZES.rounds
    said = capsys.readouterr().out
    assert "nobody" in said and "rlkit's SAC" in said and "GB of the device's memory" in said


def test_what_finds_no_time_is_named_and_the_file_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    gpu.survey(["updates", "loops"], SIZES, 0.0, output)
    document = read_json(output)
    entries = [*document["updates"], *document["loops"]]
    assert entries and all(entry["failed"] == "was left out: the time is up" for entry in entries)


def test_a_gpu_benchmark_needs_no_library_of_recorded_data() -> None:
    code = "import sys, benchmarks.gpu; assert 'minari' not in sys.modules and 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
