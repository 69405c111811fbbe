"""The calibration: a run that was stopped goes on, and what it leaves says how it was made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from algorithms.diagnostics.fingerprint import Fingerprint
from offline_data import recipes
from storage.tables import FINGERPRINTS, read_table

ENVIRONMENT = "InvertedDoublePendulum-v4"
CONFIG = {"hidden_widths": [8, 8], "batch_size": 8, "sampled_actions": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small dataset."""
    root = tmp_path_factory.mktemp("data")
    recording = recipes.random(ENVIRONMENT, 300, seed=0, copies=3, threads=1)
    recipes.store(root, "inverted-double-pendulum/random-local-v0", recording)
    return root / "inverted-double-pendulum" / "random-local-v0"


def calibrate(data: Path, place: Path, updates: int, **others: str) -> subprocess.CompletedProcess[str]:
    """The command, with its state and its table in `place`."""
    options = {
        "data": str(data),
        "environment": ENVIRONMENT,
        "setting": "small",
        "config": json.dumps(CONFIG),
        "updates": str(updates),
        "interval": "20",
        "state": str(place / "state"),
        "output": str(place / "table.parquet"),
        **others,
    }
    command = [sys.executable, "-m", "workflow.calibrate"]
    for name, value in options.items():
        command += [f"--{name}", value]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def table(place: Path) -> pd.DataFrame:
    return read_table(place / "table.parquet", FINGERPRINTS)[0].to_pandas()


def test_a_run_that_was_stopped_goes_on_to_the_same_rows(data: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for place, updates in ((whole, 60), (stopped, 40), (stopped, 60)):
        process = calibrate(data, place, updates)
        assert process.returncode == 0, process.stderr
    pd.testing.assert_frame_equal(table(stopped), table(whole))
    found = table(whole)
    assert sorted(found.step.unique()) == [20, 40, 60]
    assert set(Fingerprint.__dataclass_fields__) <= set(found.metric)
    assert "training_td_error" in set(found.metric)
    assert (whole / "state" / "agents" / "agent_0.safetensors").exists()


def test_what_it_leaves_says_how_it_was_made_and_not_where(data: Path, tmp_path: Path) -> None:
    assert calibrate(data, tmp_path, 20, shift="-1.5").returncode == 0
    _, provenance = read_table(tmp_path / "table.parquet", FINGERPRINTS)
    settings = provenance["configuration"]
    assert settings["config"]["sampled_actions"] == 2 and settings["shift"] == -1.5
    assert settings["data"]["dataset_id"] == "inverted-double-pendulum/random-local-v0"
    assert str(tmp_path) not in json.dumps(provenance) and str(data.parent.parent) not in json.dumps(
        provenance
    )


def test_another_setting_does_not_go_on_from_a_state_that_is_not_its_own(data: Path, tmp_path: Path) -> None:
    assert calibrate(data, tmp_path, 20).returncode == 0
    changed, new_file = json.dumps(CONFIG | {"conservative_weight": 20}), str(tmp_path / "new.parquet")
    other = calibrate(data, tmp_path, 40, config=changed, output=new_file)
    assert other.returncode == 2
    assert "belongs to configuration" in other.stderr and "Traceback" not in other.stderr
    elsewhere = calibrate(data, tmp_path, 40, shift="2", state=str(tmp_path / "other"))
    assert elsewhere.returncode == 2
    assert "table.parquet holds another setting's fingerprints" in elsewhere.stderr
