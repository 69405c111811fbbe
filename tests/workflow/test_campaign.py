"""A campaign works within its time, loses nothing when it is ended, and leaves whole files."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from algorithms.population.checkpoints import load
from algorithms.training.offline import joint_hash
from algorithms.training.stopping import STATUS
from storage import UserError
from storage.curves import read_curves, read_provenance, write_curves
from storage.files import atomic_path, exclusive
from tests.curves import OFFLINE, curve_row, frame
from tests.workflow.conftest import DryRun
from workflow import bundles, campaign
from workflow.code_hash import ROOT
from workflow.configuration import check, extended
from workflow.configuration import load as load_yaml
from workflow.cost.machine import Model, Speed
from workflow.lost_state import done, mark_begun, mark_of
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
    """The configuration with these keys changed, less those that are None."""
    path = folder / "tried.yaml"
    entries = {**configuration(), **changed}.items()
    path.write_text(yaml.safe_dump({key: value for key, value in entries if value is not None}))
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
    said, _ = process.communicate(timeout=900)
    return process.returncode, said


def curve(folder: Path, label: str, job: str) -> Any:
    return read_curves(folder / f"results/tried/curves/{DATASET}/{label}/{job}.parquet")


IMPATIENT = """
import os, signal
from pathlib import Path
from algorithms.methods.cql import CQL

class Impatient(CQL):
    def update(self, batch, step):
        if step == 100 and Path("once").exists():
            name = Path("once").read_text()
            Path("once").unlink()
            if name == "SIGTERM":  # a cluster sends it to every process
                os.kill(os.getpid(), signal.SIGTERM)
            if name:
                os.kill(os.getppid(), getattr(signal, name))
            Path("reached").touch()
        return super().update(batch, step)
"""
"""A method whose hundredth update has the campaign ended, by the signal that the file "once" names."""


def impatient(folder: Path, once: str | None, updates: int) -> Path:
    """A configuration of so many updates in a folder of its own, with that method."""
    folder.mkdir()
    (folder / "impatient.py").write_text(IMPATIENT)
    if once is not None:
        (folder / "once").write_text(once)
    section = configuration(updates)["pretraining"]
    section["methods"]["cql"]["method"] = "impatient:Impatient"
    return write(folder, pretraining=section)


def test_an_ended_or_killed_campaign_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    results = {}
    for name, once in (("ended", "SIGTERM"), ("killed", "SIGKILL"), ("calm", None)):
        folder = tmp_path / name
        arguments = [str(impatient(folder, once, 1500)), "--seconds", "900", "--bundle", "out"]
        status, said = ended(start(folder, *arguments))
        if name == "ended":
            assert status == STATUS, said
            assert "Left:\n  tried: 2 jobs" in said
            [checkpoint] = folder.rglob("checkpoint.safetensors")
            assert 100 < load(checkpoint)[1]["step"] < 1500
            with tarfile.open(folder / "out/bundle_0.tar") as archive:
                assert str(checkpoint.relative_to(folder)) in archive.getnames()
                shutil.rmtree(folder / "results/tried/state")
                archive.extractall(folder, filter="data")
        if name == "killed":
            assert status == -signal.SIGKILL
        if name != "calm":
            status, said = ended(start(folder, *arguments))
        assert status == 0, said
        results[name] = curve(folder, "sac_ft", "seeds_0")
    assert results["ended"].equals(results["calm"]) and results["killed"].equals(results["calm"])


def test_when_the_time_is_up_what_runs_is_asked_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = impatient(tmp_path / "short", "", 4000)
    monkeypatch.chdir(path.parent)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(path.parent)]))
    clock = SimpleNamespace(monotonic=lambda: 1e6 * Path("reached").exists(), sleep=time.sleep)
    monkeypatch.setattr(campaign, "time", clock)
    options = {"configurations": [path], "seconds": 300.0, "grace": 200.0, "processes": 1, "agents": 0}
    bundling = {"bundle": None, "bundle_files": 8, "bundle_interval": 60.0}
    campaign.main(argparse.Namespace(**options, **bundling, rehearse=False))
    [checkpoint] = path.parent.rglob("checkpoint.safetensors")
    assert 100 < load(checkpoint)[1]["step"] < 4000
    assert "Left:\n  tried: 2 jobs" in capsys.readouterr().out


def test_a_job_that_needs_more_than_its_grace_is_ended_and_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = campaign.Campaign([check(configuration())], Model(Speed(100.0, 1.0, 500.0)))
    file = found.members[0].file
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        found.running[file] = process
        found.stop(grace=0.0)
    assert process.returncode == -signal.SIGKILL
    assert not found.failed and not found.running and file in {member.file for member in found.left()}
    assert capsys.readouterr().out == f"ended after 0 s without a checkpoint: {file}\n"


def test_a_job_whose_state_is_lost_starts_from_the_newest_released_agents_named_so(tmp_path: Path) -> None:
    job = f"{DATASET}/cql/agents_0-0"
    status, said = ended(start(tmp_path, str(write(tmp_path, fine_tuning=None)), "--seconds", "900"))
    assert status == 0, said
    released = tmp_path / f"releases/{DATASET}/agent_0.safetensors"
    released.parent.mkdir(parents=True)
    shutil.move(tmp_path / f"results/tried/agents/{job}/agent_0.safetensors", released)
    shutil.rmtree(tmp_path / "results")
    longer = write(tmp_path, fine_tuning=None, pretraining=configuration(60)["pretraining"])
    arguments = [str(longer), "--seconds", "900"]
    begun = Table(check(load_yaml(Path(arguments[0])))).jobs[f"train/{job}"]
    mark = tmp_path / mark_of(begun)
    mark.parent.mkdir(parents=True)
    mark.write_text(json.dumps(asdict(begun)))
    status, said = ended(start(tmp_path, *arguments))
    assert status == 0, said
    sentence = f"the state of {begun.file} is lost: it starts from the newest released agents, of 40 updates"
    assert sentence in said
    assert curve(tmp_path, "cql", "agents_0-0").step.min() == 40
    agent = load(tmp_path / f"results/tried/agents/{job}/agent_0.safetensors")[1]
    for found in (agent, read_provenance(tmp_path / f"results/tried/curves/{job}.parquet")):
        lost = found["configuration"]["lost_state"]
        assert lost["agents"] == [str(released.relative_to(tmp_path))] and lost["updates"] == 40
    status, said = ended(start(tmp_path, *arguments))
    assert status == 0 and "lost" not in said and "begins" not in said


def test_a_lost_state_without_released_agents_that_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = check(configuration())
    jobs = [job for job in Table(checked).jobs.values() if job.rule == "train"]
    for job in jobs:
        job.write()  # as Snakemake does of all jobs
    model = Model(Speed(100.0, 1.0, 500.0))
    assert campaign.Campaign([checked], model).said == []
    for job in jobs:
        mark_begun(job)
    assert campaign.Campaign([checked], model).said == []
    shutil.rmtree("results/tried/state")
    found = campaign.Campaign([checked], model)
    assert all("is lost: it begins anew, as no released agents fit (" in said for said in found.said)
    assert len(found.said) == len(jobs) == 2
    assert [job.fingerprint for m in found.members for job in m.jobs if job.rule == "train"] == [
        job.fingerprint for job in jobs
    ]


def of_two_datasets() -> dict[str, Any]:
    """Return the configuration with a second recording beside its own, whose jobs can learn side by side."""
    entry = configuration()["datasets"][DATASET]
    datasets = {DATASET: entry, "inverted-double-pendulum-other": {**entry, "seed": 5}}
    return check({**configuration(), "datasets": datasets})


def test_the_state_of_jobs_side_by_side_is_not_lost_where_it_was_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their one checkpoint lies beside the first of them, and folders without files are in no bundle."""
    monkeypatch.chdir(tmp_path)
    checked, model = of_two_datasets(), Model(Speed(100.0, 1.0, 500.0))
    found = campaign.Campaign([checked], model, agents=2)
    [together] = [member for member in found.members if len(member.jobs) == 2]
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: None)
    found.begin(together)
    hashes = [job.fingerprint for job in together.jobs]
    checkpoint = together.jobs[0].state / joint_hash(hashes) / "checkpoint.safetensors"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_bytes(b"whole")
    bundles.write(Path("out"), found.files(), 1, 2**20)
    shutil.rmtree("results")
    with tarfile.open("out/bundle_0.tar") as archive:
        archive.extractall(filter="data")
    again = campaign.Campaign([checked], model, agents=2)
    assert checkpoint.exists() and again.said == []
    checkpoint.unlink()
    checkpoint.parent.rmdir()
    lost = campaign.Campaign([checked], model, agents=2).said
    assert len(lost) == 2 and all("is lost" in sentence for sentence in lost)


def test_agents_of_several_datasets_learn_in_one_process_what_they_learn_alone(tmp_path: Path) -> None:
    entry, other = configuration()["datasets"][DATASET], "inverted-double-pendulum-other"
    datasets = {DATASET: entry, other: {**entry, "seed": 5, "transitions": 260}}
    for name, agents in (("alone", "1"), ("together", "2")):
        folder = tmp_path / name
        folder.mkdir()
        path = write(folder, datasets=datasets, fine_tuning=None)
        arguments = [str(path), "--seconds", "900", "--agents", agents]
        status, said = ended(start(folder, *arguments))
        assert status == 0, said
        assert (f"beside it train/{DATASET}/cql/agents_0-0" in said) == (agents == "2")
    for dataset in datasets:
        alone, together = (tmp_path / name / "results/tried" for name in ("alone", "together"))
        curve = f"curves/{dataset}/cql/agents_0-0.parquet"
        pd.testing.assert_frame_equal(read_curves(together / curve), read_curves(alone / curve), rtol=1e-4)
        agent = f"agents/{dataset}/cql/agents_0-0/agent_0.safetensors"
        found, expected = load(together / agent), load(alone / agent)
        assert found[1] == expected[1]
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-6)


def test_a_rehearsal_of_first_contact_leaves_bundles_and_a_log(tmp_path: Path) -> None:
    path, output = write(tmp_path), tmp_path / "out"
    command = ["sh", str(ROOT / "benchmarks/gpu_first_contact.sh"), "agents", str(output), "900", str(path)]
    environment = {**os.environ, "DEVICE": "cpu", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=900)
    assert (output / "log").read_text().endswith("Left:\n  nothing\n")
    with tarfile.open(output / "bundle_0.tar") as archive:
        assert any("results/tried_rehearsal/agents" in name for name in archive.getnames())


def test_of_jobs_side_by_side_of_which_one_is_done_the_other_is_still_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked, model = of_two_datasets(), Model(Speed(100.0, 1.0, 500.0))
    alone = {m.file: m.seconds for m in campaign.Campaign([checked], model).members}
    [together] = [m for m in campaign.Campaign([checked], model, agents=2).members if len(m.jobs) == 2]
    first, second = together.jobs
    first.write()
    rows = frame([curve_row("m", "d", 0, 40, 0.0, phase=OFFLINE)])
    write_curves(first.outputs["curves"], rows, {"configuration": dict(first.settings)})
    Path(first.outputs["agents"]).mkdir(parents=True)
    left = {m.file: m.seconds for m in campaign.Campaign([checked], model, agents=2).left()}
    assert first.file not in left and left[second.file] == pytest.approx(alone[second.file])


def test_minutes_of_a_gpu_are_told_apart_from_core_hours() -> None:
    model = Model(Speed(100.0, 1.0, 500.0))
    found = campaign.Campaign([check({**configuration(), "compute": {"device": "cuda"}})], model)
    said = campaign.summary(found.members)
    assert re.fullmatch(r"  tried: 3 jobs, 0\.\d\d core-hours, 0\.\d minutes of an H100, unmeasured", said)


def test_tasks_with_images_can_be_planned() -> None:
    path = ROOT / "config/smoke_images.yaml"
    found = campaign.Campaign(
        [check(extended(load_yaml(path), path.parent))], Model(Speed(100.0, 1.0, 500.0))
    )
    assert re.fullmatch(r"  smoke_images: \d+ jobs, .*", campaign.summary(found.members))


def test_a_sweep_that_has_to_be_asked_for_is_left_out() -> None:
    path = ROOT / "config/figure_03_quick.yaml"
    configuration = check(extended(load_yaml(path), path.parent))
    found = campaign.Campaign([configuration], Model(Speed(100.0, 1.0, 500.0)))
    trained = {name for name, job in Table(configuration).jobs.items() if job.rule == "train"}
    members = {job.name for member in found.members for job in member.jobs}
    swept = trained - members
    assert swept and all("_at_" in name for name in swept)
    assert not any("_at_" in name for name in members)


def test_a_whole_campaign_leaves_what_snakemake_would(tmp_path: Path) -> None:
    path = write(tmp_path)
    status, said = ended(start(tmp_path, str(path), "--seconds", "900", "--processes", "2"))
    assert status == 0, said
    assert said.endswith("Left:\n  nothing\n")
    assert curve(tmp_path, "cql", "agents_0-0").step.max() == 40
    assert curve(tmp_path, "sac_ft", "seeds_0").step.max() == 20
    status, said = ended(start(tmp_path, str(path), "--seconds", "900"))
    assert status == 0 and "begins" not in said


def test_a_changed_setting_makes_its_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Model(Speed(100.0, 1.0, 500.0))
    members = campaign.Campaign([check(configuration())], model).members
    [first] = [job for member in members for job in member.jobs if job.rule == "record"]
    first.write()
    for place in first.outputs.values():
        Path(place).mkdir(parents=True)
    assert done(first)
    changed = configuration()
    changed["datasets"][DATASET]["seed"] = 2
    later = campaign.Campaign([check(changed)], model)
    assert first.file in {member.file for member in later.left()}


def test_what_snakemake_was_about_to_make_anew_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = configuration()
    changed["datasets"][DATASET]["seed"] = 2
    jobs, later = (
        [job for job in Table(check(each)).jobs.values() if job.rule in campaign.RULES]
        for each in (configuration(), changed)
    )
    for job in jobs:
        job.write()
        for name, place in job.outputs.items():
            if name == "curves":
                settings = {"configuration": dict(job.settings)}
                write_curves(place, frame([curve_row("m", "d", 0, 40, 0.0, phase=OFFLINE)]), settings)
            else:
                Path(place).mkdir(parents=True)
                os.utime(place, ns=(2**62, 2**62))  # after its job's file was written
        assert done(job)
    for job in later:
        job.write()  # as Snakemake does when it begins, before any of them has run
        for place in (place for name, place in job.outputs.items() if name != "curves"):
            os.utime(place, (0, 0))
        assert not done(job)


def test_snakemake_says_whose_settings_a_campaigns_curves_are_not_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: DryRun
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    for job in Table(check(load_yaml(path))).jobs.values():
        if job.rule in campaign.RULES:
            mark_begun(job)
            for name, place in job.outputs.items():
                if name == "curves":
                    rows = frame([curve_row("m", "d", 0, 40, 0.0, phase=OFFLINE)])
                    write_curves(place, rows, {"configuration": dict(job.settings)})
                else:
                    Path(place).mkdir(parents=True)
    said = "were made by a campaign with other settings or code than these"
    _, output = dry_run("--cores", "1", "--configfile", str(path))
    assert re.search(r"^(train|record) +\d", output, re.MULTILINE) is None and said not in output
    write(tmp_path, pretraining=configuration(60)["pretraining"])
    status, output = dry_run("--cores", "1", "--configfile", str(path))
    first = f"the first of them results/tried/curves/{DATASET}/cql/agents_0-0.parquet"
    assert re.search(r"^(train|record) +\d", output, re.MULTILINE) is None
    assert status == 0 and f"2 curves, {first}, {said}" in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "30"], "--seconds is 30: expected more than 35, 15 for the start of a job and 20"),
        (
            ["--seconds", "99", "--bundle", "out", "--bundle-bytes", "9999"],
            "hold no agent: expected room for",
        ),
        (
            ["--seconds", "99", "--bundle", "out", "--bundle-bytes", "13000"],
            "bundles of 13,000 bytes hold no agent: expected room for one file of 2,2",
        ),
        (["--seconds", "99", "--processes", "0"], "--processes is 0: expected at least 1"),
        (["--seconds", "99", "--bundle-files", "0"], "--bundle-files is 0: expected at least 1"),
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


def test_results_that_another_run_writes_are_left_alone(tmp_path: Path) -> None:
    with exclusive(tmp_path / "results/tried"):
        status, said = ended(start(tmp_path, str(write(tmp_path)), "--seconds", "99"))
    assert (status, said.count("\n")) == (2, 1)
    assert f"results/tried is already being written by another run (process {os.getpid()})" in said


def test_two_configurations_of_one_name_are_refused_before_anything_runs(tmp_path: Path) -> None:
    path, other = write(tmp_path), tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(configuration(60)))
    status, said = ended(start(tmp_path, str(path), str(other), "--seconds", "99"))
    assert (status, said.count("\n")) == (2, 1)
    assert f"{other} has the name 'tried', as {path} has: expected another" in said
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
    for job in (job for job in small.values() if job.rule == "behaviour"):
        # `train_behaviour` refuses what its training does not come to.
        assert all(step <= job.settings["schedule"]["steps"] for step in job.settings.get("checkpoints", []))
        assert "medium" not in job.settings


def test_what_a_job_is_writing_is_in_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone, under its final name, before it could be packed."""
    monkeypatch.chdir(tmp_path)
    checked = check(configuration())
    [job] = [job for job in Table(checked).jobs.values() if job.name.endswith("/cql/agents_0-0")]
    mark_begun(job)
    checkpoint = job.state / job.fingerprint / "checkpoint.safetensors"
    checkpoint.write_bytes(b"whole")
    with atomic_path(checkpoint) as temporary:
        temporary.write_bytes(b"half")
        packed = campaign.Campaign([checked], Model(Speed(100.0, 1.0, 500.0))).files()
    assert packed == [mark_of(job), checkpoint]


@pytest.mark.parametrize("name", ["manipulation", "paper"])
def test_nothing_in_a_rehearsal_takes_long(name: str) -> None:
    tiny = campaign.rehearsal(load_yaml(ROOT / f"config/{name}.yaml"))
    for entry in tiny["datasets"].values():
        scripts = entry.get("scripts", {})
        assert sum(scripts.get(kind, 0) for kind in ("prior", "task", "random")) <= 6
    assert tiny["fine_tuning"]["schedule"].get("updates_per_episode", 1) <= 2
    if "likelihood" in tiny:
        assert tiny["likelihood"]["config"]["updates"] <= 4


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


def test_bundles_that_are_written_anew_hold_nothing_older(tmp_path: Path) -> None:
    """All of them unpacked, in whatever order, are the files as they were last."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path, size in ((first, 60_000), (second, 50_000)):
        path.write_bytes(b"old" * (size // 3))
    bundles.write(tmp_path / "out", [first, second], 2, 100_000)
    for path in (first, second):
        path.write_bytes(b"new")
    bundles.write(tmp_path / "out", [first, second], 2, 100_000)
    packed = []
    for path in (tmp_path / "out").iterdir():
        with tarfile.open(path) as archive:
            packed += [archive.extractfile(member).read() for member in archive]  # type: ignore[union-attr]
    assert packed == [b"new", b"new"]


def test_a_file_that_is_replaced_while_it_is_packed_is_whole_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, measured = tmp_path / "checkpoint", tarfile.TarFile.gettarinfo
    checkpoint.write_bytes(b"old")

    def replacing(*arguments: Any, **named: Any) -> Any:
        found = measured(*arguments, **named)
        (tmp_path / "next").write_bytes(b"longer")
        os.replace(tmp_path / "next", checkpoint)
        return found

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", replacing)
    bundles.write(tmp_path / "out", [checkpoint], 1, 100_000)
    with tarfile.open(tmp_path / "out/bundle_0.tar") as archive:
        [packed] = [archive.extractfile(member).read() for member in archive]  # type: ignore[union-attr]
    assert packed in (b"old", b"longer")


def test_a_bundle_for_no_agent_is_refused() -> None:
    bundles.check_room(20_000, 5_000)
    with pytest.raises(UserError, match="hold no agent: expected room for one file of 15,000 bytes"):
        bundles.check_room(20_000, 15_000)
