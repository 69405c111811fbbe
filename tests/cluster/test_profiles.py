"""The profiles fit the workflow: what they set per rule, they set for rules that exist."""

import re
from collections import OrderedDict
from typing import Any

import pytest
from snakemake.profiles import ProfileConfigFileParser

from storage.yaml_files import read_yaml
from workflow import outputs
from workflow.code_hash import ROOT
from workflow.configuration import check
from workflow.resources import resources_of
from workflow.table import Table

PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
RULES = set(outputs.RULES) | {
    rule
    for file in (ROOT / "workflow" / "rules").glob("*.smk")
    for rule in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
}
TRAINING = {"behaviour", "train"}


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


def test_every_job_asks_for_memory_disk_and_time_and_more_memory_when_it_is_given_again() -> None:
    table = Table(check(read_yaml(ROOT / "config" / "smoke.yaml")))
    for job in table.jobs.values():
        first, third = (resources_of(job, attempt) for attempt in (1, 3))
        assert min(first.values()) > 0 and third["mem_mb"] > 2 * first["mem_mb"], job.name
        assert (third["runtime"], third["disk_mb"]) == (first["runtime"], first["disk_mb"])


def test_on_a_cluster_a_job_that_was_lost_is_given_again_and_slurm_does_not_requeue_it() -> None:
    profile = parsed(ROOT / "profiles" / "slurm" / "config.yaml")
    assert int(profile["retries"]) > 0
    assert profile["slurm-no-requeue"] == "True"
