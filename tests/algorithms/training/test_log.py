"""The log of a training loop: exact means, one row a seed and metric, a stop at the first bad number."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
import torch

from algorithms.training.log import TrainingLog
from storage import UserError
from storage.curves import COLUMNS


def make_log() -> TrainingLog:
    return TrainingLog("pilot", "sac", "made-up", [3, 7], phase="online", unit="step")


def values(*rows: tuple[float, float]) -> list[dict[str, torch.Tensor]]:
    return [{"critic_loss": torch.tensor(row), "q_mean": 10 * torch.tensor(row)} for row in rows]


def test_rows_hold_means_since_the_last_row_and_what_was_measured() -> None:
    log = make_log()
    log.write(log.take(0), {"return": np.array([1.5, 2.5])})
    for update, metrics in enumerate(values((1, 2), (2, 4), (6, 9)), start=1):
        log.add(metrics, update)
    log.write(log.take(100), {"return": np.array([5.0, 6.0])})
    log.add(values((8, 8))[0], 4)
    means = log.write(log.take(200), {})
    assert means == {"critic_loss": 8.0, "q_mean": 80.0}

    frame = log.frame()
    assert tuple(frame.columns) == COLUMNS
    assert (frame[["run", "method", "dataset"]] == ["pilot", "sac", "made-up"]).all(axis=None)
    found = {(row.seed, row.step, row.metric): row.value for row in frame.itertuples()}
    assert found == {
        (3, 0, "return"): 1.5,
        (7, 0, "return"): 2.5,
        (3, 100, "critic_loss"): 3.0,
        (7, 100, "critic_loss"): 5.0,
        (3, 100, "q_mean"): 30.0,
        (7, 100, "q_mean"): 50.0,
        (3, 100, "return"): 5.0,
        (7, 100, "return"): 6.0,
        (3, 200, "critic_loss"): 8.0,
        (7, 200, "critic_loss"): 8.0,
        (3, 200, "q_mean"): 80.0,
        (7, 200, "q_mean"): 80.0,
    }


def test_a_metric_is_known_by_its_name_wherever_it_stands() -> None:
    log, [first, second] = make_log(), values((1, 2), (3, 6))
    log.add(first, 1)
    log.add(dict(reversed(second.items())), 2)
    assert log.write(log.take(2), {}) == {"critic_loss": 3.0, "q_mean": 30.0}


@pytest.mark.parametrize("names", ["critic_loss, entropy", "critic_loss", "critic_loss, entropy, q_mean"])
def test_an_update_that_measures_something_else_than_those_before_it_is_refused(names: str) -> None:
    log = make_log()
    log.add(values((1, 2))[0], 41)
    other = {name: torch.tensor([1.0, 2.0]) for name in names.split(", ")}
    expected = (
        f"pilot/sac/made-up: update 42 measures {names}, and those before it since the last row critic_loss,"
        " q_mean: expected the same metrics"
    )
    with pytest.raises(UserError, match=expected):
        log.add(other, 42)
    log.take(42)
    log.add(other, 43)  # where a row begins, another phase may


def test_sums_do_not_lose_small_terms() -> None:
    log = make_log()
    for update in range(2000):
        log.add({"critic_loss": torch.tensor([1e7, 0.1])}, update + 1)
        log.add({"critic_loss": torch.tensor([1.0, 0.1])}, update + 1)
    log.write(log.take(1), {})
    mean = log.frame().value.to_numpy()
    assert mean[0] == (1e7 + 1) / 2 and mean[1] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_stops_the_run_at_once_and_is_named(bad: float) -> None:
    log = make_log()
    log.add(values((1, 2))[0], 41)
    metrics = {"critic_loss": torch.tensor([1.0, 2.0]), "q_mean": torch.tensor([1.0, bad])}
    with pytest.raises(UserError, match="pilot/sac/made-up: q_mean of seed 7 became non-finite at update 42"):
        log.add(metrics, 42)


@pytest.mark.parametrize("q", [1001.0, -1001.0, 1e30])
def test_a_q_beyond_its_bound_stops_the_run_at_once_and_is_named(q: float) -> None:
    log = TrainingLog("pilot", "sac", "made-up", [3, 7], largest_q=1000.0, phase="online", unit="step")
    log.add({"critic_loss": torch.tensor([1e9, 1.0]), "q_mean": torch.tensor([1000.0, -1000.0])}, 41)
    expected = rf"pilot/sac/made-up: q_mean of seed 7 became {re.escape(f'{q:.4g}')} at update 42"
    with pytest.raises(UserError, match=f"{expected}, expected at most 1000 .*largest_q"):
        log.add({"critic_loss": torch.tensor([1.0, 1.0]), "q_mean": torch.tensor([1.0, q]).double()}, 42)


def test_the_bound_is_far_beyond_what_a_task_can_give() -> None:
    make_log().add({"q_mean": torch.tensor([15 / (1 - 0.99), -1e5])}, 1)
    with pytest.raises(UserError, match="became 2e\\+06 at update 2, expected at most 1e\\+06"):
        make_log().add({"q_mean": torch.tensor([0.0, 2e6])}, 2)


def zero_shares(log: TrainingLog, *rows: tuple[float, float]) -> None:
    for row in rows:
        log.add({"online_weight_zero_fraction": torch.tensor(row)}, 1)


def test_a_density_network_that_is_zero_everywhere_is_named_when_it_dies() -> None:
    log = make_log()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero_shares(log, (1.0, 0.0), (0.99, 1.0))
        log.write(log.take(100), {})
    zero_shares(log, (1.0, 0.0), (1.0, 1.0))
    with pytest.warns(
        UserWarning, match="pilot/sac/made-up: the density network of seed 3 is dead at step 200"
    ):
        log.write(log.take(200), {})
    zero_shares(log, (1.0, 1.0))
    with pytest.warns(UserWarning, match="of seed 7 is dead at step 300") as warned:  # of seed 3 it is known
        log.write(log.take(300), {})
    assert len(warned) == 1


def test_a_log_restored_through_json_goes_on_with_the_same_bits() -> None:
    left_alone, log = make_log(), make_log()
    generator = torch.Generator().manual_seed(0)
    rows = values(*(torch.randn(2, generator=generator).tolist() for _ in range(30)))
    for update, metrics in enumerate(rows):
        for each in (left_alone, log):
            each.add(metrics, update)
            if update % 7 == 6:
                each.write(each.take(update), {"return": np.array([0.1 * update, 1 / 3])})
        restored = make_log()
        restored.restore(json.loads(json.dumps(log.state())))
        log = restored
    assert log.frame().equals(left_alone.frame())
    assert log.write(log.take(30), {}) == left_alone.write(left_alone.take(30), {})


def test_what_is_looked_at_now_and_then_has_a_mean_of_its_own_that_survives_a_checkpoint() -> None:
    log, resumed = make_log(), make_log()
    for update in range(1, 5):
        log.add({"q_mean": torch.tensor([1.0, 2.0])}, update)
        if update % 2:
            log.add_thinned({"offline_fraction_logged": torch.tensor([update / 4, 0.5])})
        if update == 3:
            resumed.restore(json.loads(json.dumps(log.state())))
    resumed.add({"q_mean": torch.tensor([1.0, 2.0])}, 4)
    for each in (log, resumed):
        each.write(each.take(10), {})
        rows = {(row.seed, row.metric): row.value for row in each.frame().itertuples()}
        assert rows == {
            (3, "q_mean"): 1.0,
            (7, "q_mean"): 2.0,
            (3, "offline_fraction_logged"): 0.5,
            (7, "offline_fraction_logged"): 0.5,
        }
