"""The manipulation tasks in a configuration: what is refused, which jobs there are, what re-runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from algorithms.methods.pixels import VARIANTS
from envs.manipulation import ENVIRONMENTS
from envs.manipulation.controllers import Noise
from offline_data.manipulation import Settings
from storage import UserError
from storage.settings import build
from tests.workflow.test_configuration import DELETE, spoilt
from workflow import manipulation_plan
from workflow.configuration import check
from workflow.manipulation_plan import ManipulationPlan
from workflow.steps.fine_tune_pixels import fine_tuning_config
from workflow.table import Table

TASK = "pick-place"


@pytest.fixture
def smoke(smoke: dict[str, Any]) -> dict[str, Any]:
    """The smoke configuration with a second control, which makes agents of its own."""
    smoke["manipulation"]["controls"]["cloning_only"] = {"config": {"cloning_updates": 4}}
    return smoke


def change(configuration: dict[str, Any], edit: Callable[[dict[str, Any]], object]) -> ManipulationPlan:
    """The plan of an edited copy; `edit` is given the section."""
    result = copy.deepcopy(configuration)
    edit(result["manipulation"])
    return ManipulationPlan(result)


# --- what a configuration may say --------------------------------------------------------------------------


def test_the_plan_knows_exactly_the_tasks_and_variants_there_are() -> None:
    assert set(manipulation_plan.TASKS.values()) == set(ENVIRONMENTS)
    assert set(manipulation_plan.VARIANTS) == set(VARIANTS)


WRONG = [
    ("datasets.drawer", {}, "manipulation.datasets: unknown key 'drawer': expected one of pick-place"),
    ("datasets.grasp-closed-drawer.prior", DELETE, "grasp-closed-drawer: the key 'prior' is missing"),
    (
        "datasets.pick-place",
        {"prior": 0, "task": 0, "random": 0, "seed": 0},
        "manipulation.datasets.pick-place has no episodes: expected at least one in all",
    ),
    ("datasets.pick-place.action_form", "joints", "action_form is 'joints': expected one of full, position"),
    ("datasets.pick-place.task_noise", {"lift": 1}, "task_noise: unknown key 'lift'"),
    ("pretraining.agents", 3, "manipulation.pretraining.agents is 3: expected at least 4, for 2 seeds"),
    ("pretraining.config.replay", "balanced", "pretraining.config: unknown key 'replay'"),
    ("controls.off2on", {}, "manipulation.controls.off2on: expected a label that is neither cql nor among"),
    ("controls.trained_on.agents", 5, "manipulation.controls.trained_on.agents is 5: expected at most 4"),
    ("film", {"label": "sac"}, "manipulation.film.label is 'sac': expected one of those of"),
    ("film", {"seed": 9}, "manipulation.film.seed is 9: expected one of those of"),
    ("controls.cql", {}, "manipulation.controls.cql: expected a label that is neither cql nor among"),
    ("fine_tuning.methods.off2on.variant", "sac", "variant is 'sac': expected one of sac_single_online_only"),
    ("fine_tuning.methods.off2on.config", {"replay": "uniform"}, "off2on.config: unknown key 'replay'"),
    ("fine_tuning.schedule.steps", 0, "fine_tuning.schedule.steps is 0: expected at least 1"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG, ids=[path for path, *_ in WRONG])
def test_a_wrong_section_is_refused_in_one_sentence(
    smoke: dict[str, Any], path: str, value: Any, sentence: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check(spoilt(smoke, f"manipulation.{path}", value))
    message = str(refusal.value)
    assert sentence in message
    assert "\n" not in message
    assert message.endswith(".")


def test_shared_agents_have_to_fill_the_largest_ensemble(smoke: dict[str, Any]) -> None:
    smoke["manipulation"]["fine_tuning"]["members_shared"] = True
    smoke["manipulation"]["pretraining"]["agents"] = 2
    check(smoke)
    smoke["manipulation"]["pretraining"]["agents"] = 1
    with pytest.raises(UserError, match="agents is 1: expected at least 2"):
        check(smoke)


def test_locomotion_is_there_whole_or_not_at_all(smoke: dict[str, Any]) -> None:
    alone = {key: smoke[key] for key in ("name", "manipulation", "statistics")}
    checked = check(alone)
    assert checked["datasets"] == {}
    assert checked["fine_tuning"]["methods"] == {}
    assert ManipulationPlan(checked).curves() == ManipulationPlan(check(smoke)).curves()
    with pytest.raises(UserError, match="the key 'pretraining' is missing"):
        check({**alone, "datasets": smoke["datasets"]})
    with pytest.raises(UserError, match="the key 'datasets' is missing"):
        check({key: alone[key] for key in ("name", "statistics")})


# --- which jobs there are -----------------------------------------------------------------------------------


def test_without_the_section_there_is_no_job(smoke: dict[str, Any]) -> None:
    del smoke["manipulation"]
    jobs = ManipulationPlan(check(smoke))
    assert (jobs.tasks, jobs.methods, jobs.curves(), jobs.control_curves()) == ([], [], [], [])


def test_recorded_curves_are_read_from_the_committed_results(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(check({**smoke, "curves": "recorded"}))
    assert set(Path(curve).parts[:3] for curve in jobs.curves()) == {("results", "reference", "smoke")}
    assert jobs.control_curves() == []
    judging = jobs.judging({"fingerprint": "x"})
    smoke["manipulation"]["fine_tuning"]["schedule"]["steps"] += 2
    assert ManipulationPlan({**smoke, "curves": "recorded"}).judging({"fingerprint": "x"}) == judging


def test_figures_of_pictures_wait_for_pictures_alone(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    assert jobs.pictures_folders("figure_07") == ["results/smoke/manipulation/pictures"]
    assert jobs.pictures_folders("figure_05a") == []
    settings = jobs.pictures()
    assert (settings["size"], settings["frames"], settings["tasks"]) == (48, 2, manipulation_plan.TASKS)


def test_films_are_of_one_run_before_and_after(smoke: dict[str, Any]) -> None:
    smoke["manipulation"]["film"] = {"label": "off2on", "seed": 1}
    jobs = ManipulationPlan(check(smoke))
    root = "results/smoke/manipulation"
    assert jobs.filmed_members(TASK) == jobs.member_files(TASK, "off2on", [1])
    assert jobs.filmed_actor(TASK) == f"results/smoke/agents/{TASK}/off2on/seeds_0-1/seed_1.safetensors"
    assert jobs.pictures_folders("film") == [f"{root}/films/{task}" for task in jobs.tasks]
    assert fine_tuning_config(jobs.film(TASK)).ensemble_size == 2
    trained = ManipulationPlan(check({**smoke, "curves": "recorded"}))
    assert "film" in jobs.figures and "film" not in trained.figures
    assert len(jobs.gifs()) == len(jobs.tasks) and trained.gifs() == []


def test_the_figure_of_controls_waits_for_offline_curves_and_no_other_does(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    assert jobs.figure_curves("figure_05a") == jobs.curves()
    more = set(jobs.figure_curves("image_controls")) - set(jobs.curves())
    assert more == set(jobs.offline_curves(["cql", "trained_on", "cloning_only"]))
    recorded = ManipulationPlan({**smoke, "curves": "recorded"}).figure_curves("image_controls")
    assert all(path.startswith("results/reference/smoke/") for path in recorded)


def test_no_two_runs_share_an_agent_unless_the_configuration_says_so(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    ensembles = [jobs.members("off2on", seed) for seed in (0, 1)]
    assert ensembles == [[0, 2], [1, 3]]
    assert len(set(chain(*ensembles))) == 4
    assert [jobs.members("cql_ft", seed) for seed in (0, 1)] == [[0], [1]]


def test_members_lie_where_their_groups_are_made(smoke: dict[str, Any]) -> None:
    jobs = change(smoke, lambda section: section["pretraining"].update(agents_per_job=3))
    assert jobs.agent_groups() == [[0, 1, 2], [3]]
    root = f"results/smoke/agents/{TASK}/cql"
    assert jobs.member_files(TASK, "off2on", [1]) == [
        f"{root}/agents_0-2/agent_1.safetensors",
        f"{root}/agents_3-3/agent_3.safetensors",
    ]


def test_a_control_continues_the_agents_only_where_it_says_so(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    folder = f"results/smoke/agents/{TASK}/cql/agents_0-3"
    assert folder in Table(smoke).find("train", [TASK, "trained_on", "agents_0-3"]).needs
    assert jobs.starting_files(TASK, "trained_on", range(4)) == [
        f"{folder}/agent_{agent}.safetensors" for agent in range(4)
    ]
    for offline in ("cql", "cloning_only"):
        assert jobs.starting_files(TASK, offline, range(4)) == []
    assert jobs.pretraining(TASK, "trained_on")["schedule"]["updates"] == 8


def test_a_control_may_have_fewer_agents_than_were_pretrained(smoke: dict[str, Any]) -> None:
    smoke["manipulation"]["controls"]["trained_on"]["agents"] = 3
    smoke["manipulation"]["pretraining"]["agents_per_job"] = 2
    jobs = ManipulationPlan(smoke)
    assert jobs.agent_groups() == [[0, 1], [2, 3]]
    assert jobs.agent_groups("trained_on") == [[0, 1], [2]]
    agents = f"results/smoke/agents/{TASK}/cql"
    assert jobs.starting_files(TASK, "trained_on", [2]) == [f"{agents}/agents_2-3/agent_2.safetensors"]
    made = [path for path in jobs.control_curves() if TASK in path and "trained_on" in path]
    assert [path.rpartition("_")[2] for path in made] == ["0-1.parquet", "2-2.parquet"]


def test_a_control_of_its_own_has_its_own_settings(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    assert jobs.pretraining(TASK, "cloning_only")["config"]["cloning_updates"] == 4


def test_steps_read_what_the_plan_says(smoke: dict[str, Any]) -> None:
    jobs = ManipulationPlan(smoke)
    config = fine_tuning_config(jobs.fine_tuning(TASK, "off2on"))
    assert (config.objective, config.ensemble_size, config.replay) == ("sac", 2, "balanced")
    assert config.encoder == "shared"
    single = fine_tuning_config(jobs.fine_tuning(TASK, "cql_ft"))
    assert (single.objective, single.ensemble_size, single.replay) == ("cql", 1, "online_only")
    settings = build(Settings, jobs.recording("grasp-closed-drawer")["settings"], "settings")
    assert settings.task_noise == Noise(action=0.1, limit=0.9, pick=0.01, close=0.02)
    assert (settings.state_row, settings.middle_spread, settings.returns) == (True, 0.03, False)
    assert settings.action_form == "full"


# --- what re-runs -------------------------------------------------------------------------------------------


def fingerprints(jobs: ManipulationPlan) -> dict[str, str]:
    """The fingerprint of one job of each kind."""
    settings = {
        "recording": jobs.recording(TASK),
        "cql": jobs.pretraining(TASK, "cql"),
        "trained_on": jobs.pretraining(TASK, "trained_on"),
        "cloning_only": jobs.pretraining(TASK, "cloning_only"),
        "off2on": jobs.fine_tuning(TASK, "off2on"),
        "cql_ft": jobs.fine_tuning(TASK, "cql_ft"),
        "judging": jobs.judging({"fingerprint": "of locomotion"}),
        "drawing": jobs.drawing(),
    }
    return {name: value["fingerprint"] for name, value in settings.items()}


AFTER = {"judging", "drawing"}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (
            lambda section: section["datasets"][TASK].update(seed=9),
            {"recording", "cql", "trained_on", "cloning_only", "off2on", "cql_ft", *AFTER},
        ),
        (
            lambda section: section["pretraining"]["schedule"].update(updates=5),
            {"cql", "trained_on", "cloning_only", "off2on", "cql_ft", *AFTER},
        ),
        (lambda section: section["controls"]["trained_on"]["schedule"].update(updates=9), {"trained_on"}),
        (lambda section: section["fine_tuning"]["schedule"].update(steps=6), {"off2on", "cql_ft", *AFTER}),
        (lambda section: section["fine_tuning"].update(ensemble_size=1), {"off2on", *AFTER}),
        (
            lambda section: section["fine_tuning"]["methods"]["cql_ft"].update(
                config={"exploration_scale": 0.4}
            ),
            {"cql_ft", *AFTER},
        ),
        (lambda section: section["datasets"]["grasp-closed-drawer"].update(seed=9), AFTER),
    ],
    ids=["data", "pretraining", "control", "schedule", "ensemble", "one method", "another task"],
)
def test_a_setting_changes_the_jobs_it_concerns_and_those_after_them(
    smoke: dict[str, Any], edit: Callable[[dict[str, Any]], object], changed: set[str]
) -> None:
    before, after = fingerprints(ManipulationPlan(smoke)), fingerprints(change(smoke, edit))
    assert {name for name in before if before[name] != after[name]} == changed
