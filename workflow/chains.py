"""Whether the runs of a configuration can begin: every chain of phases is tried before hours are spent on it.

Settings are put together as for the jobs, and each method begins with them on a few made-up transitions
(`algorithms.training.trial`), from untrained agents of the method before it or from agents that are there.
Imports torch and, of the methods, those that the configuration names.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from algorithms.catalogue import NOTHING, ONLINE, Phase
from algorithms.methods.interface import Method
from algorithms.population import checkpoints
from algorithms.population.agents import one_agent
from algorithms.replay.extras import check_imitated
from algorithms.training import trial
from algorithms.training.custom import named
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule
from algorithms.training.online import OnlineSchedule, check_schedule
from algorithms.training.worlds import Episodes, Locomotion
from envs.locomotion import specification
from offline_data.image_episodes import SOURCES
from storage import UserError
from storage.settings import build, check
from workflow import paths
from workflow.dataset_names import TASKS
from workflow.jobs import Json
from workflow.plan import Plan
from workflow.sections import ELSEWHERE
from workflow.steps.pretrain import starting_agents

FLOAT = 4
"""Bytes of a number."""
MethodAndConfig = tuple[type[Method], Any]
Link = str | MethodAndConfig
"""One phase of a chain: an agent's file, or a method and its settings."""


class Place(NamedTuple):
    """An environment, and of a task with images what it is made with."""

    environment: str
    action_form: str = "full"
    horizon: int | None = None  # of a task with images that is not its own

    @property
    def images(self) -> bool:
        """Whether it is a task with images."""
        return self.environment in TASKS.values()

    @property
    def time_limit(self) -> int:
        """Steps of the longest episode."""
        if not self.images:
            return specification(self.environment).time_limit
        own: int = importlib.import_module("envs.manipulation").HORIZONS[self.environment]
        return self.horizon or own

    @property
    def row_bytes(self) -> int:
        """Bytes of a transition in memory: two vectors or one frame, an action, reward and mask."""
        observed, actions = self.sizes
        numbers = FLOAT * (actions + 2)
        if isinstance(observed, int):
            return numbers + 2 * FLOAT * observed
        return numbers + sum(prod(shape) * (1 if len(shape) == 3 else FLOAT) for shape in observed.values())

    @property
    def sizes(self) -> trial.Sizes:
        """What agents see and do there."""
        if self.images:
            # Imports the tasks' simulator, which nothing else here needs.
            environment = importlib.import_module("envs.manipulation.environment")
            return trial.Sizes(environment.SHAPES, environment.action_size(self.action_form))
        return trial.sizes_of(self.environment)


def place_of(settings: Json) -> Place:
    """Where a job's agents act."""
    return Place(settings["environment"], **settings.get("options", {}))


def check_configs(plan: Plan) -> None:
    """UserError for a method that is not there, or a setting that it does not have, with its place."""
    sections = [("", plan.configuration)]
    sections += [(f"datasets.{name}.", entry) for name, entry in plan.configuration["datasets"].items()]
    for prefix, section in sections:
        for name, entry in section.get("pretraining", {}).get("methods", {}).items():
            method = plan.offline.method(name)
            _check_config(method, "offline", entry, f"{prefix}pretraining.methods.{name}")
        for label, entry in section.get("fine_tuning", {}).get("methods", {}).items():
            _check_config(plan.online.method(label), "online", entry, f"{prefix}fine_tuning.methods.{label}")


def _check_config(name: str, phase: Phase, entry: Json, where: str) -> None:
    with _at(where):
        kind = find_method(name, phase).Config
    check(kind, entry.get("config", {}), f"{where}.config", ELSEWHERE)


def check_chains(plan: Plan) -> None:
    """UserError where a run could not begin: settings that contradict each other, agents that do not fit."""
    for dataset in plan.configuration["datasets"]:
        for label in plan.offline.trained(dataset):
            offline_links(plan, dataset, label)
        online = plan.online
        for label in [*online.names, *online.variations]:
            settings, source = plan.fine_tuning.settings(dataset, label), online.starts_from(label)
            before = () if source == NOTHING else offline_links(plan, dataset, source)
            where = f"fine_tuning.methods.{label} on {dataset}"
            method = find_method(settings["method"], "online")
            config = build(method.Config, settings["config"], where)
            schedule = build(OnlineSchedule, settings["schedule"], where)
            if not plan.fine_tuning.offline_data(dataset, label):
                with _at(where):
                    paths.reward_scale_of(settings["reward_scale"], None)
            if before is None:
                continue
            with _at(where if source == NOTHING else f"{where}, from agents of {source}"):
                _check_imitated(plan, dataset, method, config)
                _compare(config, before)
                with named(settings["method"]) if ":" in settings["method"] else nullcontext():
                    _try(place_of(settings), online.ensemble_size(label), before, (method, config), schedule)


def offline_links(plan: Plan, dataset: str, offline: str, stored: bool = True) -> tuple[Link, ...] | None:
    """List the links that make the agents of an offline method; None where they are still to be imported.

    Those that are `stored` are read, or untrained ones stand in for them. UserError where their pre-training
    could not begin.
    """
    if stored and plan.offline.released(dataset, offline):
        return _stored(plan, dataset)
    settings = plan.pretraining.settings(dataset, offline)
    where = f"pretraining.methods.{offline} on {dataset}"
    method = find_method(settings["method"], "offline")
    config = build(method.Config, settings["config"], where)
    schedule = build(OfflineSchedule, settings["schedule"], where)
    source = plan.offline.starts_from(offline)
    before: tuple[Link, ...] | None = ()
    if source != NOTHING:
        before = offline_links(plan, dataset, source, stored)
    elif stored and plan.pretraining.starting_files(dataset, offline, [0]):
        before = _stored(plan, dataset)
    if schedule.updates <= (had := updates_before(plan, dataset, offline)):
        whose = "the released agents, which" if source == NOTHING else f"{source}, whose agents"
        raise UserError(
            f"{where}: updates is {schedule.updates}: expected more than {had}, those of {whose} it trains"
            " further."
        )
    if before is None:
        return None
    links = (*before, (method, config))
    with _at(where if source == NOTHING else f"{where}, from agents of {source}"):
        _check_imitated(plan, dataset, method, config)
        _compare(config, before)
        _agent(place_of(settings), *links)
    return links


def updates_before(plan: Plan, dataset: str, offline: str, stored: bool = True) -> int:
    """How many of its updates the agents have had that an offline label of the same method trains further.

    Those that are `stored` say so themselves; they are not asked where they count as made by the run.
    """
    source, method = plan.offline.starts_from(offline), plan.offline.method(offline)
    if source == NOTHING:
        continued = stored and plan.pretraining.starting_files(dataset, offline, [0])
        return _stored_updates(plan, dataset, method) if continued else 0
    if stored and plan.offline.released(dataset, source):
        return _stored_updates(plan, dataset, method)
    if plan.offline.method(source) != method:
        return 0
    return build(OfflineSchedule, plan.pretraining.settings(dataset, source)["schedule"], source).updates


def _check_imitated(plan: Plan, dataset: str, method: type[Method], config: Any) -> None:
    """UserError where episodes recorded from scripts will hold none that the method is to imitate."""
    if (scripts := plan.data.entry(dataset).get("scripts")) is not None:
        present = [number for number, name in enumerate(SOURCES) if scripts.get(name)]
        check_imitated(method.needed(config), present, f"datasets.{dataset}.scripts")


def _stored(plan: Plan, dataset: str) -> tuple[Link, ...] | None:
    """Return the first of a dataset's agents that are there; None where they are still to be imported.

    UserError where they act in another environment.
    """
    file = Path(plan.places.released_agent(dataset, 0))
    if not file.is_file():
        return None
    trained = str(checkpoints.load(file)[1].get("configuration", {}).get("environment", ""))
    wanted = plan.data.entry(dataset)["environment"]
    if trained and trained.rpartition("-")[0] != wanted.rpartition("-")[0]:
        raise UserError(
            f"datasets.{dataset}: its released agents are of {trained}: expected those of {wanted}."
        )
    return (str(file),)


def _stored_updates(plan: Plan, dataset: str, method: str) -> int:
    """How many updates of a method the first of a dataset's agents has had; 0 where it is to be imported."""
    file = Path(plan.places.released_agent(dataset, 0))
    found = starting_agents([file], method) if file.is_file() else None
    return found.updates if found else 0


@cache
def _agent(place: Place, *links: Link) -> trial.Agent:
    """Return an untrained agent at a chain's end, or the file's."""
    last = links[-1]
    if isinstance(last, str):
        return checkpoints.load(Path(last))[0]
    return one_agent(begin_offline(place, links[:-1], last).agents, 0)


def begin_offline(place: Place, before: tuple[Link, ...], last: MethodAndConfig) -> Method:
    """One agent's pre-training at a chain's end. UserError as where it begins in earnest."""
    agents = [_agent(place, *before)] if before else []
    return trial.begin_offline(*last, place.sizes, agents)


def begin_online(place: Place, size: int, before: tuple[Link, ...], last: MethodAndConfig) -> Method:
    """One run at a chain's end, from `size` agents of what comes before. UserError as in earnest."""
    sizes = place.sizes
    data = trial.offline_data(sizes, last[0].needed(last[1])) if before or _replays_offline(last[0]) else None
    members = [_agent(place, *before)] * size if before else []
    return trial.begin(*last, sizes, members, offline=data)


def _replays_offline(method: type[Method]) -> bool:
    """Whether the catalogue says of a method that it is given the offline data without agents."""
    path = f"{method.__module__}:{method.__name__}"
    return any(row.replays_offline and row.path == path for row in ONLINE.values())


@cache
def _try(
    place: Place, size: int, before: tuple[Link, ...], last: MethodAndConfig, schedule: OnlineSchedule
) -> None:
    """Once is enough for all datasets of a place."""
    learner = begin_online(place, size, before, last)
    world = Episodes if place.images else Locomotion
    check_schedule(schedule, learner, world, place.environment)


def _compare(config: Any, before: tuple[Link, ...]) -> None:
    """UserError where a setting that shapes the networks is not as that of the agents before."""
    if before and not isinstance(before[-1], str):
        _same_networks(config, before[-1][1])


_SHAPES = ("encoder", "critics", "policies", "embedding_size")
"""Settings beside widths and norms that shape networks."""


def _same_networks(config: Any, source: Any) -> None:
    shared = {field.name for field in fields(source)}
    for name in (field.name for field in fields(config) if field.name in shared):
        if name.endswith(("hidden_widths", "norm")) or name in _SHAPES:
            # A policy without widths of its own has the critics'.
            ours, theirs = (
                each.hidden_widths if name == "policy_hidden_widths" and own is None else own
                for each in (config, source)
                for own in [getattr(each, name)]
            )
            if ours != theirs:
                raise UserError(f"{name} is {_shown(ours)}, expected {_shown(theirs)}, as of its agents")


def _shown(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Yield a UserError says where in the configuration it comes from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {str(error).removesuffix('.')}.") from error
