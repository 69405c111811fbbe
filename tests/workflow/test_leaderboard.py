"""The committed leaderboard is what its rule writes from committed curves; others enter by a command."""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from algorithms.training.lookup import find_method
from algorithms.training.online import OnlineSchedule
from storage import UserError
from storage.curves import read_curves, read_provenance, write_curves
from storage.settings import build
from tests.analysis.test_outside import SAID, csv, curves
from workflow.code_hash import ROOT
from workflow.configuration import read
from workflow.leaderboard import BOARD, REFERENCE, main, page
from workflow.plan import Plan

RANDOM = "halfcheetah-random"


def test_the_committed_page_is_that_of_the_committed_curves() -> None:
    assert (ROOT / BOARD).read_text() == page(ROOT / REFERENCE), "snakemake leaderboard writes it anew"


def reference_of(folder: Path, *names: str) -> Path:
    """A copy of some of the committed runs."""
    for name in names:
        shutil.copytree(ROOT / REFERENCE / name / "curves", folder / name / "curves")
    return folder


def rows_of(text: str) -> list[str]:
    """The rows of its tables, without their heads."""
    return [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| method")]


def test_an_outside_file_enters_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference_of(tmp_path / REFERENCE, "fall")
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.setattr("workflow.leaderboard.ROOT", tmp_path)
    main(Namespace(files=[csv(tmp_path / "a.csv", curves(), SAID)]))
    text = (tmp_path / BOARD).read_text()
    assert "Data: D4RL v2, HalfCheetah-v2." in text
    assert "| mine " in text
    assert "Theirs, example.org/theirs" in text
    assert "Off2On slow" in text


def test_curves_that_lie_in_two_folders_are_one_row(tmp_path: Path) -> None:
    text = page(reference_of(tmp_path, "comparison", "figure_03"))
    assert text.count(" comparison |") == 5


def test_curves_that_two_folders_tell_differently_are_refused(tmp_path: Path) -> None:
    folder = reference_of(tmp_path, "comparison", "figure_03")
    one = "curves/halfcheetah-random/sac/seeds_0.parquet"
    frame, said = read_curves(folder / "figure_03" / one), read_provenance(folder / "figure_03" / one)
    write_curves(folder / "figure_03" / one, frame.assign(value=frame["value"] + 1), said)
    with pytest.raises(UserError, match="The curves give one point twice"):
        page(folder)


def test_recordings_of_one_name_that_differ_have_tables_of_their_own(tmp_path: Path) -> None:
    folders = ("comparison", "figure_03")
    actions = [read(ROOT / "config" / f"{name}.yaml")["datasets"][RANDOM]["actions"] for name in folders]
    assert actions == ["uniform", "untrained"]
    _, *tables = page(reference_of(tmp_path, *folders)).split("\n## ")
    found = [{row.split("|")[-3].strip() for row in rows_of(table)} for table in tables if RANDOM in table]
    assert sorted(found, key=str) == [{"comparison"}, {"figure_03"}]


def test_a_seed_that_was_run_again_to_the_same_returns_is_counted_once(tmp_path: Path) -> None:
    folder = reference_of(tmp_path, "figure_03", "ablations")
    one = "curves/halfcheetah-medium-replay/off2on/seeds_0.parquet"
    found = (read_curves(folder / name / one) for name in ("ablations", "figure_03"))
    again, first = (curves[curves["metric"] == "return"] for curves in found)
    assert (set(again["run"]), set(first["run"])) == ({"ablations"}, {"figure_03"})
    assert list(again["value"]) == list(first["value"])
    rows = [row for row in rows_of(page(folder)) if row.startswith("| Off2On  ")]
    assert [row.split("|")[4].strip() for row in rows] == ["3", "3"]  # seeds, on two datasets


def test_what_a_row_takes_is_of_the_settings_that_made_its_curves() -> None:
    plans: dict[Path, Plan] = {}
    for file in sorted((ROOT / REFERENCE).glob("*/curves/*/*/seeds_*.parquet")):
        folder, (dataset, label) = file.parents[3], file.parts[-3:-1]
        own, current = folder / "config.yaml", ROOT / "config" / f"{folder.name}.yaml"
        plan = plans.setdefault(folder, Plan(read(own if own.is_file() else current)))
        if plan.data.images or plan.configuration.get("demonstration"):
            continue
        settings = plan.fine_tuning.settings(dataset, label)
        method = find_method(settings["method"], "online")
        made, now = (
            (
                build(method.Config, said["config"], "config"),
                # What is measured besides costs no updates.
                replace(build(OnlineSchedule, said["schedule"], "schedule"), diagnostics_interval=0),
            )
            for said in (read_provenance(file)["configuration"], settings)
        )
        assert made == now, file


def test_curves_without_a_configuration_are_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / REFERENCE / "fall" / "curves", tmp_path / "unknown" / "curves")
    with pytest.raises(UserError, match=r"unknown has curves: expected config/unknown\.yaml"):
        page(tmp_path)


def test_pilots_and_tasks_with_images_are_left_out() -> None:
    text = (ROOT / BOARD).read_text()
    assert "inverted-double-pendulum" not in text
    assert "drawer" not in text
