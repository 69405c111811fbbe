"""Every wrong configuration is refused in one sentence that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.claims import read_claims
from envs import reference_scores
from envs.locomotion import ENVIRONMENTS
from offline_data import d4rl_hdf5
from storage import UserError
from storage.yaml_files import read_yaml
from tests.workflow.spoilt import DELETE, refusal, spoilt
from workflow.code_hash import ROOT
from workflow.configuration import check, completed, extended, load, main, merged_by_snakemake, read
from workflow.plan import Plan
from workflow.sections import LOCOMOTION, Configuration


def heterogeneous(*sources: dict[str, Any]) -> dict[str, Any]:
    """A dataset's entry of that recipe."""
    shape = {"transitions": 100, "copies": 4, "seed": 1, "pretrained": "train"}
    environment = {"environment": "HalfCheetah-v4"}
    return {**environment, "recipe": "heterogeneous", **shape, "sources": list(sources)}


WRONG = [
    # unknown names
    ("typo", 1, "unknown key 'typo'"),
    (
        "pretraining.methods.cql.config.min_q_weight",
        5.0,
        "pretraining.methods.cql.config: unknown key 'min_q_weight'",
    ),
    ("fine_tuning.methods.td3", {}, "methods.td3: unknown label 'td3': expected one of off2on"),
    ("fine_tuning.methods.Mine", {}, "fine_tuning.methods has the name 'Mine': expected lower-case letters"),
    (
        "pretraining.methods.td3",
        {},
        "pretraining.methods.td3: unknown label 'td3': expected one of awac, cql",
    ),
    (
        "datasets.halfcheetah-random.pretraining",
        {"methods": {"sac": {}}},
        "datasets.halfcheetah-random.pretraining.methods: unknown key 'sac': expected one of awac, cql",
    ),
    ("fine_tuning.methods.sac_ft.starts_from", ["cql"], "starts_from is ['cql']: expected text"),
    ("fine_tuning.methods.sac_ft.starts_from", "td3", "is 'td3': expected one of nothing, awac, cql"),
    (
        "datasets.halfcheetah-random.fine_tuning",
        {"methods": {"td3": {}}},
        "td3: expected one of fine_tuning",
    ),
    ("fine_tuning.methods.sac.config.alpha", 1.0, "fine_tuning.methods.sac.config: unknown key 'alpha'"),
    ("datasets.ant random", {}, "datasets has the name 'ant random': expected letters and digits"),
    ("datasets.ant random", None, "datasets has the name 'ant random': expected letters and digits"),
    (
        "datasets.halfcheetah-random.recipe",
        "best",
        "datasets.halfcheetah-random.recipe is 'best': expected one",
    ),
    ("datasets.halfcheetah-random.environment", "Ant-v4", "'Ant-v4': expected one of HalfCheetah-v4"),
    ("figures", ["figure_99"], "figures.0 is 'figure_99': expected one of learning_curves"),
    (
        "figures",
        ["figure_03_offline"],
        "figures.0 is 'figure_03_offline': expected one of learning_curves",
    ),
    (
        "figures",
        ["success_by_regime"],
        "figures has success_by_regime, which needs datasets of the robot's table",
    ),
    (
        "datasets.halfcheetah-random.reward_scale",
        "return_rang",
        "halfcheetah-random.reward_scale is 'return_rang': expected a number or one of return_range.",
    ),
    (
        "fine_tuning.methods.off2on_n2.ensemble_size",
        3,
        "at least 6, for 2 seeds with ensemble_size 3 of off2on_n2.",
    ),
    (
        "fine_tuning.methods.sac.ensemble_size",
        2,
        "fine_tuning.methods.sac.ensemble_size is 2: expected none, as sac takes no agents over.",
    ),
    ("gridworld.sweep.mazes", ["maze9"], "gridworld.sweep: "),
    ("figures", ["table_scripts"], "figures has table_scripts, which needs datasets of the robot's table"),
    ("likelihood", DELETE, "figures has figure_01a: expected the key 'likelihood'"),
    (
        "likelihood",
        {"datasets": ["x"], "seed": 0},
        "likelihood.datasets has 'x': expected one of the datasets",
    ),
    (
        "behaviours",
        {"datasets": ["halfcheetah-random"], "labels": ["cql"], "held_out": {"transitions": 9, "seed": 1}},
        "behaviours.datasets has 'halfcheetah-random', whose recipe random does not say who made what",
    ),
    (
        "behaviours",
        {"datasets": ["x"], "labels": ["cql"], "held_out": {"transitions": 9, "seed": 1}},
        "behaviours.datasets has 'x': expected one of the datasets",
    ),
    (
        "datasets.halfcheetah-random",
        {
            "environment": "HalfCheetah-v4",
            "recipe": "heterogeneous",
            "sources": [{"actor": "script"}],
            "transitions": 100,
            "copies": 2,
            "seed": 1,
            "pretrained": "train",
        },
        "sources[0].actor is 'script': expected one of HalfCheetah-v4's (uniform), or a policy.",
    ),
    (
        "datasets.halfcheetah-random",
        {
            "environment": "HalfCheetah-v4",
            "recipe": "heterogeneous",
            "sources": [{"actor": "uniform", "environment": "PlaceDelta-v0"}],
            "transitions": 100,
            "copies": 2,
            "seed": 1,
            "pretrained": "train",
        },
        "sources[0]: data of PlaceDelta-v0 are to be taken for HalfCheetah-v4's, and HalfCheetah-v4",
    ),
    ("sweep_policy_lr.datasets", ["x"], "sweep_policy_lr.datasets has 'x': expected one of the datasets"),
    ("sweep_policy_lr.method", "x", "sweep_policy_lr.method is 'x': expected one of fine_tuning.methods"),
    ("sweep_policy_lr.policy_learning_rates", [3.1e-4, 3e-4], "expected rates that differ in their first"),
    # values out of range or of another type
    ("fine_tuning.ensemble_size", 0, "fine_tuning.ensemble_size is 0: expected at least 1"),
    (
        "pretraining.methods.cql.config.discount",
        1.5,
        "pretraining.methods.cql.config.discount is 1.5: expected at most 1",
    ),
    (
        "pretraining.methods.cql.config.batch_size",
        2.5,
        "pretraining.methods.cql.config.batch_size is 2.5: expected a whole number",
    ),
    ("pretraining.agents", True, "pretraining.agents is True: expected a whole number"),
    ("pretraining.agents", "four", "pretraining.agents is 'four': expected a whole number"),
    (
        "pretraining.methods.cql.config.policy_learning_rate",
        "1e-4",
        "policy_learning_rate is '1e-4': expected a number.",
    ),
    (
        "pretraining.methods.cql.config.conservative_weight",
        float("nan"),
        "conservative_weight is nan: expected a number",
    ),
    (
        "pretraining.methods.cql.config.conservative_weight",
        10**400,
        "conservative_weight is 1000",
    ),
    (
        "fine_tuning.methods.off2on.config.priority_range",
        [2.0, 1.0],
        "off2on.config.priority_range is [2.0, 1.0]: expected the lower end first and a higher one after it",
    ),
    ("fine_tuning.methods.off2on.config.priority_range", [1, 1], "is [1, 1]: expected the lower end first"),
    ("fine_tuning.methods.awac", {"config": {"log_std_range": [2, -20]}}, "is [2, -20]: expected the lower"),
    ("name", "reference", "name is 'reference': expected another one, results/reference holds the committed"),
    ("fine_tuning.seeds", [], "fine_tuning.seeds is empty"),
    ("fine_tuning.seeds", [1, 1], "fine_tuning.seeds is [1, 1]: expected no repetition"),
    ("fine_tuning.seeds", [-1], "fine_tuning.seeds.0 is -1: expected at least 0"),
    ("statistics.confidence", 1, "statistics.confidence is 1: expected less than 1"),
    ("name", "Up/../down", "name is 'Up/../down': expected lower-case letters"),
    (
        "datasets.halfcheetah-random.pretrained",
        "download",
        "expected one of authors, continued, released, train",
    ),
    ("extends", "no_such.yaml", "extends is 'no_such.yaml': expected a file, by its path from"),
    ("extends", "../setup.yaml", "extends is '../setup.yaml': expected a file, by its path from"),
    ("extends", 5, "extends is 5: expected a file, by its path from"),
    # missing keys
    ("name", DELETE, "the key 'name' is missing"),
    (
        "datasets.halfcheetah-random.seed",
        DELETE,
        "halfcheetah-random: the recipe random needs the key 'seed'",
    ),
    ("datasets.halfcheetah-random.minari_id", "x-v0", "the recipe random takes no 'minari_id'"),
    ("datasets.halfcheetah-random.episode_ends", "authors", "the recipe random takes no 'episode_ends'"),
    (
        "datasets.halfcheetah-random.episode_ends",
        "theirs",
        "halfcheetah-random.episode_ends is 'theirs': expected one of checked, authors",
    ),
    ("pretraining.schedule.updates", DELETE, "pretraining.schedule: the key 'updates' is missing"),
    # settings that contradict each other
    (
        "pretraining.agents",
        3,
        "pretraining.agents is 3: expected at least 4, for 2 seeds with ensemble_size 2",
    ),
    (
        "datasets.halfcheetah-random.environment",
        "Hopper-v4",
        "family than its own, Hopper",
    ),
    (
        "datasets.halfcheetah-random.environment",
        "Ant-v5",
        "MuJoCo environments that 'environments' registers",
    ),
    (
        "environments",
        {"Ant": {"random": 1, "expert": 0}},
        "expected more than random, 1",
    ),
    ("environments", {"Hopper": {"random": 0, "expert": 1}}, "environment Hopper has the reference scores"),
    ("environments", {"Ant": {"random": 1}}, "environments.Ant: the key 'expert' is missing"),
    ("datasets.halfcheetah-random.transitions", DELETE, "the recipe random needs the key 'transitions'"),
    ("datasets.halfcheetah-random.behaviour_policy", "x", "the recipe random takes no 'behaviour_policy'"),
    (
        "datasets.inverted-double-pendulum-medium-expert.behaviour_policy",
        "nobody",
        "is 'nobody': expected one of",
    ),
    ("behaviour_policies.inverted-double-pendulum.environment", "Hopper-v4", "which acts in Hopper-v4"),
    (
        "datasets.halfcheetah-random",
        heterogeneous({"actor": "medium", "policy": "inverted-double-pendulum"}),
        "sources[0].policy is 'inverted-double-pendulum', which acts in InvertedDoublePendulum-v4",
    ),
    (
        "datasets.halfcheetah-random",
        heterogeneous({"actor": "medium", "policy": "x"}),
        "datasets.halfcheetah-random.sources[0].policy is 'x': expected one of the behaviour_policies",
    ),
    (
        "datasets.halfcheetah-random",
        heterogeneous({"actor": "medium"}),
        "expected a policy beside an actor, and none beside uniform actions",
    ),
    (
        "datasets.halfcheetah-random",
        heterogeneous({"actor": "best", "policy": "x"}),
        "actor is 'best': expected medium, expert, uniform or actor_STEP",
    ),
    (
        "datasets.halfcheetah-random",
        heterogeneous({"actor": "left"}),
        "sources[0].actor is 'left': expected one of HalfCheetah-v4's (uniform), or a policy.",
    ),
    (
        "datasets.inverted-double-pendulum-medium-expert",
        {
            **heterogeneous({"actor": "actor_500", "policy": "inverted-double-pendulum"}),
            "environment": "InvertedDoublePendulum-v4",
        },
        "sources[0].actor is 'actor_500': expected a step among the policy's checkpoints (there are",
    ),
    (
        "datasets.halfcheetah-random",
        {key: value for key, value in heterogeneous({}).items() if key != "sources"},
        "datasets.halfcheetah-random: the recipe heterogeneous needs the key 'sources'",
    ),
    ("compute", {"tf32": True}, "compute: tf32 is True, expected device cuda with it"),
    ("claims", None, "claims is None: expected text"),
    (
        "fine_tuning.schedule.evaluation_interval",
        150,
        "off2on on halfcheetah-random: evaluation_interval is 150, expected a multiple of block_size, 100",
    ),
    (
        "fine_tuning.methods.sac.schedule.block_size",
        30,
        "sac on halfcheetah-random: evaluation_interval is",
    ),
    (
        "datasets.halfcheetah-random.fine_tuning",
        {"schedule": {"checkpoint_interval": 1}},
        "halfcheetah-random: checkpoint_interval is 1, expected a multiple of block_size, 100",
    ),
    (
        "behaviour_policies.inverted-double-pendulum.schedule",
        {"block_size": 300},
        "pendulum.schedule: evaluation_interval is 1000, expected a multiple of block_size, 300",
    ),
    (
        "fine_tuning.methods.off2on.config.hidden_widths",
        [8],
        "on halfcheetah-random, from agents of cql: hidden_widths is [8], expected [32, 32], as of",
    ),
    (
        "pretraining.methods.fqe.config.hidden_widths",
        [8],
        "fqe on halfcheetah-random, from agents of cql: hidden_widths is [8], expected [32, 32]",
    ),
    (
        "fine_tuning.methods.sac_ft.starts_from",
        "awac",
        "from agents of awac: pre-trained agent 0 has policy",
    ),
    (
        "fine_tuning.methods.awac",
        {"starts_from": "cql", "config": {"hidden_widths": [32, 32], "policy_hidden_widths": [32, 32]}},
        "awac on halfcheetah-random, from agents of cql: pre-trained agent 0 lacks policy.log_std_logits",
    ),
    ("fine_tuning.methods.sac.starts_from", "cql", "from agents of cql: sac starts from scratch, and 1 pre-"),
    ("fine_tuning.methods.sac_ft.starts_from", "nothing", "starts_from is nothing: sac_ft takes agents over"),
    (
        "fine_tuning.methods.bcq_ft.config.acting_candidates",
        7,
        "acting_candidates is 7, expected a multiple of the 2 members",
    ),
    (
        "datasets.halfcheetah-random.reward_scale",
        "return_range",
        "methods.sac on halfcheetah-random: reward_scale is return_range: expected a number for",
    ),
    ("fine_tuning.methods.mine", {"method": "no.such:Mine"}, "the method no.such:Mine could not be"),
    (
        "fine_tuning.methods.mine",
        {"method": "algorithms.methods.sac:SACConfig"},
        "methods.mine: the method algorithms.methods.sac:SACConfig is no subclass of",
    ),
    (
        "fine_tuning.methods.off2on.config.priority_range",
        [1.0, 2.0, 3.0],
        "is [1.0, 2.0, 3.0]: expected at most 2",
    ),
]


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG, ids=[f"{p}={v}"[:60] for p, v, _ in WRONG])
def test_what_is_wrong_is_named_in_one_sentence(
    smoke: dict[str, Any], path: str, value: Any, sentence: str
) -> None:
    assert sentence in refusal(spoilt(smoke, path, value))


def test_an_environment_whose_actions_are_of_another_range_is_refused_before_anything_runs(
    smoke: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reference_scores.KNOWN, "Pusher", (0.0, 1.0))
    smoke["datasets"]["pushed"] = {**smoke["datasets"]["halfcheetah-random"], "environment": "Pusher-v5"}
    with pytest.raises(UserError, match=r"Pusher-v5 takes actions from -2 to 2: expected -1 to 1"):
        check({**smoke, "environments": {"Pusher": {"random": 0.0, "expert": 1.0}}})


def test_a_claim_of_a_label_that_is_not_trained_is_refused_before_anything_runs(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    claims = tmp_path / "claims.yaml"
    claims.write_text((ROOT / "analysis" / "claims_heterogeneous.yaml").read_text())
    smoke["claims"] = str(claims)
    with pytest.raises(
        UserError, match=r"claims\.yaml: claim 1 .*: unknown method 'true_number': expected one"
    ):
        check(smoke)


def test_a_claim_of_a_method_that_another_configuration_trains_is_accepted(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    claims = tmp_path / "claims.yaml"
    claims.write_text((ROOT / "analysis" / "modern_claims.yaml").read_text())
    assert "rlpd" not in smoke["fine_tuning"]["methods"]
    check({**smoke, "claims": str(claims)})


def test_the_table_of_configurations_has_each_of_them() -> None:
    folder = ROOT / "config"
    table = (folder / "README.md").read_text()
    files = (path.relative_to(folder).as_posix() for path in folder.glob("**/*.yaml"))
    assert [name for name in files if f"`{name}`" not in table] == []


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_results_of_a_shipped_configuration_lie_under_its_own_name(path: Path) -> None:
    assert load(path)["name"] == path.stem


def test_the_claims_of_the_modern_comparison_are_of_its_methods_and_datasets() -> None:
    modern = read(ROOT / "config" / "modern.yaml")
    methods = [*modern["fine_tuning"]["methods"]]
    claims = read_claims(ROOT / modern["claims"], methods=methods)
    judged = {claim.methods for claim in claims}
    assert judged == {("off2on", other) for other in ("rlpd", "iql_ft", "wsrl", "cal_ql", "pex")}
    assert all(set(claim.datasets) == {*modern["datasets"]} for claim in claims)


def test_random_data_as_large_as_d4rls_are_an_untrained_policys_as_d4rls_are() -> None:
    entries = {
        f"{path.stem}: {name}": entry
        for path in sorted((ROOT / "config").glob("**/*.yaml"))
        for name, entry in (read_yaml(path).get("datasets") or {}).items()
        if entry and entry.get("recipe") == "random" and entry["transitions"] >= 1_000_000
    }
    assert entries and [name for name, entry in entries.items() if entry.get("actions") != "untrained"] == []


JUDGED = [
    path
    for path in sorted((ROOT / "config").glob("*.yaml"))
    if extended(load(path), path.parent).get("claims")
]


@pytest.mark.parametrize("path", JUDGED, ids=lambda path: path.stem)
def test_its_own_claims_can_be_judged_where_a_shipped_configuration_ends(path: Path) -> None:
    """A claim that ended before would judge an earlier step than its last, or none."""
    configuration = completed(load(path))
    plan = Plan(configuration)
    online = configuration.get("fine_tuning", {}).get("schedule", {})
    offline = configuration.get("pretraining", {}).get("schedule", {})
    ends = {"online": online.get("steps"), "offline": offline.get("updates")}
    labels = [*plan.online.names, *plan.offline.names]
    for claim in read_claims(ROOT / configuration["claims"], methods=labels):
        end = ends[claim.phase or ("online" if online else "offline")]
        assert claim.earliest <= end <= claim.step, claim.id


def test_every_method_of_a_claim_is_trained_by_a_configuration_that_names_the_claims() -> None:
    trained: dict[str, set[str]] = {}
    for path in JUDGED:
        configuration = completed(load(path))
        plan = Plan(configuration)
        trained.setdefault(configuration["claims"], set()).update([*plan.online.names, *plan.offline.names])
    for file, labels in trained.items():
        for claim in read_claims(ROOT / file, methods=labels):
            assert labels.issuperset(claim.methods), claim.id


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: a\nname: b\n", "line 2: the key 'name' is given twice: expected one."),
        ("name: a\n__use_yte__: true\n", " has the key '__use_yte__', for which Snakemake evaluates"),
        ("<<: {__use_yte__: false}\nname: a\n", " has the key '__use_yte__', for which Snakemake evaluates"),
    ],
)
def test_a_file_with_more_than_one_meaning_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "mine.yaml")
    assert str(tmp_path / "mine.yaml") in str(refusal.value)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "could not be read: No such file or directory."),
        (b"name:\n\tkey: 1\n", "is not YAML: while scanning for the next token found character '\\t'"),
        (bytes(range(128, 256)), "is not YAML: 'utf-8' codec can't decode"),
        (b"name: [1\n", "is not YAML: while parsing a flow sequence"),
        (b"- 1\n", "is not a configuration: expected keys with values."),
    ],
)
def test_the_command_of_the_page_says_in_one_sentence_what_snakemake_ends_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, sentence: str
) -> None:
    """Snakemake reads a --configfile before it runs any code of ours."""
    assert "python -m workflow.configuration FILE" in (ROOT / "docs" / "workflow.md").read_text()
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    assert main([str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Configuration: {file} {sentence}") and said.count("\n") == 1


def test_the_overlay_for_a_gpu_fits_the_paper() -> None:
    paper, overlay = (
        yaml.safe_load((ROOT / "config" / name).read_text()) for name in ("paper.yaml", "overlays/gpu.yaml")
    )
    for section, keys in overlay.items():
        paper.setdefault(section, {}).update(keys)
    assert check(paper)["compute"]["device"] == "cuda"
    assert Plan(paper).pretraining.groups("hopper-random", "cql") == [list(range(20))]
    assert Plan(paper).fine_tuning.seed_groups() == [[0, 1, 2, 3]]


def test_files_extend_each_other_several_deep_from_where_they_lie(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    smoke["name"] = "base"
    for name, content in {
        "base.yaml": smoke,
        "inner/middle.yaml": {"extends": "../base.yaml", "name": "middle", "statistics": {"seed": 7}},
        "top.yaml": {"extends": "inner/middle.yaml", "sweep_policy_lr": None},
    }.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    found = read(tmp_path / "top.yaml")
    assert (found["name"], found["statistics"]["seed"], found["statistics"]["repetitions"]) == (
        "middle",
        7,
        100,
    )
    assert "sweep_policy_lr" not in found
    (tmp_path / "quick.yaml").write_text("extends: figure_03_quick.yaml\nname: mine")  # of config/
    assert read(tmp_path / "quick.yaml")["fine_tuning"]["schedule"]["steps"] == 10_000


def test_files_that_extend_each_other_in_a_ring_are_refused(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {other}.yaml")
    with pytest.raises(UserError, match=r"extends goes round \(b.yaml, a.yaml, b.yaml\): expected files of"):
        read(tmp_path / "a.yaml")


def test_of_several_files_one_may_extend_another(smoke: dict[str, Any], tmp_path: Path) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "overlay.yaml"]
    files[0].write_text("extends: smoke.yaml\nname: one")
    files[1].write_text("statistics: {repetitions: 9}")
    merged = {"extends": "smoke.yaml", "name": "one", "statistics": {"repetitions": 9}}
    assert merged_by_snakemake(merged, map(str, files))["statistics"]["repetitions"] == 9
    files[1].write_text("extends: pilot.yaml")
    with pytest.raises(UserError, match=r"overlay.yaml extends another file beside .*one.yaml: expected one"):
        merged_by_snakemake(merged, map(str, files))


def test_a_configuration_that_extends_another_says_only_what_differs() -> None:
    base, extended = (read(ROOT / "config" / name) for name in ("paper.yaml", "locomotion.yaml"))
    assert extended["name"] == "locomotion"
    assert extended["datasets"] == base["datasets"]
    assert extended["fine_tuning"]["seeds"] == [0, 1, 2]
    assert extended["fine_tuning"]["methods"] == base["fine_tuning"]["methods"]
    assert extended["pretraining"]["methods"]["awac"]["config"] == {"batch_size": 128}
    assert extended["pretraining"]["methods"]["awac"]["schedule"] == {"updates": 25000}


def test_null_leaves_out_what_the_extended_configuration_says() -> None:
    given = {"extends": "paper.yaml", "name": "less"}
    less = check({**given, "datasets": {"hopper-random": None}, "sweep_policy_lr": None})
    paper = read(ROOT / "config" / "paper.yaml")
    assert list(less["datasets"]) == [name for name in paper["datasets"] if name != "hopper-random"]
    assert "sweep_policy_lr" not in less
    with pytest.raises(UserError, match=r"^datasets\.hoper is null, .*: paper\.yaml has no such key\.$"):
        check({**given, "datasets": {"hoper": None}})


def test_each_dataset_of_the_paper_has_a_policy_learning_rate_and_a_weight_of_its_own() -> None:
    paper = Plan(read(ROOT / "config" / "paper.yaml"))
    started = [label for label in paper.online.names if paper.online.starts_from(label) in ("cql", "fqe")]
    for dataset in paper.configuration["datasets"]:
        tuned = [paper.fine_tuning.settings(dataset, label) for label in started]
        rates = {settings["config"].get("policy_learning_rate") for settings in tuned}
        assert rates in ({3e-4}, {3e-5}, {5e-6})  # [S] D.1
        trained = paper.pretraining.settings(dataset, "cql")
        assert trained["config"]["conservative_weight"] in (5, 10)  # [CQL] README


def test_figure_13_differs_from_the_paper_in_its_steps_alone() -> None:
    paper, whole = (Plan(read(ROOT / "config" / f"{name}.yaml")) for name in ("paper", "figure_13"))
    assert list(whole.configuration["datasets"]) == [
        d for d in paper.configuration["datasets"] if "cheetah" in d
    ]
    for dataset in whole.configuration["datasets"]:
        assert whole.data.recording(dataset) == paper.data.recording(dataset)
        for offline in ("cql", "fqe"):
            ours, theirs = (each.pretraining.settings(dataset, offline) for each in (whole, paper))
            assert ours == theirs
        for label in ("off2on", "off2on_fqe"):
            assert whole.fine_tuning.members(label, 3) == paper.fine_tuning.members(label, 3)
            ours, theirs = (each.fine_tuning.settings(dataset, label) for each in (whole, paper))
            assert ours["config"] == theirs["config"]
            assert (ours["schedule"]["steps"], theirs["schedule"]["steps"]) == (1_000_000, 250_000)


def test_the_demonstration_of_all_methods_is_the_default_and_more() -> None:
    less, all_of_it = (Plan(read(ROOT / "config" / f"{name}.yaml")) for name in ("pilot", "pilot_all"))
    assert less.online.names == ["off2on", "sac_ft", "sac"]
    assert {"off2on", "awac", "bcq_ft", "sac_ft", "sac"} <= set(all_of_it.online.names)  # Figure 3's
    [dataset] = less.configuration["datasets"]
    assert all_of_it.data.recording(dataset) == less.data.recording(dataset)
    assert all_of_it.pretraining.settings(dataset, "cql") == less.pretraining.settings(dataset, "cql")
    for label in less.online.names:
        assert all_of_it.fine_tuning.settings(dataset, label) == less.fine_tuning.settings(dataset, label)
    ours = less.fine_tuning.settings(dataset, "off2on")["config"]
    for label in all_of_it.online.names:
        if label.startswith("off2on"):
            config = {**all_of_it.fine_tuning.settings(dataset, label)["config"], "replay": "balanced"}
            assert config == ours | {"replay": "balanced", "ensemble_size": config["ensemble_size"]}


def test_the_rules_of_d4rl_files_and_the_environments_are_those_there_are() -> None:
    schema = Configuration.model_json_schema()["$defs"]["DatasetEntry"]["properties"]
    assert set(schema["episode_ends"]["enum"]) == set(d4rl_hdf5.RULES)
    assert set(LOCOMOTION) == set(ENVIRONMENTS)


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(
        [
            "name",
            "datasets",
            "pretraining",
            "fine_tuning.methods",
            "fine_tuning.seeds",
            "statistics.repetitions",
        ]
    ),
    value=st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_no_value_whatever_ends_in_a_traceback(path: str, value: Any) -> None:
    smoke = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    try:
        check(spoilt(smoke, path, value))
    except UserError as refusal:
        assert "\n" not in str(refusal)
