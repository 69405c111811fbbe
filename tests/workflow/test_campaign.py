"""A campaign works within its time, loses nothing when it is ended, and leaves whole files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from algorithms.population.checkpoints import load
from algorithms.training.stopping import STATUS
from storage import UserError
from storage.curves import read_curves
from workflow import bundles, campaign
from workflow.code_hash import ROOT
from workflow.configuration import check, extended
from workflow.configuration import load as load_yaml
from workflow.cost import Model, Speed
from workflow.table import Table

SIZES = {"hidden_widths": [8, 8], "batch_size": 8}
DATASET = "inverted-double-pendulum-random"


def configuration(updates: int = 40) -> dict[str, Any]:
    return {
        "name": "tried",
        "demonstration": True,
        "datasets": {
            DATASET: {
                "environment": "InvertedDoublePendulum-v4",
                "recipe": "random",
                "transitions": 200,
                "copies": 2,
                "seed": 1,
                "pretrained": "train",
            }
        },
        "pretraining": {
            "agents": 1,
            "agents_per_job": 1,
            "schedule": {"updates": updates, "evaluation_interval": 1_000_000, "evaluation_episodes": 1},
            "methods": {"cql": {"config": {**SIZES, "sampled_actions": 2}}},
        },
        "fine_tuning": {
            "seeds": [0],
            "seeds_per_job": 1,
            "ensemble_size": 1,
            "members_shared": False,
            "schedule": {"steps": 20, "block_size": 20, "evaluation_interval": 20, "evaluation_episodes": 1},
            "methods": {"sac_ft": {"config": SIZES}},
        },
        "statistics": {"repetitions": 20},
        "figures": [],
    }


def write(folder: Path, **changed: Any) -> Path:
    path = folder / "tried.yaml"
    path.write_text(yaml.safe_dump({**configuration(), **changed}))
    return path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command in a working directory of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "workflow.campaign", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


def curve(folder: Path, label: str, job: str) -> Any:
    return read_curves(folder / f"results/tried/curves/{DATASET}/{label}/{job}.parquet")


IMPATIENT = """
import os, signal
from pathlib import Path
from algorithms.methods.cql import CQL

class Impatient(CQL):
    def update(self, batch, step):
        if step == 100 and not Path("calm").exists():
            os.kill(os.getppid(), signal.SIGTERM)
        return super().update(batch, step)
"""
"""A method whose hundredth update has the campaign ended."""


def test_an_ended_campaign_bundles_a_checkpoint_and_goes_on_from_it(tmp_path: Path) -> None:
    section = configuration(4000)["pretraining"]
    section["methods"]["cql"]["method"] = "impatient:Impatient"
    results = {}
    for name in ("ended", "calm"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "impatient.py").write_text(IMPATIENT)
        if name == "calm":
            (folder / "calm").touch()
        arguments = [str(write(folder, pretraining=section)), "--seconds", "300", "--bundle", "out"]
        status, said = ended(start(folder, *arguments))
        if name == "ended":
            assert status == STATUS, said
            assert "Left:\n  tried: 2 jobs" in said
            [checkpoint] = folder.rglob("checkpoint.safetensors")
            assert 100 < load(checkpoint)[1]["step"] < 4000
            with tarfile.open(folder / "out/bundle_0.tar") as archive:
                assert str(checkpoint.relative_to(folder)) in archive.getnames()
                shutil.rmtree(folder / "results/tried/state")
                archive.extractall(folder, filter="data")
            status, said = ended(start(folder, *arguments))
        assert status == 0, said
        results[name] = curve(folder, "sac_ft", "seeds_0")
    assert results["ended"].equals(results["calm"])


def test_a_whole_campaign_leaves_what_snakemake_would(tmp_path: Path) -> None:
    path = write(tmp_path)
    status, said = ended(start(tmp_path, str(path), "--seconds", "300", "--processes", "2"))
    assert status == 0, said
    assert said.endswith("Left:\n  nothing\n")
    assert curve(tmp_path, "cql", "agents_0-0").step.max() == 40
    assert curve(tmp_path, "sac_ft", "seeds_0").step.max() == 20
    status, said = ended(start(tmp_path, str(path), "--seconds", "300"))
    assert status == 0 and "begins" not in said


def test_a_changed_setting_makes_its_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model(Speed(100.0, 1.0))
    members = campaign.Campaign([check(configuration())], model).members
    [first] = [member.job for member in members if member.job.rule == "record"]
    first.write()
    for place in first.outputs.values():
        Path(place).mkdir(parents=True)
    assert campaign.done(first)
    changed = configuration()
    changed["datasets"][DATASET]["seed"] = 2
    later = campaign.Campaign([check(changed)], model)
    assert first.file in {member.job.file for member in later.left()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "30"], "--seconds is 30: expected more than 35, 15 for the start of a job and 20"),
        (
            ["--seconds", "99", "--bundle", "out", "--bundle-bytes", "9999"],
            "hold no agent: expected room for",
        ),
    ],
)
def test_a_budget_for_nothing_is_refused_in_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    status, said = ended(start(tmp_path, str(write(tmp_path)), *arguments))
    assert (status, said.count("\n")) == (2, 1)
    assert sentence in said


def test_an_unknown_configuration_is_refused_before_anything_runs(tmp_path: Path) -> None:
    status, said = ended(start(tmp_path, str(write(tmp_path)), "none.yaml", "--seconds", "99"))
    assert (status, said.count("\n")) == (2, 1)
    assert "none.yaml" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_gpu_is_named_before_anything_runs(tmp_path: Path) -> None:
    path = write(tmp_path, compute={"device": "cuda"})
    status, said = ended(start(tmp_path, str(path), "--seconds", "99"))
    assert (status, said.count("\n")) == (2, 1)
    assert "compute.device cuda: expected a GPU" in said


CONFIGURATIONS = [p for p in sorted((ROOT / "config").glob("*.yaml")) if "manipulation" not in p.stem]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_configuration_can_be_rehearsed(path: Path) -> None:
    """Tiny numbers fit together wherever the true ones do, and every training job is there."""
    said = extended(load_yaml(path), path.parent)
    configuration, tiny = check(said), check(campaign.rehearsal(said))
    assert tiny["name"] == f"{configuration['name']}_rehearsal"
    jobs, small = (Table(each).jobs for each in (configuration, tiny))
    assert list(jobs) == list(small)
    steps = [job.settings["schedule"].get("steps", 0) for job in small.values() if "schedule" in job.settings]
    assert max(steps, default=0) <= 40


def test_bundles_are_within_their_limits_and_the_first_files_are_in(tmp_path: Path) -> None:
    sizes = {"a": 60_000, "b": 50_000, "c": 30_000, "d": 9_000, "e": 70_000}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(name.encode() * size)
    limit = 100_000
    left_out = bundles.write(tmp_path / "out", [tmp_path / name for name in sizes], 2, limit)
    packed: list[str] = []
    for path in sorted((tmp_path / "out").iterdir()):
        assert path.stat().st_size <= limit
        with tarfile.open(path) as archive:
            packed += [Path(name).name for name in archive.getnames()]
    assert sorted(packed) == ["a", "b", "c", "d"]
    assert left_out == [tmp_path / "e"]


def test_a_bundle_for_no_agent_is_refused() -> None:
    bundles.check_room(20_000, 5_000)
    with pytest.raises(UserError, match="hold no agent: expected room for one file of 15,000 bytes"):
        bundles.check_room(20_000, 15_000)
