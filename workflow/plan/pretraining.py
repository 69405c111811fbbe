"""Offline training: the agents of each offline label on each dataset, and what they start from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from algorithms.catalogue import NOTHING, OFFLINE
from storage.provenance import configuration_hash
from workflow.code_hash import job_hash
from workflow.jobs import Json, agents_name, chunks
from workflow.plan.data import Data
from workflow.plan.labels import OfflineLabels
from workflow.plan.places import Places
from workflow.plan.settings import existing_hash, merged, with_fingerprint


@dataclass(frozen=True)
class Pretraining:
    """What is trained offline, or is there already."""

    configuration: Json
    places: Places
    offline: OfflineLabels
    data: Data

    @property
    def _section(self) -> Json:
        section: Json = self.configuration["pretraining"]
        return section

    @property
    def agents(self) -> list[int]:
        """The agents of every label on every dataset."""
        return list(range(self._section["agents"]))

    @property
    def _groups(self) -> list[list[int]]:
        return chunks(self.agents, self._section["agents_per_job"])

    def groups(self, dataset: str, label: str) -> list[list[int]]:
        """Return the agents of each job that trains a label on a dataset; none where they are released."""
        return [] if self.offline.released(dataset, label) else self._groups

    def settings(self, dataset: str, label: str) -> Json:
        """Return the settings of one offline label on a dataset, and their fingerprint."""
        section, own = self._section, self.data.entry(dataset).get("pretraining", {})
        ours, theirs = (part.get("methods", {}).get(label, {}) for part in (section, own))
        method = self.offline.method(label)
        settings = {
            "method": method,
            **self.data.trained_in(dataset),
            "schedule": merged("schedule", section, ours, own, theirs),
            "config": merged("config", ours, theirs),
        }
        code = job_hash("pretrain", OFFLINE[method].path if method in OFFLINE else method)
        before = [code, self.data.recording(dataset)["fingerprint"]]
        if (source := self.offline.starts_from(label)) != NOTHING:
            before.append(self.agents_fingerprint(dataset, source, [self.agents]))
        elif self._continues(dataset, label):
            before.append(existing_hash(self.starting_files(dataset, label, self.agents)))
        return with_fingerprint(settings, *before)

    def _continues(self, dataset: str, label: str) -> bool:
        """Whether the released agents are trained further."""
        return label == "cql" and self.data.entry(dataset)["pretrained"] == "continued"

    def starting_files(self, dataset: str, label: str, agents: Iterable[int]) -> list[str]:
        """List the agents that a job starts from; none where it makes fresh ones."""
        if (source := self.offline.starts_from(label)) != NOTHING:
            return [self.agent_file(dataset, source, agent) for agent in agents]
        if self._continues(dataset, label):
            return [self.places.released_agent(dataset, agent) for agent in agents]
        return []

    def agent_file(self, dataset: str, label: str, agent: int) -> str:
        """Return the file of one agent that fine-tuning or another phase starts from."""
        if self.offline.released(dataset, label):
            return self.places.released_agent(dataset, agent)
        group = next(group for group in self._groups if agent in group)
        return f"{self.places.agents(dataset, label, agents_name(group))}/agent_{agent}.safetensors"

    def agents_fingerprint(self, dataset: str, label: str, members: list[list[int]]) -> str:
        """Return a hash of the agents that runs start from: `members` of each run."""
        if self.offline.released(dataset, label):
            agents = sorted({agent for run in members for agent in run})
            of = existing_hash([self.places.released_agent(dataset, agent) for agent in agents])
        else:
            of = self.settings(dataset, label)["fingerprint"]
        return configuration_hash({"members": members, "of": of})

    def curves(self, dataset: str, labels: Iterable[str]) -> list[str]:
        """List the curve files of these labels on a dataset."""
        return [
            self.places.curves(dataset, label, agents_name(group))
            for label in labels
            for group in self.groups(dataset, label)
        ]
