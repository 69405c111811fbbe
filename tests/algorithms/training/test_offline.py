"""The offline loop: its phases, its evaluations, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from algorithms.methods import cql
from algorithms.methods.awac import AWAC, AWACConfig
from algorithms.methods.cql import CQL, CQLConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, load_members
from algorithms.training.evaluation import evaluate
from algorithms.training.jobs import Job
from algorithms.training.offline import (
    OfflineSchedule,
    Part,
    PretrainedAgents,
    StartingAgents,
    pretrain,
    pretrain_together,
)
from storage import UserError
from tests.made_up import made_up_transitions

ENVIRONMENT = "InvertedDoublePendulum-v4"
METHOD = CQLConfig(hidden_widths=(8, 8), batch_size=16, sampled_actions=2)
SCHEDULE = OfflineSchedule(
    updates=20,
    cloning_warm_start=7,
    monte_carlo_warm_start=5,
    evaluation_interval=10,
    evaluation_episodes=2,
    checkpoint_interval=10,
)
COLD = replace(SCHEDULE, cloning_warm_start=0, monte_carlo_warm_start=0)
LENGTHS = (30, 20, 14)


def train(
    folder: Path,
    seeds: list[int],
    method: CQLConfig = METHOD,
    schedule: OfflineSchedule = SCHEDULE,
    starting: StartingAgents | None = None,
) -> PretrainedAgents:
    job, data = job_of("cql", folder, seeds), made_up_transitions(LENGTHS)
    return pretrain(CQL, method, schedule, data, job, starting)


def job_of(label: str, folder: Path, seeds: list[int]) -> Job:
    return Job("test", label, "made-up", ENVIRONMENT, seeds, "hash", folder)


def test_each_phase_has_its_updates_and_cql_counts_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def watch(module: Any, name: str) -> None:
        original = getattr(module, name)

        def watched(*arguments: Any) -> Any:
            calls.append((name, arguments[-1]))
            return original(*arguments)

        monkeypatch.setattr(module, name, watched)

    watch(CQL, "clone")
    watch(CQL, "fit_returns")
    watch(cql, "update")
    train(tmp_path, [0])
    assert [name for name, _ in calls] == ["clone"] * 7 + ["fit_returns"] * 5 + ["update"] * 20
    assert [step for name, step in calls if name == "update"] == list(range(20))


def test_a_warm_start_is_refused_by_a_method_that_has_none(tmp_path: Path) -> None:
    config = AWACConfig(hidden_widths=(8, 8), policy_hidden_widths=(8, 8), batch_size=16)
    job, data = job_of("awac", tmp_path, [0]), made_up_transitions(LENGTHS)
    with pytest.raises(UserError, match="AWAC has no warm start, expected none in its schedule"):
        pretrain(AWAC, config, SCHEDULE, data, job)


def test_returns_go_with_their_transitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_up_transitions(LENGTHS)
    returns = data.discounted_returns(METHOD.discount)
    seen = []

    def check(_: CQL, batch: Any, given: torch.Tensor) -> Any:
        seen.append(len(given))
        for reward, value in zip(batch.rewards.flatten(), given.flatten(), strict=True):
            assert returns[np.flatnonzero(data.rewards == float(reward))].tolist() == [float(value)]
        return {"q_mean": torch.zeros(len(given))}

    monkeypatch.setattr(CQL, "fit_returns", check)
    train(tmp_path, [0, 1])
    assert seen == [2] * 5


def test_the_curve_starts_untrained_and_has_a_row_at_each_interval_and_phase_s_end(tmp_path: Path) -> None:
    result = train(tmp_path, [4, 5])
    curve = result.curve
    assert set(curve.method) == {"cql"} and sorted(set(curve.seed)) == [4, 5]
    steps = curve[(curve.metric == "return") & (curve.seed == 4)].step
    assert list(steps) == [0, 7, 10, 12, 20, 30, 32]
    metrics = curve[curve.seed == 4].groupby("step").metric.agg(set)
    measured = {"return", "normalised_score", "episode_length"}
    assert metrics[0] == measured
    assert metrics[7] == measured | {"actor_loss"}
    assert metrics[12] == measured | {"td_error", "q_mean"}
    assert {"conservative_penalty", "entropy_coefficient"} < metrics[32]


def test_the_last_row_is_the_returned_agents_own_evaluation(tmp_path: Path) -> None:
    result = train(tmp_path, [4, 5])
    agents = ActorCritics([0, 0], 11, 1, METHOD)
    load_members(agents, result.agents)
    returns = evaluate(lambda o: agents.policy(o).mode(), ENVIRONMENT, [4, 5], 32, 2).returns.mean(axis=1)
    curve = result.curve
    last = curve[(curve.metric == "return") & (curve.step == 32)]
    assert last.value.tolist() == returns.tolist()


def test_an_agent_is_the_same_bit_for_bit_whoever_its_neighbour_is(tmp_path: Path) -> None:
    one, other = train(tmp_path / "one", [0, 1]), train(tmp_path / "other", [7, 1])
    for name, tensor in one.agents[1].items():
        assert torch.equal(tensor, other.agents[1][name]), name
    assert not torch.equal(
        one.agents[0]["policy.net.layers.0.weight"], other.agents[0]["policy.net.layers.0.weight"]
    )
    rows = [result.curve[result.curve.seed == 1].reset_index(drop=True) for result in (one, other)]
    assert rows[0].equals(rows[1])


def parts_of(folder: Path, environments: tuple[str, str], **sizes: int) -> list[Part]:
    """Two jobs, of two agents on 64 transitions and of one on 50."""
    return [
        Part(
            made_up_transitions(lengths, **sizes),
            Job("test", "cql", dataset, environment, seeds, dataset, folder / dataset / "state"),
        )
        for dataset, environment, seeds, lengths in (
            ("short", environments[0], [0, 1], (30, 20, 14)),
            ("long", environments[1], [1], (25, 25)),
        )
    ]


TOGETHER = replace(SCHEDULE, evaluation_episodes=1)


@pytest.mark.parametrize(
    ("environments", "sizes", "schedule"),
    [
        ((ENVIRONMENT, ENVIRONMENT), {}, TOGETHER),
        (
            ("HalfCheetah-v4", "Walker2d-v4"),
            {"observation_size": 17, "action_size": 6},
            replace(TOGETHER, updates=2, cloning_warm_start=1, monte_carlo_warm_start=1),
        ),
    ],
    ids=["one environment", "two"],
)
def test_agents_of_several_datasets_side_by_side_are_those_of_jobs_alone(
    tmp_path: Path, environments: tuple[str, str], sizes: dict[str, int], schedule: OfflineSchedule
) -> None:
    alone = [
        pretrain(CQL, METHOD, schedule, part.transitions, part.job)
        for part in parts_of(tmp_path / "alone", environments, **sizes)
    ]
    together = pretrain_together(CQL, METHOD, schedule, parts_of(tmp_path / "both", environments, **sizes))
    for found, expected in zip(together, alone, strict=True):
        # The number of neighbours may choose another kernel, whose last bits differ.
        pd.testing.assert_frame_equal(found.curve, expected.curve, rtol=1e-4)
        for ours, theirs in zip(found.agents, expected.agents, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_what_cannot_learn_side_by_side_is_refused(tmp_path: Path) -> None:
    first, second = parts_of(tmp_path, (ENVIRONMENT, ENVIRONMENT))
    narrow = second._replace(transitions=made_up_transitions((25, 25), action_size=2))
    with pytest.raises(UserError, match="expected them of the same sizes"):
        pretrain_together(CQL, METHOD, TOGETHER, [first, narrow])
    begun = second._replace(starting=StartingAgents(pretrain(CQL, METHOD, TOGETHER, *second[:2]).agents, 5))
    with pytest.raises(UserError, match=r"have had \['5', 'None'\] updates \(None: they are fresh\)"):
        pretrain_together(CQL, METHOD, TOGETHER, [first, begun])


@pytest.mark.parametrize("rate", ["policy_learning_rate", "value_learning_rate"])
def test_an_enormous_learning_rate_stops_the_run_and_names_step_and_metric(tmp_path: Path, rate: str) -> None:
    ends = r"became (non-finite at update \d+;|-?[\d.e+]+ at update \d+, expected at most 1e\+06 either way)"
    with pytest.raises(UserError, match=rf"test/cql/made-up: \w+ of seed \d {ends}"):
        train(tmp_path, [0, 1], replace(METHOD, **{rate: 1e30}), COLD)


def test_data_of_another_environment_are_refused(tmp_path: Path) -> None:
    job, data = job_of("cql", tmp_path, [0]), made_up_transitions(LENGTHS, action_size=2)
    with pytest.raises(UserError, match=r"made-up has observations and actions of sizes \(11, 2\), expected"):
        pretrain(CQL, METHOD, SCHEDULE, data, job)


def test_a_checkpoint_is_written_at_each_interval_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    save = checkpoints.save

    def watched(path: Path, tensors: Any, manifest: Any) -> None:
        steps.append(manifest["step"])
        save(path, tensors, manifest)

    monkeypatch.setattr(checkpoints, "save", watched)
    train(tmp_path, [0])
    assert steps == [10, 20, 30, 32]


def test_agents_trained_further_start_as_they_were_left_and_count_the_updates_they_have_had(
    tmp_path: Path,
) -> None:
    first = train(tmp_path / "first", [4, 5], schedule=COLD)
    starting = StartingAgents(first.agents, updates=20)
    longer = replace(COLD, updates=30)
    second = train(tmp_path / "second", [4, 5], schedule=longer, starting=starting)
    curve = second.curve[(second.curve.metric == "return") & (second.curve.seed == 4)]
    assert curve.step.tolist() == [20, 30]
    left, taken_up = (
        result.curve[(result.curve.metric == "return") & (result.curve.step == 20)].value.tolist()
        for result in (first, second)
    )
    assert left == taken_up
    network = "q.net.layers.0.weight"
    assert not torch.equal(first.agents[0][network], second.agents[0][network])


def test_agents_trained_further_see_other_batches_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards: list[list[float]] = []
    update = cql.update

    def watched(agents: ActorCritics, batch: Any, *others: Any) -> Any:
        rewards.append(batch.rewards.flatten().tolist())
        return update(agents, batch, *others)

    monkeypatch.setattr(cql, "update", watched)
    first = train(tmp_path / "first", [4], schedule=COLD)
    starting = StartingAgents(first.agents, 20)
    train(tmp_path / "second", [4], schedule=replace(COLD, updates=40), starting=starting)
    assert len(rewards) == 40
    assert rewards[0] != rewards[20]


def test_agents_that_cannot_be_trained_further_are_refused(tmp_path: Path) -> None:
    agents = train(tmp_path / "first", [4], schedule=COLD).agents
    for schedule, starting, sentence in (
        (COLD, StartingAgents(agents, 20), "updates is 20: expected more than 20, the updates"),
        (replace(SCHEDULE, updates=30), StartingAgents(agents, 20), "A warm start is for fresh agents"),
        (COLD, StartingAgents([*agents, *agents], 5), "2 pre-trained agents were given, expected 1"),
    ):
        with pytest.raises(UserError, match=sentence):
            train(tmp_path / "second", [4], schedule=schedule, starting=starting)
