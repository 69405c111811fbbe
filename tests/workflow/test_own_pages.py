"""The pages on own methods, own datasets and Python: what they print is run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

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
        status, said = run(command, folder)
        assert status == 0, f"{command}\n{said}"
        printed += said
    return printed


def run(command: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a page's command in `folder`, with one core."""
    named = re.sub(r"^(PYTHONPATH=\. )?snakemake", SNAKEMAKE, command)
    found = subprocess.run(
        re.sub(r"^python", sys.executable, named).replace("--cores 4", "--cores 1"),
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
    return found.returncode, found.stdout


def curves(folder: Path, name: str) -> pd.DataFrame:
    return read_curves((folder / "results" / name / "curves").rglob("*.parquet"))


def test_the_page_on_own_methods_runs_as_printed(tmp_path: Path) -> None:
    printed = run_page("your_own_method.md", tmp_path)
    results = tmp_path / "results" / "mine"
    assert set(curves(tmp_path, "mine")["method"]) == {"cql", "cloning", "off2on"}
    assert re.search(r"^cloning +inverted-double-pendulum-random +3 ", printed, re.MULTILINE)
    assert set(pd.read_csv(results / "figures/learning_curves.csv")["method"]) == {"cloning", "off2on"}
    claims = {claim["id"]: claim for claim in read_json(results / "reproduction.json")["claims"]}
    assert claims["cloning_above_off2on"]["verdict"] != "not_run"
    assert "ends_above_sac_ft" in claims  # the paper's beside it

    source = tmp_path / "my_package" / "cloning.py"
    own = source.read_text()
    assert len(own.splitlines()) < 60
    source.write_text(own.replace("log_density(batch.actions)", "log_density(batch.actions.flip(0))"))
    status, said = run("snakemake --cores 1 --configfile mine.yaml", tmp_path)
    assert status == 1
    assert "the method my_package.cloning:Cloning mixes runs" in said

    # The offline method with its own phase before it, judged without fine-tuning.
    results = tmp_path / "results" / "anchored"
    offline = curves(tmp_path, "anchored")
    assert set(offline["method"]) == {"prior", "anchored"}
    assert set(offline[offline["metric"] == "prior_log_density"]["seed"]) == set(range(6))
    drawn = pd.read_csv(results / "figures/learning_curves.csv")
    assert set(drawn["method"]) == {"prior", "anchored"} and set(drawn["step"]) == {0, 150, 300}
    assert set(drawn["along"]) == {"gradient updates"} and set(drawn["runs"]) == {1, 6}
    claim = [
        {"id": "anchored_above_prior", "says": "It ends above.", "statistic": "mean_difference"}
        | {"methods": ["anchored", "prior"], "datasets": "all", "step": 300, "earliest": 300}
    ]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claim))
    judged = "results/anchored/reproduction.json --configfile anchored.yaml --config claims=claims.yaml"
    status, said = run(f"snakemake --cores 1 {judged}", tmp_path)
    assert status == 0, said
    claims = {claim["id"]: claim for claim in read_json(results / "reproduction.json")["claims"]}
    assert claims["anchored_above_prior"]["ours"]["runs"] == 6
    assert claims["anchored_above_prior"]["verdict"] != "not_run"


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
