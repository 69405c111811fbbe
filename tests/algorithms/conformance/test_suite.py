"""The suite finds what it is for: each kind of wrong method fails the test that names its fault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.methods import sac
from algorithms.methods.interface import Metrics
from algorithms.replay.batch import Batch
from tests.algorithms.conformance import test_conformance as suite
from tests.algorithms.conformance.cases import Case

ROOT = Path(__file__).resolve().parents[3]


class MixesRuns(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return super().update(batch._replace(rewards=batch.rewards - batch.rewards.mean()), step)


class DrawsFromElsewhere(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return super().update(batch._replace(rewards=batch.rewards + torch.rand(())), step)


class RemembersApart(sac.SACFineTuning):
    seen = 0

    def update(self, batch: Batch, step: int) -> Metrics:
        self.seen += 1
        return super().update(batch._replace(rewards=batch.rewards + self.seen), step)


class Alternates(sac.SACFineTuning):
    updates = 0

    def update(self, batch: Batch, step: int) -> Metrics:
        self.updates += 1
        metrics = super().update(batch, step)
        return super().update(batch, step) if self.updates % 2 else metrics


class AsksForANumber(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        metrics = super().update(batch, step)
        return metrics if float(metrics["q_mean"][0]) < 1e9 else {}


class KeepsAGradient(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return {**super().update(batch, step), "entropy_coefficient": self.agents.log_entropy_coefficient * 1}


class Unnamed(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return {**super().update(batch, step), "happiness": self.agents.entropy_coefficient}


class ExploresToEvaluate(sac.SACFineTuning):
    def exploit(self, observations: Tensor) -> Tensor:
        return self.explore(observations)


FAULTS = [
    (MixesRuns, suite.TestIndependence.test_beside_any_neighbour_a_row_is_the_same_to_the_bit),
    (DrawsFromElsewhere, suite.TestResume.test_the_same_seeds_give_the_same_bits),
    (RemembersApart, suite.TestResume.test_a_saved_state_is_all_that_further_updates_depend_on),
    (KeepsAGradient, suite.TestCurve.test_each_metric_is_one_number_a_row_without_gradient),
    (Unnamed, suite.TestCurve.test_every_row_is_whole_and_its_metrics_have_names),
    (ExploresToEvaluate, suite.TestActing.test_an_evaluation_depends_on_the_networks_alone_and_moves_nothing),
    (Alternates, suite.TestCapture.test_an_update_repeats_itself_after_its_period_but_for_its_turning_points),
    (AsksForANumber, suite.TestCapture.test_an_update_stays_on_its_device_and_waits_for_no_number),
]


@pytest.mark.parametrize(("method", "test"), FAULTS)
def test_a_fault_fails_the_test_that_names_it(
    method: type[Any],
    test: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if test is suite.TestCapture.test_an_update_stays_on_its_device_and_waits_for_no_number:
        request.getfixturevalue("_draws_without_numbers")
    given = {"self": None, "diverged": False, "tmp_path": tmp_path / "right"}

    def attempt(case: Case) -> None:
        test(**{name: {**given, "case": case}[name] for name in signature(test).parameters})

    attempt(Case("sac_ft", "online", "cql"))
    given["tmp_path"] = tmp_path / "wrong"
    monkeypatch.setattr(Case, "method", method)
    with pytest.raises((AssertionError, RuntimeError)):
        attempt(Case("theirs", "online", "cql"))


def test_one_command_tries_a_method_from_outside(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from algorithms.methods import sac\n"
        "class Right(sac.SACFineTuning):\n    pass\n"
        "class Wrong(sac.SACFineTuning):\n"
        "    def exploit(self, states):\n        return super().exploit(states)[:, 0]\n"
    )
    for name, status in (("Right", 0), ("Wrong", 1)):
        command = ["-m", "pytest", "-q", "tests/algorithms/conformance/test_conformance.py", "-k", "shape"]
        own = ["--method", f"theirs:{name}", "--settings", '{"batch_size": 16}']
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, *command, *own], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout
        assert f"theirs:{name}" in done.stdout or status == 0
        assert "1 passed" in done.stdout or "1 failed" in done.stdout
