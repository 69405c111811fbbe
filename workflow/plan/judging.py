"""What is judged: curves that statistics compare, and claims that are held against them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from algorithms.catalogue import LABELS, METHODS, Label
from storage.yaml_files import read_yaml
from workflow.code_hash import shipped, source_hash
from workflow.jobs import Json
from workflow.plan.fine_tuning import FineTuning
from workflow.plan.labels import OfflineLabels, OnlineLabels
from workflow.plan.measurements import Measurements
from workflow.plan.places import Places
from workflow.plan.pretraining import Pretraining
from workflow.plan.settings import with_fingerprint

JUDGING = ("analysis", "envs/reference_scores.py", "storage")
"""The code of statistics and verdicts."""


@dataclass(frozen=True)
class Judging:
    """The statistics, and the closing table with its verdicts."""

    configuration: Json
    places: Places
    offline: OfflineLabels
    online: OnlineLabels
    pretraining: Pretraining
    fine_tuning: FineTuning
    measurements: Measurements

    @property
    def seeds(self) -> list[int]:
        """The seeds of what is judged; those of the offline phase are its agents."""
        return self.fine_tuning.seeds if self.online.names else self.pretraining.agents

    def labels(self, offline: bool = False) -> list[str]:
        """List the labels that are compared: the online ones, or without any the offline ones.

        `offline`: all that is trained in that phase, on the first dataset as on every other.
        """
        if offline:
            return self.offline.trained(next(iter(self.configuration["datasets"])))
        return self.online.names or self.offline.names

    def fingerprints(self, offline: bool = False) -> list[str]:
        """List the fingerprints of what left the curves that are compared.

        By times alone, results of a clock set back would pass for new. Committed curves have none.
        """
        if self.places.recorded:
            return []
        phase = self.pretraining if offline or not self.online.names else self.fine_tuning
        pairs = product(self.configuration["datasets"], self.labels(offline))
        return [str(phase.settings(dataset, label)["fingerprint"]) for dataset, label in pairs]

    def statistics(self, offline: bool = False) -> Json:
        """Return the settings of the statistics, and their fingerprint; `offline`: of that phase."""
        source = source_hash(*JUDGING, "workflow/steps/statistics.py", "workflow/steps/reproduction.py")
        order = " ".join(row.name for row in rows_of(self.labels(offline)))
        return with_fingerprint(self.configuration["statistics"], source, order, *self.fingerprints(offline))

    def reproduction(self) -> Json:
        """Return the settings of the closing table, of whose costs all is to be known, and a fingerprint."""
        told = {key: value for key, value in self.configuration.items() if key != "watch"}
        settings = {**self.configuration["statistics"], "configuration": told}
        source = source_hash("workflow/cost", "workflow/cost/measured.json", "workflow/operations.py")
        return with_fingerprint(settings, self.statistics()["fingerprint"], source)

    # --- curves -------------------------------------------------------------------------------------------

    def curves(self) -> list[str]:
        """List curve files of what is judged, on every dataset: this run's own, or the committed ones."""
        phase = self.fine_tuning if self.online.names else self.pretraining
        datasets, judged = self.configuration["datasets"], self.labels()
        return [file for dataset in datasets for file in phase.curves(dataset, judged)]

    def offline_curves(self) -> list[str]:
        """List the curve files of all that is trained offline, beside fine-tuning too."""
        return [
            file
            for dataset in self.configuration["datasets"]
            for file in self.pretraining.curves(dataset, self.offline.trained(dataset))
        ]

    @property
    def claims(self) -> str | None:
        """The file of the configuration's own claims, None where it has none."""
        named = self.configuration.get("claims")
        return shipped(named) if named else None

    def claimed_curves(self) -> list[str]:
        """List curve files that claims are judged on: offline ones too where a claim names that phase.

        And what was measured of estimated behaviours, and of gridworlds.
        """
        entries = read_yaml(Path(self.claims)) if self.claims else []
        phases = [entry.get("phase") for entry in entries if isinstance(entry, dict)]
        more = self.offline_curves() if "offline" in phases else []
        measured = [*self.measurements.behaviour_files(".measures"), *self.measurements.gridworld_files()]
        return list(dict.fromkeys([*self.curves(), *more, *measured]))


def rows_of(names: Iterable[str]) -> list[Label]:
    """Return the catalogue's rows of these names and of all ablations: others are in no figure of theirs."""
    drawn = set(names)
    return [row for name, row in LABELS.items() if name in drawn or name not in METHODS]
