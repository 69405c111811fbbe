"""What the DAG has of the manipulation tasks: data, pre-training on images, fine-tuning by episodes.

The counterpart of `workflow.plan` for the section `manipulation` of a configuration; without that section
there are no such jobs. Fingerprints mean what they mean there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from storage.provenance import configuration_hash
from workflow.code_hash import job_hash, source_hash
from workflow.jobs import Json, numbered
from workflow.plan import (
    DRAWING,
    RunPlan,
    agents_name,
    merged,
    rows_of,
    with_fingerprint,
)

TASKS = {
    "pick-place": "PickPlace-v0",
    "grasp-closed-drawer": "GraspClosedDrawer-v0",
    "grasp-blocked-drawer": "GraspBlockedDrawer-v0",
}
"""The tasks by the paper's names, and their environments: `envs.manipulation.ENVIRONMENTS`."""
VARIANTS = tuple(
    f"{objective}_{agents}_{replay}"
    for objective in ("sac", "cql")
    for agents in ("single", "ensemble")
    for replay in ("online_only", "balanced")
)
"""The ways to fine-tune: the keys of `algorithms.methods.pixels.VARIANTS`, known without importing torch."""
OFFLINE = "cql"
"""The label of the pre-training that fine-tuning starts from; a control has its own."""
PICTURED = ("figure_06", "figure_07")
"""The figures that are made of pictures of the tasks."""
FILM = "film"
"""The figure that is made of films of agents."""
CONTROLS = "image_controls"
"""The figure that has the offline agents' and the controls' curves too."""
_MADE_WITH = ("action_form", "horizon", "state_row")


class ManipulationPlan(RunPlan):
    """The manipulation jobs of one configuration."""

    @property
    def section(self) -> Json:
        """The configuration's section; empty where there is none."""
        section: Json = self.configuration.get("manipulation", {})
        return section

    @property
    def _folder(self) -> str:
        """The folder of pictures and films."""
        return f"{self.results}/manipulation"

    @property
    def tasks(self) -> list[str]:
        """The tasks, by the paper's names."""
        return list(self.section.get("datasets", {}))

    @property
    def controls(self) -> list[str]:
        """Labels of the offline controls, none of which fine-tuning starts from."""
        return list(self.section.get("controls", {}))

    # --- data ---------------------------------------------------------------------------------------------

    def dataset_folder(self, task: str) -> str:
        """Where the Minari dataset lies."""
        return f"{self.results}/datasets/manipulation/{task}-local-v0"

    def recording(self, task: str) -> Json:
        """How one dataset is recorded, and its fingerprint."""
        settings = {"environment": TASKS[task], "settings": self.section["datasets"][task]}
        return with_fingerprint(settings, job_hash("record_manipulation"))

    def _environment(self, task: str) -> dict[str, Any]:
        """Return environment's name and what it is made with, beside the defaults of `envs.manipulation`."""
        dataset = self.section["datasets"][task]
        made_with = {key: dataset[key] for key in _MADE_WITH if key in dataset}
        return {"environment": TASKS[task], "options": made_with}

    # --- pre-training -------------------------------------------------------------------------------------

    def _control(self, offline: str) -> Json:
        """Return a control's own settings; none for the agents that fine-tuning starts from."""
        control: Json = {} if offline == OFFLINE else self.section["controls"][offline]
        return control

    def agent_groups(self, offline: str = OFFLINE) -> list[list[int]]:
        """Return the agents of each job that pre-trains a task's, or makes a control of them."""
        return self._agent_groups(self._control(offline).get("agents", self.section["pretraining"]["agents"]))

    def _agent_files(self, task: str, agents: Iterable[int]) -> list[str]:
        """Return the files of agents that fine-tuning or a control starts from."""
        return [self._trained_agent(task, OFFLINE, agent) for agent in agents]

    def pretraining(self, task: str, offline: str) -> Json:
        """Return the settings of the pre-training, or of a control, on one task, and their fingerprint."""
        section, control = self.section["pretraining"], self._control(offline)
        settings = {
            "method": OFFLINE,
            **self._environment(task),
            "schedule": merged("schedule", section, control),
            "config": merged("config", section, control),
            **self.compute,
        }
        before = [job_hash("pretrain_pixels"), self.recording(task)["fingerprint"]]
        if control.get("continues"):
            before.append(self.pretraining(task, OFFLINE)["fingerprint"])
        return with_fingerprint(settings, *before)

    def starting_files(self, task: str, offline: str, agents: Iterable[int]) -> list[str]:
        """Return the agents that a control continues, in their order; none where fresh ones are made."""
        return self._agent_files(task, agents) if self._control(offline).get("continues") else []

    def control_curves(self) -> list[str]:
        """Return the curve files of all controls; none where committed curves are drawn."""
        return [] if self.recorded else self.offline_curves(self.controls)

    def offline_curves(self, labels: Sequence[str]) -> list[str]:
        """Return the curve files of offline training, this run's own or the committed ones."""
        return [
            self._kept(task, label, agents_name(group))
            for task in self.tasks
            for label in labels
            for group in self.agent_groups(label)
        ]

    # --- fine-tuning --------------------------------------------------------------------------------------

    def ensemble_size(self, label: str) -> int:
        """How many agents a run of `label` takes over."""
        section = self.section["fine_tuning"]
        return section["ensemble_size"] if "_ensemble_" in section["methods"][label]["variant"] else 1

    def fine_tuning(self, task: str, label: str) -> Json:
        """Return the settings of one label on one task, and their fingerprint."""
        section = self.section["fine_tuning"]
        own = section["methods"][label]
        settings = {
            **self._environment(task),
            "variant": own["variant"],
            "ensemble_size": self.ensemble_size(label),
            "schedule": merged("schedule", section, own),
            "config": merged("config", section, own),
            **self.compute,
        }
        members = [self.members(label, seed) for seed in section["seeds"]]
        agents = {"members": members, "of": self.pretraining(task, OFFLINE)["fingerprint"]}
        return with_fingerprint(settings, job_hash("fine_tune_pixels"), configuration_hash(agents))

    def member_files(self, task: str, label: str, seeds: Iterable[int]) -> list[str]:
        """Return the agents' files of a group of seeds, each seed's in turn."""
        return self._agent_files(task, [agent for seed in seeds for agent in self.members(label, seed)])

    def curves(self) -> list[str]:
        """Return the curve files of all fine-tuning, this run's own or the committed ones."""
        return self._online_curves(self.tasks, self.methods)

    # --- what is judged -----------------------------------------------------------------------------------

    def judging(self, locomotion: Json) -> Json:
        """Return the settings of `Plan.judging`, and a fingerprint of its jobs and of these."""
        settings = {key: value for key, value in locomotion.items() if key != "fingerprint"}
        return with_fingerprint(settings, locomotion["fingerprint"], *self._trained())

    def _trained(self) -> list[str]:
        """Return the fingerprints of all curves; none of committed ones."""
        return self._fingerprints(self.fine_tuning, self.tasks, self.methods)

    # --- figures ------------------------------------------------------------------------------------------

    @property
    def figures(self) -> list[str]:
        """The figures of these tasks, by their names; committed curves have no agents to film."""
        return [name for name in self.section.get("figures", []) if not (name == FILM and self.recorded)]

    def figure_curves(self, figure: str) -> list[str]:
        """Return the curve files that a figure is given."""
        offline = self.offline_curves([OFFLINE, *self.controls]) if figure == CONTROLS else []
        return [*self.curves(), *offline]

    def pictures(self) -> Json:
        """Return the settings of the pictures of Figures 6 and 7, and their fingerprint."""
        settings = {"size": 720, "frames": 8, **self.section.get("pictures", {})}
        settings["tasks"] = {task: TASKS[task] for task in self.tasks}
        return with_fingerprint(settings, job_hash("pictures"))

    def pictures_folders(self, figure: str) -> list[str]:
        """Return the folders of the pictures that a figure places; none for figures of curves."""
        if figure == FILM:
            return [f"{self._folder}/films/{task}" for task in self.tasks]
        return [f"{self._folder}/pictures"] if figure in PICTURED else []

    def _filmed(self) -> Json:
        section = self.section["fine_tuning"]
        chosen = {
            "label": self.methods[0],
            "seed": section["seeds"][0],
            "starts": 20,
            "size": 240,
            "frames": 8,
        }
        return {**chosen, **self.section.get("film", {})}

    def film(self, task: str) -> Json:
        """Which run's ensemble is filmed on a task and how, and a fingerprint."""
        filmed = self._filmed()
        trained = self.fine_tuning(task, filmed["label"])
        kept = {key: trained[key] for key in ("environment", "options", "variant", "ensemble_size", "config")}
        return with_fingerprint({**kept, **filmed}, job_hash("film_agents"), trained["fingerprint"])

    def filmed_members(self, task: str) -> list[str]:
        """Return the files of the agents that the filmed run started from."""
        filmed = self._filmed()
        return self.member_files(task, filmed["label"], [filmed["seed"]])

    def filmed_actor(self, task: str) -> str:
        """Return the file of the ensemble that the filmed run ended with."""
        filmed = self._filmed()
        group = numbered("seeds", next(g for g in self.seed_groups() if filmed["seed"] in g))
        return f"{self.results}/agents/{task}/{filmed['label']}/{group}/seed_{filmed['seed']}.safetensors"

    def gifs(self) -> list[str]:
        """Return the films, where there are any."""
        return [f"{self.results}/figures/film_{task}.gif" for task in self.tasks if FILM in self.figures]

    def drawing(self) -> Json:
        """Return the settings of captions and of intervals, and a fingerprint."""
        section = self.section["fine_tuning"]
        settings = {
            **self._caption(),
            "schedules": {
                label: merged("schedule", section, own) for label, own in section["methods"].items()
            },
            "statistics": self.configuration["statistics"],
        }
        source = source_hash(*DRAWING, "workflow/steps/manipulation_figure.py")
        rows = str(rows_of([OFFLINE, *self.controls, *self.methods]))
        return with_fingerprint(settings, source, rows, *self._trained())
