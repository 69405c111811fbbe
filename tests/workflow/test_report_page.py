"""The report: a page of what a finished configuration shows, trained or drawn from committed curves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage import UserError
from tests.workflow.conftest import Snakemake
from workflow.code_hash import ROOT
from workflow.report_page import snakemake_arguments

CHECK = ROOT / "config" / "check.yaml"
RUN = Path("results", "check")


def page(folder: Path) -> dict[str, Any]:
    """Write the report of what is in `folder`; what it shows, by file."""
    result = subprocess.run(
        [sys.executable, "-m", "workflow.report_page", str(CHECK)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == 0, result.stdout
    written = (folder / RUN / "report.html").read_text(encoding="utf-8")
    shown = re.search(r'<script id="results">\s*var results = (\{.*?\});?\s*</script>', written, re.DOTALL)
    assert shown is not None
    files: dict[str, Any] = json.loads(shown[1])
    assert all(file["data_uri"].startswith("data:") for file in files.values())
    return {str(Path(name).relative_to(RUN)): file for name, file in files.items()}


def run(snakemake: Snakemake, *arguments: str) -> None:
    process = snakemake(*arguments, "--cores", "1", "--configfile", str(CHECK))
    output, _ = process.communicate()
    assert process.returncode == 0, output


def test_every_finished_configuration_has_its_report(snakemake: Snakemake, tmp_path: Path) -> None:
    committed = ROOT / "results" / "reference" / "check" / "curves"
    shutil.copytree(committed, tmp_path / "results" / "reference" / "check" / "curves")
    run(snakemake, "--config", "curves=recorded")
    drawn = page(tmp_path)
    assert set(drawn) == {
        "reproduction.txt",
        *(f"figures/learning_curves.{end}" for end in ("png", "csv", "txt")),
    }
    opening = re.search(r"var workflow_desc = (\".*\");", (tmp_path / RUN / "report.html").read_text())
    assert opening is not None
    description = json.loads(opening[1])
    assert re.search(r'<img [^>]*src="data:image/png;base64,[A-Za-z0-9+/]{1000}', description)
    assert "Off2On on inverted-double-pendulum-random; seeds: 3" in description
    said = re.sub(r"data:image/png;base64,[^\"]*", "", description)
    assert "AWAC" not in said and "BCQ" not in said
    assert "steps or updates, every seed" in drawn["figures/learning_curves.png"]["caption"]

    # As training leaves it: curves of its own, and a figure of its datasets.
    shutil.copytree(committed, tmp_path / RUN / "curves")
    run(snakemake, str(RUN / "figures" / "datasets.pdf"))
    trained = page(tmp_path)
    assert set(trained) == {*drawn, *(f"figures/datasets.{end}" for end in ("png", "csv", "txt"))}
    assert "returns of every dataset" in trained["figures/datasets.png"]["caption"]
    assert "demonstration" in trained["figures/datasets.png"]["caption"]


def test_results_that_are_not_finished_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.yaml"  # of which the repository has no curves either
    own.write_text("extends: check.yaml\nname: own\n")
    with pytest.raises(UserError, match=r"results/own/reproduction\.txt is missing.*make reproduce"):
        snakemake_arguments(own)
    run = Path("results", "own")
    run.mkdir(parents=True)
    (run / "reproduction.txt").touch()
    with pytest.raises(UserError, match=r"own/curves/\S+\.parquet is missing"):
        snakemake_arguments(own)
