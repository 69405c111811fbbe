"""A run is a chain of phases: whether those that a configuration names follow each other, by their names."""

from __future__ import annotations

from collections.abc import Iterable

from algorithms.catalogue import METHODS, NOTHING, OFFLINE, ONLINE, Phase
from storage import UserError
from storage.settings import names
from workflow.figure_names import GENERAL_FIGURES, OFFLINE_FIGURE, TABLE_SCRIPTS
from workflow.plan import Plan


def check(plan: Plan) -> None:
    """UserError, with its place, for a phase that is unknown, or starts from none there is or from itself."""
    known = list(dict.fromkeys([*OFFLINE, *plan.offline.names]))
    for label in plan.offline.names:
        where, method = f"pretraining.methods.{label}", plan.offline.method(label)
        _check_method(where, label, method, OFFLINE)
        _check_source(where, plan.offline.starts_from(label), known, method, "offline")
        _check_ends(plan, label)
    for label in plan.online.names:
        where, method = f"fine_tuning.methods.{label}", plan.online.method(label)
        _check_method(where, label, method, ONLINE)
        _check_source(where, plan.online.starts_from(label), known, method, "online")
    if not plan.online.names:
        _check_offline_only(plan)
    for figure in plan.configuration["figures"]:
        if figure.endswith(OFFLINE_FIGURE):
            _check_offline_figure(plan, figure)


def _check_method(where: str, label: str, method: str, rows: Iterable[str]) -> None:
    if method not in rows and ":" not in method:
        what = f"unknown label '{label}'" if method == label else f"the method '{method}' is unknown"
        raise UserError(
            f"{where}: {what}: expected one of {names(rows)}, or a custom method: package.module:Class."
        )


def _check_source(where: str, source: str, known: Iterable[str], method: str, phase: Phase) -> None:
    """UserError for a label that there is not, and for none where the method takes agents over."""
    if source not in (NOTHING, *known):
        raise UserError(f"{where}.starts_from is '{source}': expected one of {names((NOTHING, *known))}.")
    if source == NOTHING and method in METHODS and METHODS[method].starts_from[phase] != NOTHING:
        raise UserError(f"{where}.starts_from is {NOTHING}: {method} takes agents over, expected a label.")


def _check_ends(plan: Plan, label: str) -> None:
    """UserError where the phases before a label never begin."""
    chain = [label]
    while (source := plan.offline.starts_from(chain[-1])) != NOTHING:
        if source in chain:
            loop = " from ".join([*chain, source])
            raise UserError(
                f"pretraining.methods.{label} starts from itself: {loop}; expected a first phase."
            )
        chain.append(source)


def _check_offline_only(plan: Plan) -> None:
    """UserError where, without fine-tuning, there is nothing to judge, or what only fine-tuning has."""
    if not plan.offline.names:
        raise UserError("pretraining.methods is missing: without fine_tuning, expected the methods to judge.")
    for figure in plan.configuration["figures"]:
        if figure not in (*GENERAL_FIGURES, TABLE_SCRIPTS) and not plan.data.images:
            expected = names(GENERAL_FIGURES)
            raise UserError(f"figures has {figure}, which needs fine_tuning: expected of {expected}.")
    for dataset in plan.configuration["datasets"]:
        for label in plan.offline.names:
            if plan.offline.released(dataset, label) and not plan.places.recorded:
                pretrained = plan.data.entry(dataset)["pretrained"]
                raise UserError(
                    f"datasets.{dataset}.pretrained is '{pretrained}', whose {label} agents have no curve of"
                    " this run to be judged: expected train."
                )


def _check_offline_figure(plan: Plan, figure: str) -> None:
    """UserError where a figure of the offline phase has not the same methods on every dataset."""
    trained = {dataset: plan.offline.trained(dataset) for dataset in plan.configuration["datasets"]}
    first, *others = trained
    for dataset in (first, *others):
        if not trained[dataset] or set(trained[dataset]) != set(trained[first]):
            found = names(trained[dataset]) or "none"
            raise UserError(
                f"figures has {figure}: expected the same methods trained offline on every dataset, found"
                f" {found} on {dataset}."
            )
