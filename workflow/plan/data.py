"""The datasets of a configuration and the behaviour policies that they are recorded with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from envs.tabletop import ENVIRONMENTS as TABLETOP
from envs.tabletop import TASKS as TABLE_TASKS
from storage.checksums import sha256
from workflow.code_hash import job_hash
from workflow.dataset_names import TASKS, family_of
from workflow.jobs import Json
from workflow.plan.places import Places
from workflow.plan.settings import existing_hash, with_fingerprint

SCRIPTED = {"scripts": "offline_data.manipulation:record", "heterogeneous": "offline_data.tabletop:script"}
"""What records tasks of the robot, by recipe: with images, and on the table."""
TABLE_CODE = "envs.manipulation.tabletop:TabletopTask"
"""What steps the robot's table: `envs.locomotion` imports it so late that no job's imports show it."""
IMAGE_CODE = "envs.manipulation:make"
"""What steps tasks with images: `workflow.training_process` imports it as late."""
RECORDING_KEYS = (
    "environment", "recipe", "transitions", "seed", "copies", "actions", "deviation_scale", "minari_id",
    "file", "episode_ends", "sources", "scripts",
)  # fmt: skip
"""Of a dataset's entry, what decides its recording."""
_MADE_WITH = ("action_form", "horizon")


@dataclass(frozen=True)
class Data:
    """What is recorded, and in which world."""

    configuration: Json
    places: Places

    def entry(self, dataset: str) -> Json:
        """Return what the configuration says of one dataset."""
        entry: Json = self.configuration["datasets"][dataset]
        return entry

    @property
    def images(self) -> bool:
        """Whether the datasets are tasks with images; all are, or none."""
        return any(dataset in TASKS for dataset in self.configuration["datasets"])

    @property
    def table_tasks(self) -> list[str]:
        """The tasks on the robot's table that there are datasets of, in the order of `envs.tabletop`."""
        entries = self.configuration["datasets"].values()
        found = {TABLETOP[name].task for each in entries if (name := each["environment"]) in TABLETOP}
        return [task for task in TABLE_TASKS if task in found]

    @cached_property
    def registered(self) -> dict[str, Json]:
        """What processes have to be told to normalise scores: own environments, own names of datasets."""
        entries = self.configuration["datasets"].items()
        named = {
            name: e["environment"] for name, e in entries if name not in TASKS and family_of(name) is None
        }
        found = {"environments": self.configuration.get("environments", {}), "datasets": named}
        return {key: value for key, value in found.items() if value}

    def _scores(self, environment: str) -> dict[str, Json]:
        """Return what the scores of an own environment depend on, as part of a job's settings."""
        own = self.configuration.get("environments", {})
        family = environment.rpartition("-v")[0]
        return {"reference_scores": own[family]} if family in own else {}

    @property
    def _compute(self) -> dict[str, Json]:
        """What training computes on, as part of a job's settings; nothing where that is left at the CPU."""
        return {"compute": self.configuration["compute"]} if "compute" in self.configuration else {}

    def world(self, dataset: str) -> dict[str, Any]:
        """Return the environment's name and, for a task with images, what it is made with."""
        entry = self.entry(dataset)
        if "scripts" not in entry:
            return {"environment": entry["environment"], **self._scores(entry["environment"])}
        made_with = {key: entry["scripts"][key] for key in _MADE_WITH if key in entry["scripts"]}
        return {"environment": entry["environment"], "options": made_with}

    def trained_in(self, dataset: str) -> dict[str, Any]:
        """Return what every training job on a dataset is told: world, scale of rewards, and computing."""
        reward_scale = self.entry(dataset).get("reward_scale", 1.0)
        return {**self.world(dataset), "reward_scale": reward_scale, **self._compute}

    # --- behaviour policies -------------------------------------------------------------------------------

    def behaviour_policy(self, policy: str) -> Json:
        """Return the settings of one behaviour policy, and their fingerprint."""
        entry = {**self.configuration["behaviour_policies"][policy], **self._compute}
        entry |= self._scores(entry["environment"])
        return with_fingerprint(entry, job_hash("behaviour"), *robot_code(entry["environment"]))

    def trained_policies(self) -> list[str]:
        """List the behaviour policies that datasets are recorded with and that nobody ships."""
        policies = self.configuration.get("behaviour_policies", {})
        used = [policy for entry in self.configuration["datasets"].values() for policy in policies_of(entry)]
        return [
            name for name in policies if name in used and policies[name].get("source", "train") == "train"
        ]

    # --- recordings ---------------------------------------------------------------------------------------

    def recorded_from(self, dataset: str) -> list[str]:
        """List the behaviour policies' folders or the D4RL file, for datasets that need them."""
        entry = self.entry(dataset)
        if "file" in entry:
            return [entry["file"]]
        return [self.places.policy(policy) for policy in policies_of(entry)]

    def recording(self, dataset: str) -> Json:
        """Return how one dataset is recorded, its entry less what only training reads, and a fingerprint."""
        entry = self.entry(dataset)
        settings = {key: entry[key] for key in RECORDING_KEYS if key in entry}
        settings |= self._scores(entry["environment"])
        robot = entry["environment"] in (*TASKS.values(), *TABLETOP)
        sources = [job_hash("record", SCRIPTED.get(entry["recipe"], TABLE_CODE) if robot else "")]
        for policy in policies_of(entry):
            if policy in self.trained_policies():
                sources.append(self.behaviour_policy(policy)["fingerprint"])
            else:
                sources.append(existing_hash([self.places.policy(policy)]))
        if dataset in self._own_files:
            sources.append(self._own_files[dataset])
        return with_fingerprint(settings, *sources)

    @cached_property
    def _own_files(self) -> dict[str, str]:
        """The hash of each dataset's own file, where it is there: read once for all that follows from it.

        Of all its bytes, a second for two gigabytes: what is mended in a file may be few of them.
        """
        files = {name: Path(entry.get("file", "")) for name, entry in self.configuration["datasets"].items()}
        return {name: sha256(file) for name, file in files.items() if file.is_file()}


def policies_of(dataset: Json) -> list[str]:
    """Return the behaviour policies that a dataset's entry is recorded with, each once."""
    own = [dataset["behaviour_policy"]] if "behaviour_policy" in dataset else []
    sources = [source["policy"] for source in dataset.get("sources", []) if "policy" in source]
    return list(dict.fromkeys([*own, *sources]))


def robot_code(environment: str) -> list[str]:
    """Return the hash of the code of the robot's tasks, for an environment of theirs; else nothing."""
    if environment in TASKS.values():
        return [job_hash("record", IMAGE_CODE)]
    return [job_hash("record", TABLE_CODE)] if environment in TABLETOP else []
