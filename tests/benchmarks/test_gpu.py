"""The benchmark that is meant for a GPU times what it says, shown where there is none."""

from __future__ import annotations

import pytest

from algorithms.training.acceleration import Compute, prepare_process
from benchmarks import gpu


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_process()
    for name, size in (("AGENTS", 2), ("SEEDS", 1)):
        monkeypatch.setattr(gpu, name, size)


def test_every_contender_makes_as_many_updates_as_it_is_asked_for() -> None:
    found = {entry["name"]: entry for entry in gpu.measure_updates("cpu", 2000, 0, rounds=2, count=1)}
    assert set(found) == {entry.name for entry in gpu.contenders("cpu", 2000, 0)}
    assert all(len(entry["clock_ms"]) == 2 and min(entry["clock_ms"]) > 0 for entry in found.values())


def test_a_longer_loop_is_reckoned_from_two_lengths() -> None:
    for loop in gpu.measure_loops(Compute(), 2000, updates=1, steps=2):
        first, second = loop["seconds"]
        published = {"pre-training": gpu.OFFLINE_UPDATES, "fine-tuning": gpu.ONLINE_STEPS}[loop["name"]]
        expected = first + (second - first) * (published / loop["length"] - 1)
        assert loop["published_hours"] == pytest.approx(expected / 3600)
