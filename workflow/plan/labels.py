"""Labels: the methods that a configuration names, what stands behind each, and which starts from which.

Read from the configuration and the catalogue alone, before any job is thought of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from algorithms.catalogue import NOTHING, OFFLINE, ONLINE
from workflow.figure_names import CONTROLS
from workflow.jobs import Json
from workflow.plan.places import AUTHORS


class Variation(NamedTuple):
    """A label of the sweep: which of the configuration's methods it varies, and in what."""

    of: str
    schedule: Json
    config: Json


@dataclass(frozen=True)
class OnlineLabels:
    """The labels of `fine_tuning`, and those that the sweep makes of one of them."""

    configuration: Json

    @cached_property
    def names(self) -> list[str]:
        """Those that the configuration lists, in its order."""
        return list(self.configuration["fine_tuning"]["methods"])

    @cached_property
    def variations(self) -> dict[str, Variation]:
        """The sweep's, such as off2on_at_3e-05; none where the configuration has no sweep."""
        section = self.configuration.get("sweep_policy_lr")
        if section is None:
            return {}
        label, schedule = section["method"], section.get("schedule", {})
        return {
            f"{label}_at_{rate:.0e}": Variation(label, schedule, {"policy_learning_rate": rate})
            for rate in section["policy_learning_rates"]
        }

    def listed(self, label: str) -> str:
        """Return the label among the configuration's methods that `label` is, or varies."""
        return self.variations[label].of if label in self.variations else label

    def entry(self, label: str) -> Json:
        """Return what the configuration says of a label's method."""
        entry: Json = self.configuration["fine_tuning"]["methods"][self.listed(label)]
        return entry

    def method(self, label: str) -> str:
        """Return the method behind a label: one of the catalogue's, or package.module:Class."""
        return str(self.entry(label).get("method", self.listed(label)))

    def starts_from(self, label: str) -> str:
        """Return offline label that the runs of `label` start from, or NOTHING; a custom method's is CQL."""
        row = ONLINE.get(self.method(label))
        return str(self.entry(label).get("starts_from", row.starts_from["online"] if row else "cql"))

    def replays_offline(self, label: str) -> bool:
        """Whether the runs of `label` are given the offline data: with agents, or where their method asks."""
        row = ONLINE.get(self.method(label))
        return self.starts_from(label) != NOTHING or (row is not None and row.replays_offline)

    def is_ensemble(self, label: str) -> bool:
        """Whether N agents of a run are among the settings of the method behind a label."""
        method = self.method(label)
        return method in ONLINE and ONLINE[method].ensemble

    def ensemble_size(self, label: str) -> int:
        """Return how many agents a run of `label` takes over."""
        if self.starts_from(label) == NOTHING:
            return 0
        common = self.configuration["fine_tuning"]["ensemble_size"] if self.is_ensemble(label) else 1
        return int(self.entry(label).get("ensemble_size", common))


@dataclass(frozen=True)
class OfflineLabels:
    """The labels of `pretraining`; one that it does not list stands for the method of its name."""

    configuration: Json
    online: OnlineLabels

    @cached_property
    def names(self) -> list[str]:
        """Those that the configuration lists, in its order."""
        return list(self.configuration["pretraining"].get("methods", {}))

    def _entry(self, label: str) -> Json:
        entry: Json = self.configuration["pretraining"].get("methods", {}).get(label, {})
        return entry

    def method(self, label: str) -> str:
        """Return the method behind a label: one of the catalogue's, or package.module:Class."""
        return str(self._entry(label).get("method", label))

    def starts_from(self, label: str) -> str:
        """Return the offline label whose agents those of `label` start from, or NOTHING."""
        row = OFFLINE.get(self.method(label))
        default = row.starts_from["offline"] if row else NOTHING
        return str(self._entry(label).get("starts_from", default))

    def released(self, dataset: str, label: str) -> bool:
        """Whether the agents are there already, shipped or the authors': only CQL's can be."""
        there = ("released", AUTHORS)
        return label == "cql" and self.configuration["datasets"][dataset]["pretrained"] in there

    def trained(self, dataset: str) -> list[str]:
        """List the labels that are trained on a dataset: what is judged or shown, and what it starts from."""
        said, online = self.configuration, self.online
        wanted = [] if online.names else list(self.names)
        wanted += [source for label in online.names if (source := online.starts_from(label)) != NOTHING]
        if dataset in said.get("likelihood", {}).get("datasets", []):
            wanted.append("cql")
        if dataset in said.get("behaviours", {}).get("datasets", []):
            wanted += said["behaviours"]["labels"]
        if CONTROLS in said["figures"]:
            wanted += self.names
        for label in wanted:
            if (source := self.starts_from(label)) not in (NOTHING, *wanted):
                wanted.append(source)
        return [label for label in dict.fromkeys(wanted) if not self.released(dataset, label)]
