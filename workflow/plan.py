"""What the DAG consists of for a checked configuration: which jobs, with which settings and which agents.

Rules ask this module, so that they hold no logic. Every job has a `fingerprint`: a hash of its settings, of
the code it runs and of the fingerprints of the jobs before it. It names the folder of resumable state, so
that a job goes on only from a state that the same code and the same settings left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from records.provenance import configuration_hash
from workflow.sources import ROOT, source_hash

TRAINING = ("algorithms", "datasets", "envs", "records")
RECORDING = ("datasets", "envs", "records")
JUDGING = ("analysis", "envs/reference_scores.py", "records")
DRAWING = ("paper_figures", *JUDGING)
FROM_SCRATCH = ("sac",)
"""Methods that start from no pre-trained agent and use no offline data."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """The jobs of one configuration (`workflow.configuration.check`'s result)."""

    configuration: Json

    @property
    def run(self) -> str:
        """The name under which results are kept: results/<run>/."""
        return str(self.configuration["name"])

    @property
    def results(self) -> str:
        """The folder of this configuration's results."""
        return f"results/{self.run}"

    def state(self, rule: str, *job: str) -> str:
        """Where a job keeps what it resumes from; outside `output:`, which Snakemake deletes first."""
        return "/".join([self.results, "state", rule, *job])

    def dataset(self, dataset: str) -> Json:
        """The configuration's entry of one dataset."""
        entry: Json = self.configuration["datasets"][dataset]
        return entry

    def dataset_folder(self, dataset: str) -> str:
        """Where the Minari dataset lies."""
        return f"{self.results}/datasets/{dataset_id(dataset)}"

    def behaviour_policy(self, policy: str) -> Json:
        """The configuration's entry of one behaviour policy, and its fingerprint."""
        entry = self.configuration["behaviour_policies"][policy]
        return with_fingerprint(entry, source_hash(*TRAINING, "workflow/steps/behaviour.py"))

    def recorded_from(self, dataset: str) -> list[str]:
        """The behaviour policy's folder, for datasets that need one."""
        entry = self.dataset(dataset)
        if "behaviour_policy" not in entry:
            return []
        return [f"{self.results}/behaviour/{entry['behaviour_policy']}"]

    def recording(self, dataset: str) -> Json:
        """How one dataset is recorded: its entry less what only training reads."""
        entry = self.dataset(dataset)
        keys = ("environment", "recipe", "transitions", "seed", "copies")
        settings = {key: entry[key] for key in keys if key in entry}
        sources = [source_hash(*RECORDING, "workflow/steps/record.py")]
        if "behaviour_policy" in entry:
            sources.append(self.behaviour_policy(entry["behaviour_policy"])["fingerprint"])
        return with_fingerprint(settings, *sources)

    # --- pre-training -------------------------------------------------------------------------------------

    def agent_groups(self, dataset: str) -> list[str]:
        """The jobs that pre-train a dataset's agents, as "first-last"; none where they are released."""
        if self.dataset(dataset)["pretrained"] == "released":
            return []
        section = self.configuration["pretraining"]
        groups = chunks(range(section["agents"]), section["agents_per_job"])
        return [f"{group[0]}-{group[-1]}" for group in groups]

    def agents_of(self, group: str) -> list[int]:
        """The agents of a pre-training job."""
        first, last = map(int, group.split("-"))
        return list(range(first, last + 1))

    def pretraining(self, dataset: str) -> Json:
        """The settings of a dataset's pre-training, and its fingerprint."""
        section, own = self.configuration["pretraining"], self.dataset(dataset).get("pretraining", {})
        settings = {
            "environment": self.dataset(dataset)["environment"],
            "reward_scale": self.dataset(dataset).get("reward_scale", 1.0),
            "schedule": merged("schedule", section, own),
            "cql": merged("cql", section, own),
        }
        before = [source_hash(*TRAINING, "workflow/steps/pretrain.py")]
        before.append(self.recording(dataset)["fingerprint"])
        if self.dataset(dataset)["pretrained"] == "continued":
            agents = range(self.configuration["pretraining"]["agents"])
            before.append(existing_hash([released_agent(dataset, agent) for agent in agents]))
        return with_fingerprint(settings, *before)

    def starting_agents(self, dataset: str, group: str) -> list[str]:
        """The released agents that a job trains further; none where it makes fresh ones."""
        if self.dataset(dataset)["pretrained"] != "continued":
            return []
        return [released_agent(dataset, agent) for agent in self.agents_of(group)]

    def agent_file(self, dataset: str, agent: int) -> str:
        """Where one pre-trained agent lies."""
        if self.dataset(dataset)["pretrained"] == "released":
            return released_agent(dataset, agent)
        per_job = self.configuration["pretraining"]["agents_per_job"]
        group = self.agent_groups(dataset)[agent // per_job]
        return f"{self.results}/agents/{dataset}/{group}/agent_{agent}.safetensors"

    # --- fine-tuning --------------------------------------------------------------------------------------

    @cached_property
    def methods(self) -> list[str]:
        """The online methods, in the configuration's order."""
        return list(self.configuration["fine_tuning"]["methods"])

    def seed_groups(self) -> list[str]:
        """The fine-tuning jobs of one method and dataset, as seeds joined by "-"."""
        section = self.configuration["fine_tuning"]
        return ["-".join(map(str, group)) for group in chunks(section["seeds"], section["seeds_per_job"])]

    def members(self, method: str, seed: int) -> list[int]:
        """The agents that a seed starts from: none from scratch, one for SAC-ft, N for Off2On.

        [C] member i of the run at position s of S is agent i S + s, so that no two runs share one; where
        members are shared, the runs take theirs in turn from all agents.
        """
        section = self.configuration["fine_tuning"]
        seeds, size = list(section["seeds"]), section["ensemble_size"]
        if method in FROM_SCRATCH:
            return []
        position, count = seeds.index(seed), 1 if method == "sac_ft" else size
        if section["members_shared"]:
            agents = self.configuration["pretraining"]["agents"]
            return [(position + member) % agents for member in range(count)]
        return [member * len(seeds) + position for member in range(count)]

    def fine_tuning(self, dataset: str, method: str) -> Json:
        """The settings of one method on one dataset, and their fingerprint."""
        section, entry = self.configuration["fine_tuning"], self.dataset(dataset)
        own = entry.get("fine_tuning", {})
        ours, theirs = section["methods"][method], own.get("methods", {}).get(method, {})
        size = {"ensemble_size": section["ensemble_size"]} if method == "off2on" else {}
        settings = {
            "environment": entry["environment"],
            "reward_scale": entry.get("reward_scale", 1.0),
            "schedule": merged("schedule", section, ours, own, theirs),
            "config": {**merged("config", ours, theirs), **size},
        }
        before = [source_hash(*TRAINING, "workflow/steps/fine_tune.py")]
        if method not in FROM_SCRATCH:
            before.append(self.recording(dataset)["fingerprint"])
            before.append(self._agents_fingerprint(dataset, method))
        return with_fingerprint(settings, *before)

    def _agents_fingerprint(self, dataset: str, method: str) -> str:
        members = [self.members(method, seed) for seed in self.configuration["fine_tuning"]["seeds"]]
        if self.dataset(dataset)["pretrained"] != "released":
            return configuration_hash({"members": members, "of": self.pretraining(dataset)["fingerprint"]})
        return existing_hash(sorted({self.agent_file(dataset, agent) for seed in members for agent in seed}))

    def offline_data(self, dataset: str, method: str) -> list[str]:
        """The dataset that a method replays; none from scratch."""
        return [] if method in FROM_SCRATCH else [self.dataset_folder(dataset)]

    def member_files(self, dataset: str, method: str, seeds: str) -> list[str]:
        """The agents' files of a group of seeds, each seed's in turn."""
        members = [agent for seed in seeds.split("-") for agent in self.members(method, int(seed))]
        return [self.agent_file(dataset, agent) for agent in members]

    def agent_inputs(self, dataset: str, method: str, seeds: str) -> list[str]:
        """The files or folders, made by other jobs or shipped, that `member_files` lie in."""
        files = self.member_files(dataset, method, seeds)
        if self.dataset(dataset)["pretrained"] != "released":
            files = [file.rpartition("/")[0] for file in files]
        return list(dict.fromkeys(files))

    # --- what is judged and drawn ---------------------------------------------------------------------------

    def curves(self) -> list[str]:
        """The curve files of the online methods on every dataset: this run's own, or the committed ones."""
        recorded = self.configuration.get("curves") == "recorded"
        folder = f"results/reference/{self.run}" if recorded else self.results
        return [
            f"{folder}/curves/{dataset}/{method}/seeds_{seeds}.parquet"
            for dataset in self.configuration["datasets"]
            for method in self.methods
            for seeds in self.seed_groups()
        ]

    def judging(self) -> Json:
        """The settings of the statistics, and their fingerprint."""
        source = source_hash(*JUDGING, "workflow/steps/statistics.py", "workflow/steps/reproduction.py")
        return with_fingerprint(self.configuration["statistics"], source)

    def drawing(self) -> Json:
        """What captions and legends say beside the statistics, and a fingerprint."""
        section = self.configuration["fine_tuning"]
        settings = {
            "ensemble_size": section["ensemble_size"],
            "members_shared": section["members_shared"],
            "pretraining_updates": self.configuration["pretraining"]["schedule"]["updates"],
            "demonstration": self.configuration.get("demonstration", False),
        }
        return with_fingerprint(settings, source_hash(*DRAWING, "workflow/steps/figure.py"))


def dataset_id(dataset: str) -> str:
    """The Minari id of a dataset: "halfcheetah-medium-replay" gives "halfcheetah/medium-replay-local-v0"."""
    family, quality = split_name(dataset)
    return f"{family}/{quality}-local-v0"


def split_name(dataset: str) -> tuple[str, str]:
    """Family and quality of a dataset's name; only the pendulum's family has hyphens of its own."""
    pendulum = "inverted-double-pendulum"
    if dataset.startswith(pendulum):
        return pendulum, dataset.removeprefix(pendulum + "-")
    family, _, quality = dataset.partition("-")
    return family, quality


def released_agent(dataset: str, agent: int) -> str:
    """Where an agent lies that the project ships."""
    return f"releases/{dataset}/agent_{agent}.safetensors"


def existing_hash(files: Sequence[str]) -> str:
    """A hash of those files that exist; Snakemake reports the missing ones."""
    return source_hash(*(file for file in files if (ROOT / file).exists()))


def merged(key: str, *sections: Json) -> dict[str, Any]:
    """What the sections say under `key`; a later one overrides an earlier one."""
    return {name: value for section in sections for name, value in section.get(key, {}).items()}


def chunks(items: Any, size: int) -> list[list[int]]:
    """`items` in order, `size` at a time."""
    items = list(items)
    return [items[start : start + size] for start in range(0, len(items), size)]


def with_fingerprint(settings: Json, *before: str) -> Json:
    """The settings and, as `fingerprint`, a hash of them and of what came before."""
    return {**settings, "fingerprint": configuration_hash({"settings": settings, "before": before})}


def as_json(value: Any) -> str:
    """A setting as it stands on a step's command line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
