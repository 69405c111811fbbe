"""A run is a chain of phases: whether the phases that a configuration names follow each other.

`check` reads names alone; `try_out` makes one agent of each phase and hands it to the next, so that networks
of other sizes are named before hours of pre-training and not after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from algorithms.catalogue import NOTHING, OFFLINE, ONLINE, Phase
from storage import UserError
from workflow.code_hash import ROOT
from workflow.jobs import Json
from workflow.plan import Plan

GENERAL = ("learning_curves", "sample_efficiency", "performance_profiles", "probability_of_improvement")
"""The figures that any phase has; the others are the paper's, of fine-tuning."""


def check(plan: Plan) -> None:
    """UserError, with its place, for a phase that is unknown, or starts from none there is or from itself."""
    known = list(dict.fromkeys([*OFFLINE, *plan.offline_labels]))
    for label in plan.offline_labels:
        where, method = f"pretraining.methods.{label}", plan.offline_method(label)
        _check_method(where, label, method, OFFLINE)
        source = plan.offline_source(label)
        _check_source(where, source, known)
        if source == NOTHING and method in OFFLINE and OFFLINE[method].starts_from["offline"] != NOTHING:
            raise UserError(
                f"{where}.starts_from is {NOTHING}: {method} takes agents over, expected a label."
            )
        _check_ends(plan, label)
    for label in plan.methods:
        where = f"fine_tuning.methods.{label}"
        _check_method(where, label, plan.method(label), ONLINE)
        _check_source(where, plan.starts_from(label), known)
    if not plan.methods and plan.configuration["datasets"]:
        _check_offline_only(plan)


def _check_method(where: str, label: str, method: str, rows: Iterable[str]) -> None:
    if method not in rows and ":" not in method:
        what = f"unknown label '{label}'" if method == label else f"the method '{method}' is unknown"
        raise UserError(
            f"{where}: {what}: expected one of {_names(rows)}, or a custom method: package.module:Class."
        )


def _check_source(where: str, source: str, known: Iterable[str]) -> None:
    if source not in (NOTHING, *known):
        raise UserError(f"{where}.starts_from is '{source}': expected one of {_names((NOTHING, *known))}.")


def _check_ends(plan: Plan, label: str) -> None:
    """UserError where the phases before a label never begin."""
    chain = [label]
    while (source := plan.offline_source(chain[-1])) != NOTHING:
        if source in chain:
            loop = " from ".join([*chain, source])
            raise UserError(
                f"pretraining.methods.{label} starts from itself: {loop}; expected a first phase."
            )
        chain.append(source)


def _check_offline_only(plan: Plan) -> None:
    """UserError where, without fine-tuning, there is nothing to judge, or what only fine-tuning has."""
    if not plan.offline_labels:
        raise UserError("pretraining.methods is missing: without fine_tuning, expected the methods to judge.")
    for figure in plan.configuration["figures"]:
        if figure not in GENERAL:
            raise UserError(f"figures has {figure}, which needs fine_tuning: expected of {_names(GENERAL)}.")
    for dataset in plan.configuration["datasets"]:
        for label in plan.offline_labels:
            if plan.released(dataset, label) and not plan.recorded:
                pretrained = plan.dataset(dataset)["pretrained"]
                raise UserError(
                    f"datasets.{dataset}.pretrained is '{pretrained}', whose {label} agents have no curve of"
                    " this run to be judged: expected train."
                )


def try_out(plan: Plan) -> None:
    """Make every chain of the plan, an agent of each phase. UserError where one does not fit the next.

    Datasets that nothing tells apart but their data are tried once.
    """
    tried = []
    for dataset, entry in plan.configuration["datasets"].items() if not plan.recorded else ():
        kind = [entry.get(key) for key in ("environment", "pretraining", "fine_tuning")]
        if entry["pretrained"] != "train":
            kind.append(dataset)
        if kind not in tried:
            tried.append(kind)
            _try_dataset(plan, dataset)


def _try_dataset(plan: Plan, dataset: str) -> None:
    from algorithms.methods.interface import OfflineStart, Start  # torch takes a second to import
    from algorithms.population.agents import one_agent
    from algorithms.population.streams import Streams
    from envs.locomotion import specification

    spec = specification(plan.dataset(dataset)["environment"])
    sizes = (spec.observation_size, spec.action_size)
    agents: dict[str, dict[str, Any]] = {}

    def agent(label: str) -> dict[str, Any]:
        """One agent of an offline phase, before its first update or as it is released."""
        if label not in agents:
            agents[label] = _released(plan, dataset) if plan.released(dataset, label) else fresh(label)
        return agents[label]

    def fresh(label: str) -> dict[str, Any]:
        source = plan.offline_source(label)
        start = [] if source == NOTHING else [agent(source)]
        method, config = _method(plan.pretraining(dataset, label), "offline")
        with _placed(f"pretraining.methods.{label}"):
            begun = method.begin_offline(OfflineStart([0], *sizes, start), config)
            return one_agent(begun.agents, 0)

    for label in plan.offline_phases(dataset):
        agent(label)
    for label in plan.methods:
        source = plan.starts_from(label)
        method, config = _method(plan.fine_tuning(dataset, label), "online")
        if source != NOTHING and (one := agent(source)):
            with _placed(f"fine_tuning.methods.{label}"):
                members = [one] * (plan.ensemble_size(label) or 1)
                start = Start([0], Streams([0]), *sizes, None, None, members, 1)  # type: ignore[arg-type]
                method.population(start, config, len(members)).start_from(members)


def _method(settings: Json, phase: Phase) -> tuple[Any, Any]:
    """The class and the configuration of a job's method. UserError where there are none such."""
    from algorithms.training.lookup import find_method
    from workflow import cli  # which imports the checks

    method = find_method(settings["method"], phase)
    return method, cli.build(method.Config, settings["config"], f"config of {settings['method']}")


def _released(plan: Plan, dataset: str) -> dict[str, Any]:
    """The first of a dataset's released agents; nothing where it is not there, which Snakemake reports."""
    from algorithms.population import checkpoints

    path = ROOT / plan.released_agent(dataset, 0)
    if not path.exists():
        return {}
    tensors, manifest = checkpoints.load(path)
    trained = str(manifest.get("configuration", {}).get("environment", ""))
    wanted = plan.dataset(dataset)["environment"]
    if trained and trained.rpartition("-")[0] != wanted.rpartition("-")[0]:
        raise UserError(
            f"datasets.{dataset}: its released agents are of {trained}: expected those of {wanted}."
        )
    return tensors


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """A phase that does not take its agents over is one sentence with its place."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where} does not follow its start: {error}.") from error
    except Exception as error:  # a custom method's
        raise UserError(f"{where} could not begin: {type(error).__name__}: {error}.") from error


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
