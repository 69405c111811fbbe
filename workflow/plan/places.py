"""Where a run leaves its results, below results/<name>/, and where it finds what is shipped."""

from __future__ import annotations

from dataclasses import dataclass

from workflow.code_hash import shipped
from workflow.dataset_names import dataset_id, split_name
from workflow.jobs import Json

AUTHORS = "authors"
"""As a dataset's `pretrained`: the agents that the paper's authors released, imported by the user."""
AUTHORS_SEEDS = (0, 4, 8, 12, 16)
"""The seeds in their names. [C]"""


@dataclass(frozen=True)
class Places:
    """The folders and files of one configuration, relative to where Snakemake runs."""

    configuration: Json

    @property
    def run(self) -> str:
        """The name under which results are kept: results/<run>/."""
        return str(self.configuration["name"])

    @property
    def results(self) -> str:
        """The folder of this configuration's results."""
        return f"results/{self.run}"

    @property
    def recorded(self) -> bool:
        """Whether the committed curves are drawn, and nothing is trained."""
        return bool(self.configuration.get("curves") == "recorded")

    @property
    def kept(self) -> str:
        """The folder of what training left: this run's own, or the committed one."""
        return shipped(f"results/reference/{self.run}") if self.recorded else self.results

    def dataset(self, dataset: str) -> str:
        """Return the folder of a Minari dataset."""
        return f"{self.results}/datasets/{dataset_id(dataset)}"

    def summary(self, dataset: str) -> str:
        """Return the file that sums a dataset up."""
        return f"{self.results}/datasets/{'-'.join(split_name(dataset))}.json"

    def policy(self, policy: str) -> str:
        """Return the folder of a behaviour policy: this run's own, or one that is shipped or imported."""
        places = {"released": f"releases/behaviour/{policy}", AUTHORS: f"releases/{AUTHORS}/{policy}"}
        place = places.get(self.configuration["behaviour_policies"][policy].get("source"))
        return shipped(place) if place else f"{self.results}/behaviour/{policy}"

    def agents(self, dataset: str, label: str, job: str) -> str:
        """Return the folder of the agents that a training job leaves."""
        return f"{self.results}/agents/{dataset}/{label}/{job}"

    def released_agent(self, dataset: str, agent: int) -> str:
        """Return the file of an agent that the project ships, or that was imported from the authors'."""
        if self.configuration["datasets"][dataset]["pretrained"] == AUTHORS:
            return shipped(f"releases/{AUTHORS}/{dataset}/agent_{AUTHORS_SEEDS[agent]}.safetensors")
        return shipped(f"releases/{dataset}/agent_{agent}.safetensors")

    def curves(self, dataset: str, label: str, job: str) -> str:
        """Return the file of curves that a training job left."""
        return f"{self.kept}/curves/{dataset}/{label}/{job}.parquet"
