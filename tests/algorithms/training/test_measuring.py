"""Rows measured beside learning are the rows measured at once, after a stop too; failures are not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.training.acceleration import Compute
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.measuring import Measured, Measuring
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule
from storage import UserError
from tests.algorithms.by_name import METHODS, OFFLINE_METHODS
from tests.algorithms.training.test_cuda_graphs import stopping_after
from tests.made_up import made_up_transitions

ENVIRONMENT, SEEDS = "InvertedDoublePendulum-v4", [0, 1]
SMALL: dict[str, Any] = {"hidden_widths": (8, 8), "batch_size": 16}
ONLINE = OnlineSchedule(
    steps=170, block_size=50, evaluation_interval=100, evaluation_episodes=2, checkpoint_interval=50
)
OFFLINE = OfflineSchedule(updates=60, evaluation_interval=20, evaluation_episodes=2, checkpoint_interval=20)


def train(kind: str, folder: Path, beside: bool) -> pd.DataFrame:
    """The curve of a job that is measured beside its learning, or not."""
    job = Job("test", kind, "made-up", ENVIRONMENT, SEEDS, "hash", folder, Compute(evaluation_beside=beside))
    data = made_up_transitions([30, 20])
    if kind in OFFLINE_METHODS:
        method = OFFLINE_METHODS[kind]
        return pretrain(method, method.Config(**SMALL), OFFLINE, data, job).curve
    numbers = {**SMALL, "ensemble_size": 2} if kind == "off2on" else SMALL
    config = METHODS[kind].Config(**numbers)
    agents = ActorCritics(range(4), 11, 1, config)
    agents.initialise()
    members = [one_agent(agents, index) for index in range({"off2on": 4, "sac": 0}[kind])]
    return fine_tune(METHODS[kind], config, ONLINE, data if members else None, members, job)


@pytest.mark.parametrize("kind", ["cql", "off2on"])
@pytest.mark.parametrize("updates", [15, 25, 35, 45, 55])
def test_a_job_stopped_while_a_row_is_awaited_ends_with_the_same_curve(
    kind: str, updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = train(kind, tmp_path / "at once", beside=False)
    left = (updates if kind == "cql" else 6 * updates) - 1
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "add", stopping_after(left, TrainingLog.add))
        with pytest.raises(KeyboardInterrupt):
            train(kind, tmp_path / "stopped", beside=True)
    assert train(kind, tmp_path / "stopped", beside=True).equals(at_once)


def measured_in_turn(beside: bool, measures: list[Callable[[], Measured]]) -> tuple[Measuring, TrainingLog]:
    log = TrainingLog("run", "method", "data", [0], phase="online", unit="step")
    measuring = Measuring(log, beside)
    for step, measure in enumerate(measures):
        log.add({"td_error": torch.tensor([float(step)])}, step)
        measuring.begin(step, measure)
    return measuring, log


def test_learning_goes_on_before_a_row_is_measured_and_rows_keep_their_order() -> None:
    may_end = threading.Event()

    def slow() -> Measured:
        assert may_end.wait(timeout=60)
        return {"return": np.array([7.0])}

    measuring, log = measured_in_turn(True, [lambda: {"return": np.array([3.0])}, slow])
    assert measuring.awaited(1) == [1, [("td_error", [1.0])]]
    assert log.frame()["step"].unique().tolist() == [0]  # so begin() did not wait for what is slow
    may_end.set()
    assert measuring.awaited(2) is None  # a checkpoint of a later step does
    rows = log.frame()[["step", "metric", "value"]].values.tolist()
    assert rows == [[0, "td_error", 0.0], [0, "return", 3.0], [1, "td_error", 1.0], [1, "return", 7.0]]


@pytest.mark.parametrize("beside", [False, True])
def test_a_measurement_that_fails_ends_the_run_with_its_sentence(beside: bool) -> None:
    def failing() -> Measured:
        raise UserError("the simulator is gone")

    with pytest.raises(UserError, match="the simulator is gone"):
        measured_in_turn(beside, [failing])[0].finish()


def test_agents_as_they_are_act_the_same_whatever_is_learned_after() -> None:
    agents = ActorCritics(SEEDS, 11, 1, SACConfig(hidden_widths=(8, 8)))
    agents.initialise()
    states = torch.randn(2, 5, 11)
    before = agents.policy(states).mode()
    still = agents.as_they_are()
    with torch.no_grad():
        for parameter in agents.parameters():
            parameter.add_(1.0)
    assert torch.equal(still.policy(states).mode(), before)
    assert not torch.equal(agents.policy(states).mode(), before)
