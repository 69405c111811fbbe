"""Fine-tuning: the runs of each online label on each dataset, and the agents that they take over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from algorithms.catalogue import NOTHING, ONLINE
from workflow.code_hash import job_hash
from workflow.jobs import Json, chunks, numbered
from workflow.plan.data import Data, robot_code
from workflow.plan.labels import OnlineLabels
from workflow.plan.places import Places
from workflow.plan.pretraining import Pretraining
from workflow.plan.settings import merged, with_fingerprint


@dataclass(frozen=True)
class FineTuning:
    """What is trained online, the sweep over the policy's learning rate too."""

    configuration: Json
    places: Places
    online: OnlineLabels
    data: Data
    pretraining: Pretraining

    @property
    def _section(self) -> Json:
        section: Json = self.configuration["fine_tuning"]
        return section

    @property
    def seeds(self) -> list[int]:
        """The seeds of every label on every dataset."""
        return list(self._section["seeds"])

    def seed_groups(self) -> list[list[int]]:
        """Return the seeds of each job of one label and dataset."""
        return chunks(self.seeds, self._section["seeds_per_job"])

    def members(self, label: str, seed: int) -> list[int]:
        """Return the agents that a seed starts from: none from scratch, one for SAC-ft, N for an ensemble.

        [C] member i of the run at position s of S is agent i S + s, so that no two runs share one; where
        members are shared, the runs take theirs in turn from all agents.
        """
        seeds, size = self.seeds, self.online.ensemble_size(label)
        position = seeds.index(seed)
        if self._section["members_shared"]:
            agents = len(self.pretraining.agents)
            return [(position + member) % agents for member in range(size)]
        return [member * len(seeds) + position for member in range(size)]

    def member_files(self, dataset: str, label: str, seeds: Iterable[int]) -> list[str]:
        """Return the agents' files of a group of seeds, each seed's in turn."""
        source = self.online.starts_from(label)
        members = [agent for seed in seeds for agent in self.members(label, seed)]
        return [self.pretraining.agent_file(dataset, source, agent) for agent in members]

    def offline_data(self, dataset: str, label: str) -> list[str]:
        """Return the dataset that a method replays; none where it is given no offline data."""
        return [self.places.dataset(dataset)] if self.online.replays_offline(label) else []

    def settings(self, dataset: str, label: str, seeds: Sequence[int] | None = None) -> Json:
        """Return the settings of one method on one dataset, and the fingerprint of a job of `seeds` (or all).

        The fingerprint has the agents that they start from: the same seed of another list has others.
        """
        labels, entry = self.online, self.data.entry(dataset)
        own = entry.get("fine_tuning", {})
        theirs = own.get("methods", {}).get(labels.listed(label), {})
        parts = [self._section, labels.entry(label), own, theirs]
        if label in labels.variations:
            parts.append(labels.variations[label]._asdict())
        method = labels.method(label)
        size = {"ensemble_size": labels.ensemble_size(label)} if labels.is_ensemble(label) else {}
        settings = {
            "method": method,
            **self.data.trained_in(dataset),
            "schedule": merged("schedule", *parts),
            "config": {**merged("config", *parts), **size},
        }
        before = [job_hash("fine_tune", ONLINE[method].path if method in ONLINE else method)]
        if labels.replays_offline(label):
            before.append(self.data.recording(dataset)["fingerprint"])
        else:
            before += robot_code(entry["environment"])
        if (source := labels.starts_from(label)) != NOTHING:
            members = [self.members(label, seed) for seed in (self.seeds if seeds is None else seeds)]
            before.append(self.pretraining.agents_fingerprint(dataset, source, members))
        return with_fingerprint(settings, *before)

    def actor_files(self, dataset: str, label: str, seed: int) -> list[str]:
        """Return the files of the agents that a run ends with."""
        group = next(group for group in self.seed_groups() if seed in group)
        folder = self.places.agents(dataset, label, numbered("seeds", group))
        members = range(self.online.ensemble_size(label))
        return [f"{folder}/seed_{seed}_agent_{member}.safetensors" for member in members]

    def curves(self, dataset: str, labels: Iterable[str]) -> list[str]:
        """List the curve files of these labels on a dataset."""
        return [
            self.places.curves(dataset, label, numbered("seeds", seeds))
            for label in labels
            for seeds in self.seed_groups()
        ]

    # --- the sweep over the policy's learning rate --------------------------------------------------------

    @property
    def swept(self) -> list[str]:
        """The datasets that the sweep is on; none where the configuration has no sweep."""
        return list(self.configuration.get("sweep_policy_lr", {}).get("datasets", []))

    def sweep_curves(self) -> list[str]:
        """List the curve files of the sweep."""
        variations = self.online.variations
        return [file for dataset in self.swept for file in self.curves(dataset, variations)]
