"""The table of jobs: one row a job, complete, short of name, and enough to run the job alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage import UserError
from workflow.code_hash import ROOT
from workflow.jobs import LONGEST, numbered, read
from workflow.table import HEADINGS, Table, printed


def test_what_a_job_needs_another_leaves_or_is_shipped(smoke: dict[str, Any]) -> None:
    jobs = Table(smoke).jobs.values()
    left = [path for job in jobs for path in job.outputs.values()]
    assert len(set(left)) == len(left)
    for job in jobs:
        assert set(job.needs) <= set(left), job.name


PENDULUM, CHEETAH = "inverted-double-pendulum-medium-expert", "halfcheetah-random"


@pytest.mark.parametrize(
    ("dataset", "change", "job", "sentence"),
    [
        (
            CHEETAH,
            {"file": "data.hdf5"},
            "record/halfcheetah/random",
            "is missing, .* expected a file that is",
        ),
        (CHEETAH, {"file": "."}, "record/halfcheetah/random", r"\. is no file, which record"),
        (
            PENDULUM,
            {"pretrained": "released"},
            f"train/{PENDULUM}/sac_ft/seeds_0-1",
            "agent_0.safetensors is missing, .* what the suite releases .*, or `train` in its place",
        ),
        (
            PENDULUM,
            {"pretrained": "authors"},
            f"train/{PENDULUM}/sac_ft/seeds_0-1",
            r"agent_0.safetensors is missing, .* the authors released, imported \(docs/importing",
        ),
    ],
)
def test_what_no_job_makes_and_is_missing_is_one_sentence_before_a_job_has_run_and_nothing_after(
    smoke: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
    change: dict[str, str],
    job: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    smoke["datasets"][dataset] |= change
    table, (rule, *names) = Table(smoke), job.split("/")
    with pytest.raises(UserError, match=sentence):
        table.needs(rule, names)
    for path in table.jobs[job].outputs.values():
        Path(path).mkdir(parents=True)
    assert table.needs(rule, names) == table.jobs[job].needs


@pytest.mark.parametrize("name", ["smoke", "smoke_images"])
def test_the_same_steps_record_and_train_vectors_and_images(name: str) -> None:
    configuration = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    jobs = [job for job in Table(configuration).jobs.values() if job.rule in ("record", "train")]
    names = ("record", "pretrain", "fine_tune")
    assert {job.step for job in jobs} == {f"workflow.steps.{step}" for step in names}


def test_committed_curves_leave_nothing_to_train(smoke: dict[str, Any]) -> None:
    rules = {job.rule for job in Table(smoke | {"curves": "recorded"}).jobs.values()}
    assert rules == {"statistics", "reproduction", "figure", "plan", "cost"}


def test_a_job_of_a_hundred_seeds_has_a_short_name_of_its_own(smoke: dict[str, Any]) -> None:
    smoke["fine_tuning"] |= {"seeds": list(range(100)), "seeds_per_job": 100, "members_shared": True}
    table = Table(smoke)
    [name] = {job.names[2] for job in table.jobs.values() if job.step.endswith("fine_tune")}
    assert name.startswith("seeds_0-to-99-") and len(name) < LONGEST
    assert table.find("train", ["halfcheetah-random", "sac", name]).about["seeds"] == list(range(100))
    assert numbered("seeds", [0, *range(2, 100)]) != numbered("seeds", [0, *range(1, 99), 99])
    assert numbered("seeds", [4, 0, 9]) == "seeds_4-0-9"


def test_a_file_has_all_of_its_job(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for job in Table(smoke).jobs.values():
        job.write()
        found = read(Path(job.file))
        assert (found.name, found.settings, found.needs) == (job.name, job.settings, job.needs)
        assert (found.outputs, found.about, found.state) == (job.outputs, job.about, job.state)
    place = Path("results/smoke/jobs/train/halfcheetah-random/off2on/seeds_0-1.json")
    before = place.stat().st_mtime_ns
    Table(smoke).find("train", ["halfcheetah-random", "off2on", "seeds_0-1"]).write()
    assert place.stat().st_mtime_ns == before


def test_a_job_runs_alone_by_its_file(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = Table(smoke)
    for job in (
        table.find("record", ["halfcheetah", "random"]),
        table.find("train", ["halfcheetah-random", "cql", "agents_0-3"]),
        table.find("train", ["halfcheetah-random", "off2on", "seeds_0-1"]),
    ):
        job.write()
        command = [sys.executable, "-m", "workflow.train", job.file]
        subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, check=True)
        assert all(Path(path).exists() for path in job.outputs.values())
    agents = sorted(path.name for path in Path(job.outputs["agents"]).iterdir())
    assert agents == [f"seed_{seed}_agent_{n}.safetensors" for seed in (0, 1) for n in (0, 1)]
    content = json.loads(Path(job.file).read_text()) | {"step": "os"}
    Path("other.json").write_text(json.dumps(content))
    ended = subprocess.run([*command[:-1], "other.json"], env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert ended.returncode == 2 and b"step is 'os': expected one of workflow.steps.behaviour" in ended.stderr


def test_the_table_is_printed_in_a_page(smoke: dict[str, Any]) -> None:
    jobs = Table(smoke).jobs
    lines = printed(jobs.values()).splitlines()
    assert lines[0].split() == " ".join(HEADINGS).split() and len(lines) < 60
    assert int(lines[-1].split()[0]) == len(jobs) - 2  # less plan and cost
    [line] = [line for line in lines if line.split()[:3] == ["train", "fine_tune", "off2on_fqe"]]
    assert line.split()[3:] == ["2", "2", "2", "fqe", "200", "steps"]


def test_a_line_of_jobs_of_several_lengths_says_each(smoke: dict[str, Any]) -> None:
    longer = {"methods": {"cql": {"schedule": {"updates": 120}}}}
    smoke["datasets"]["halfcheetah-random"]["pretraining"] = longer
    lines = printed(Table(smoke).jobs.values()).splitlines()
    [line] = [line for line in lines if line.split()[:3] == ["train", "pretrain", "cql"]]
    assert line.endswith("  100 updates, 120 updates")


def test_a_job_that_there_is_not_is_said_so(smoke: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no job train/a/b/c: snakemake plan lists those it has"):
        Table(smoke).find("train", ["a", "b", "c"])


def test_a_figure_of_the_offline_phase_is_drawn_beside_fine_tuning(smoke: dict[str, Any]) -> None:
    smoke["figures"] = ["learning_curves", "learning_curves_offline"]
    table = Table(smoke)
    online, offline = (table.find("figure", [name]) for name in smoke["figures"])
    assert offline.about["figure"] == online.about["figure"] == "learning_curves"
    assert offline.inputs["statistics"] == ["results/smoke/statistics_offline/statistics.parquet"]
    assert {Path(path).parts[4] for path in offline.inputs["curves"]} == {"cql", "awac", "bcq", "fqe"}
    statistics = table.find("statistics", ["statistics_offline"])
    assert statistics.inputs["curves"] == offline.inputs["curves"]
    before = statistics.fingerprint
    smoke["fine_tuning"]["schedule"]["steps"] = 300
    assert Table(smoke).find("statistics", ["statistics_offline"]).fingerprint == before
    smoke["pretraining"]["schedule"]["updates"] = 200
    assert Table(smoke).find("statistics", ["statistics_offline"]).fingerprint != before
