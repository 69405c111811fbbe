"""What the DAG has of the manipulation tasks: data, pre-training on images, fine-tuning by episodes.

The counterpart of `workflow.plan` for the section `manipulation` of a configuration; without that section
there are no such jobs. Fingerprints mean what they mean there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records.provenance import configuration_hash
from workflow.plan import (
    DRAWING,
    RECORDING,
    TRAINING,
    Json,
    chunks,
    merged,
    run_members,
    with_fingerprint,
)
from workflow.sources import source_hash

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
"""The ways to fine-tune: the keys of `algorithms.pixels.VARIANTS`, known here without importing torch."""
OFFLINE = "cql"
"""The label of the pre-training that fine-tuning starts from; a control has its own."""
PICTURED = ("figure_06", "figure_07")
"""The figures that are made of pictures."""
_MADE_WITH = ("action_form", "horizon")


@dataclass(frozen=True)
class ManipulationPlan:
    """The manipulation jobs of one configuration (`workflow.configuration.check`'s result)."""

    configuration: Json

    @property
    def section(self) -> Json:
        """The configuration's section; empty where there is none."""
        section: Json = self.configuration.get("manipulation", {})
        return section

    @property
    def results(self) -> str:
        """The folder of these jobs' results."""
        return f"results/{self.configuration['name']}/manipulation"

    def state(self, rule: str, *job: str) -> str:
        """Where a job keeps what it resumes from; outside `output:`, which Snakemake deletes first."""
        return "/".join([f"results/{self.configuration['name']}", "state", rule, *job])

    @property
    def recorded(self) -> bool:
        """Whether the committed curves are drawn, and nothing is trained (`Plan.recorded`)."""
        return bool(self.configuration.get("curves") == "recorded")

    @property
    def tasks(self) -> list[str]:
        """The tasks, by the paper's names."""
        return list(self.section.get("datasets", {}))

    @property
    def controls(self) -> list[str]:
        """Labels of the offline controls, none of which fine-tuning starts from."""
        return list(self.section.get("controls", {}))

    @property
    def methods(self) -> list[str]:
        """Labels of the ways to fine-tune, in the configuration's order."""
        return list(self.section.get("fine_tuning", {}).get("methods", {}))

    # --- data ---------------------------------------------------------------------------------------------

    def dataset_folder(self, task: str) -> str:
        """Where the Minari dataset lies."""
        return f"results/{self.configuration['name']}/datasets/manipulation/{task}-local-v0"

    def recording(self, task: str) -> Json:
        """How one dataset is recorded, and its fingerprint."""
        settings = {"environment": TASKS[task], "settings": self.section["datasets"][task]}
        return with_fingerprint(settings, source_hash(*RECORDING, "workflow/steps/record_manipulation.py"))

    def _environment(self, task: str) -> dict[str, Any]:
        """The environment's name and what it is made with, beside the defaults of `envs.manipulation`."""
        dataset = self.section["datasets"][task]
        made_with = {key: dataset[key] for key in _MADE_WITH if key in dataset}
        return {"environment": TASKS[task], "options": made_with}

    # --- pre-training -------------------------------------------------------------------------------------

    def agent_groups(self, offline: str = OFFLINE) -> list[str]:
        """The jobs that pre-train a task's agents, or make a control of them, as "first-last"."""
        section = self.section["pretraining"]
        control = {} if offline == OFFLINE else self.section["controls"][offline]
        groups = chunks(range(control.get("agents", section["agents"])), section["agents_per_job"])
        return [f"{group[0]}-{group[-1]}" for group in groups]

    def _agent_folder(self, task: str, agent: int) -> str:
        """Where the job that pre-trains one agent leaves it."""
        group = self.agent_groups()[agent // self.section["pretraining"]["agents_per_job"]]
        return f"{self.results}/agents/{task}/{OFFLINE}/{group}"

    def pretraining(self, task: str, offline: str) -> Json:
        """The settings of the pre-training, or of a control, on one task, and their fingerprint."""
        section = self.section["pretraining"]
        control = {} if offline == OFFLINE else self.section["controls"][offline]
        settings = {
            "method": OFFLINE,
            **self._environment(task),
            "schedule": merged("schedule", section, control),
            "config": merged("config", section, control),
        }
        before = [source_hash(*TRAINING, "workflow/steps/pretrain_pixels.py", "workflow/steps/pretrain.py")]
        before.append(self.recording(task)["fingerprint"])
        if control.get("continues"):
            before.append(self.pretraining(task, OFFLINE)["fingerprint"])
        return with_fingerprint(settings, *before)

    def starting_files(self, task: str, offline: str, group: str) -> list[str]:
        """The agents that a control continues, in their order; none where fresh ones are made."""
        if offline == OFFLINE or not self.section["controls"][offline].get("continues", False):
            return []
        first, last = map(int, group.split("-"))
        return [
            f"{self._agent_folder(task, agent)}/agent_{agent}.safetensors" for agent in range(first, last + 1)
        ]

    def starting_folder(self, task: str, offline: str, group: str) -> list[str]:
        """The folders that `starting_files` lie in, each made by a job."""
        return folders_of(self.starting_files(task, offline, group))

    def control_curves(self) -> list[str]:
        """The curve files of all controls; none where committed curves are drawn."""
        return [
            f"{self.results}/curves/{task}/{control}/agents_{group}.parquet"
            for task in self.tasks
            for control in ([] if self.recorded else self.controls)
            for group in self.agent_groups(control)
        ]

    # --- fine-tuning --------------------------------------------------------------------------------------

    def seed_groups(self) -> list[str]:
        """The fine-tuning jobs of one label and task, as seeds joined by "-"."""
        section = self.section["fine_tuning"]
        return ["-".join(map(str, group)) for group in chunks(section["seeds"], section["seeds_per_job"])]

    def ensemble_size(self, label: str) -> int:
        """How many agents a run of `label` takes over."""
        section = self.section["fine_tuning"]
        return section["ensemble_size"] if "_ensemble_" in section["methods"][label]["variant"] else 1

    def members(self, label: str, seed: int) -> list[int]:
        """The agents that a seed starts from (`plan.run_members`)."""
        agents = self.section["pretraining"]["agents"]
        return run_members(self.section["fine_tuning"], agents, seed, self.ensemble_size(label))

    def fine_tuning(self, task: str, label: str) -> Json:
        """The settings of one label on one task, and their fingerprint."""
        section = self.section["fine_tuning"]
        own = section["methods"][label]
        settings = {
            **self._environment(task),
            "variant": own["variant"],
            "ensemble_size": self.ensemble_size(label),
            "schedule": merged("schedule", section, own),
            "config": merged("config", section, own),
        }
        members = [self.members(label, seed) for seed in section["seeds"]]
        agents = {"members": members, "of": self.pretraining(task, OFFLINE)["fingerprint"]}
        source = source_hash(*TRAINING, "workflow/steps/fine_tune_pixels.py")
        return with_fingerprint(settings, source, configuration_hash(agents))

    def member_files(self, task: str, label: str, seeds: str) -> list[str]:
        """The agents' files of a group of seeds, each seed's in turn."""
        members = [agent for seed in seeds.split("-") for agent in self.members(label, int(seed))]
        return [f"{self._agent_folder(task, agent)}/agent_{agent}.safetensors" for agent in members]

    def member_folders(self, task: str, label: str, seeds: str) -> list[str]:
        """The folders that `member_files` lie in, each made by a job."""
        return folders_of(self.member_files(task, label, seeds))

    def curves(self) -> list[str]:
        """The curve files of all fine-tuning, this run's own or the committed ones."""
        kept = self.results.replace("results/", "results/reference/", 1) if self.recorded else self.results
        return [
            f"{kept}/curves/{task}/{label}/seeds_{seeds}.parquet"
            for task in self.tasks
            for label in self.methods
            for seeds in self.seed_groups()
        ]

    # --- what is judged -----------------------------------------------------------------------------------

    def judging(self, locomotion: Json) -> Json:
        """The settings of `Plan.judging`, and a fingerprint of its jobs and of these."""
        settings = {key: value for key, value in locomotion.items() if key != "fingerprint"}
        return with_fingerprint(settings, locomotion["fingerprint"], *self._trained())

    def _trained(self) -> list[str]:
        """The fingerprints of all curves; none of committed ones."""
        if self.recorded:
            return []
        jobs = [(task, label) for task in self.tasks for label in self.methods]
        return [str(self.fine_tuning(task, label)["fingerprint"]) for task, label in jobs]

    # --- figures ------------------------------------------------------------------------------------------

    @property
    def figures(self) -> list[str]:
        """The figures of these tasks, by their names."""
        return list(self.section.get("figures", []))

    def pictures(self) -> Json:
        """The settings of the pictures of Figures 6 and 7, and their fingerprint."""
        settings = {"size": 480, "frames": 8, **self.section.get("pictures", {})}
        settings["tasks"] = {task: TASKS[task] for task in self.tasks}
        return with_fingerprint(settings, source_hash("envs", "records", "workflow/steps/pictures.py"))

    def pictures_folder(self, figure: str) -> list[str]:
        """The folder of the pictures that a figure places; none for figures of curves."""
        return [f"{self.results}/pictures"] if figure in PICTURED else []

    def drawing(self) -> Json:
        """What captions say beside the curves, how intervals are drawn, and a fingerprint."""
        settings = {
            "ensemble_size": self.section["fine_tuning"]["ensemble_size"],
            "members_shared": self.section["fine_tuning"]["members_shared"],
            "pretraining_updates": self.section["pretraining"]["schedule"]["updates"],
            "demonstration": self.configuration.get("demonstration", False),
            "statistics": self.configuration["statistics"],
        }
        source = source_hash(*DRAWING, "workflow/steps/manipulation_figure.py")
        return with_fingerprint(settings, source, *self._trained())


def folders_of(files: list[str]) -> list[str]:
    """The folders that files lie in, each once."""
    return list(dict.fromkeys(file.rpartition("/")[0] for file in files))
