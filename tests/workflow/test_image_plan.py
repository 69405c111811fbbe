"""Tasks with images in a configuration: what is refused, which jobs there are, what re-runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from algorithms.methods.cql import CQLConfig
from algorithms.methods.off2on import Off2OnConfig
from algorithms.population.encoding import EncoderConfig
from envs.manipulation import ENVIRONMENTS, make
from envs.manipulation.controllers import Noise
from offline_data.manipulation import Settings
from storage import UserError
from storage.settings import build
from tests.workflow.spoilt import DELETE, change, refusal, spoilt
from workflow.chains import Place
from workflow.code_hash import ROOT
from workflow.configuration import check, read
from workflow.dataset_names import TASKS
from workflow.plan import Plan
from workflow.table import Table

TASK = "pick-place"


@pytest.fixture
def smoke() -> dict[str, Any]:
    """The smoke configuration of images with a second control, which makes agents of its own."""
    configuration: dict[str, Any] = yaml.safe_load((ROOT / "config" / "smoke_images.yaml").read_text())
    methods = configuration["pretraining"]["methods"]
    own = {**methods["cql"]["config"], "cloning_updates": 4}
    methods["cloning_only"] = {"method": "cql", "config": own}
    return configuration


# --- what a configuration may say --------------------------------------------------------------------------


def test_the_plan_knows_exactly_the_tasks_there_are() -> None:
    assert set(TASKS.values()) == set(ENVIRONMENTS)


@pytest.mark.parametrize("form", ["full", "position"])
def test_chains_are_tried_at_the_sizes_of_the_tasks(form: str) -> None:
    environment = make("PickPlace-v0", action_form=form)
    assert Place("PickPlace-v0", form).sizes == (environment.shapes, environment.action_size)
    environment.close()


CQL = "pretraining.methods.cql.config"
WRONG = [
    ("datasets.pick-place.scripts.prior", DELETE, "pick-place.scripts: the key 'prior' is missing"),
    (
        "datasets.pick-place.scripts",
        DELETE,
        "datasets.pick-place: the recipe scripts needs the key 'scripts'",
    ),
    (
        "datasets.pick-place.scripts",
        {"prior": 0, "task": 0, "random": 0, "seed": 0},
        "datasets.pick-place.scripts has no episodes: expected at least one in all",
    ),
    ("datasets.pick-place.scripts.action_form", "joints", "is 'joints': expected one of full, position"),
    ("datasets.pick-place.scripts.task_noise", {"lift": 1}, "task_noise: unknown key 'lift'"),
    ("datasets.pick-place.environment", "Hopper-v4", "environment is 'Hopper-v4': expected PickPlace-v0"),
    ("datasets.pick-place.pretrained", "released", "pretrained is 'released': expected train"),
    ("datasets.pick-place.reward_scale", 0.1, "reward_scale is 0.1: expected 1.0 for this task with images"),
    ("datasets.pick-place.scripts.task_success", 1.5, "task_success is 1.5: expected at most 1"),
    (
        "pretraining.methods.trained_on.schedule.updates",
        4,
        "trained_on on pick-place: updates is 4: expected more than 4, those of cql, whose agents it trains"
        " further",
    ),
    (f"{CQL}.encoder.networks", "big", "encoder.networks is 'big': expected one of own, shared"),
    (f"{CQL}.encoder.eyes", 2, "encoder: unknown key 'eyes'"),
    (f"{CQL}.encoder", None, "CQL is shown image, state and its settings have no encoder, expected one"),
    (
        "fine_tuning.methods.off2on.config.encoder",
        {"networks": "shared"},
        "encoder is {'networks': 'shared', 'state': False, 'padding': 4, 'cloning_teaches': False}, expected",
    ),
    ("film", {"label": "sac"}, "film.label is 'sac': expected one of those of fine_tuning"),
    ("film", {"seed": 9}, "film.seed is 9: expected one of those of fine_tuning"),
    ("figures", ["figure_03"], "figures has figure_03, which needs datasets of vectors"),
    (
        "fine_tuning.schedule.checkpoint_interval",
        3,
        "off2on on pick-place: checkpoint_interval is 3, expected a multiple of block_size, 2",
    ),
    (
        "fine_tuning.methods.off2on.config.hidden_widths",
        [8],
        "on pick-place, from agents of cql: hidden_widths is [8], expected [16], as of its agents",
    ),
    (
        "fine_tuning.methods.sac",
        {},
        "SAC is shown image, state and its settings have no encoder, expected one",
    ),
]


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG, ids=[path for path, *_ in WRONG])
def test_what_is_wrong_is_refused_in_one_sentence(
    smoke: dict[str, Any], path: str, value: Any, sentence: str
) -> None:
    assert sentence in refusal(spoilt(smoke, path, value))


@pytest.mark.parametrize("phase", ["pretraining", "fine_tuning"])
def test_a_clone_of_scripts_that_the_data_lack_is_refused(smoke: dict[str, Any], phase: str) -> None:
    smoke["datasets"][TASK]["scripts"].update(prior=0, task=0)
    check(smoke)
    label, clones = {
        "pretraining": ("cql", {"cloning_data": "scripted"}),
        "fine_tuning": ("off2on", {"cloning_data": "scripted", "cloning_weight": 0.2, "cloning_updates": 0}),
    }[phase]
    smoke[phase]["methods"][label]["config"].update(clones)
    assert refusal(smoke) == (
        f"{phase}.methods.{label} on {TASK}{', from agents of cql' * (phase == 'fine_tuning')}:"
        f" datasets.{TASK}.scripts has random episodes alone, expected prior or task ones, to be imitated."
    )


def test_images_and_vectors_have_configurations_of_their_own(smoke: dict[str, Any]) -> None:
    vectors = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    data = vectors["datasets"]["halfcheetah-random"]
    with pytest.raises(UserError, match="datasets has halfcheetah-random beside tasks with images"):
        check(spoilt(smoke, "datasets.halfcheetah-random", data))
    with pytest.raises(UserError, match="figures has film, which needs datasets of images"):
        check(spoilt(vectors, "figures", ["film"]))
    with pytest.raises(UserError, match="the recipe scripts is for pick-place"):
        entry = {"environment": "HalfCheetah-v4", "recipe": "scripts", "pretrained": "train"}
        check(spoilt(vectors, "datasets.halfcheetah-random", entry))


def test_shared_agents_have_to_fill_the_largest_ensemble(smoke: dict[str, Any]) -> None:
    smoke["fine_tuning"]["members_shared"] = True
    smoke["pretraining"]["agents"] = 2
    check(smoke)
    smoke["pretraining"]["agents"] = 1
    with pytest.raises(UserError, match="agents is 1: expected at least 2"):
        check(smoke)


# --- which jobs there are -----------------------------------------------------------------------------------


def test_recorded_curves_are_read_from_the_committed_results(smoke: dict[str, Any]) -> None:
    judging = Plan(check({**smoke, "curves": "recorded"})).judging
    folders = {Path(curve).parts[:3] for curve in judging.curves()}
    assert folders == {("results", "reference", "smoke_images")}
    settings = judging.statistics()
    smoke["fine_tuning"]["schedule"]["steps"] += 2
    assert Plan({**smoke, "curves": "recorded"}).judging.statistics() == settings


def test_figures_of_pictures_wait_for_pictures_alone(smoke: dict[str, Any]) -> None:
    jobs = Plan(smoke)
    assert jobs.figures.files("figure_07") == ["results/smoke_images/manipulation/pictures"]
    assert jobs.figures.files("figure_05a") == []
    settings = jobs.pictures.settings()
    assert (settings["size"], settings["frames"], settings["tasks"]) == (48, 2, TASKS)


def test_films_are_of_one_run_before_and_after(smoke: dict[str, Any]) -> None:
    smoke["film"] = {"label": "off2on", "seed": 1}
    jobs = Plan(check(smoke))
    root = "results/smoke_images"
    assert jobs.pictures.filmed_members(TASK) == jobs.fine_tuning.member_files(TASK, "off2on", [1])
    folder = f"{root}/agents/{TASK}/off2on/seeds_0-1"
    actors = [f"{folder}/seed_1_agent_{member}.safetensors" for member in (0, 1)]
    assert jobs.pictures.filmed_actors(TASK) == actors
    assert folder in Table(smoke).find("film_agents", [TASK]).needs
    assert jobs.figures.files("film") == [f"{root}/manipulation/films/{task}" for task in TASKS]
    assert jobs.pictures.film(TASK)["config"]["ensemble_size"] == 2
    trained = {**smoke, "curves": "recorded"}
    assert "film" in jobs.figures.names() and "film" not in Plan(trained).figures.names()
    assert Table(trained).names("film_agents") == []


def test_the_figure_of_controls_waits_for_offline_curves_and_no_other_does(smoke: dict[str, Any]) -> None:
    jobs = Plan(smoke)
    assert jobs.figures.curves("figure_05a") == jobs.judging.curves()
    more = set(jobs.figures.curves("image_controls")) - set(jobs.judging.curves())
    assert {Path(path).parts[4] for path in more} == {"cql", "trained_on", "cloning_only", "awac", "iql"}
    recorded = Plan({**smoke, "curves": "recorded"}).figures.curves("image_controls")
    assert all(path.startswith("results/reference/smoke_images/") for path in recorded)


def test_the_figure_of_controls_is_told_what_each_run_starts_from(smoke: dict[str, Any]) -> None:
    offline = smoke["pretraining"]["methods"]
    offline["awac"] = {**offline["awac"], "schedule": {"updates": 6}}
    smoke["datasets"][TASK]["pretraining"] = {"methods": {"cql": {"schedule": {"updates": 5}}}}
    further = {**smoke["fine_tuning"]["methods"]["cql_ft"], "starts_from": "trained_on"}
    smoke["fine_tuning"]["methods"]["further"] = further
    told = Plan(check(smoke)).figures.settings()["offline_updates"]
    assert told["off2on"] == {TASK: 5, "grasp-closed-drawer": 4, "grasp-blocked-drawer": 4}
    assert told["further"] == dict.fromkeys(smoke["datasets"], 8)
    assert told["awac"] == dict.fromkeys(smoke["datasets"], 6)


def test_the_figure_of_controls_is_given_no_curve_twice_where_nothing_is_fine_tuned() -> None:
    curves = Plan(read(ROOT / "config" / "manipulation_saturation.yaml")).figures.curves("image_controls")
    assert curves and len(curves) == len(set(curves))


def test_controls_are_trained_where_their_figure_is_asked_for_alone(smoke: dict[str, Any]) -> None:
    assert "trained_on" in Plan(smoke).offline.trained(TASK)
    assert Plan({**smoke, "figures": []}).offline.trained(TASK) == ["cql", "awac", "iql"]


def test_a_control_continues_the_agents_only_where_it_says_so(smoke: dict[str, Any]) -> None:
    jobs = Plan(smoke)
    folder = f"results/smoke_images/agents/{TASK}/cql/agents_0-3"
    assert folder in Table(smoke).find("train", [TASK, "trained_on", "agents_0-3"]).needs
    assert jobs.pretraining.starting_files(TASK, "trained_on", range(4)) == [
        f"{folder}/agent_{agent}.safetensors" for agent in range(4)
    ]
    for offline in ("cql", "cloning_only"):
        assert jobs.pretraining.starting_files(TASK, offline, range(4)) == []
    assert jobs.pretraining.settings(TASK, "trained_on")["schedule"]["updates"] == 8


def test_steps_read_what_the_plan_says(smoke: dict[str, Any]) -> None:
    jobs = Plan(smoke)
    ensemble = build(Off2OnConfig, jobs.fine_tuning.settings(TASK, "off2on")["config"], "config")
    assert (ensemble.conservative_weight, ensemble.ensemble_size, ensemble.replay) == (0, 2, "balanced")
    single = build(Off2OnConfig, jobs.fine_tuning.settings(TASK, "cql_ft")["config"], "config")
    assert (single.conservative_weight, single.ensemble_size, single.replay) == (1, 1, "online_only")
    offline = build(CQLConfig, jobs.pretraining.settings(TASK, "cql")["config"], "config")
    assert single.encoder == offline.encoder == EncoderConfig(networks="shared", state=True)
    settings = build(Settings, jobs.data.recording("grasp-closed-drawer")["scripts"], "scripts")
    assert settings.task_noise == Noise(action=0.1, limit=0.9, pick=0.01, close=0.02)
    assert (settings.middle_spread, settings.returns, settings.action_form) == (0.03, False, "full")
    assert jobs.pretraining.settings(TASK, "cql")["options"] == {"action_form": "position", "horizon": 5}


# --- what re-runs -------------------------------------------------------------------------------------------


def fingerprints(jobs: Plan) -> dict[str, str]:
    """The fingerprint of one job of each kind."""
    settings = {
        "recording": jobs.data.recording(TASK),
        "cql": jobs.pretraining.settings(TASK, "cql"),
        "trained_on": jobs.pretraining.settings(TASK, "trained_on"),
        "cloning_only": jobs.pretraining.settings(TASK, "cloning_only"),
        "off2on": jobs.fine_tuning.settings(TASK, "off2on"),
        "cql_ft": jobs.fine_tuning.settings(TASK, "cql_ft"),
        "judging": jobs.judging.statistics(),
        "drawing": jobs.figures.settings(),
    }
    return {name: value["fingerprint"] for name, value in settings.items()}


AFTER = {"judging", "drawing"}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (
            lambda section: section["datasets"][TASK]["scripts"].update(seed=9),
            {"recording", "cql", "trained_on", "cloning_only", "off2on", "cql_ft", *AFTER},
        ),
        (
            lambda section: section["pretraining"]["schedule"].update(updates=5),
            {"cql", "trained_on", "cloning_only", "off2on", "cql_ft", *AFTER},
        ),
        (
            lambda section: section["pretraining"]["methods"]["trained_on"]["schedule"].update(updates=9),
            {"trained_on"},
        ),
        (lambda section: section["fine_tuning"]["schedule"].update(steps=6), {"off2on", "cql_ft", *AFTER}),
        (lambda section: section["fine_tuning"].update(ensemble_size=1), {"off2on", *AFTER}),
        (
            lambda section: section["fine_tuning"]["methods"]["cql_ft"]["config"].update(
                exploration_scale=0.4
            ),
            {"cql_ft", *AFTER},
        ),
        (lambda section: section["datasets"]["grasp-closed-drawer"]["scripts"].update(returns=True), AFTER),
    ],
    ids=["data", "pretraining", "control", "schedule", "ensemble", "one method", "another task"],
)
def test_a_setting_changes_the_jobs_it_concerns_and_those_after_them(
    smoke: dict[str, Any], edit: Callable[[dict[str, Any]], object], changed: set[str]
) -> None:
    before, after = fingerprints(Plan(smoke)), fingerprints(change(smoke, edit))
    assert {name for name in before if before[name] != after[name]} == changed
