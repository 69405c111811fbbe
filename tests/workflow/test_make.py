"""What `make` removes, checks and reports on is the folder of the configuration's own results, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.checksums import write_checksums
from workflow.code_hash import ROOT

KEPT = ("results/reference/curve", "results/other/curve", "results/mine/curve", "config/mine.yaml", "keep")
MINE = "extends: pilot.yaml\nname: mine\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with results of three names, where the commands of the Makefile find this environment."""
    for name in KEPT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(MINE)
    for name in ("Makefile", "requirements.lock", "requirements-torch.lock"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "snakemake").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / ".venv" / ".installed-cpu").touch()
    return tmp_path


def make(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(["make", *arguments], cwd=place, env=environment, text=True, capture_output=True)


WRONG = [
    ("config/reference.yaml", "extends: pilot.yaml\nname: reference\n"),
    ("config/up.yaml", "extends: pilot.yaml\nname: ..\n"),
    ("config/none.yaml", "extends: pilot.yaml\nname:\n"),
    ("config/twice.yaml", "extends: pilot.yaml\nname: mine\nname: other\n"),
]
NAMED = ["", "config/", "config/absent.yaml", "config/mine.yaml results/other", "a$$(rm -rf results).yaml"]


@pytest.mark.parametrize(
    ("target", "given"),
    [
        *(("clean", given) for given in [*NAMED, *(name for name, _ in WRONG)]),
        *((target, given) for target in ("verify", "report", "reproduce") for given in ("", WRONG[0][0])),
    ],
)
def test_without_a_right_configuration_nothing_is_done(place: Path, target: str, given: str) -> None:
    for name, content in WRONG:
        (place / name).write_text(content)
    process = make(place, target, f"CONFIG={given}")
    assert process.returncode == 2
    assert "Configuration: " in process.stderr and "Traceback" not in process.stderr
    assert "configfile>" not in process.stdout  # Snakemake was not called
    assert all((place / name).exists() for name in KEPT)


@pytest.mark.parametrize("name", ["mine.yaml", "another name.yaml", "results other.yaml", "it's.yaml"])
def test_clean_removes_the_results_that_the_configuration_names_and_no_others(place: Path, name: str) -> None:
    (place / "config" / name).write_text(MINE)
    process = make(place, "clean", f"CONFIG=config/{name}")
    assert process.returncode == 0, process.stderr
    assert [kept for kept in KEPT if not (place / kept).exists()] == ["results/mine/curve"]
    assert not (place / "results" / "mine").exists()


def test_verify_and_report_go_by_the_name_in_the_configuration(place: Path) -> None:
    (place / "config" / "a file.yaml").write_text(MINE)
    write_checksums(place / "results" / "mine")
    process = make(place, "verify", "CONFIG=config/a file.yaml")
    assert process.returncode == 0, process.stderr
    assert "1 files of results/mine are as the run left them" in process.stdout
    process = make(place, "report", "CONFIG=config/a file.yaml")
    assert process.returncode == 2
    assert "results/mine/reproduction.txt is missing" in process.stderr


def test_reproduce_refuses_a_template_before_snakemake_evaluates_it(place: Path) -> None:
    (place / "config" / "template.yaml").write_text("__use_yte__: true\nname: ?open('made', 'w').name\n")
    process = make(place, "reproduce", "CONFIG=config/template.yaml")
    assert process.returncode == 2
    assert "config/template.yaml has the key '__use_yte__'" in process.stderr
    assert "configfile>" not in process.stdout
    assert not (place / "made").exists()
