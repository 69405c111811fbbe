"""A running job's curve is on disk at each evaluation, and in the sinks that are asked for."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from algorithms.training.jobs import Job as LoopJob
from algorithms.training.offline import OfflineSchedule, pretrain
from storage import UserError
from storage.curves import read_curves
from tests.algorithms.by_name import OFFLINE_METHODS
from tests.curves import OFFLINE, curve_row, frame
from tests.made_up import made_up_transitions
from tests.workflow.conftest import DryRun
from workflow import watching
from workflow.code_hash import ROOT
from workflow.configuration import check
from workflow.jobs import Job
from workflow.table import Table

SEEDS = [3, 5]
SETTINGS = {"fingerprint": "0123"}


def job(folder: Path, *asked: str) -> Job:
    about: Mapping[str, Any] = {"run": "mine", "watch": list(asked)}
    return Job("train", ("pendulum", "bc", "agents_0-1"), "step", SETTINGS, str(folder), about=about)


def curve(*steps: int) -> pd.DataFrame:
    """A return of ten times the seed and the step."""
    return frame(
        curve_row("bc", "pendulum", seed, step, 10.0 * seed + step, phase=OFFLINE)
        for step in steps
        for seed in SEEDS
    )


def test_the_curve_is_on_disk_at_each_evaluation(tmp_path: Path) -> None:
    method, seen = OFFLINE_METHODS["cql"], []
    running = job(tmp_path)
    watch = watching.watch_of(running)

    def watched(rows: pd.DataFrame) -> None:
        watch(rows)
        seen.append(read_curves(running.state / "curve.parquet")["step"].max())

    schedule = OfflineSchedule(updates=6, evaluation_interval=2, evaluation_episodes=1, checkpoint_interval=9)
    told = LoopJob(
        "mine", "cql", "pendulum", "InvertedDoublePendulum-v4", SEEDS, "0", tmp_path / "s", watch=watched
    )
    config = method.Config(hidden_widths=(8, 8), batch_size=16)
    trained = pretrain(method, config, schedule, made_up_transitions([30]), told)
    assert seen == [0, 2, 4, 6]
    pd.testing.assert_frame_equal(read_curves(running.state / "curve.parquet"), trained.curve)


def test_what_is_watched_changes_no_fingerprint(smoke: dict[str, Any]) -> None:
    before, after = Table(check(smoke)), Table({**check(smoke), "watch": ["tensorboard"]})
    for name, found in after.jobs.items():
        assert found.about["watch"] == ["tensorboard"]
        assert found.fingerprint == before.jobs[name].fingerprint


def test_a_sink_that_is_not_installed_is_one_sentence(
    smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"watch has wandb, which is not installed: expected it .*\.$"):
        check({**smoke, "watch": ["wandb"]})


def test_tensorboard_has_a_run_a_seed_and_a_resumed_job_shows_each_point_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = watching.watch_of(job(tmp_path, "tensorboard"))
    first(curve(0))
    first(curve(0, 10, 20))
    again = watching.watch_of(job(tmp_path, "tensorboard"))  # from a checkpoint of step 10
    again(curve(0, 10))
    again(curve(0, 10, 20, 30))
    for seed in SEEDS:
        folder = tmp_path / "tensorboard" / "pendulum" / "bc" / "agents_0-1" / f"seed_{seed}"
        events = EventAccumulator(str(folder)).Reload()
        points = [(event.step, event.value) for event in events.Scalars("return")]
        assert points == [(step, 10.0 * seed + step) for step in (0, 10, 20, 30)]


def test_weights_and_biases_has_a_run_a_job_that_a_resumed_one_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, logged = [], []

    def init(**options: Any) -> Any:
        begun.append(options)
        return SimpleNamespace(log=lambda values, step: logged.append((step, values)))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=object()))
    watch = watching.watch_of(job(tmp_path, "wandb"))
    watch(curve(0))
    watch(curve(0, 10))
    assert logged == [
        (step, {f"return/seed_{seed}": 10.0 * seed + step for seed in SEEDS}) for step in (0, 10)
    ]
    assert begun[0]["id"] == "train-pendulum-bc-agents_0-1-0123" and begun[0]["resume"] == "allow"


def planned(dry_run: DryRun, configuration: str) -> str:
    return dry_run("--cores", "1", "--configfile", str(ROOT / "config" / configuration))[1]


def test_a_dry_run_of_the_largest_configuration_is_a_page(dry_run: DryRun) -> None:
    said = planned(dry_run, "paper.yaml")
    assert re.search(r"^train +1632$", said, re.MULTILINE)
    assert len(said.splitlines()) < 70 and max(map(len, said.splitlines())) < 200


def test_a_dry_run_of_a_small_configuration_lists_its_jobs(dry_run: DryRun) -> None:
    assert "train off2on on inverted-double-pendulum-random, seeds_0-1-2" in planned(dry_run, "check.yaml")
