"""The pages on own methods, own datasets and Python: what they print is run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from storage.curves import read_curves
from storage.files import read_json
from workflow.code_hash import ROOT

FILE = re.compile(r'(?:"""|# )([\w/]+\.(?:py|yaml))')
SNAKEMAKE = f"{sys.executable} -m snakemake --snakefile {ROOT / 'Snakefile'}"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)


def run_page(page: str, folder: Path) -> str:
    """Write the files of a page into `folder`, and run its commands there; what they print."""
    commands = []
    for block in blocks(page):
        if named := FILE.match(block):
            (folder / named[1]).parent.mkdir(exist_ok=True)
            (folder / named[1]).write_text(block)
        commands += re.findall(r"^(?:PYTHONPATH=\. )?(?:snakemake|python \w+\.py).*", block, re.MULTILINE)
    commands = commands or [f"python {path.name}" for path in folder.glob("*.py")]
    printed = ""
    for command in commands:
        named = re.sub(r"^(PYTHONPATH=\. )?snakemake", SNAKEMAKE, command)
        asked = re.sub(r"^python", sys.executable, named).replace("--cores 4", "--cores 1")
        found = subprocess.run(
            asked,
            shell=True,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
                "MINARI_DATASETS_PATH": str(folder / "minari"),
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert found.returncode == 0, f"{command}\n{found.stdout}"
        printed += found.stdout
    return printed


def curves(folder: Path, name: str) -> pd.DataFrame:
    return read_curves((folder / "results" / name / "curves").rglob("*.parquet"))


def test_the_page_on_own_methods_runs_as_printed(tmp_path: Path) -> None:
    run_page("your_own_method.md", tmp_path)
    assert set(curves(tmp_path, "mine")["method"]) == {"cql", "cloning", "off2on"}
    assert set(curves(tmp_path, "anchored")["method"]) == {"prior", "anchored"}
    claims = read_json(tmp_path / "results" / "mine" / "reproduction.json")["claims"]
    own = next(claim for claim in claims if claim["id"] == "cloning_above_off2on")
    assert own["verdict"] != "not_run"


def test_the_page_on_own_datasets_runs_as_printed(tmp_path: Path) -> None:
    printed = run_page("your_own_dataset.md", tmp_path)
    assert read_json(tmp_path / "results/mine/datasets/own-clumsy.json")["episodes"] == 40
    for name, dataset in (("mine", "clumsy"), ("ant", "ant-uniform")):
        found = curves(tmp_path, name)
        assert set(found["dataset"]) == {dataset}
        assert (tmp_path / "results" / name / "figures" / "learning_curves.png").exists()
        assert (tmp_path / "results" / name / "figures" / "datasets.png").exists()
        assert re.search(rf"^off2on +{dataset} +3 ", printed, re.MULTILINE)
        # The closing table's scores are the curves' own.
        kept = pd.read_csv(tmp_path / "results" / name / "reproduction.csv").set_index("method")
        scores = found[(found["metric"] == "normalised_score") & (found["method"] == "off2on")]
        last = scores[scores["step"] == scores["step"].max()]["value"]
        assert last.min() <= kept.loc["off2on", "end"] <= last.max()


@pytest.mark.parametrize("page", ["python.md"])
def test_the_page_on_python_runs_as_printed(page: str, tmp_path: Path) -> None:
    printed = run_page(page, tmp_path)
    assert "normalised_score" in printed and re.search(r"^\[\[.*\]\]$", printed, re.MULTILINE)
