"""What is drawn: the figures, what each is given, and what their captions say."""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.catalogue import LABELS, NOTHING
from workflow.code_hash import source_hash
from workflow.figure_names import (
    BEHAVIOURS,
    CONTROLS,
    DATASETS,
    FILM,
    LIKELIHOODS,
    OF_FILES,
    OFFLINE_FIGURE,
    PICTURED,
)
from workflow.jobs import Json
from workflow.plan.data import Data
from workflow.plan.judging import JUDGING, Judging, rows_of
from workflow.plan.labels import OfflineLabels, OnlineLabels
from workflow.plan.measurements import Measurements
from workflow.plan.pictures import Pictures
from workflow.plan.places import AUTHORS, Places
from workflow.plan.pretraining import Pretraining
from workflow.plan.settings import merged, with_fingerprint

DRAWING = ("paper_figures", *JUDGING)
"""The code of figures."""


@dataclass(frozen=True)
class Figures:
    """The figures of a run, and the opening page of its report."""

    configuration: Json
    places: Places
    offline: OfflineLabels
    online: OnlineLabels
    data: Data
    pretraining: Pretraining
    measurements: Measurements
    judging: Judging
    pictures: Pictures

    def names(self) -> list[str]:
        """List the figures: the configuration's, those of datasets of vectors and of estimated behaviours.

        Committed curves have no agents to film.
        """
        recorded = self.places.recorded
        asked = [name for name in self.configuration["figures"] if not (name == FILM and recorded)]
        report = [] if recorded or self.data.images else [DATASETS]
        measured = [BEHAVIOURS] if self.measurements.behaviour_pairs() else []
        return [*asked, *report, *measured]

    def curves(self, figure: str) -> list[str]:
        """List the curve files that a figure is given."""
        if figure in OF_FILES:
            return []
        if figure.endswith(OFFLINE_FIGURE):
            return self.judging.offline_curves()
        # Without fine-tuning what is judged is offline already.
        more = self.judging.offline_curves() if figure == CONTROLS else []
        return list(dict.fromkeys([*self.judging.curves(), *more]))

    def files(self, figure: str) -> list[str]:
        """List what a figure is given beside curves: tables, summaries, folders of pictures."""
        datasets = self.configuration["datasets"]
        if figure == LIKELIHOODS:
            return self.measurements.likelihood_files()
        if figure == DATASETS:
            return [self.places.summary(dataset) for dataset in datasets]
        if figure == BEHAVIOURS:
            return self.measurements.behaviour_files()
        if figure == FILM:
            return [self.pictures.film_folder(task) for task in datasets]
        return [self.pictures.folder] if figure in PICTURED else []

    def settings(self, offline: bool = False) -> Json:
        """Return what captions say, when methods learn, how intervals are drawn, and a fingerprint."""
        tuning, datasets = self.configuration["fine_tuning"], self.configuration["datasets"]
        by_episodes = tuning["methods"] if self.data.images else {}
        before = {
            label: {name: self._updates_before(name, label) for name in datasets} for label in by_episodes
        }
        settings = {
            "caption": {
                "ensemble_size": tuning["ensemble_size"],
                "members_shared": tuning["members_shared"],
                "pretraining_updates": {name: self._cql_updates(name) for name in datasets},
                "demonstration": self.configuration.get("demonstration", False),
                "authors_agents": any(entry["pretrained"] == AUTHORS for entry in datasets.values()),
            },
            "schedules": {label: merged("schedule", tuning, own) for label, own in by_episodes.items()},
            "offline_updates": before,
            "statistics": self.configuration["statistics"],
        }
        source = source_hash(*DRAWING, "workflow/steps/figure.py")
        rows = str(rows_of([*self.offline.names, *self.judging.labels(offline)]))
        return with_fingerprint(settings, source, rows, *self.judging.fingerprints(offline))

    def _updates_before(self, dataset: str, label: str) -> int:
        """Return how many updates the agents have had that the runs of an online label start from."""
        source = self.online.starts_from(label)
        if source == NOTHING:
            return 0
        return int(self.pretraining.settings(dataset, source)["schedule"]["updates"])

    def _cql_updates(self, dataset: str) -> int:
        """Return how many updates CQL's agents have had, the section's number where it is not trained."""
        section = self.configuration["pretraining"]
        known = self.pretraining.settings(dataset, "cql") if "cql" in self.offline.names else section
        return int(known["schedule"]["updates"])

    def report(self) -> Json:
        """Return what the opening page of the report shows and names: what this configuration ran."""
        figures, known = self.names(), {name: row.label for name, row in LABELS.items()}
        online = self.online
        starts = dict.fromkeys(online.starts_from(label) for label in online.names)
        ensembles = [label for label in online.names if label in LABELS and LABELS[label].ensemble]
        return {
            "figure": f"figures/{figures[0]}.png" if figures else "",
            "judged": [known.get(label, label) for label in self.judging.labels()],
            "seeds": len(self.judging.seeds),
            "agents": [known.get(name, name) for name in starts if name != NOTHING],
            "ensembles": [known[label] for label in ensembles],
            "images": self.data.images,
        }
