"""What the workflow's tests share: the smoke configuration, and Snakemake as a person calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.code_hash import ROOT

Snakemake = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def smoke() -> dict[str, Any]:
    """A correct configuration, to be spoilt."""
    configuration: dict[str, Any] = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    return configuration


@pytest.fixture
def snakemake(tmp_path: Path) -> Snakemake:
    """Start `snakemake` with these arguments in an empty folder, its output in one pipe."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start
