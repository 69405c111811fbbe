"""What a configuration may say, section by section; config/README.md explains the keys.

Sections of settings that a dataclass has (schedules, a method's numbers) are checked from that dataclass.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Interval, MinLen
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from algorithms.catalogue import METHODS
from envs.plane import TASKS as PLANE_TASKS
from envs.reference_scores import REFERENCE_SCORES
from envs.tabletop import ENVIRONMENTS as TABLETOP
from envs.tabletop import SCRIPT
from offline_data.plane import SCRIPTS, UNIFORM_ACTOR
from storage.constraints import (
    Candidates,
    EnsembleSize,
    FewCount,
    PositiveCount,
    Rate,
    RewardScale,
    Seed,
    Share,
)
from storage.settings import FieldsOf, Section, model_of
from workflow.dataset_names import TASKS
from workflow.figure_names import IMAGE_FIGURES, VECTOR_FIGURES

Item = TypeVar("Item")


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


ABSENT: Any = Field(None, json_schema_extra=_without_default)
"""The default of a key that may be left out, and is not null then."""


class OneOf:
    """Annotates text that is one of some names."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(known)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(self.known)


def _like(pattern: str, expected: str) -> AfterValidator:
    def checked(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(checked)


def _different(values: list[Item]) -> list[Item]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("expected no repetition")
    return values


Different = AfterValidator(_different)
Text = Annotated[str, MinLen(1)]
Place = Annotated[
    Text,
    _like(
        r"(?!~)(?!.*://)(?!.*[^/]{256})[^{}\0\n]+",
        "the path of a file on this machine, written out (no ~, no braces, no address)",
    ),
]
Name = Annotated[str, _like(r"[a-z0-9]+([-_][a-z0-9]+)*", "lower-case letters and digits, joined by - or _")]
Label = Annotated[str, _like(r"[a-z0-9]+(_[a-z0-9]+)*", "lower-case letters and digits, joined by _")]
Dataset = Annotated[
    str,
    _like(
        r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*",
        "letters and digits, joined by - or _, such as halfcheetah-random",
    ),
]
MinariId = Annotated[
    str,
    _like(
        r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*-v[0-9]+",
        "the id of a Minari dataset, such as mujoco/hopper/medium-v0",
    ),
]
Seeds = Annotated[list[Seed], MinLen(1), Different]
Datasets = Annotated[list[str], MinLen(1), Different]
PictureSize = Annotated[int, Interval(ge=16, le=960)]
Frames = Annotated[int, Interval(ge=2, le=100)]
LOCOMOTION = [f"{task}-v{version}" for task in REFERENCE_SCORES for version in (4, 5)]
BUILT_IN = [*LOCOMOTION, *PLANE_TASKS, *TABLETOP, *TASKS.values()]
Environment = Annotated[str, _like(r"[A-Za-z0-9_]+-v[0-9]+", "an environment such as HalfCheetah-v4")]
Family = Annotated[str, _like(r"[A-Za-z0-9_]+", "a name such as Ant, which stands for all its versions")]
Figures = Annotated[list[Annotated[str, OneOf([*VECTOR_FIGURES, *IMAGE_FIGURES])]], Different]
RECIPE_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "random": (("seed", "transitions", "copies"), ("actions",)),
    "medium": (("seed", "transitions", "copies", "behaviour_policy"), ("deviation_scale",)),
    "expert": (("seed", "transitions", "copies", "behaviour_policy"), ("deviation_scale",)),
    "medium-expert": (("seed", "transitions", "copies", "behaviour_policy"), ("deviation_scale",)),
    "medium-replay": (("seed", "behaviour_policy"), ()),
    "replay": (("seed", "behaviour_policy"), ("transitions",)),
    "heterogeneous": (("seed", "transitions", "copies", "sources"), ()),
    "minari": (("minari_id",), ()),
    "d4rl": (("file",), ("episode_ends",)),
    "scripts": (("scripts",), ()),
}
"""Keys that a recipe needs, and keys that it may have."""

Compute = Annotated[Any, FieldsOf("algorithms.training.acceleration:Compute", whole=True)]
Offline = Annotated[Any, FieldsOf("algorithms.training.offline:OfflineSchedule")]
Online = Annotated[Any, FieldsOf("algorithms.training.online:OnlineSchedule")]
LikelihoodConfig = Annotated[Any, FieldsOf("algorithms.diagnostics.likelihood:LikelihoodConfig")]
Scripts = Annotated[
    Any, FieldsOf("offline_data.manipulation:Settings", needed=("prior", "task", "random", "seed"))
]
ELSEWHERE = ("ensemble_size",)
"""The field of a method's settings that stands elsewhere in a configuration."""


class OfAnyMethod:
    """Annotates a method's numbers: `workflow.chains` checks them, which knows the method."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        lookup = importlib.import_module("algorithms.training.lookup")
        kinds = dict.fromkeys(lookup.import_method(row.path).Config for row in METHODS.values())
        return {"anyOf": [handler(model_of(kind, ELSEWHERE).__pydantic_core_schema__) for kind in kinds]}


MethodConfig = Annotated[dict[str, Any], OfAnyMethod()]
SETTINGS = {
    "Schedule of pre-training": Offline,
    "Schedule of fine-tuning": Online,
    "Computing": Compute,
    "Encoders of images": Annotated[Any, FieldsOf("algorithms.population.encoding:EncoderConfig")],
    "Datasets of images": Scripts,
    "Likelihoods": LikelihoodConfig,
}
"""The settings beside methods' own, by their titles in the documentation."""


class OwnOfflineMethod(Section):
    """What one offline label has of its own on one dataset."""

    schedule: Offline = ABSENT
    config: MethodConfig = ABSENT


class OfflineMethod(OwnOfflineMethod):
    """One label of the pre-training."""

    method: str = ABSENT
    starts_from: str = ABSENT


class OwnMethod(Section):
    """What one method has of its own on one dataset."""

    schedule: Online = ABSENT
    config: MethodConfig = ABSENT


class OnlineMethod(OwnMethod):
    """One label of the fine-tuning."""

    method: str = ABSENT
    starts_from: str = ABSENT
    ensemble_size: EnsembleSize = ABSENT


class DatasetPretraining(Section):
    """Pre-training on one dataset, where it differs."""

    schedule: Offline = ABSENT
    methods: dict[Label, OwnOfflineMethod] = ABSENT


class DatasetFineTuning(Section):
    """Fine-tuning on one dataset, where it differs."""

    schedule: Online = ABSENT
    methods: dict[Label, OwnMethod] = ABSENT


_NOBODYS = (UNIFORM_ACTOR, SCRIPT, *(name for scripts in SCRIPTS.values() for name in scripts))


class SourceEntry(Section):
    """One of the policies that a heterogeneous dataset is made by."""

    policy: Name = ABSENT
    actor: Annotated[
        str,
        _like(
            "|".join(("medium|expert|actor_[0-9]+", *_NOBODYS)),
            "medium, expert, uniform or actor_STEP, or a script of its environment",
        ),
    ]
    environment: Annotated[str, OneOf(TABLETOP)] = ABSENT
    share: Annotated[float, Interval(gt=0, le=1_000)] = 1.0
    random_share: Annotated[float, Interval(ge=0, le=1)] = 0.0
    action_noise: Annotated[float, Interval(ge=0, le=2)] = 0.0

    @model_validator(mode="after")
    def _whole(self) -> SourceEntry:
        """Check that an actor has a policy, and that uniform actions and scripts have none."""
        if (self.actor in _NOBODYS) == ("policy" in self.model_fields_set):
            raise ValueError("expected a policy beside an actor, and none beside uniform actions or a script")
        return self


class ReferenceScores(Section):
    """Undiscounted returns that scores of an environment are normalised by."""

    random: Annotated[float, Interval(ge=-1e6, le=1e6)]
    expert: Annotated[float, Interval(ge=-1e6, le=1e6)]


class DatasetEntry(Section):
    """One dataset: how it is recorded, whose agents there are, what differs on it."""

    environment: Environment
    recipe: Annotated[str, OneOf(RECIPE_KEYS)]
    minari_id: MinariId = ABSENT
    file: Place = ABSENT
    episode_ends: Literal["checked", "authors"] = ABSENT
    behaviour_policy: Name = ABSENT
    sources: Annotated[list[SourceEntry], MinLen(1)] = ABSENT
    transitions: PositiveCount = ABSENT
    seed: Seed = ABSENT
    copies: Candidates = ABSENT
    actions: Literal["uniform", "untrained"] = ABSENT
    deviation_scale: Annotated[float, Interval(gt=0, le=10)] = ABSENT
    scripts: Scripts = ABSENT
    reward_scale: RewardScale | Literal["return_range"] = 1.0
    pretrained: Literal["authors", "continued", "released", "train"]
    pretraining: DatasetPretraining = ABSENT
    fine_tuning: DatasetFineTuning = ABSENT


class Medium(Section):
    """The actor of a behaviour policy that is called medium."""

    score: Annotated[float, Interval(ge=-1000, le=1000)]


class BehaviourPolicy(Section):
    """A policy that data are recorded with."""

    environment: Environment
    source: Literal["authors", "released", "train"] = "train"
    seed: Seed
    reward_scale: RewardScale = 1.0
    schedule: Annotated[Any, FieldsOf("algorithms.training.online:OnlineSchedule", whole=True)] = ABSENT
    sac: Annotated[Any, FieldsOf("algorithms.methods.sac:SACConfig", whole=True)] = ABSENT
    medium: Medium = ABSENT
    checkpoints: Annotated[list[PositiveCount], MinLen(1), Different] = ABSENT


class Pretraining(Section):
    """The agents of every dataset."""

    agents: FewCount
    agents_per_job: FewCount
    schedule: Annotated[Any, FieldsOf("algorithms.training.offline:OfflineSchedule", needed=("updates",))]
    methods: dict[Label, OfflineMethod] = ABSENT


class FineTuning(Section):
    """The runs on every dataset, and the agents that they take over."""

    seeds: Seeds
    seeds_per_job: FewCount
    ensemble_size: EnsembleSize
    members_shared: bool
    schedule: Online = ABSENT
    methods: Annotated[dict[Label, OnlineMethod], MinLen(1)]


class Sweep(Section):
    """One label at several learning rates of the policy."""

    datasets: Datasets
    method: str
    policy_learning_rates: Annotated[list[Rate], MinLen(2), Different]
    schedule: Online = ABSENT


class Likelihood(Section):
    """Figure 1a's density model."""

    datasets: Datasets
    seed: Seed
    config: LikelihoodConfig = ABSENT


class HeldOut(Section):
    """A fresh recording by a dataset's own sources."""

    transitions: PositiveCount
    seed: Seed


class Behaviours(Section):
    """What is measured of estimated behaviours, on datasets whose sources are known."""

    datasets: Datasets
    labels: Annotated[list[str], MinLen(1), Different]
    held_out: HeldOut


class Gridworlds(Section):
    """The sweep over the gridworlds in which ReDS is explained, and the alpha that values are drawn at."""

    sweep: Annotated[Any, FieldsOf("algorithms.discrete.sweep:SweepConfig", whole=True)]
    networks: Annotated[Any, FieldsOf("algorithms.discrete.networks:NetworkConfig", whole=True)] = ABSENT
    map: Annotated[float, Interval(gt=0, le=1_000)]


class Drawn(Section):
    """How intervals are drawn."""

    repetitions: Annotated[int, Interval(ge=1, le=10**6)] = 2000
    seed: Seed = 0
    confidence: Share = 0.95


class Statistics(Drawn):
    """How intervals are drawn, and which verdicts end a run with an error."""

    repetitions: Annotated[int, Interval(ge=1, le=10**6)]
    fail_on: Annotated[list[Literal["contradicted", "undecided", "not_run"]], Different] = ABSENT


class Pictures(Section):
    """Pictures of the tasks."""

    size: PictureSize = 720
    frames: Frames = 8


class Film(Section):
    """Films of one run's agents."""

    label: Label = ABSENT
    seed: Seed = ABSENT
    starts: FewCount = 20
    size: PictureSize = 240
    frames: Frames = 8


class Configuration(Section):
    """Configuration of the Off2On Replication Suite."""

    name: Name
    demonstration: bool = False
    curves: Literal["fresh", "recorded"] = "fresh"
    compute: Compute = ABSENT
    watch: Annotated[list[Literal["tensorboard", "wandb"]], Different] = ABSENT
    environments: dict[Family, ReferenceScores] = ABSENT
    behaviour_policies: dict[Name, BehaviourPolicy] = ABSENT
    datasets: Annotated[dict[Dataset, DatasetEntry], MinLen(1)]
    pretraining: Pretraining
    fine_tuning: FineTuning = ABSENT
    sweep_policy_lr: Sweep = ABSENT
    likelihood: Likelihood = ABSENT
    behaviours: Behaviours = ABSENT
    gridworld: Gridworlds = ABSENT
    pictures: Pictures = ABSENT
    film: Film = ABSENT
    statistics: Statistics
    claims: Place = ABSENT
    figures: Figures
