"""What the DAG consists of: which agents belong to which run, and what re-runs when something changes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from algorithms import catalogue
from analysis.claims import read_claims
from analysis.scores import normalised
from envs import reference_scores
from paper_figures.style import AT_RATE
from storage import UserError
from tests.workflow.spoilt import change
from workflow import code_hash
from workflow.code_hash import ROOT, job_hash, source_hash
from workflow.configuration import CONFIGURATIONS, check, read
from workflow.dataset_names import dataset_id, split_name
from workflow.plan import Plan
from workflow.table import Table

DATASET = "halfcheetah-random"
DATA = "results/smoke/datasets/halfcheetah/random-local-v0"


def needs(configuration: dict[str, Any], label: str, job: str) -> list[str]:
    """What a training job waits for."""
    return Table(configuration).find("train", [DATASET, label, job]).needs


@contextmanager
def edited(file: str) -> Iterator[None]:
    """While it lasts, a file of the project's code is another one."""
    path, code = ROOT / file, code_hash._code
    assert path.is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_hash, "_code", lambda of: code(of) + b"edited" * (of == path))
        job_hash.cache_clear()
        yield
    job_hash.cache_clear()


def test_no_two_runs_share_an_agent_unless_the_configuration_says_so(smoke: dict[str, Any]) -> None:
    seeds = smoke["fine_tuning"]["seeds"]
    ensembles = [Plan(smoke).fine_tuning.members("off2on", seed) for seed in seeds]
    assert ensembles == [[0, 2], [1, 3]]  # the authors' rule: agent = member * seeds + seed
    assert len(set(chain(*ensembles))) == 4
    assert [Plan(smoke).fine_tuning.members("sac_ft", seed) for seed in seeds] == [[0], [1]]
    assert Plan(smoke).fine_tuning.members("sac", seeds[0]) == []


def test_shared_members_are_taken_in_turn_from_all_agents(smoke: dict[str, Any]) -> None:
    smoke["fine_tuning"] |= {"members_shared": True, "seeds": [5, 6, 7]}
    smoke["pretraining"]["agents"] = 2
    assert [Plan(smoke).fine_tuning.members("off2on", seed) for seed in (5, 6, 7)] == [[0, 1], [1, 0], [0, 1]]
    assert [Plan(smoke).fine_tuning.members("sac_ft", seed) for seed in (5, 6, 7)] == [[0], [1], [0]]


def test_agents_per_job_decides_the_jobs_and_every_agent_is_made_once(smoke: dict[str, Any]) -> None:
    smoke["pretraining"] |= {"agents": 7, "agents_per_job": 3}
    jobs = Plan(smoke)
    groups = jobs.pretraining.groups(DATASET, "cql")
    assert groups == [[0, 1, 2], [3, 4, 5], [6]]
    folder = f"results/smoke/agents/{DATASET}/cql/agents_6-6"
    assert jobs.pretraining.agent_file(DATASET, "cql", 6) == f"{folder}/agent_6.safetensors"


def test_seeds_per_job_decides_the_jobs(smoke: dict[str, Any]) -> None:
    smoke["fine_tuning"] |= {"seeds": [4, 5, 9], "seeds_per_job": 2}
    assert Plan(smoke).fine_tuning.seed_groups() == [[4, 5], [9]]


def test_what_training_computes_on_is_part_of_its_jobs_and_of_no_others(smoke: dict[str, Any]) -> None:
    before, compute = Plan(smoke), {"device": "cuda", "tf32": True}
    after = change(smoke, lambda edited: edited.update(compute=compute))
    policy = next(iter(smoke["behaviour_policies"]))
    for settings in (
        lambda jobs: jobs.pretraining.settings(DATASET, "cql"),
        lambda jobs: jobs.fine_tuning.settings(DATASET, "sac"),
        lambda jobs: jobs.data.behaviour_policy(policy),
    ):
        assert "compute" not in settings(before)
        assert settings(after)["compute"] == compute
        assert settings(after)["fingerprint"] != settings(before)["fingerprint"]
    assert after.data.recording(DATASET) == before.data.recording(DATASET)


def test_a_training_job_claims_the_cores_that_its_environments_take(smoke: dict[str, Any]) -> None:
    assert Plan(smoke).training_threads == 1
    smoke["compute"] = {"environment_threads": 8, "evaluation_beside": True}
    assert Plan(smoke).training_threads == 9


def test_released_agents_need_no_pre_training_job(smoke: dict[str, Any]) -> None:
    smoke["datasets"][DATASET]["pretrained"] = "released"
    jobs = Plan(smoke)
    assert jobs.pretraining.groups(DATASET, "cql") == []
    released = f"releases/{DATASET}/agent_1.safetensors"
    assert jobs.fine_tuning.member_files(DATASET, "sac_ft", [1]) == [released]
    assert jobs.fine_tuning.offline_data(DATASET, "sac_ft") == [DATA]


@pytest.mark.parametrize("pretrained", ["released", "train"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_seed_that_starts_from_other_agents_is_another_job(
    smoke: dict[str, Any], pretrained: str, shared: bool
) -> None:
    """Its place in the list decides which (`members`): a state of the one is not resumed by the other."""
    smoke["datasets"][DATASET]["pretrained"] = pretrained
    smoke["pretraining"]["agents"] = 2 if shared else 6  # shared ones are the same files in another order
    smoke["fine_tuning"] |= {"members_shared": shared, "seeds": [0, 1]}

    def of_seed_1(**changes: Any) -> tuple[list[int], str]:
        tuning = change(smoke, lambda edited: edited["fine_tuning"].update(changes)).fine_tuning
        return tuning.members("off2on", 1), str(tuning.settings(DATASET, "off2on", [1])["fingerprint"])

    members, fingerprint = of_seed_1()
    alone, longer = of_seed_1(seeds=[1]), of_seed_1(seeds=[0, 1, 2])
    assert alone[0] != members and alone[1] != fingerprint
    assert (longer[1] == fingerprint) == (longer[0] == members) == shared


def test_the_authors_agents_lie_where_they_are_imported_to(smoke: dict[str, Any]) -> None:
    smoke["datasets"][DATASET]["pretrained"] = "authors"
    smoke["fine_tuning"]["members_shared"] = True
    jobs = Plan(smoke)
    assert jobs.pretraining.groups(DATASET, "cql") == []
    files = [jobs.pretraining.agent_file(DATASET, "cql", agent) for agent in range(5)]
    assert files == [f"releases/authors/{DATASET}/agent_{seed}.safetensors" for seed in (0, 4, 8, 12, 16)]
    assert jobs.fine_tuning.member_files(DATASET, "sac_ft", [1]) == [files[1]]
    assert jobs.figures.settings()["caption"]["authors_agents"]


def test_agents_trained_further_start_from_the_released_ones(smoke: dict[str, Any]) -> None:
    smoke["datasets"][DATASET]["pretrained"] = "continued"
    smoke["pretraining"]["agents_per_job"] = 2
    jobs = Plan(smoke)
    released = [f"releases/{DATASET}/agent_{agent}.safetensors" for agent in (2, 3)]
    assert jobs.pretraining.starting_files(DATASET, "cql", [2, 3]) == released
    assert needs(smoke, "cql", "agents_2-3") == [DATA, *released]
    assert needs(smoke, "sac_ft", "seeds_0-1") == [DATA, f"results/smoke/agents/{DATASET}/cql/agents_0-1"]
    fresh = change(smoke, lambda c: c["datasets"][DATASET].update(pretrained="train"))
    assert fresh.pretraining.starting_files(DATASET, "cql", [2, 3]) == []
    fingerprints = [each.pretraining.settings(DATASET, "cql")["fingerprint"] for each in (jobs, fresh)]
    assert fingerprints[0] != fingerprints[1]


def test_fitted_q_evaluation_starts_from_the_cql_agents_whatever_made_them(smoke: dict[str, Any]) -> None:
    smoke["pretraining"]["agents_per_job"] = 2
    jobs = Plan(smoke)
    folder = f"results/smoke/agents/{DATASET}/cql/agents_2-3"
    assert needs(smoke, "fqe", "agents_2-3") == [DATA, folder]
    names = [f"agent_{agent}.safetensors" for agent in (2, 3)]
    assert jobs.pretraining.starting_files(DATASET, "fqe", [2, 3]) == [f"{folder}/{name}" for name in names]
    smoke["datasets"][DATASET]["pretrained"] = "released"
    released = [f"releases/{DATASET}/{name}" for name in names]
    assert needs(smoke, "fqe", "agents_2-3") == [DATA, *released]
    assert Plan(smoke).pretraining.groups(DATASET, "fqe") == [[0, 1], [2, 3]]


def test_a_label_may_stand_for_another_method_with_its_own_agents(smoke: dict[str, Any]) -> None:
    smoke["pretraining"]["agents_per_job"] = 2
    jobs = Plan(smoke)
    assert [jobs.fine_tuning.members("off2on_n1", seed) for seed in (0, 1)] == [[0], [1]]
    settings = jobs.fine_tuning.settings(DATASET, "off2on_n1")
    assert settings["method"] == "off2on" and settings["config"]["ensemble_size"] == 1
    assert needs(smoke, "off2on_fqe", "seeds_0-1") == [
        DATA,
        *(f"results/smoke/agents/{DATASET}/fqe/agents_{group}" for group in ("0-1", "2-3")),
    ]


def test_a_custom_method_is_known_by_its_file_and_what_it_imports_from_beside_it(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "someones"
    package.mkdir()
    sources = {
        "someones/__init__.py": "",
        "someones/method.py": "from algorithms.methods import sac\nfrom . import losses\nclass Theirs: ...\n",
        "someones/losses.py": "import numpy\nfrom someones.more.numbers import ONE\n",
        "someones/more/numbers.py": "ONE = 1\n",
        "someones/unused.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    smoke["fine_tuning"]["methods"]["theirs"] = {"method": "someones.method:Theirs"}
    jobs = Plan(smoke)

    def fingerprint() -> str:
        job_hash.cache_clear()
        code_hash._code.cache_clear()
        return str(jobs.fine_tuning.settings(DATASET, "theirs")["fingerprint"])

    assert jobs.fine_tuning.settings(DATASET, "theirs")["config"] == {}
    assert jobs.fine_tuning.members("theirs", 1) == [1]
    before = fingerprint()
    for name, text in sources.items():
        (tmp_path / name).write_text(text + "edited = True\n")
        assert (fingerprint() == before) is (name == "someones/unused.py"), name
        before = fingerprint()
    for method, same in (("sac", False), ("bcq", True)):  # of the project, what it imports
        with edited(f"algorithms/methods/{method}.py"):
            assert (jobs.fine_tuning.settings(DATASET, "theirs")["fingerprint"] == before) is same


@pytest.mark.parametrize(
    ("method", "text", "sentence"),
    [
        ("nobodys_method:Theirs", None, "nobodys_method:Theirs could not be found: there is no module"),
        ("broken:Theirs", "class Theirs\n", "broken:Theirs could not be read: broken.py: expected ':'"),
        ("broken:Theirs", "from .. import x\n", "broken:Theirs could not be read: broken.py: "),
        ("algorithms.methods.td3:TD3", None, "could not be found: there is no module algorithms.methods.td3"),
    ],
)
def test_a_custom_method_without_a_readable_file_is_refused(
    smoke: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    text: str | None,
    sentence: str,
) -> None:
    if text is not None:
        (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    smoke["fine_tuning"]["methods"]["theirs"] = {"method": method}
    with pytest.raises(UserError, match=sentence) as refusal:
        Plan(smoke).fine_tuning.settings(DATASET, "theirs")
    assert "\n" not in str(refusal.value)


def test_an_own_agent_beside_the_projects_is_known_by_its_content(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    smoke["datasets"][DATASET]["pretrained"] = "released"
    own = Path(Plan(smoke).places.released_agent(DATASET, 0)).relative_to(ROOT)
    own.parent.mkdir(parents=True)
    found = set()
    for content in (b"one", b"another"):
        own.write_bytes(content)
        source_hash.cache_clear()
        code_hash._code.cache_clear()
        files = [Plan(smoke).places.released_agent(DATASET, agent) for agent in (0, 1)]
        assert [Path(file).is_absolute() for file in files] == [False, True]
        found.add(Plan(smoke).fine_tuning.settings(DATASET, "off2on")["fingerprint"])
    assert len(found) == 2


def test_a_released_behaviour_policy_is_not_trained(smoke: dict[str, Any]) -> None:
    dataset = "inverted-double-pendulum-medium-expert"
    policies = smoke["behaviour_policies"]
    before = Plan(smoke).data.recording(dataset)["fingerprint"]
    assert Plan(smoke).data.recorded_from(dataset) == ["results/smoke/behaviour/inverted-double-pendulum"]
    policies["inverted-double-pendulum"]["source"] = "released"
    assert Plan(smoke).data.recorded_from(dataset) == ["releases/behaviour/inverted-double-pendulum"]
    assert Plan(smoke).data.recording(dataset)["fingerprint"] != before
    policies["inverted-double-pendulum"]["source"] = "authors"
    assert Plan(smoke).data.recorded_from(dataset) == ["releases/authors/inverted-double-pendulum"]
    assert Plan(smoke).data.trained_policies() == []


def test_from_scratch_nothing_is_waited_for(smoke: dict[str, Any]) -> None:
    assert Plan(smoke).fine_tuning.offline_data(DATASET, "sac") == []
    assert needs(smoke, "sac", "seeds_0-1") == []


def test_a_method_from_scratch_may_be_given_the_offline_data_and_waits_for_no_agents(
    smoke: dict[str, Any],
) -> None:
    smoke["fine_tuning"]["methods"]["rlpd"] = {}
    jobs = Plan(smoke)
    assert jobs.fine_tuning.offline_data(DATASET, "rlpd") == [jobs.places.dataset(DATASET)]
    assert needs(smoke, "rlpd", "seeds_0-1") == jobs.fine_tuning.offline_data(DATASET, "rlpd")
    before = {label: jobs.fine_tuning.settings(DATASET, label)["fingerprint"] for label in ("rlpd", "sac")}
    smoke["datasets"][DATASET]["seed"] += 1
    after = {label: Plan(smoke).fine_tuning.settings(DATASET, label)["fingerprint"] for label in before}
    assert {label for label in before if before[label] != after[label]} == {"rlpd"}


def test_the_sweep_varies_one_method_in_its_policys_learning_rate_alone(smoke: dict[str, Any]) -> None:
    jobs = Plan(smoke)
    assert list(jobs.online.variations) == ["off2on_at_3e-04", "off2on_at_5e-06"]
    smoke["datasets"][DATASET]["fine_tuning"] = {
        "methods": {"off2on": {"config": {"batch_size": 3, "policy_learning_rate": 1.0e-3}}}
    }
    tuning = Plan(smoke).fine_tuning
    plain, swept = (tuning.settings(DATASET, label) for label in ("off2on", "off2on_at_5e-06"))
    assert swept["config"] == {**plain["config"], "policy_learning_rate": 5e-6}
    assert swept["schedule"] == {**plain["schedule"], "steps": 100}
    assert swept["method"] == "off2on" and swept["fingerprint"] != plain["fingerprint"]
    files = tuning.member_files(DATASET, "off2on", [0, 1])
    assert tuning.member_files(DATASET, "off2on_at_5e-06", [0, 1]) == files
    assert not set(tuning.sweep_curves()) & set(Plan(smoke).judging.curves())
    del smoke["sweep_policy_lr"]
    assert Plan(smoke).fine_tuning.sweep_curves() == []


def test_recorded_curves_are_read_from_the_committed_results(smoke: dict[str, Any]) -> None:
    smoke["curves"] = "recorded"
    folders = {curve.split("/curves/")[0] for curve in Plan(smoke).judging.curves()}
    assert folders == {"results/reference/smoke"}


def test_the_ensemble_size_reaches_off2on_alone(smoke: dict[str, Any]) -> None:
    assert Plan(smoke).fine_tuning.settings(DATASET, "off2on")["config"]["ensemble_size"] == 2
    assert "ensemble_size" not in Plan(smoke).fine_tuning.settings(DATASET, "sac_ft")["config"]


def test_the_nearer_setting_overrides_the_farther(smoke: dict[str, Any]) -> None:
    smoke["datasets"][DATASET]["fine_tuning"] = {
        "schedule": {"steps": 7},
        "methods": {"off2on": {"config": {"batch_size": 3}}},
    }
    smoke["fine_tuning"]["methods"]["off2on"]["schedule"] = {"steps": 5, "block_size": 9}
    settings = Plan(smoke).fine_tuning.settings(DATASET, "off2on")
    assert settings["schedule"]["steps"] == 7
    assert settings["schedule"]["block_size"] == 9
    assert settings["schedule"]["evaluation_interval"] == 100
    assert settings["config"]["batch_size"] == 3
    assert settings["config"]["hidden_widths"] == [32, 32]


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (lambda c: c["pretraining"].update(agents_per_job=1), set()),
        (lambda c: c["fine_tuning"].update(seeds_per_job=1), set()),
        (lambda c: c["statistics"].update(repetitions=7), {"judging"}),
        (lambda c: c["fine_tuning"]["schedule"].update(steps=500), {"off2on", "sac", "judging"}),
        (
            lambda c: c["fine_tuning"]["methods"]["off2on"]["config"].update(batch_size=8),
            {"off2on", "judging"},
        ),
        (
            lambda c: c["pretraining"]["methods"]["cql"]["config"].update(batch_size=8),
            {"pretraining", "off2on", "judging"},
        ),
        (lambda c: c["datasets"][DATASET].update(seed=9), {"recording", "pretraining", "off2on", "judging"}),
    ],
)
def test_a_setting_changes_the_jobs_it_concerns_and_those_after_them(
    smoke: dict[str, Any], edit: Callable[[dict[str, Any]], object], changed: set[str]
) -> None:
    before, after = fingerprints(Plan(smoke)), fingerprints(change(smoke, edit))
    assert {name for name in before if before[name] != after[name]} == changed


def test_an_edit_to_a_behaviour_policy_concerns_its_datasets(smoke: dict[str, Any]) -> None:
    after = change(smoke, lambda c: c["behaviour_policies"]["inverted-double-pendulum"].update(seed=1))
    for dataset, same in ((DATASET, True), ("inverted-double-pendulum-medium-expert", False)):
        fingerprint = Plan(smoke).pretraining.settings(dataset, "cql")["fingerprint"]
        assert (fingerprint == after.pretraining.settings(dataset, "cql")["fingerprint"]) is same


IMAGES = yaml.safe_load((ROOT / "config" / "smoke_images.yaml").read_text())
EVERY = {"behaviour", "recording", "pretraining", "fqe", "bcq", "off2on", "sac", "bcq_ft", "images", "film"}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("algorithms/methods/bcq.py", {"bcq", "bcq_ft"}),
        ("algorithms/methods/off2on.py", {"off2on", "images", "film"}),
        ("algorithms/methods/fqe.py", {"fqe"}),
        # Off2On starts from CQL's agents here, FQE evaluates them.
        ("algorithms/methods/cql.py", {"pretraining", "fqe", "off2on", "images", "film"}),
        ("algorithms/methods/conservative.py", {"pretraining", "fqe", "off2on", "images", "film"}),
        # CQL, FQE and Off2On are made of it; so are behaviour policies, which that dataset is not from.
        ("algorithms/methods/sac.py", EVERY - {"recording", "bcq", "bcq_ft"}),
        ("algorithms/training/offline.py", EVERY - {"behaviour", "recording", "sac"}),
        ("algorithms/training/online.py", {"behaviour", "off2on", "sac", "bcq_ft", "images", "film"}),
        ("algorithms/population/streams.py", EVERY),
        ("storage/__init__.py", EVERY),
        ("workflow/steps/pretrain.py", {"pretraining", "fqe", "bcq", "off2on", "bcq_ft", "images", "film"}),
        # What a job is told is in its settings, whoever reads them.
        ("workflow/cli.py", set()),
        ("workflow/plan/fine_tuning.py", set()),
        ("algorithms/catalogue.py", set()),
        ("algorithms/population/authors_checkpoints.py", set()),
    ],
)
def test_an_edit_to_a_file_concerns_the_jobs_that_import_it_and_those_after_them(
    smoke: dict[str, Any], file: str, changed: set[str]
) -> None:
    before = training_fingerprints(smoke)
    with edited(file):
        after = training_fingerprints(smoke)
    assert {name for name in before if before[name] != after[name]} == changed


def test_an_edit_to_the_robots_table_concerns_all_that_acts_there(
    smoke: dict[str, Any],
) -> None:
    table = {"environment": "SlideDelta-v0"}
    smoke["datasets"]["slide"] = {**smoke["datasets"][DATASET], **table}
    [policy] = smoke["behaviour_policies"].values()
    smoke["behaviour_policies"]["slider"] = {**policy, **table}

    def fingerprints() -> dict[str, str]:
        plan = Plan(smoke)
        tuned = {
            (data, label): plan.fine_tuning.settings(data, label)
            for data in (DATASET, "slide")
            for label in ("sac", "off2on")
        }
        others = {"recorded": plan.data.recording("slide"), "slider": plan.data.behaviour_policy("slider")}
        return {str(name): each["fingerprint"] for name, each in {**tuned, **others}.items()}

    before = fingerprints()
    with edited("envs/manipulation/tabletop.py"):
        after = fingerprints()
    concerned = {str(("slide", label)) for label in ("sac", "off2on")} | {"recorded", "slider"}
    assert {name for name in before if before[name] != after[name]} == concerned


def test_an_edit_to_what_a_job_judges_or_draws_with_concerns_that_job_alone(smoke: dict[str, Any]) -> None:
    pilot = Plan(read(ROOT / "config" / "heterogeneous_pilot.yaml"))
    [(dataset, label), *_] = pilot.measurements.behaviour_pairs()

    def fingerprints() -> dict[str, str]:
        found = {
            "trained": pilot.pretraining.settings(dataset, label),
            "measured": pilot.measurements.behaviours(dataset, label),
            "solved": Plan(smoke).measurements.gridworld(),
        }
        return {name: settings["fingerprint"] for name, settings in found.items()}

    before = fingerprints()
    for file, concerned in (
        ("analysis/assignments.py", "measured"),
        ("paper_figures/gridworld.py", "solved"),
    ):
        with edited(file):
            after = fingerprints()
        assert {name for name in before if before[name] != after[name]} == {concerned}


def test_an_edit_to_a_task_with_images_concerns_a_method_from_scratch_too() -> None:
    """It is given no data, whose fingerprint has that code for all others."""
    configuration = copy.deepcopy(IMAGES)
    settings = configuration["fine_tuning"]["methods"]["off2on"]
    configuration["fine_tuning"]["methods"] = {"off2on": settings, "sac": {}}

    def fingerprints() -> list[str]:
        tuning = Plan(configuration).fine_tuning
        return [tuning.settings("pick-place", label)["fingerprint"] for label in ("off2on", "sac")]

    before = fingerprints()
    with edited("envs/manipulation/pick_place.py"):
        after = fingerprints()
    assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("file", "released", "trained"),
    [
        ("bcq.py", set(), set()),
        ("cql.py", set(), {"cql", "off2on", "sac_ft"}),
        ("off2on.py", {"off2on"}, {"off2on"}),
        ("sac.py", {"off2on", "sac_ft", "sac"}, {"cql", "off2on", "sac_ft", "sac"}),
    ],
)
def test_of_a_finished_figure_3_an_edit_re_runs_what_learns_by_that_file(
    file: str, released: set[str], trained: set[str]
) -> None:
    quick = read(ROOT / "config" / "figure_03_quick.yaml")
    trains = copy.deepcopy(quick)
    for dataset in trains["datasets"].values():
        dataset["pretrained"] = "train"  # as overlays/train_agents.yaml has it

    def jobs(configuration: dict[str, Any]) -> dict[str, str]:
        table = Table(configuration).jobs.values()
        return {job.name: job.fingerprint for job in table if job.rule in ("record", "train")}

    before = [jobs(each) for each in (quick, trains)]
    with edited(f"algorithms/methods/{file}"):
        after = [jobs(each) for each in (quick, trains)]
    for old, new, expected in zip(before, after, (released, trained), strict=True):
        labels = {name.split("/")[2] for name in old if old[name] != new[name]}
        assert {label.partition(AT_RATE)[0] for label in labels} == expected


def training_fingerprints(configuration: dict[str, Any]) -> dict[str, str]:
    """The fingerprints of jobs that record and train."""
    jobs, images = Plan(configuration), Plan(IMAGES)
    task = "pick-place"
    settings = {
        "behaviour": jobs.data.behaviour_policy("inverted-double-pendulum"),
        "recording": jobs.data.recording(DATASET),
        "pretraining": jobs.pretraining.settings(DATASET, "cql"),
        "fqe": jobs.pretraining.settings(DATASET, "fqe"),
        "bcq": jobs.pretraining.settings(DATASET, "bcq"),
        "off2on": jobs.fine_tuning.settings(DATASET, "off2on"),
        "sac": jobs.fine_tuning.settings(DATASET, "sac"),
        "bcq_ft": jobs.fine_tuning.settings(DATASET, "bcq_ft"),
        "images": images.fine_tuning.settings(task, "off2on"),
        "film": images.pictures.film(task),
    }
    return {name: value["fingerprint"] for name, value in settings.items()}


def test_a_new_method_concerns_no_job_and_a_colour_those_that_draw(
    smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_fingerprints() -> dict[str, str]:
        return {**fingerprints(Plan(smoke)), **training_fingerprints(smoke)} | {
            "drawing": Plan(smoke).figures.settings()["fingerprint"],
            "drawing images": Plan(IMAGES).figures.settings()["fingerprint"],
        }

    before = all_fingerprints()
    new = replace(catalogue.METHODS["bcq_ft"], name="td3", label="TD3", place="td3:TD3")
    for table in (catalogue.LABELS, catalogue.METHODS, catalogue.OFFLINE, catalogue.ONLINE):
        monkeypatch.setitem(table, "td3", new)  # type: ignore[call-overload]
    assert all_fingerprints() == before
    drawn = replace(catalogue.METHODS["awac"], colour="#123456")
    for table in (catalogue.LABELS, catalogue.METHODS, catalogue.OFFLINE, catalogue.ONLINE):
        monkeypatch.setitem(table, "awac", drawn)  # type: ignore[call-overload]
    after = all_fingerprints()
    assert {name for name in before if before[name] != after[name]} == {"drawing", "drawing images"}


def fingerprints(jobs: Plan) -> dict[str, str]:
    """The fingerprint of one job of each kind."""
    settings = {
        "recording": jobs.data.recording(DATASET),
        "pretraining": jobs.pretraining.settings(DATASET, "cql"),
        "off2on": jobs.fine_tuning.settings(DATASET, "off2on"),
        "sac": jobs.fine_tuning.settings(DATASET, "sac"),
        "judging": jobs.judging.statistics(),
    }
    return {name: value["fingerprint"] for name, value in settings.items()}


def test_the_rule_of_a_d4rl_file_is_part_of_its_recording(smoke: dict[str, Any]) -> None:
    entry = {"environment": "HalfCheetah-v4", "recipe": "d4rl", "file": "no.hdf5", "pretrained": "train"}
    smoke["datasets"][DATASET] = entry
    before = Plan(smoke).data.recording(DATASET)
    after = change(smoke, lambda edited: edited["datasets"][DATASET].update(episode_ends="authors"))
    assert after.data.recording(DATASET)["episode_ends"] == "authors"
    assert after.data.recording(DATASET)["fingerprint"] != before["fingerprint"]


def test_an_own_file_is_known_by_every_byte_and_not_by_its_date(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "data.hdf5"
    content = bytearray(50_000_000)
    file.write_bytes(content)
    smoke["datasets"][DATASET] = {
        "environment": "HalfCheetah-v4", "recipe": "d4rl", "file": str(file), "pretrained": "train"
    }  # fmt: skip

    def fingerprint() -> str:
        return str(Plan(smoke).data.recording(DATASET)["fingerprint"])

    before = fingerprint()
    os.utime(file, (0, 0))
    assert fingerprint() == before
    for place in (0, 1_000_000, 25_000_000, 49_999_999):
        content[place] ^= 1
        file.write_bytes(content)
        assert fingerprint() != before
        content[place] ^= 1


@pytest.mark.parametrize(
    ("dataset", "parts"),
    [
        ("halfcheetah-medium-replay", ("halfcheetah", "medium-replay")),
        ("inverted-double-pendulum-replay", ("inverted-double-pendulum", "replay")),
        ("rooms-and-hallways-heteroskedastic", ("rooms-and-hallways", "heteroskedastic")),
        ("mine", ("own", "mine")),
        ("hopper2-mine", ("own", "hopper2-mine")),
    ],
)
def test_a_dataset_is_named_by_family_and_quality(dataset: str, parts: tuple[str, str]) -> None:
    assert split_name(dataset) == parts
    assert dataset_id(dataset) == f"{parts[0]}/{parts[1]}-local-v0"


def test_what_is_judged_and_drawn_is_made_anew_after_other_training_whatever_the_clock_says(
    smoke: dict[str, Any],
) -> None:
    def longer(configuration: dict[str, Any]) -> None:
        configuration["pretraining"]["schedule"]["updates"] += 1

    def recorded(configuration: dict[str, Any]) -> None:
        configuration["curves"] = "recorded"

    before, after = Plan(smoke), change(smoke, longer)
    assert before.judging.statistics()["fingerprint"] != after.judging.statistics()["fingerprint"]
    assert before.figures.settings()["fingerprint"] != after.figures.settings()["fingerprint"]
    # Committed curves are files and not jobs: nothing before them can change.
    committed = change(smoke, recorded)
    trained_longer = change(dict(committed.configuration), longer)
    assert committed.judging.statistics() == trained_longer.judging.statistics()


def test_claims_are_judged_on_what_was_measured_of_behaviours_too() -> None:
    configuration = read(CONFIGURATIONS / "heterogeneous_pilot.yaml")
    for curves, folder in (("fresh", "results"), ("recorded", "results/reference")):
        plan = Plan({**configuration, "curves": curves})
        place = f"{folder}/heterogeneous_pilot/behaviours/halfcheetah-heterogeneous-3"
        measured = [path for path in plan.judging.claimed_curves() if "behaviours" in path]
        names = ("multi_source", "true_number", "one_behaviour")
        for path, name in zip(measured, names, strict=True):
            assert path.endswith(f"{place}/{name}.measures.parquet")
        assert "behaviours" in plan.figures.names()


@pytest.mark.parametrize("name", ["heterogeneous_pilot", "heterogeneous"])
def test_claims_of_heterogeneous_data_are_of_labels_that_are_trained(name: str) -> None:
    configuration = read(CONFIGURATIONS / f"{name}.yaml")
    plan = Plan(configuration)
    claims = read_claims(Path(str(plan.judging.claims)), methods=plan.offline.names)
    measured = set(configuration["behaviours"]["labels"])
    for claim in claims:
        if claim.metric is not None:
            assert set(claim.methods) <= measured
        assert claim.earliest <= configuration["pretraining"]["schedule"]["updates"]


def test_a_dataset_has_any_name_and_an_environment_its_own_scores(
    smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in (reference_scores.KNOWN, reference_scores.DATASETS):
        for name in ("Ant", "My_own"):  # as they were, afterwards
            monkeypatch.setitem(known, name, None)
            monkeypatch.delitem(known, name)
    smoke["datasets"]["My_own"] = {**smoke["datasets"]["halfcheetah-random"], "environment": "Ant-v5"}
    before = Table(check({**smoke, "environments": {"Ant": {"random": -325.6, "expert": 3879.7}}}))
    reference_scores.KNOWN.pop("Ant")
    after = Table(check({**smoke, "environments": {"Ant": {"random": -325.6, "expert": 4000.0}}}))
    changed = {name for name, job in after.jobs.items() if job.fingerprint != before.jobs[name].fingerprint}
    assert {name for name in after.jobs if "My_own" in name} <= changed
    assert not any("halfcheetah-random" in name for name in changed)
    job = after.find("record", ("own", "My_own"))
    assert job.outputs["summary"] == "results/smoke/datasets/own-My_own.json"
    assert job.outputs["summary"] in after.find("figure", ["datasets"]).inputs["files"]
    told = job.about["registered"]
    assert told == {
        "environments": {"Ant": {"random": -325.6, "expert": 4000.0}},
        "datasets": {"My_own": "Ant-v5"},
    }
    assert normalised(np.array([4000.0]), "My_own") == [100.0]


def test_scripts_on_the_table_are_drawn_of_each_task_that_there_are_data_of() -> None:
    plan = Plan(read(ROOT / "config" / "realistic_source.yaml"))
    [folder] = plan.figures.files("table_scripts")
    table = Table(plan.configuration)
    assert table.jobs["pictures"].outputs == {"folder": folder}
    assert list(plan.pictures.settings()["tasks"].items()) == [
        ("reach", "ReachDelta-v0"),
        ("slide", "SlideDelta-v0"),
        ("lift", "LiftDelta-v0"),
        ("place", "PlaceDelta-v0"),
    ]
