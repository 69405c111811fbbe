"""What is measured beside training: densities, estimated behaviours, gridworlds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from algorithms.catalogue import OFFLINE
from workflow.code_hash import job_hash
from workflow.figure_names import LIKELIHOODS
from workflow.jobs import Json
from workflow.plan.data import Data
from workflow.plan.places import Places
from workflow.plan.pretraining import Pretraining
from workflow.plan.settings import with_fingerprint


@dataclass(frozen=True)
class Measurements:
    """What jobs measure of data and of the agents that were trained on them."""

    configuration: Json
    places: Places
    data: Data
    pretraining: Pretraining

    # --- Figure 1a ----------------------------------------------------------------------------------------

    def likelihood_datasets(self) -> list[str]:
        """List the datasets whose likelihoods Figure 1a draws; none where it is not asked for."""
        asked = LIKELIHOODS in self.configuration["figures"]
        return list(self.configuration["likelihood"]["datasets"]) if asked else []

    def likelihood(self, dataset: str) -> Json:
        """Return the settings of Figure 1a's density model on one dataset, and their fingerprint."""
        section = self.configuration["likelihood"]
        settings = {
            "environment": self.data.entry(dataset)["environment"],
            "seed": section["seed"],
            "config": section.get("config", {}),
        }
        return with_fingerprint(
            settings,
            job_hash("likelihood"),
            self.data.recording(dataset)["fingerprint"],
            self.pretraining.agents_fingerprint(dataset, "cql", [[0]]),
        )

    def likelihood_files(self) -> list[str]:
        """List the files of likelihoods."""
        return [f"{self.places.kept}/likelihood/{dataset}.parquet" for dataset in self.likelihood_datasets()]

    # --- estimated behaviours -----------------------------------------------------------------------------

    def behaviour_pairs(self) -> list[tuple[str, str]]:
        """List the datasets and labels whose estimated behaviours are measured."""
        section = self.configuration.get("behaviours", {})
        return list(product(section.get("datasets", []), section.get("labels", [])))

    def behaviours(self, dataset: str, label: str) -> Json:
        """Return the settings of what is measured of a label's behaviours, and their fingerprint."""
        trained = self.pretraining.settings(dataset, label)
        held_out = {**self.data.recording(dataset), **self.configuration["behaviours"]["held_out"]}
        del held_out["fingerprint"]
        settings = {
            "method": trained["method"],
            "config": trained["config"],
            "updates": trained["schedule"]["updates"],
            "held_out": held_out,
        }
        path = OFFLINE[trained["method"]].path
        return with_fingerprint(settings, job_hash("behaviours", path), trained["fingerprint"])

    def behaviour_files(self, kind: str = "") -> list[str]:
        """List the files of their vectors, and of who made which trajectory; or of its `kind`."""
        folder = f"{self.places.kept}/behaviours"
        return [f"{folder}/{dataset}/{label}{kind}.parquet" for dataset, label in self.behaviour_pairs()]

    # --- gridworlds ---------------------------------------------------------------------------------------

    def gridworld(self) -> Json:
        """Return the settings of the sweep over gridworlds, and their fingerprint."""
        return with_fingerprint(self.configuration["gridworld"], job_hash("gridworld"))

    def gridworld_files(self) -> list[str]:
        """List the file of the gridworlds' curves; none where the configuration has no such sweep."""
        kept = [f"{self.places.kept}/gridworld/curves.parquet"]
        return kept if "gridworld" in self.configuration else []
