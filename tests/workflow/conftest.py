"""What the workflow's tests share: the smoke configuration, and Snakemake as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.code_hash import ROOT

Snakemake = Callable[..., "subprocess.Popen[str]"]
DryRun = Callable[..., tuple[int, str]]

PLANNER = """
import json, os, sys
from pathlib import Path
# Once for all: the imports, and what a first plan reads of methods and code.
import snakemake.cli, workflow.configuration, workflow.table, workflow.chains

workflow.table.Table(workflow.configuration.read(Path("config/smoke.yaml")))
sys.path[0] = ""  # the folder of the run, as for `python -m snakemake`
for line in sys.stdin:
    folder, said, arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        os.environ["PYTHONPATH"] += os.pathsep + folder
        sys.argv = ["snakemake", *arguments]
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        sys.exit(snakemake.cli.main(arguments))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Snakemake's command line in forks of one process that has planned before: a dry run is imports mostly."""


@pytest.fixture
def smoke() -> dict[str, Any]:
    """A correct configuration, to be spoilt."""
    configuration: dict[str, Any] = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    return configuration


def environment(*folders: Path) -> dict[str, str]:
    """Variables of a Snakemake that no job of another has started, with `folders` to import from."""
    own = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
    return own | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *folders)))}


@pytest.fixture
def snakemake(tmp_path: Path) -> Snakemake:
    """Start `snakemake` with these arguments in an empty folder, its output in one pipe."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(tmp_path),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


@pytest.fixture(scope="session")
def planner() -> Iterator[subprocess.Popen[str]]:
    """The process of `PLANNER`."""
    command = [sys.executable, "-c", PLANNER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def dry_run(planner: subprocess.Popen[str], tmp_path: Path, tmp_path_factory: Any) -> DryRun:
    """Exit status and output of `snakemake --dry-run` with these arguments, in an empty folder."""
    said = tmp_path_factory.mktemp("said") / "output"

    def run(*arguments: str) -> tuple[int, str]:
        command = ["--snakefile", str(ROOT / "Snakefile"), "--dry-run", *arguments]
        assert planner.stdin is not None and planner.stdout is not None
        said.write_text("")
        planner.stdin.write(json.dumps([str(tmp_path), str(said), command]) + "\n")
        planner.stdin.flush()
        return int(planner.stdout.readline()), said.read_text()

    return run
