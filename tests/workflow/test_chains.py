"""A run is a chain of phases: what does not follow is refused before anything is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from algorithms.population import checkpoints
from storage import UserError
from tests.workflow.spoilt import DELETE, refusal, spoilt
from workflow import chains
from workflow.code_hash import ROOT
from workflow.configuration import check
from workflow.plan import Plan

DATASET = "halfcheetah-random"


@pytest.fixture
def offline(smoke: dict[str, Any]) -> dict[str, Any]:
    """The smoke configuration without its fine-tuning and what belongs to it."""
    for key in ("fine_tuning", "sweep_policy_lr", "likelihood"):
        del smoke[key]
    return smoke | {"figures": ["learning_curves"]}


def test_without_fine_tuning_the_listed_offline_methods_are_judged(offline: dict[str, Any]) -> None:
    offline["pretraining"] |= {"agents": 3, "agents_per_job": 2}
    plan = Plan(check(offline))
    assert plan.judging.labels() == ["cql", "awac", "bcq", "fqe"]
    assert [path for path in plan.judging.curves() if "fqe" in path and DATASET in path] == [
        f"results/smoke/curves/{DATASET}/fqe/agents_{group}.parquet" for group in ("0-1", "2-2")
    ]
    before = plan.judging.statistics()["fingerprint"]
    offline["pretraining"]["methods"]["awac"]["config"]["batch_size"] = 8
    assert Plan(check(offline)).judging.statistics()["fingerprint"] != before


def test_beside_fine_tuning_offline_curves_are_judged_where_a_claim_names_the_phase(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    claims = tmp_path / "claims.yaml"
    smoke["claims"] = str(claims)
    del smoke["gridworld"]
    claims.write_text("- {id: one}")
    assert Plan(smoke).judging.claimed_curves() == Plan(smoke).judging.curves()
    claims.write_text("- {id: one, phase: offline}")
    more = set(Plan(smoke).judging.claimed_curves()) - set(Plan(smoke).judging.curves())
    assert {path.split("/")[4] for path in more} == {"cql", "awac", "bcq", "fqe"}


def test_labels_of_a_chain_are_jobs_of_their_own_and_an_edit_concerns_those_after_it(
    offline: dict[str, Any],
) -> None:
    offline["pretraining"]["methods"]["critics"] = {"method": "fqe", "starts_from": "second"}
    offline["pretraining"]["methods"]["second"] = {"method": "cql"}
    edited = copy.deepcopy(offline)
    edited["pretraining"]["methods"]["second"]["config"] = {"batch_size": 8}
    before, after = Plan(offline), Plan(edited)
    assert before.pretraining.starting_files(DATASET, "critics", [0, 1]) == [
        f"results/smoke/agents/{DATASET}/second/agents_0-3/agent_{agent}.safetensors" for agent in (0, 1)
    ]
    for label, same in (("critics", False), ("fqe", True)):
        prints = [plan.pretraining.settings(DATASET, label)["fingerprint"] for plan in (before, after)]
        assert (prints[0] == prints[1]) is same


OFFLINE_ONLY = [
    ("pretraining.methods", DELETE, "pretraining.methods is missing: without fine_tuning, expected the"),
    ("figures", ["figure_03"], "figures has figure_03, which needs fine_tuning: expected of learning_curves"),
    (
        f"datasets.{DATASET}.pretrained",
        "released",
        "pretrained is 'released', whose cql agents have no curve",
    ),
    (
        "pretraining.methods.mine",
        {"method": "td3"},
        "mine: the method 'td3' is unknown: expected one of awac",
    ),
    ("pretraining.methods.fqe.starts_from", "nobody", "fqe.starts_from is 'nobody': expected one of nothing"),
    ("pretraining.methods.fqe.starts_from", "nothing", "starts_from is nothing: fqe takes agents over"),
    (
        "pretraining.methods.mine",
        {"method": "fqe", "starts_from": "mine"},
        "pretraining.methods.mine starts from itself: mine from mine; expected a first phase",
    ),
    (
        "pretraining.methods.mine",
        {"method": "tests.made_up:Nobody"},
        "the method tests.made_up:Nobody could not be imported",
    ),
]


@pytest.mark.parametrize(("path", "value", "sentence"), OFFLINE_ONLY, ids=[p for p, *_ in OFFLINE_ONLY])
def test_what_does_not_follow_is_refused_in_one_sentence(
    offline: dict[str, Any], path: str, value: Any, sentence: str
) -> None:
    assert sentence in refusal(spoilt(offline, path, value))


def test_a_schedule_that_does_not_suit_is_named_before_pre_training(smoke: dict[str, Any]) -> None:
    for path, value, sentence in (
        ("fine_tuning.schedule.updates_per_episode", 2, "updates_per_episode is 2, expected 1"),
        (
            "fine_tuning.methods.mine",
            {"method": "rlpd", "config": {"warm_up_steps": 30}},
            "warm_up_steps is 30, expected a multiple of block_size",
        ),
    ):
        assert sentence in refusal(spoilt(smoke, path, value))


@pytest.mark.parametrize(
    ("method", "source", "sentence"),
    [
        ("pex", "nothing", "starts_from is nothing: pex takes agents over, expected a label."),
        (
            "rebrac_ft",
            "awac",
            "agent 0 has policy.log_std_logits: expected agents of a method with the same networks.",
        ),
        (
            "iql_ft",
            "cql",
            "agent 0 lacks policy.log_std: expected agents of a method with the same networks.",
        ),
    ],
)
def test_a_start_from_other_agents_than_the_method_takes_over_is_named(
    smoke: dict[str, Any], method: str, source: str, sentence: str
) -> None:
    entry = {"method": method, "starts_from": source, "config": {"hidden_widths": [32, 32], "batch_size": 32}}
    smoke["fine_tuning"]["methods"]["mine"] = entry
    message = refusal(smoke)
    assert message.startswith("fine_tuning.methods.mine") and message.endswith(sentence)


def test_another_number_of_behaviours_than_was_estimated_is_named(offline: dict[str, Any]) -> None:
    offline["pretraining"]["methods"] |= {
        "multi_source": {"config": {"policies": 2}},
        "lbrac_v": {"config": {"policies": 5}},
    }
    with pytest.raises(
        UserError, match=r"methods\.lbrac_v on .*: policies is 5, expected 2, as of its agents"
    ):
        check(offline)


def test_released_agents_cannot_be_trained_further_to_what_they_have_had(smoke: dict[str, Any]) -> None:
    manifest = checkpoints.load(ROOT / "releases" / DATASET / "agent_0.safetensors")[1]
    had = manifest["configuration"]["schedule"]["updates"]
    smoke["datasets"][DATASET]["pretrained"] = "continued"
    smoke["pretraining"]["schedule"]["updates"] = had
    with pytest.raises(UserError) as refusal:
        check(smoke)
    assert str(refusal.value) == (
        f"pretraining.methods.cql on {DATASET}: updates is {had}: expected more than {had}, those of the"
        " released agents, which it trains further."
    )


def test_released_agents_of_another_environment_are_named(
    smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, manifest = checkpoints.load(ROOT / "releases" / DATASET / "agent_0.safetensors")
    smoke["datasets"][DATASET]["pretrained"] = "released"
    manifest["configuration"]["environment"] = "Walker2d-v4"
    monkeypatch.setattr(checkpoints, "load", lambda _: (tensors, manifest))
    with pytest.raises(UserError, match="its released agents are of Walker2d-v4: expected those of HalfCh"):
        chains.check_chains(Plan(smoke))
