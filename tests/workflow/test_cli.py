"""What every step's command line promises: help, one sentence for a person, a log, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.code_hash import ROOT

STEP = """
import sys, time
from pathlib import Path
from tqdm import tqdm
from storage import UserError
from storage.files import atomic_path
from workflow import cli

def main(options):
    if options.do == "refuse":
        raise UserError("The kettle is empty: expected water.")
    if options.do == "fail":
        raise RuntimeError("a defect")
    if options.do == "judge":
        import analysis.intervals  # whose libraries log to what standard error is, and close that at exit
        return
    if options.do == "overflow":
        import numpy
        numpy.zeros(2**58)
    if options.do == "overflow_torch":
        import torch
        torch.empty(2**58)
    if options.do == "count":
        for _ in tqdm(range(3), desc="counting"):
            pass
        return
    with atomic_path(Path("result")) as temporary:
        temporary.write_text("half")
        Path("started").touch()
        time.sleep(60)

arguments = cli.parser("A step.")
arguments.add_argument("do")
cli.run(main, arguments)
"""


@pytest.fixture
def step(tmp_path: Path) -> list[str]:
    """The command of a small step, to be run in `tmp_path`."""
    (tmp_path / "step.py").write_text(STEP)
    return [sys.executable, "step.py", "--log", "logs/step.log"]


def start(command: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables | {"PYTHONPATH": str(ROOT)} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["workflow.train", "workflow.steps.cost"])
def test_every_command_explains_itself(name: str) -> None:
    result = subprocess.run([sys.executable, "-m", name, "--help"], cwd=ROOT, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert "--log" in result.stdout


def test_what_a_person_has_to_mend_is_one_sentence_and_status_2(tmp_path: Path, step: list[str]) -> None:
    process = start([*step, "refuse"], tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors == "step: The kettle is empty: expected water.\n"
    assert (tmp_path / "logs" / "step.log").read_text().endswith(errors)


def test_a_defect_leaves_its_traceback_in_the_log(tmp_path: Path, step: list[str]) -> None:
    process = start([*step, "fail"], tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 1
    log = (tmp_path / "logs" / "step.log").read_text()
    assert "RuntimeError: a defect" in errors
    assert "RuntimeError: a defect" in log


@pytest.mark.parametrize("what", ["overflow", "overflow_torch"])
def test_memory_that_does_not_do_is_one_sentence(tmp_path: Path, step: list[str], what: str) -> None:
    process = start([*step, what], tmp_path, OFF2ON_FAILURES="failures.txt")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.startswith("step: The memory is not enough (") and errors.count("\n") == 1
    assert "fewer agents in a job (agents_per_job, seeds_per_job)" in errors
    assert (tmp_path / "failures.txt").read_text().startswith("The memory is not enough")


def test_a_log_begins_with_its_command_and_has_progress_as_lines(tmp_path: Path, step: list[str]) -> None:
    process = start([*step, "count"], tmp_path)
    _, errors = process.communicate()
    lines = (tmp_path / "logs" / "step.log").read_text().splitlines()
    assert process.returncode == 0
    assert "step.py" in lines[0]
    assert "3/3" in lines[-1]
    assert "\r" not in "".join(lines)
    assert errors == ""  # no terminal, no bar


def test_libraries_that_log_leave_nothing_on_the_terminal_at_exit(tmp_path: Path, step: list[str]) -> None:
    process = start([*step, "judge"], tmp_path)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def test_sigterm_leaves_nothing_half_written(tmp_path: Path, step: list[str]) -> None:
    process = start([*step, "write"], tmp_path, OFF2ON_FAILURES="logs/failures.txt")
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"logs", "started", "step.py"}
    assert errors.startswith("step: The job was asked to end (SIGTERM)")
    said = (tmp_path / "logs" / "failures.txt").read_text()
    assert said.startswith("The job was asked to end") and said.endswith("; the same command goes on\n")
    assert "fixed" not in said


def test_a_step_ends_with_the_workflow_that_started_it(tmp_path: Path, step: list[str]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = start([*step, "write"], tmp_path, OFF2ON_PARENT=str(parent.pid))
    wait_for(tmp_path / "started")
    parent.kill()
    parent.wait()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "result").exists()
