"""Pictures of tasks, and films of the agents that were fine-tuned on them."""

from __future__ import annotations

from dataclasses import dataclass

from workflow.code_hash import job_hash
from workflow.dataset_names import TASKS
from workflow.jobs import Json
from workflow.plan.data import Data
from workflow.plan.fine_tuning import FineTuning
from workflow.plan.labels import OnlineLabels
from workflow.plan.places import Places
from workflow.plan.settings import with_fingerprint


@dataclass(frozen=True)
class Pictures:
    """What is rendered of tasks with images and of the robot's table."""

    configuration: Json
    places: Places
    online: OnlineLabels
    data: Data
    fine_tuning: FineTuning

    @property
    def folder(self) -> str:
        """The folder of pictures of the tasks."""
        return f"{self.places.results}/manipulation/pictures"

    def settings(self) -> Json:
        """Return the settings of the pictures that figures are made of, and their fingerprint."""
        settings = {"size": 720, "frames": 8, **self.configuration.get("pictures", {})}
        settings["tasks"] = {task: TASKS[task] for task in self.configuration["datasets"] if task in TASKS}
        settings["tasks"] |= {task.lower(): f"{task}Delta-v0" for task in self.data.table_tasks}
        return with_fingerprint(settings, job_hash("pictures"))

    # --- films --------------------------------------------------------------------------------------------

    def film_folder(self, task: str) -> str:
        """Return the folder of a task's film."""
        return f"{self.places.results}/manipulation/films/{task}"

    @property
    def _filmed(self) -> Json:
        """The run that is filmed and how; the first of all where the configuration names none."""
        first = {"label": self.online.names[0], "seed": self.fine_tuning.seeds[0]}
        return {**first, "starts": 20, "size": 240, "frames": 8, **self.configuration.get("film", {})}

    def film(self, task: str) -> Json:
        """Return which run's ensemble is filmed on a task and how, and a fingerprint."""
        filmed = self._filmed
        trained = self.fine_tuning.settings(task, filmed["label"])
        kept = {key: trained[key] for key in ("method", "environment", "options", "config")}
        return with_fingerprint({**kept, **filmed}, job_hash("film_agents"), trained["fingerprint"])

    def filmed_members(self, task: str) -> list[str]:
        """Return the files of the agents that the filmed run started from."""
        return self.fine_tuning.member_files(task, self._filmed["label"], [self._filmed["seed"]])

    def filmed_actors(self, task: str) -> list[str]:
        """Return the files of the agents that the filmed run ended with."""
        return self.fine_tuning.actor_files(task, self._filmed["label"], self._filmed["seed"])
