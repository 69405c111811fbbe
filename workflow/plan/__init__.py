"""What the DAG consists of for a checked configuration: which jobs, with which settings and which agents.

Rules ask this package, so that they hold no logic. Every job has a `fingerprint`: a hash of its settings, of
the code it runs and of the fingerprints of the jobs before it. It names the folder of resumable state, so
that a job goes on only from a state that the same code and the same settings left.
"""

from __future__ import annotations

from workflow.jobs import Json
from workflow.plan.data import Data
from workflow.plan.figures import Figures
from workflow.plan.fine_tuning import FineTuning
from workflow.plan.judging import Judging
from workflow.plan.labels import OfflineLabels, OnlineLabels
from workflow.plan.measurements import Measurements
from workflow.plan.pictures import Pictures
from workflow.plan.places import Places
from workflow.plan.pretraining import Pretraining


class Plan:
    """A configuration's plan: places and labels, then the DAG in its order, each made of those before."""

    def __init__(self, configuration: Json) -> None:
        """Take `workflow.configuration.check`'s result, which parts read when they are asked."""
        self.configuration = configuration
        self.places = Places(configuration)
        self.online = OnlineLabels(configuration)
        self.offline = OfflineLabels(configuration, self.online)
        self.data = Data(configuration, self.places)
        self.pretraining = Pretraining(configuration, self.places, self.offline, self.data)
        self.fine_tuning = FineTuning(configuration, self.places, self.online, self.data, self.pretraining)
        self.measurements = Measurements(configuration, self.places, self.data, self.pretraining)
        self.judging = Judging(
            configuration,
            self.places,
            self.offline,
            self.online,
            self.pretraining,
            self.fine_tuning,
            self.measurements,
        )
        self.pictures = Pictures(configuration, self.places, self.online, self.data, self.fine_tuning)
        self.figures = Figures(
            configuration,
            self.places,
            self.offline,
            self.online,
            self.data,
            self.pretraining,
            self.measurements,
            self.judging,
            self.pictures,
        )

    @property
    def training_threads(self) -> int:
        """The cores that a training job claims: its environments' threads, and one to evaluate beside."""
        compute = self.configuration.get("compute", {})
        return int(compute.get("environment_threads", 1)) + bool(compute.get("evaluation_beside"))
