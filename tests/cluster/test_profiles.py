"""The profiles fit the workflow: what they set per rule, they set for rules that exist."""

import re
from collections import OrderedDict
from typing import Any

import pytest
from snakemake.profiles import ProfileConfigFileParser

from workflow.code_hash import ROOT

PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
RULES = {
    rule
    for file in (ROOT / "workflow" / "rules").glob("*.smk")
    for rule in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
}
TRAINING = {"behaviour", "pretrain", "fine_tune", "pretrain_pixels", "fine_tune_pixels"}


def parsed(path: Any) -> OrderedDict[str, Any]:
    """A profile as Snakemake reads it."""
    with path.open() as file:
        return ProfileConfigFileParser().parse(file)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_a_profile_names_only_rules_that_exist(path: Any) -> None:
    profile = parsed(path)
    named = {entry.partition(":")[0] for entry in profile.get("set-resources", [])}
    named |= {entry.partition("=")[0] for entry in profile.get("groups", [])}
    assert named <= RULES


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_training_is_never_a_member_of_a_group(path: Any) -> None:
    assert not TRAINING & {entry.partition("=")[0] for entry in parsed(path).get("groups", [])}


def test_on_a_cluster_every_training_job_has_its_own_memory_and_time() -> None:
    entries = [
        entry.partition("=")[0] for entry in parsed(ROOT / "profiles/slurm/config.yaml")["set-resources"]
    ]
    assert {f"{rule}:runtime" for rule in TRAINING} <= set(entries)


def test_on_a_cluster_a_job_that_was_lost_is_given_again_and_slurm_does_not_requeue_it() -> None:
    profile = parsed(ROOT / "profiles" / "slurm" / "config.yaml")
    assert int(profile["retries"]) > 0
    assert profile["slurm-no-requeue"] == "True"
