"""The whole DAG: dry runs of every scale, refusals, and a run that is killed and goes on."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, one_agent
from storage.curves import read_curves
from storage.tables import BEHAVIOURS, read_table
from tests.workflow.conftest import DryRun, Snakemake
from workflow.code_hash import ROOT
from workflow.plan.places import AUTHORS, AUTHORS_SEEDS

TINY: dict[str, Any] = {
    "name": "tiny",
    "datasets": {
        "halfcheetah-random": {
            "environment": "HalfCheetah-v4",
            "recipe": "random",
            "transitions": 400,
            "copies": 4,
            "seed": 1,
            "pretrained": "train",
        }
    },
    "pretraining": {
        "agents": 1,
        "agents_per_job": 1,
        "schedule": {
            "updates": 1500,
            "evaluation_interval": 1500,
            "evaluation_episodes": 1,
            "checkpoint_interval": 50,
        },
        "methods": {"cql": {"config": {"hidden_widths": [16], "batch_size": 16, "sampled_actions": 2}}},
    },
    "fine_tuning": {
        "seeds": [0],
        "seeds_per_job": 1,
        "ensemble_size": 1,
        "members_shared": False,
        "schedule": {
            "steps": 20,
            "block_size": 10,
            "evaluation_interval": 10,
            "evaluation_episodes": 1,
            "checkpoint_interval": 10,
        },
        "methods": {"sac_ft": {"config": {"hidden_widths": [16], "batch_size": 16}}},
    },
    "statistics": {"repetitions": 20},
    "figures": ["learning_curves"],
}
CURVE = "results/tiny/curves/halfcheetah-random/cql/agents_0-0.parquet"


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)


SCALES = [[path] for path in sorted((ROOT / "config").glob("*.yaml"))]
BASES = {
    "gpu_images": "manipulation",
    "heterogeneous_published": "heterogeneous",
    "dmpo_published": "dmpo_locomotion",
}
"""What an overlay is meant for, where that is not figure_03."""
OVERLAID = [
    [ROOT / "config" / f"{BASES.get(overlay.stem, 'figure_03')}.yaml", overlay]
    for overlay in sorted((ROOT / "config" / "overlays").glob("*.yaml"))
]


def write_authors_agents(folder: Path) -> None:
    """Agents of the sizes of those that the paper's authors released, where they are imported to."""
    agents = ActorCritics([0], 17, 6, SACConfig())
    agents.initialise()
    for seed in AUTHORS_SEEDS:
        checkpoints.save(folder / f"agent_{seed}.safetensors", one_agent(agents, 0), {})
    checkpoints.save(folder / "medium.safetensors", agents.policy.state_dict(), {})


@pytest.mark.parametrize("files", SCALES + OVERLAID, ids=lambda files: "+".join(f.stem for f in files))
def test_every_scale_has_a_dag(dry_run: DryRun, tmp_path: Path, files: list[Path]) -> None:
    releases = tmp_path / "releases"
    releases.mkdir()
    for shipped in (ROOT / "releases").iterdir():
        if shipped.name != AUTHORS:  # who has imported their agents has them, and who has not needs none here
            (releases / shipped.name).symlink_to(shipped)
    write_authors_agents(releases / AUTHORS / "halfcheetah-medium")
    status, output = dry_run("--quiet", "rules", "--configfile", *map(str, files))
    assert status == 0, output
    assert "train" in output


def test_the_figures_alone_can_be_asked_for(dry_run: DryRun, tiny: str) -> None:
    _, output = dry_run("figures", "--cores", "1", "--configfile", tiny)
    assert "draw learning_curves" in output
    assert "closing table" not in output


def test_a_wrong_configuration_ends_in_one_sentence(snakemake: Snakemake, tiny: str) -> None:
    process = snakemake("--dry-run", "--configfile", tiny, "--config", "colour=blue")
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "Configuration: unknown key 'colour': expected one of name, " in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: other\nname: tiny\n", "line 2: the key 'name' is given twice"),
        ("__use_yte__: true\nname: ?'tiny'\n", "has the key '__use_yte__'"),
    ],
)
def test_a_file_of_more_than_one_meaning_is_refused_though_snakemake_reads_it(
    dry_run: DryRun, tiny: str, tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "overlay.yaml").write_text(content)
    status, output = dry_run("--configfile", tiny, "overlay.yaml")
    assert status == 1
    assert f"Configuration: {tmp_path / 'overlay.yaml'}" in output and sentence in output
    assert "Traceback" not in output


def test_a_number_within_a_key_of_the_command_line_is_a_number(dry_run: DryRun, tiny: str) -> None:
    """Snakemake makes text of it (#2374)."""
    _, output = dry_run("--configfile", tiny, "--config", "statistics={repetitions: 0}")
    assert "Configuration: statistics.repetitions is 0: expected at least 1" in output
    status, output = dry_run("--configfile", tiny, "--config", "statistics={repetitions: 30}")
    assert status == 0, output


def test_the_last_words_of_a_failed_run_are_the_sentence_and_the_log(
    snakemake: Snakemake, tiny: str, tmp_path: Path
) -> None:
    data = tmp_path / "data.hdf5"
    data.write_bytes(b"no HDF5")
    entry = {"recipe": "d4rl", "file": str(data), "transitions": None, "copies": None, "seed": None}
    [dataset] = TINY["datasets"]
    overlay = {"extends": tiny, "name": "spoilt", "datasets": {dataset: entry}}
    (tmp_path / "spoilt.yaml").write_text(yaml.safe_dump(overlay))
    output, _ = snakemake("--cores", "1", "--configfile", "spoilt.yaml").communicate()
    *_, sentence, log = output.rstrip("\n").splitlines()
    assert sentence.startswith(f"{data} is truncated, damaged or not an HDF5 file")
    assert "log: results/spoilt/logs/record/" in log and (tmp_path / log.split()[1].rstrip(";")).is_file()


OWN_FILE = {"recipe": "d4rl", "file": "/no/data.hdf5", "copies": None, "transitions": None, "seed": None}


@pytest.mark.parametrize(
    ("target", "overlay", "sentence"),
    [
        (
            "curves/halfcheetah-random/cql/seeds_0.parquet",
            {},
            "has no job train/halfcheetah-random/cql/seeds_0",
        ),
        (
            "verdict",
            {"datasets": {"halfcheetah-random": OWN_FILE}},
            "/no/data.hdf5 is missing, which record/halfcheetah/random needs",
        ),
    ],
)
def test_what_cannot_be_made_ends_in_one_sentence(
    dry_run: DryRun, tiny: str, tmp_path: Path, target: str, overlay: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"extends": tiny, "name": "own"} | overlay))
    status, output = dry_run(f"results/own/{target}", "--configfile", "own.yaml")
    assert status == 1
    assert sentence in output.rstrip("\n").splitlines()[-1]
    assert "Traceback" not in output


def test_released_agents_and_recorded_curves_are_found_from_any_folder(
    dry_run: DryRun, tmp_path: Path
) -> None:
    configuration = str(ROOT / "config" / "figure_03.yaml")
    for arguments in ([], ["--config", "curves=recorded"]):
        status, output = dry_run("--configfile", configuration, *arguments)
        assert status == 0, output
        assert "train cql" not in output
    assert not list(tmp_path.iterdir()) or [path.name for path in tmp_path.iterdir()] == [".snakemake"]


def test_another_workflow_that_takes_this_one_as_a_module_is_told_that_it_cannot(
    tmp_path: Path,
) -> None:
    module = f'module suite:\n    snakefile: "{ROOT}/Snakefile"\nuse rule * from suite\n'
    (tmp_path / "Snakefile").write_text(module)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "This workflow cannot be a module of another" in process.stdout + process.stderr


def test_a_killed_run_goes_on_and_a_second_run_is_refused(
    snakemake: Snakemake, tiny: str, tmp_path: Path
) -> None:
    whole = snakemake(CURVE, "--cores", "1", "--configfile", tiny)
    output, _ = whole.communicate()
    assert whole.returncode == 0, output
    expected = (tmp_path / CURVE).read_bytes()
    (tmp_path / "results").rename(tmp_path / "uninterrupted")

    killed = snakemake(CURVE, "--cores", "1", "--configfile", tiny)
    state = wait_for_checkpoint(tmp_path / "results" / "tiny" / "state")
    step = int((state.parent / ".lock").read_text())
    os.kill(step, signal.SIGSTOP)  # so that it is still at work when the second run comes
    second = snakemake(CURVE, "--cores", "1", "--configfile", tiny)
    output, _ = second.communicate()
    assert second.returncode == 1
    assert f"results/tiny is already being written by another run (process {killed.pid})" in output
    assert "Traceback" not in output
    killed.send_signal(signal.SIGKILL)
    os.kill(step, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / CURVE).exists()
    assert state.exists()

    resumed = snakemake("--cores", "1", "--configfile", tiny)
    output, _ = resumed.communicate()
    assert resumed.returncode == 0, output
    assert (tmp_path / CURVE).read_bytes() == expected
    assert b"provenance" in pq.read_metadata(tmp_path / CURVE).metadata
    assert re.search(r"sac_ft +halfcheetah-random", output)
    suffixes = {path.suffix for path in (tmp_path / "results/tiny/figures").iterdir()}
    assert suffixes == {".pdf", ".png", ".csv", ".txt"}

    # With dates as `cp -r` may leave them, agents younger than what was trained from them: the page's answer.
    for date, path in enumerate(sorted((tmp_path / "results").rglob("*"), reverse=True), start=10**9):
        os.utime(path, (date, date))
    output, _ = snakemake("--touch", "--cores", "1", "--configfile", tiny).communicate()
    assert "snakemake --touch" in (ROOT / "docs" / "workflow.md").read_text()
    again = snakemake("--cores", "1", "--configfile", tiny)
    output, _ = again.communicate()
    assert "Nothing to be done" in output


def test_estimated_behaviours_are_measured_against_who_made_what(
    snakemake: Snakemake, tmp_path: Path
) -> None:
    configuration = copy.deepcopy(TINY)
    del configuration["fine_tuning"]
    dataset = configuration["datasets"].pop("halfcheetah-random") | {"recipe": "heterogeneous"}
    dataset["sources"] = [{"actor": "uniform"}, {"actor": "uniform", "share": 3}]
    configuration["datasets"]["halfcheetah-heterogeneous-2"] = dataset
    small = {"hidden_widths": [16, 16], "policy_hidden_widths": [16, 16], "policies": 2, "batch_size": 16}
    configuration["pretraining"] |= {"agents": 3, "agents_per_job": 2}
    configuration["pretraining"]["schedule"] |= {"updates": 20, "evaluation_interval": 10}
    configuration["pretraining"]["methods"] = {
        "multi_source": {"config": small},
        "lbrac_v": {"config": small},
    }
    held_out = {"transitions": 80, "seed": 3}
    labels = {"labels": ["multi_source", "lbrac_v"], "datasets": ["halfcheetah-heterogeneous-2"]}
    configuration["behaviours"] = {**labels, "held_out": held_out}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(configuration))
    process = snakemake("--cores", "2", "--configfile", "mine.yaml")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    folder = tmp_path / "results/tiny/behaviours/halfcheetah-heterogeneous-2"
    for label in labels["labels"]:
        measures = read_curves(folder / f"{label}.measures.parquet")
        assert set(measures["metric"]) == {
            "assignment_purity",
            "assignment_nmi",
            "held_out_log_likelihood",
        }
        assert set(measures["seed"]) == {0, 1, 2} and set(measures["step"]) == {20}
        rows = read_table(folder / f"{label}.parquet", BEHAVIOURS)[0].to_pandas()
        learned = {"learned": 3} if label == "lbrac_v" else {}
        assert rows["kind"].value_counts().to_dict() == {"trajectory": 24, "behaviour": 6, **learned}
        rows = rows[rows["kind"] == "trajectory"]
        assert rows.groupby("agent")["source"].apply(list).tolist() == [[0] * 4 + [1] * 4] * 3
        assert set(rows["behaviour"]) <= {0, 1}
    assert {path.suffix for path in (tmp_path / "results/tiny/figures").glob("behaviours.*")} == {
        ".pdf",
        ".png",
        ".csv",
        ".txt",
    }


def wait_for_checkpoint(folder: Path) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in folder.glob("train/**/checkpoint.safetensors"):
            return path
        time.sleep(0.02)
    raise AssertionError(f"{os.fspath(folder)}: no checkpoint appeared")
