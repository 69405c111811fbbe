"""The cost of a configuration is that of the jobs which the DAG has, as they wait for each other."""

from __future__ import annotations

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from algorithms.catalogue import METHODS
from algorithms.population import checkpoints
from algorithms.training.acceleration import Compute
from algorithms.training.counting import Kernels
from benchmarks.cost import updates
from envs import manipulation, plane
from envs.locomotion import ENVIRONMENTS
from storage.files import read_json
from tests.workflow.conftest import DryRun
from workflow.code_hash import ROOT
from workflow.configuration import check, read
from workflow.cost.estimate import Estimate, seed_compute
from workflow.cost.gpu import GPU, H100, gpu_origin
from workflow.cost.jobs import Job, makespan, table
from workflow.cost.machine import MEASURED, TABLETOP, Model, Speed, origin
from workflow.jobs import numbered
from workflow.operations import Operations
from workflow.plan import Plan


def model(times: float = 1.0) -> Model:
    """A machine so many times as fast as the one that was measured."""
    before = Speed(**read_json(MEASURED)["speed"])
    return Model(Speed(before.product * times, before.small / times, before.update / times))


def job(seconds: float, *after: str) -> Job:
    return Job("fine_tune", seconds, 1.0, 1.0, after)


def estimate(configuration: dict[str, Any], times: float = 1.0) -> dict[str, Job]:
    return Estimate(Plan(check(configuration)), model(times)).jobs


def test_one_core_takes_the_sum_and_enough_cores_the_longest_chain() -> None:
    jobs = {"a": job(3), "b": job(1), "c": job(2, "a"), "d": job(4, "b"), "e": job(1, "c", "d")}
    assert makespan(jobs, 1) == 11
    assert makespan(jobs, 8) == 6  # a, c, e and b, d, e alike
    assert makespan(jobs, 2) == 6


def test_a_core_left_over_takes_the_next_job() -> None:
    assert makespan({name: job(1) for name in "abc"}, 2) == 2
    assert makespan({"a": job(5), "b": job(1), "c": job(1), "d": job(1)}, 2) == 5


def test_the_jobs_are_those_of_the_dag(smoke: dict[str, Any], dry_run: DryRun, tmp_path: Path) -> None:
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(smoke))
    _, output = dry_run("--cores", "1", "--configfile", "smoke.yaml")
    stats = output[output.index("Job stats") :]
    counted = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
    found = Counter(job.stage for job in estimate(smoke).values())
    assert found["pretrain"] + found["fine_tune"] == counted["train"]
    assert found["figures"] == counted["figure"] + counted["reproduction"]
    for stage in ("behaviour", "record", "likelihood", "statistics"):
        assert found[stage] == counted[stage]


def test_a_machine_twice_as_fast_takes_half_as_long(smoke: dict[str, Any]) -> None:
    slow, fast = estimate(smoke), estimate(smoke, times=2.0)
    for name, found in slow.items():
        assert fast[name].seconds == pytest.approx(found.seconds / 2)


def test_twice_the_updates_add_their_time(smoke: dict[str, Any]) -> None:
    def seconds(updates: int) -> float:
        smoke["pretraining"]["schedule"] = {"updates": updates, "evaluation_interval": 10**9}
        smoke["pretraining"]["schedule"]["checkpoint_interval"] = 10**9
        return estimate(smoke)["train/halfcheetah-random/bcq/agents_0-3"].seconds

    first, second, third = (seconds(count) for count in (1000, 2000, 3000))
    assert second > first
    assert third - second == pytest.approx(second - first)


def test_released_agents_cost_nothing(smoke: dict[str, Any]) -> None:
    smoke["datasets"]["halfcheetah-random"]["pretrained"] = "released"
    shipped = {"config": {"hidden_widths": [256, 256]}}
    others = {label: shipped for label in smoke["fine_tuning"]["methods"] if label not in ("awac", "bcq_ft")}
    smoke["datasets"]["halfcheetah-random"]["fine_tuning"] = {"methods": others}
    smoke["datasets"]["halfcheetah-random"]["pretraining"] = {"methods": {"fqe": shipped}}
    assert not any(name.startswith("train/halfcheetah-random/cql/") for name in estimate(smoke))


def test_without_fine_tuning_the_judged_offline_phases_are_what_it_costs(smoke: dict[str, Any]) -> None:
    for key in ("fine_tuning", "sweep_policy_lr", "likelihood"):
        del smoke[key]
    found = Counter(job.stage for job in estimate(smoke | {"figures": ["learning_curves"]}).values())
    assert found == {"behaviour": 1, "record": 2, "pretrain": 8, "statistics": 1, "figures": 3}


def test_a_method_that_was_not_measured_is_slower_than_any_that_was() -> None:
    measured = read_json(MEASURED)["updates"]
    assert model().update("a new one", 1e9) >= max(model().update(kind, 1e9) for kind in measured)


def test_all_that_a_run_asks_for_was_measured(smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rates = set[str](), Model._rates

    def noting(own: Model, kind: str) -> Any:
        asked.add(kind)
        return rates(own, kind)

    monkeypatch.setattr(Model, "_rates", noting)
    assert any(job.stage == "likelihood" for job in estimate(smoke).values())
    assert asked and asked <= set(read_json(MEASURED)["updates"])


@pytest.mark.parametrize("method", ["cal_ql", "wsrl", "reds"])
def test_a_penalty_in_bfloat16_that_was_not_measured_is_no_slower_than_in_float32(method: str) -> None:
    assert f"{method}, bfloat16" not in read_json(MEASURED)["updates"]
    assert model().update(f"{method}, bfloat16", 1e9) == model().update(method, 1e9)


def test_every_environment_that_is_stepped_was_measured() -> None:
    measured = read_json(MEASURED)["environments"]
    stepped = (*ENVIRONMENTS, *plane.TASKS, *manipulation.ENVIRONMENTS)
    assert set(measured) == {*(name.rpartition("-")[0] for name in stepped), TABLETOP}
    assert all(found["batch_us"] + found["copy_us"] > 0 for found in measured.values())


@pytest.mark.parametrize("environment", ["PlaceDelta-v0", "ReachAbsoluteNear-v0"])
def test_a_step_at_the_table_takes_what_was_measured_there(environment: str) -> None:
    measured = read_json(MEASURED)["environments"][TABLETOP]
    expected = (measured["batch_us"] + 3 * measured["copy_us"]) / 1e6
    assert model().simulated(environment, 3) == pytest.approx(expected)


def test_what_the_benchmark_measures_is_in_the_table() -> None:
    measured = set(read_json(MEASURED)["updates"])
    assert measured == set(updates())
    modules = {row.path.partition(":")[0].rpartition(".")[2] for row in METHODS.values()}
    assert len(measured & modules) > 15


def test_what_is_measured_of_behaviours_is_a_stage() -> None:
    configuration = read(ROOT / "config" / "heterogeneous_pilot.yaml")
    plan = Plan(configuration)
    found = Estimate(plan, model()).jobs
    measured = [f"behaviours/{dataset}/{label}" for dataset, label in plan.measurements.behaviour_pairs()]
    assert measured and [name for name, job in found.items() if job.stage == "behaviours"] == measured
    longer = copy.deepcopy(configuration)
    longer["behaviours"]["held_out"]["transitions"] *= 10
    slower = Estimate(Plan(longer), model()).jobs
    assert all(slower[name].seconds > found[name].seconds for name in measured)


def test_a_gpu_is_estimated_by_launches_bytes_and_operations() -> None:
    fast = GPU("fast", 1.0, 10.0, 100.0, 20.0, 200.0, 0.0)
    does = Operations(1_000, 0, 0, Kernels(launches=7, draws=2, traffic=1_000, written=500))
    captured = Compute("cuda", updates_per_graph=5)
    assert fast.update(does, 1_000, 1, captured) == 7 + 50  # 50 s of operations, 10 s of bytes
    assert fast.update(does, 3_000, 3, captured) == 7 + 2 * 2 + 150
    assert fast.update(does, 1_000, 1, Compute("cuda", tf32=True, updates_per_graph=5)) == 7 + 10
    assert fast.update(does, 1_000, 1, Compute("cuda")) == 70 + 50


def test_jobs_on_a_gpu_take_turns() -> None:
    jobs = {name: job(2)._replace(gpu_gb=1.0) for name in "abc"} | {"d": job(5), "e": job(1, "c")}
    assert makespan(jobs, 8) == 7


def test_a_gpu_is_asked_for_and_answered_for() -> None:
    names = (Path("overlays", "gpu.yaml"), Path("paper.yaml"))
    overlay, paper = (yaml.safe_load((ROOT / "config" / name).read_text()) for name in names)
    both = {key: {**paper.get(key, {}), **value} for key, value in overlay.items()}
    found = Estimate(Plan(check({**paper, **both})), model())
    learning = [job for job in found.jobs.values() if job.stage in ("pretrain", "fine_tune")]
    assert found.training.on_gpu and all(0 < job.gpu_gb < 80 for job in learning)
    assert not any(job.gpu_gb for job in found.jobs.values() if job not in learning)
    assert sum(job.seconds for job in learning) < 200 * 3600
    said = table(found.jobs, cores=16)
    assert "of a GPU, GB" in said and "and one GPU." in said
    assert "an H100 is said to need" in gpu_origin(H100, found.training.device)


def test_committed_curves_cost_no_training(smoke: dict[str, Any]) -> None:
    smoke["curves"] = "recorded"
    assert {found.stage for found in estimate(smoke).values()} == {"statistics", "figures"}


def test_tasks_with_images_cost_what_their_episodes_and_their_updates_take() -> None:
    configuration = read(ROOT / "config" / "smoke_images.yaml")
    plan = Plan(configuration)
    jobs = estimate(configuration)
    stages = Counter(job.stage for job in jobs.values())
    assert stages["record"] == 3 and "statistics" not in stages
    assert stages["pretrain"] == 3 * len(plan.offline.trained("pick-place"))
    assert stages["fine_tune"] == 3 * len(plan.online.names)
    before = jobs["train/pick-place/off2on/seeds_0-1"].seconds
    for key, value in (("steps", 8), ("updates_per_episode", 50), ("evaluation_episodes", 40)):
        longer = copy.deepcopy(configuration)
        longer["fine_tuning"]["schedule"][key] = value
        assert estimate(longer)["train/pick-place/off2on/seeds_0-1"].seconds > before
    own = copy.deepcopy(configuration)
    for entry in own["datasets"].values():
        entry["scripts"].pop("horizon", None)  # some entries are one object
    found = Estimate(Plan(check(own)), model())
    assert found.transitions("grasp-blocked-drawer") == 6 * 80
    assert found.jobs["train/pick-place/off2on/seeds_0-1"].seconds > before


def test_a_stage_is_a_line_and_so_is_all_of_it(smoke: dict[str, Any]) -> None:
    lines = table(estimate(smoke), cores=2).splitlines()
    jobs = [int(match[1]) for line in lines if (match := re.match(r"[a-z_]+ +(\d+) ", line))]
    assert sum(jobs[:-1]) == jobs[-1]


def processor(name: str, instructions: str, model: str = "family 1") -> dict[str, str]:
    return {"cpu": name, "cpu_model": model, "cpu_instructions": instructions}


def test_the_estimate_says_whose_rates_it_goes_by() -> None:
    measured = read_json(MEASURED)["hardware"]
    said = origin(measured, measured)
    assert f"Rates measured on {measured['cpu']} ({measured['cpu_model']})" in said
    assert "lacks" not in said


def test_the_estimate_says_what_a_lesser_processor_lacks_and_what_followed() -> None:
    wide, narrow = processor("Wide", "avx2 avx512f avx512bw"), processor("Narrow", "avx2 fma", model="")
    said = origin(wide, narrow)
    assert "This processor, Narrow, lacks avx512f avx512bw:\na run on such a one took 3 times" in said
    arm = origin(wide, processor("Arm", "asimd"))
    assert "lacks avx2 avx512f avx512bw:\nno finished run has been compared" in arm
    assert "lacks" not in origin(processor("Wide", "avx2"), wide)


def test_the_estimate_of_a_nameless_processor_is_made_all_the_same() -> None:
    assert "Rates measured on an unnamed processor,\n" in origin(processor("", "", ""), processor("", "", ""))


def test_the_default_ends_within_twenty_minutes_of_two_cores_with_avx2() -> None:
    """By what the first default took there: 90 minutes of processor time, for which the model said 28.4."""
    default = estimate(read(ROOT / "config" / "pilot.yaml"))
    assert makespan(default, 2) * 90 / 28.4 < 20 * 60


def test_a_seed_takes_its_share_of_its_jobs_and_of_those_of_its_agents(smoke: dict[str, Any]) -> None:
    plan = Plan(check(smoke))
    found = seed_compute(plan).set_index(["dataset", "method"])
    jobs = estimate(smoke)
    tuned = jobs[f"train/halfcheetah-random/off2on/{numbered('seeds', plan.fine_tuning.seed_groups()[0])}"]
    made = jobs["train/halfcheetah-random/cql/agents_0-3"]
    runs, members, agents = len(plan.fine_tuning.seed_groups()[0]), plan.online.ensemble_size("off2on"), 4
    row = found.loc[("halfcheetah-random", "off2on")]
    trained = plan.pretraining.settings("halfcheetah-random", "cql")
    assert row["offline_updates"] == trained["schedule"]["updates"]
    expected = tuned.seconds / runs + members * made.seconds / agents
    assert row["core_hours"] == pytest.approx(expected / 3600)
    expected = tuned.operations / runs + members * made.operations / agents
    assert row["pflop"] == pytest.approx(expected / 1e15)
    judged = plan.judging.labels()
    assert list(found.index) == [(d, m) for d in plan.configuration["datasets"] for m in judged]


def test_released_agents_are_counted_as_what_it_took_to_make_them() -> None:
    found = seed_compute(Plan(read(ROOT / "config" / "figure_03.yaml"))).set_index(["method", "dataset"])
    from_one, from_five = (found.loc[(label, "halfcheetah-medium-replay")] for label in ("sac_ft", "off2on"))
    assert from_one["pflop"] > 30 * found.loc[("sac", "halfcheetah-medium-replay"), "pflop"]
    assert from_five["pflop"] == pytest.approx(5 * from_one["pflop"], rel=0.02)


def test_agents_trained_further_count_each_update_once(smoke: dict[str, Any]) -> None:
    config = smoke["pretraining"]["methods"]["cql"]["config"]
    further = {"method": "cql", "starts_from": "cql", "schedule": {"updates": 300}, "config": config}
    smoke["pretraining"]["methods"]["further"] = further
    smoke["fine_tuning"]["methods"] = {
        "once": {"method": "sac_ft", "config": smoke["fine_tuning"]["methods"]["sac_ft"]["config"]}
    }
    twice = {**smoke["fine_tuning"]["methods"]["once"], "starts_from": "further"}
    smoke["fine_tuning"]["methods"]["twice"] = twice
    del smoke["sweep_policy_lr"]
    smoke["figures"] = ["learning_curves"]
    found = seed_compute(Plan(check(smoke))).set_index(["dataset", "method"])
    once, more = (found.loc[("halfcheetah-random", label)] for label in ("once", "twice"))
    assert (once["offline_updates"], more["offline_updates"]) == (100, 300)
    jobs = estimate(smoke)
    added = jobs["train/halfcheetah-random/further/agents_0-3"]
    assert more["pflop"] - once["pflop"] == pytest.approx(added.operations / 4 / 1e15)


def test_released_agents_trained_further_are_estimated_by_the_updates_still_to_be_made() -> None:
    dataset = "halfcheetah-random"
    manifest = checkpoints.load(ROOT / "releases" / dataset / "agent_0.safetensors")[1]
    had = manifest["configuration"]["schedule"]["updates"]

    def trained(pretrained: str, updates: int) -> Job:
        configuration = read(ROOT / "config" / "figure_03.yaml")
        schedule = {"schedule": {"updates": updates}}
        configuration["datasets"][dataset] |= {"pretrained": pretrained, "pretraining": schedule}
        return estimate(configuration)[f"train/{dataset}/cql/agents_0-0"]

    further, fresh = trained("continued", had + 10_000), trained("train", 10_000)
    assert further.operations == pytest.approx(fresh.operations)
    assert further.seconds == pytest.approx(fresh.seconds)


def test_recorded_curves_cost_what_it_took_to_make_them(smoke: dict[str, Any]) -> None:
    trained = seed_compute(Plan(check(smoke)))
    pd.testing.assert_frame_equal(seed_compute(Plan({**check(smoke), "curves": "recorded"})), trained)
