"""What the DAG consists of for a checked configuration: which jobs, with which settings and which agents.

Rules ask this module, so that they hold no logic. Every job has a `fingerprint`: a hash of its settings, of
the code it runs and of the fingerprints of the jobs before it. It names the folder of resumable state, so
that a job goes on only from a state that the same code and the same settings left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from algorithms.catalogue import LABELS, METHODS, NOTHING, OFFLINE, ONLINE, Label
from envs.reference_scores import PLANE, REFERENCE_SCORES
from envs.tabletop import ENVIRONMENTS as TABLETOP
from envs.tabletop import TASKS as TABLE_TASKS
from storage.provenance import configuration_hash
from storage.yaml_files import read_yaml
from workflow.code_hash import ROOT, file_hash, job_hash, shipped, source_hash
from workflow.jobs import Json, numbered

JUDGING = ("analysis", "envs/reference_scores.py", "storage")
DRAWING = ("paper_figures", *JUDGING)

SCRIPTED = {"scripts": "offline_data.manipulation:record", "heterogeneous": "offline_data.tabletop:script"}
"""What records tasks of the robot, by recipe: with images, and on the table."""
TABLE_CODE = "envs.manipulation.tabletop:TabletopTask"
"""What steps the robot's table: `envs.locomotion` imports it so late that no job's imports show it."""
AUTHORS = "authors"
"""As a dataset's `pretrained`: the agents that the paper's authors released, imported by the user."""
AUTHORS_SEEDS = (0, 4, 8, 12, 16)
"""The seeds in their names. [C]"""

RECORDING_KEYS = (
    "environment", "recipe", "transitions", "seed", "copies", "actions", "deviation_scale", "minari_id",
    "file", "episode_ends", "sources", "scripts",
)  # fmt: skip
"""Of a dataset's entry, what decides its recording."""


TASKS = {
    "pick-place": "PickPlace-v0",
    "grasp-closed-drawer": "GraspClosedDrawer-v0",
    "grasp-blocked-drawer": "GraspBlockedDrawer-v0",
}
"""The datasets of images by the paper's names, and their environments: `envs.manipulation.ENVIRONMENTS`."""
IMAGE_FAMILY, OWN_FAMILY = "manipulation", "own"
FAMILIES = {family.lower() for family in REFERENCE_SCORES | PLANE}
"""What names of datasets begin with, hyphens aside; the folders of what is recorded."""
TABLE_SCRIPTS = "table_scripts"
"""The figure of episodes of the scripts on the robot's table."""
PICTURED = ("figure_06", "figure_07", TABLE_SCRIPTS)
"""The figures that are made of pictures of the tasks."""
OF_FILES = ("datasets", "behaviours")
"""The figures that draw no curves."""
OFFLINE_FIGURE = "_offline"
"""Ends the name of a general figure that is drawn of the offline phase, where it is not the one judged."""
FILM = "film"
"""The figure that is made of films of agents."""
CONTROLS = "image_controls"
"""The figure that has the curves of all offline labels too."""
_MADE_WITH = ("action_form", "horizon")


class Variation(NamedTuple):
    """A label of the sweep: which of the configuration's methods it varies, and in what."""

    of: str
    schedule: Json
    config: Json


@dataclass(frozen=True)
class Plan:
    """The jobs of one configuration (`workflow.configuration.check`'s result)."""

    configuration: Json

    @property
    def run(self) -> str:
        """The name under which results are kept: results/<run>/."""
        return str(self.configuration["name"])

    @property
    def results(self) -> str:
        """The folder of this configuration's results."""
        return f"results/{self.run}"

    @cached_property
    def registered(self) -> dict[str, Json]:
        """What processes have to be told to normalise scores: own environments, own names of datasets."""
        entries = self.configuration["datasets"].items()
        named = {
            name: e["environment"] for name, e in entries if name not in TASKS and family_of(name) is None
        }
        found = {"environments": self.configuration.get("environments", {}), "datasets": named}
        return {key: value for key, value in found.items() if value}

    def _scores(self, environment: str) -> dict[str, Json]:
        """Return what the scores of an own environment depend on, as part of a job's settings."""
        own = self.configuration.get("environments", {})
        family = environment.rpartition("-v")[0]
        return {"reference_scores": own[family]} if family in own else {}

    @property
    def recorded(self) -> bool:
        """Whether the committed curves are drawn, and nothing is trained."""
        return bool(self.configuration.get("curves") == "recorded")

    @property
    def compute(self) -> dict[str, Json]:
        """What training computes on, as part of a job's settings; nothing where that is left at the CPU."""
        return {"compute": self.configuration["compute"]} if "compute" in self.configuration else {}

    @property
    def training_threads(self) -> int:
        """The cores that a training job claims: its environments' threads, and one to evaluate beside."""
        compute = self.configuration.get("compute", {})
        return int(compute.get("environment_threads", 1)) + bool(compute.get("evaluation_beside"))

    @cached_property
    def methods(self) -> list[str]:
        """The labels of the fine-tuning, in the configuration's order."""
        return list(self.configuration["fine_tuning"]["methods"])

    def seed_groups(self) -> list[list[int]]:
        """Return the seeds of each fine-tuning job of one label and dataset."""
        tuning = self.configuration["fine_tuning"]
        return chunks(tuning["seeds"], tuning["seeds_per_job"])

    def members(self, label: str, seed: int) -> list[int]:
        """Return the agents that a seed starts from: none from scratch, one for SAC-ft, N for an ensemble.

        [C] member i of the run at position s of S is agent i S + s, so that no two runs share one; where
        members are shared, the runs take theirs in turn from all agents.
        """
        tuning, agents = self.configuration["fine_tuning"], self.configuration["pretraining"]["agents"]
        seeds = list(tuning["seeds"])
        position = seeds.index(seed)
        if tuning["members_shared"]:
            return [(position + member) % agents for member in range(self.ensemble_size(label))]
        return [member * len(seeds) + position for member in range(self.ensemble_size(label))]

    def _agent_groups(self, agents: int) -> list[list[int]]:
        """So many agents, those of each pre-training job."""
        return chunks(range(agents), self.configuration["pretraining"]["agents_per_job"])

    def _trained_agent(self, dataset: str, offline: str, agent: int) -> str:
        """Where an agent lies that fine-tuning or another phase starts from."""
        group = next(g for g in self._agent_groups(self.configuration["pretraining"]["agents"]) if agent in g)
        return f"{self.results}/agents/{dataset}/{offline}/{agents_name(group)}/agent_{agent}.safetensors"

    def _kept(self, dataset: str, label: str, job: str) -> str:
        """Return the file of curves that a job left: this run's own, or the committed one."""
        return f"{self._kept_folder}/curves/{dataset}/{label}/{job}.parquet"

    @property
    def _kept_folder(self) -> str:
        """The folder of what training left."""
        return shipped(f"results/reference/{self.run}") if self.recorded else self.results

    def _online_curves(self, datasets: Iterable[str], labels: Iterable[str]) -> list[str]:
        """Return the curve files of the fine-tuning with these labels on each of the datasets."""
        return [
            self._kept(dataset, label, numbered("seeds", seeds))
            for dataset, label in product(datasets, labels)
            for seeds in self.seed_groups()
        ]

    def _fingerprints(
        self, settings: Callable[[str, str], Json], datasets: Iterable[str], labels: Iterable[str]
    ) -> list[str]:
        """Those of all curves: by times alone, results of a clock set back would pass for new."""
        if self.recorded:
            return []
        return [str(settings(dataset, label)["fingerprint"]) for dataset, label in product(datasets, labels)]

    # --- data ---------------------------------------------------------------------------------------------

    def dataset(self, dataset: str) -> Json:
        """Return the configuration's entry of one dataset."""
        entry: Json = self.configuration["datasets"][dataset]
        return entry

    @property
    def images(self) -> bool:
        """Whether the datasets are tasks with images; all are, or none."""
        return any(dataset in TASKS for dataset in self.configuration["datasets"])

    @property
    def table_tasks(self) -> list[str]:
        """The tasks on the robot's table that there are datasets of, in the order of `envs.tabletop`."""
        entries = self.configuration["datasets"].values()
        found = {TABLETOP[name].task for each in entries if (name := each["environment"]) in TABLETOP}
        return [task for task in TABLE_TASKS if task in found]

    def world(self, dataset: str) -> dict[str, Any]:
        """Return the environment's name and, for a task with images, what it is made with."""
        entry = self.dataset(dataset)
        if "scripts" not in entry:
            return {"environment": entry["environment"], **self._scores(entry["environment"])}
        made_with = {key: entry["scripts"][key] for key in _MADE_WITH if key in entry["scripts"]}
        return {"environment": entry["environment"], "options": made_with}

    def dataset_folder(self, dataset: str) -> str:
        """Where the Minari dataset lies."""
        return f"{self.results}/datasets/{dataset_id(dataset)}"

    def behaviour_policy(self, policy: str) -> Json:
        """Return the configuration's entry of one behaviour policy, and its fingerprint."""
        entry = {**self.configuration["behaviour_policies"][policy], **self.compute}
        entry |= self._scores(entry["environment"])
        return with_fingerprint(entry, job_hash("behaviour"), *table_code(entry["environment"]))

    def recorded_from(self, dataset: str) -> list[str]:
        """Return the behaviour policies' folders or the D4RL file, for datasets that need them."""
        entry = self.dataset(dataset)
        if "file" in entry:
            return [entry["file"]]
        return [self._policy_folder(policy) for policy in policies_of(entry)]

    def _policy_folder(self, policy: str) -> str:
        places = {"released": f"releases/behaviour/{policy}", AUTHORS: f"releases/{AUTHORS}/{policy}"}
        place = places.get(self.configuration["behaviour_policies"][policy].get("source"))
        return shipped(place) if place else f"{self.results}/behaviour/{policy}"

    def trained_policies(self) -> list[str]:
        """Return the behaviour policies that datasets are recorded with and that nobody ships."""
        policies = self.configuration.get("behaviour_policies", {})
        used = [policy for entry in self.configuration["datasets"].values() for policy in policies_of(entry)]
        return [
            name for name in policies if name in used and policies[name].get("source", "train") == "train"
        ]

    @cached_property
    def _own_files(self) -> dict[str, str]:
        """The hash of each dataset's own file, where it is there: read once for all that follows from it.

        Of all its bytes, a second for two gigabytes: what is mended in a file may be few of them.
        """
        files = {name: Path(entry.get("file", "")) for name, entry in self.configuration["datasets"].items()}
        return {name: file_hash(file) for name, file in files.items() if file.is_file()}

    def recording(self, dataset: str) -> Json:
        """How one dataset is recorded: its entry less what only training reads."""
        entry = self.dataset(dataset)
        settings = {key: entry[key] for key in RECORDING_KEYS if key in entry}
        settings |= self._scores(entry["environment"])
        robot = entry["environment"] in (*TASKS.values(), *TABLETOP)
        sources = [job_hash("record", SCRIPTED.get(entry["recipe"], TABLE_CODE) if robot else "")]
        for policy in policies_of(entry):
            if policy in self.trained_policies():
                sources.append(self.behaviour_policy(policy)["fingerprint"])
            else:
                sources.append(existing_hash([self._policy_folder(policy)]))
        if dataset in self._own_files:
            sources.append(self._own_files[dataset])
        return with_fingerprint(settings, *sources)

    # --- pre-training -------------------------------------------------------------------------------------

    @cached_property
    def offline_labels(self) -> list[str]:
        """The labels that `pretraining` lists, in the configuration's order."""
        return list(self.configuration["pretraining"].get("methods", {}))

    def _offline_entry(self, label: str) -> Json:
        entry: Json = self.configuration["pretraining"].get("methods", {}).get(label, {})
        return entry

    def offline_method(self, label: str) -> str:
        """Return the method behind an offline label: one of the catalogue's, or package.module:Class."""
        return str(self._offline_entry(label).get("method", label))

    def offline_source(self, label: str) -> str:
        """Return the offline label whose agents those of `label` start from, or NOTHING."""
        row = OFFLINE.get(self.offline_method(label))
        default = row.starts_from["offline"] if row else NOTHING
        return str(self._offline_entry(label).get("starts_from", default))

    def offline_phases(self, dataset: str) -> list[str]:
        """Return offline labels that are trained on a dataset: what is judged, and what others start from."""
        wanted = [] if self.methods else list(self.offline_labels)
        wanted += [source for label in self.methods if (source := self.starts_from(label)) != NOTHING]
        if dataset in self.configuration.get("likelihood", {}).get("datasets", []):
            wanted.append("cql")
        if dataset in self.configuration.get("behaviours", {}).get("datasets", []):
            wanted += self.configuration["behaviours"]["labels"]
        if CONTROLS in self.configuration["figures"]:
            wanted += self.offline_labels
        for label in wanted:
            if (source := self.offline_source(label)) not in (NOTHING, *wanted):
                wanted.append(source)
        return [label for label in dict.fromkeys(wanted) if not self.released(dataset, label)]

    def released(self, dataset: str, offline: str) -> bool:
        """Whether the agents are there already, shipped or the authors': only CQL's can be."""
        return offline == "cql" and self.dataset(dataset)["pretrained"] in ("released", AUTHORS)

    def released_agent(self, dataset: str, agent: int) -> str:
        """Where an agent lies that the project ships, or that was imported from the authors'."""
        if self.dataset(dataset)["pretrained"] == AUTHORS:
            return shipped(f"releases/authors/{dataset}/agent_{AUTHORS_SEEDS[agent]}.safetensors")
        return shipped(f"releases/{dataset}/agent_{agent}.safetensors")

    def agent_groups(self, dataset: str, offline: str) -> list[list[int]]:
        """Return the agents of each job that pre-trains a dataset's; none where they are released."""
        if self.released(dataset, offline):
            return []
        return self._agent_groups(self.configuration["pretraining"]["agents"])

    def pretraining(self, dataset: str, offline: str) -> Json:
        """Return the settings of one offline label on a dataset, and their fingerprint."""
        section, own = self.configuration["pretraining"], self.dataset(dataset).get("pretraining", {})
        ours, theirs = (part.get("methods", {}).get(offline, {}) for part in (section, own))
        method = self.offline_method(offline)
        settings = {
            "method": method,
            **self.world(dataset),
            "reward_scale": self.dataset(dataset).get("reward_scale", 1.0),
            "schedule": merged("schedule", section, ours, own, theirs),
            "config": merged("config", ours, theirs),
            **self.compute,
        }
        code = job_hash("pretrain", OFFLINE[method].path if method in OFFLINE else method)
        before = [code, self.recording(dataset)["fingerprint"]]
        agents = range(self.configuration["pretraining"]["agents"])
        if (source := self.offline_source(offline)) != NOTHING:
            before.append(self._agents_fingerprint(dataset, source, [list(agents)]))
        elif offline == "cql" and self.dataset(dataset)["pretrained"] == "continued":
            before.append(existing_hash([self.released_agent(dataset, agent) for agent in agents]))
        return with_fingerprint(settings, *before)

    def starting_files(self, dataset: str, offline: str, agents: Iterable[int]) -> list[str]:
        """Return the agents that a pre-training job starts from; none where it makes fresh ones."""
        if (source := self.offline_source(offline)) != NOTHING:
            return [self.agent_file(dataset, source, agent) for agent in agents]
        if self.dataset(dataset)["pretrained"] == "continued" and offline == "cql":
            return [self.released_agent(dataset, agent) for agent in agents]
        return []

    def agent_file(self, dataset: str, offline: str, agent: int) -> str:
        """Where one pre-trained agent lies."""
        if self.released(dataset, offline):
            return self.released_agent(dataset, agent)
        return self._trained_agent(dataset, offline, agent)

    def _agents_fingerprint(self, dataset: str, offline: str, members: list[list[int]]) -> str:
        if self.released(dataset, offline):
            agents = sorted({agent for run in members for agent in run})
            of = existing_hash([self.released_agent(dataset, agent) for agent in agents])
        else:
            of = self.pretraining(dataset, offline)["fingerprint"]
        return configuration_hash({"members": members, "of": of})

    # --- fine-tuning --------------------------------------------------------------------------------------

    def method(self, label: str) -> str:
        """Return the method behind a label: one of the catalogue's, or package.module:Class."""
        return str(self._entry(label).get("method", self._own_label(label)))

    def starts_from(self, label: str) -> str:
        """Return offline method that the runs of `label` start from, or NOTHING; a custom method's is CQL."""
        row = ONLINE.get(self.method(label))
        return str(self._entry(label).get("starts_from", row.starts_from["online"] if row else "cql"))

    def ensemble_size(self, label: str) -> int:
        """How many agents a run of `label` takes over."""
        if self.starts_from(label) == NOTHING:
            return 0
        common = self.configuration["fine_tuning"]["ensemble_size"] if self._ensemble(label) else 1
        return int(self._entry(label).get("ensemble_size", common))

    def _ensemble(self, label: str) -> bool:
        """Whether N agents of a run are among the settings of the method behind a label."""
        method = self.method(label)
        return method in ONLINE and ONLINE[method].ensemble

    def _entry(self, label: str) -> Json:
        entry: Json = self.configuration["fine_tuning"]["methods"][self._own_label(label)]
        return entry

    def _own_label(self, label: str) -> str:
        """Return the label among the configuration's methods that `label` is, or varies."""
        return self.variations[label].of if label in self.variations else label

    def fine_tuning(self, dataset: str, label: str, seeds: Sequence[int] | None = None) -> Json:
        """Return the settings of one method on one dataset, and the fingerprint of a job of `seeds` (or all).

        The fingerprint has the agents that they start from: the same seed of another list has others.
        """
        section, entry = self.configuration["fine_tuning"], self.dataset(dataset)
        own = entry.get("fine_tuning", {})
        ours, theirs = self._entry(label), own.get("methods", {}).get(self._own_label(label), {})
        parts = [section, ours, own, theirs]
        if label in self.variations:
            parts.append(self.variations[label]._asdict())
        method = self.method(label)
        size = {"ensemble_size": self.ensemble_size(label)} if self._ensemble(label) else {}
        settings = {
            "method": method,
            **self.world(dataset),
            "reward_scale": entry.get("reward_scale", 1.0),
            "schedule": merged("schedule", *parts),
            "config": {**merged("config", *parts), **size},
            **self.compute,
        }
        before = [job_hash("fine_tune", ONLINE[method].path if method in ONLINE else method)]
        if self.replays_offline(label):
            before.append(self.recording(dataset)["fingerprint"])
        else:
            before += table_code(entry["environment"])
        if (offline := self.starts_from(label)) != NOTHING:
            members = [self.members(label, seed) for seed in (section["seeds"] if seeds is None else seeds)]
            before.append(self._agents_fingerprint(dataset, offline, members))
        return with_fingerprint(settings, *before)

    def replays_offline(self, label: str) -> bool:
        """Whether the runs of `label` are given the offline data: with agents, or where their method asks."""
        row = ONLINE.get(self.method(label))
        return self.starts_from(label) != NOTHING or (row is not None and row.replays_offline)

    def offline_data(self, dataset: str, label: str) -> list[str]:
        """Return the dataset that a method replays; none where it is given no offline data."""
        return [self.dataset_folder(dataset)] if self.replays_offline(label) else []

    def member_files(self, dataset: str, label: str, seeds: Iterable[int]) -> list[str]:
        """Return the agents' files of a group of seeds, each seed's in turn."""
        members = [agent for seed in seeds for agent in self.members(label, seed)]
        return [self.agent_file(dataset, self.starts_from(label), agent) for agent in members]

    # --- the sweep over the policy's learning rate ----------------------------------------------------------

    @cached_property
    def variations(self) -> dict[str, Variation]:
        """The sweep's labels, such as off2on_at_3e-05; none where the configuration has no sweep."""
        section = self.configuration.get("sweep_policy_lr")
        if section is None:
            return {}
        label, schedule = section["method"], section.get("schedule", {})
        return {
            f"{label}_at_{rate:.0e}": Variation(label, schedule, {"policy_learning_rate": rate})
            for rate in section["policy_learning_rates"]
        }

    def sweep_curves(self) -> list[str]:
        """Return the curve files of the sweep; none where the configuration has none."""
        datasets = self.configuration.get("sweep_policy_lr", {}).get("datasets", [])
        return self._online_curves(datasets, self.variations)

    # --- Figure 1a -----------------------------------------------------------------------------------------

    def likelihood(self, dataset: str) -> Json:
        """Return the settings of Figure 1a's density model on one dataset, and their fingerprint."""
        section = self.configuration["likelihood"]
        settings = {
            "environment": self.dataset(dataset)["environment"],
            "seed": section["seed"],
            "config": section.get("config", {}),
        }
        return with_fingerprint(
            settings,
            job_hash("likelihood"),
            self.recording(dataset)["fingerprint"],
            self._agents_fingerprint(dataset, "cql", [[0]]),
        )

    def likelihoods(self) -> list[str]:
        """Return the datasets whose likelihoods Figure 1a draws; none where it is not asked for."""
        asked = "figure_01a" in self.configuration["figures"]
        return list(self.configuration["likelihood"]["datasets"]) if asked else []

    # --- gridworlds ----------------------------------------------------------------------------------------

    def gridworld(self) -> Json:
        """Return the settings of the sweep over gridworlds, and their fingerprint."""
        return with_fingerprint(self.configuration["gridworld"], job_hash("gridworld"))

    def gridworld_curves(self) -> list[str]:
        """Return the file of the gridworlds' curves; none where the configuration has no such sweep."""
        kept = [f"{self._kept_folder}/gridworld/curves.parquet"]
        return kept if "gridworld" in self.configuration else []

    # --- estimated behaviours ------------------------------------------------------------------------------

    def behaviours(self, dataset: str, label: str) -> Json:
        """Return the settings of what is measured of a label's behaviours, and their fingerprint."""
        trained = self.pretraining(dataset, label)
        held_out = {**self.recording(dataset), **self.configuration["behaviours"]["held_out"]}
        del held_out["fingerprint"]
        settings = {
            "method": trained["method"],
            "config": trained["config"],
            "updates": trained["schedule"]["updates"],
            "held_out": held_out,
        }
        path = OFFLINE[trained["method"]].path
        return with_fingerprint(settings, job_hash("behaviours", path), trained["fingerprint"])

    def measured_behaviours(self) -> list[tuple[str, str]]:
        """Return the datasets and labels whose estimated behaviours are measured."""
        section = self.configuration.get("behaviours", {})
        return list(product(section.get("datasets", []), section.get("labels", [])))

    def behaviour_files(self, kind: str = "") -> list[str]:
        """Return the files of their vectors, and of who made which trajectory; or of its `kind`."""
        pairs = self.measured_behaviours()
        return [f"{self._kept_folder}/behaviours/{dataset}/{label}{kind}.parquet" for dataset, label in pairs]

    # --- what is judged and drawn ---------------------------------------------------------------------------

    @cached_property
    def judged(self) -> list[str]:
        """The labels that statistics compare: the online ones, or without any the offline ones."""
        return self.methods or self.offline_labels

    @property
    def judged_seeds(self) -> list[int]:
        """The seeds of what is judged; those of the offline phase are its agents."""
        if self.methods:
            return list(self.configuration["fine_tuning"]["seeds"])
        return list(range(self.configuration["pretraining"]["agents"]))

    def curves(self) -> list[str]:
        """Return curve files of what is judged, on every dataset: this run's own, or the committed ones."""
        if not self.methods:
            return self._offline_curves(lambda _: self.offline_labels)
        return self._online_curves(self.configuration["datasets"], self.methods)

    def _offline_curves(self, labels: Callable[[str], Iterable[str]]) -> list[str]:
        """Return the curve files of the offline labels of each dataset."""
        return [
            self._kept(dataset, label, agents_name(group))
            for dataset in self.configuration["datasets"]
            for label in labels(dataset)
            for group in self.agent_groups(dataset, label)
        ]

    def offline_curves(self) -> list[str]:
        """Return the curve files of all that is trained offline, beside fine-tuning too."""
        return self._offline_curves(self.offline_phases)

    @property
    def claims(self) -> str | None:
        """The file of the configuration's own claims, None where it has none."""
        named = self.configuration.get("claims")
        return shipped(named) if named else None

    def claimed_curves(self) -> list[str]:
        """Return curve files that claims are judged on: offline ones too where a claim names that phase.

        And what was measured of estimated behaviours, and of gridworlds.
        """
        entries = read_yaml(Path(self.claims)) if self.claims else []
        phases = [entry.get("phase") for entry in entries if isinstance(entry, dict)]
        more = self.offline_curves() if "offline" in phases else []
        measured = [*self.behaviour_files(".measures"), *self.gridworld_curves()]
        return list(dict.fromkeys([*self.curves(), *more, *measured]))

    def figures(self) -> list[str]:
        """Return the figures: the configuration's, those of datasets of vectors and of estimated behaviours.

        Committed curves have no agents to film.
        """
        asked = [name for name in self.configuration["figures"] if not (name == FILM and self.recorded)]
        report = [] if self.recorded or self.images else ["datasets"]
        measured = ["behaviours"] if self.measured_behaviours() else []
        return [*asked, *report, *measured]

    def report(self) -> Json:
        """Return what the opening page of the report shows and names: what this configuration ran."""
        figures, known = self.figures(), {name: row.label for name, row in LABELS.items()}
        starts = dict.fromkeys(self.starts_from(label) for label in self.methods)
        ensembles = [label for label in self.methods if label in LABELS and LABELS[label].ensemble]
        return {
            "figure": f"figures/{figures[0]}.png" if figures else "",
            "judged": [known.get(label, label) for label in self.judged],
            "seeds": len(self.judged_seeds),
            "agents": [known.get(name, name) for name in starts if name != NOTHING],
            "ensembles": [known[label] for label in ensembles],
            "images": self.images,
        }

    def figure_curves(self, figure: str) -> list[str]:
        """Return the curve files that a figure is given."""
        if figure in OF_FILES:
            return []
        if figure.endswith(OFFLINE_FIGURE):
            return self.offline_curves()
        # Without fine-tuning what is judged is offline already.
        return list(dict.fromkeys([*self.curves(), *(self.offline_curves() if figure == CONTROLS else [])]))

    def figure_files(self, figure: str) -> list[str]:
        """Return what a figure is given beside curves: tables, summaries, folders of pictures."""
        results, datasets = self.results, self.configuration["datasets"]
        pictures = f"{results}/manipulation"
        if figure == "figure_01a":
            return [f"{self._kept_folder}/likelihood/{dataset}.parquet" for dataset in self.likelihoods()]
        if figure == "datasets":
            return [f"{results}/datasets/{'-'.join(split_name(dataset))}.json" for dataset in datasets]
        if figure == "behaviours":
            return self.behaviour_files()
        if figure == FILM:
            return [f"{pictures}/films/{task}" for task in datasets]
        return [f"{pictures}/pictures"] if figure in PICTURED else []

    def judging(self, offline: bool = False) -> Json:
        """Return the settings of the statistics, and their fingerprint; `offline`: of that phase."""
        source = source_hash(*JUDGING, "workflow/steps/statistics.py", "workflow/steps/reproduction.py")
        order = " ".join(row.name for row in rows_of(self._judged(offline)))
        return with_fingerprint(self.configuration["statistics"], source, order, *self._trained(offline))

    def reproduction(self) -> Json:
        """Return the settings of the closing table, of whose costs all is to be known, and a fingerprint."""
        told = {key: value for key, value in self.configuration.items() if key != "watch"}
        settings = {**self.configuration["statistics"], "configuration": told}
        source = source_hash("workflow/cost.py", "workflow/cost.json", "workflow/operations.py")
        return with_fingerprint(settings, self.judging()["fingerprint"], source)

    def drawing(self, offline: bool = False) -> Json:
        """Return what captions say, when methods learn, how intervals are drawn, and a fingerprint."""
        tuning, datasets = self.configuration["fine_tuning"], self.configuration["datasets"]
        by_episodes = tuning["methods"] if self.images else {}
        settings = {
            "caption": {
                "ensemble_size": tuning["ensemble_size"],
                "members_shared": tuning["members_shared"],
                "pretraining_updates": {name: self._offline_updates(name) for name in datasets},
                "demonstration": self.configuration.get("demonstration", False),
                "authors_agents": any(entry["pretrained"] == AUTHORS for entry in datasets.values()),
            },
            "schedules": {label: merged("schedule", tuning, own) for label, own in by_episodes.items()},
            "statistics": self.configuration["statistics"],
        }
        source = source_hash(*DRAWING, "workflow/steps/figure.py")
        rows = str(rows_of([*self.offline_labels, *self._judged(offline)]))
        return with_fingerprint(settings, source, rows, *self._trained(offline))

    def _offline_updates(self, dataset: str) -> int:
        """Return how many updates CQL's agents have had, the section's number where it is not trained."""
        section = self.configuration["pretraining"]
        known = self.pretraining(dataset, "cql") if "cql" in self.offline_labels else section
        return int(known["schedule"]["updates"])

    def _judged(self, offline: bool) -> list[str]:
        return self.offline_phases(next(iter(self.configuration["datasets"]))) if offline else self.judged

    def _trained(self, offline: bool) -> list[str]:
        """Return the fingerprints of all that is judged."""
        settings = self.pretraining if offline or not self.methods else self.fine_tuning
        return self._fingerprints(settings, self.configuration["datasets"], self._judged(offline))

    # --- pictures and films of tasks with images ------------------------------------------------------------

    def pictures(self) -> Json:
        """Return the settings of the pictures that figures are made of, and their fingerprint."""
        settings = {"size": 720, "frames": 8, **self.configuration.get("pictures", {})}
        settings["tasks"] = {task: TASKS[task] for task in self.configuration["datasets"] if task in TASKS}
        settings["tasks"] |= {task.lower(): f"{task}Delta-v0" for task in self.table_tasks}
        return with_fingerprint(settings, job_hash("pictures"))

    def _filmed(self) -> Json:
        chosen = {"label": self.methods[0], "seed": self.configuration["fine_tuning"]["seeds"][0]}
        return {
            **chosen,
            "starts": 20,
            "size": 240,
            "frames": 8,
            **self.configuration.get("film", {}),
        }

    def film(self, task: str) -> Json:
        """Which run's ensemble is filmed on a task and how, and a fingerprint."""
        filmed = self._filmed()
        trained = self.fine_tuning(task, filmed["label"])
        kept = {key: trained[key] for key in ("method", "environment", "options", "config")}
        return with_fingerprint({**kept, **filmed}, job_hash("film_agents"), trained["fingerprint"])

    def filmed_members(self, task: str) -> list[str]:
        """Return the files of the agents that the filmed run started from."""
        filmed = self._filmed()
        return self.member_files(task, filmed["label"], [filmed["seed"]])

    def filmed_actors(self, task: str) -> list[str]:
        """Return the files of the agents that the filmed run ended with."""
        filmed = self._filmed()
        label, seed = filmed["label"], filmed["seed"]
        group = numbered("seeds", next(g for g in self.seed_groups() if seed in g))
        folder = f"{self.results}/agents/{task}/{label}/{group}"
        return [f"{folder}/seed_{seed}_agent_{n}.safetensors" for n in range(self.ensemble_size(label))]


def policies_of(dataset: Json) -> list[str]:
    """Return the behaviour policies that a dataset's entry is recorded with, each once."""
    own = [dataset["behaviour_policy"]] if "behaviour_policy" in dataset else []
    sources = [source["policy"] for source in dataset.get("sources", []) if "policy" in source]
    return list(dict.fromkeys([*own, *sources]))


def dataset_id(dataset: str) -> str:
    """Return the Minari id: "halfcheetah-medium-replay" gives "halfcheetah/medium-replay-local-v0"."""
    family, quality = split_name(dataset)
    return f"{family}/{quality}-local-v0"


def split_name(dataset: str) -> tuple[str, str]:
    """Family and quality of a dataset's name: "two-ways-scripted" gives "two-ways" and "scripted".

    Tasks with images are one family, and so are datasets whose names begin with none.
    """
    if dataset in TASKS:
        return IMAGE_FAMILY, dataset
    words = dataset.split("-")
    for count in range(1, len(words)):
        if "".join(words[:count]) in FAMILIES:
            return "-".join(words[:count]), "-".join(words[count:])
    return OWN_FAMILY, dataset


def family_of(dataset: str) -> str | None:
    """Return the environment that a dataset's name begins with; None where it may be any."""
    letters = dataset.replace("-", "").lower()
    return next((family for family in REFERENCE_SCORES | PLANE if letters.startswith(family.lower())), None)


def rows_of(names: Iterable[str]) -> list[Label]:
    """Return the catalogue's rows of these names and of all ablations: others are in no figure of theirs."""
    drawn = set(names)
    return [row for name, row in LABELS.items() if name in drawn or name not in METHODS]


def table_code(environment: str) -> list[str]:
    """Return the hash of the code of the robot's table, for an environment there; else nothing."""
    return [job_hash("record", TABLE_CODE)] if environment in TABLETOP else []


def existing_hash(files: Sequence[str]) -> str:
    """Return a hash of those shipped files that exist; Snakemake reports the missing ones."""
    root = ROOT if any(Path(file).is_absolute() for file in files) else Path.cwd()
    return source_hash(*(file for file in files if (root / file).exists()), root=root)


def merged(key: str, *sections: Json) -> dict[str, Any]:
    """Merge the sections' values under `key`; a later one overrides an earlier one."""
    return {name: value for section in sections for name, value in section.get(key, {}).items()}


def chunks(items: Any, size: int) -> list[list[int]]:
    """`items` in order, `size` at a time."""
    items = list(items)
    return [items[start : start + size] for start in range(0, len(items), size)]


def agents_name(agents: Sequence[int]) -> str:
    """Return the name of a job of agents, which follow each other: "agents_0-4"."""
    return f"agents_{agents[0]}-{agents[-1]}"


def with_fingerprint(settings: Json, *before: str) -> Json:
    """Return the settings and, as `fingerprint`, a hash of them and of what came before."""
    return {**settings, "fingerprint": configuration_hash({"settings": settings, "before": before})}
