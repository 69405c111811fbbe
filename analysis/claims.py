"""The paper's claims, and a user's own, as `claims.yaml` has them; docs/claims.md explains the keys.

Each names a statistic of `analysis.claim_statistics`, the methods and datasets that it looks at and up to
which step; it is oriented so that the claim says "above the threshold" (or, for a claim of no effect, "within
a margin of nothing"). `analysis.judging` judges them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from algorithms.catalogue import METHODS
from analysis.claim_statistics import STATISTICS, Statistic
from analysis.published import FIGURES, METHOD_OF_CURVE, METRIC_OF_CURVE, SUCCESS, published_runs
from analysis.scores import panel_order
from storage import UserError
from storage.constraints import PositiveCount
from storage.curves import PHASES
from storage.settings import build, names
from storage.yaml_files import read_yaml

CLAIMS = Path(__file__).with_name("claims.yaml")
NOT_RUN = "not_run"
VERDICTS = ("reproduced", "contradicted", "undecided", NOT_RUN)
Bound = Annotated[float, Interval(ge=-1e9, le=1e9)]
UNITS = {
    "return": "normalised score",
    "offline_fraction": "share",
    "auroc_ensemble": "percentage points",
    SUCCESS: "success",
    "success_deterministic": "success",
    "success": "success",
    "online_share": "share",
    "random_share": "share",
    "assignment_purity": "share",
    "assignment_nmi": "normalised mutual information",
    "held_out_log_likelihood": "nats a step",
    "critic_loss": "reward squared",
}


@dataclass(frozen=True)
class Claim:
    """One claim of `claims.yaml`; docs/claims.md explains the keys.

    `datasets` is empty where all of the figure's are meant (without a figure: all of the curves'). `metric`
    is one of the figure's, where it is about that alone; without a figure, one of `UNITS`. `phase` is the
    curves' (None: online with a figure, else `scores.judged_phase`).
    """

    id: str
    says: str
    statistic: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    step: PositiveCount
    earliest: PositiveCount
    figure: str | None = None
    versus: tuple[str, ...] = ()
    threshold: Bound = 0.0
    margin: Bound | None = None
    metric: str | None = None
    phase: str | None = None
    published: str | None = None
    note: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of curves that it looks at: its figure's, or the one of them that it names."""
        if self.metric is not None:
            return (self.metric,)
        shown = [metric for (figure, _), metric in METRIC_OF_CURVE.items() if figure == self.figure]
        return tuple(dict.fromkeys(shown)) or ("return",)

    @property
    def unit(self) -> str:
        """Of the statistic."""
        return STATISTICS[self.statistic].unit or UNITS[self.metrics[0]]

    def sides(self, datasets: Collection[str]) -> list[tuple[str, str, list[str]]]:
        """List (method, metric, its datasets) of each side of the statistic, of those in `datasets`."""
        own = [name for name in self.datasets or datasets if name in datasets]
        sides = [(method, metric, own) for method in self.methods for metric in self.metrics]
        if self.versus:
            others = [name for name in self.versus if name in datasets]
            sides.append((self.methods[0], self.metrics[0], others))
        return sides


def read_claims(*paths: Path, methods: Collection[str] = ()) -> list[Claim]:
    """Return the claims of YAML files, checked; without a path the paper's.

    `methods` are labels that are known beside the paper's and the catalogue's.

    Raises:
        UserError: a file is missing, ambiguous, not YAML or empty, or a claim has an unknown or missing key,
            a value of the wrong kind, another's id, or an unknown figure, statistic, method or dataset; the
            sentence names it.
    """
    claims: list[Claim] = []
    known = [*dict.fromkeys([*METHOD_OF_CURVE.values(), *METHODS, *methods])]
    for path in paths or (CLAIMS,):
        content = read_yaml(path)
        if not isinstance(content, list) or not content:
            raise UserError(f"{path} holds no claims: expected a list with at least one.")
        for number, entry in enumerate(content, start=1):
            claim = _claim(entry, f"{path}: claim {number}", known)
            if claim.id in {earlier.id for earlier in claims}:
                raise UserError(f"{path}: two claims have the id {claim.id!r}: expected one.")
            claims.append(claim)
    return claims


def _claim(entry: Any, where: str, methods: Collection[str]) -> Claim:
    if isinstance(entry, Mapping):
        where = f"{where} ({entry['id']})" if isinstance(entry.get("id"), str) else where
        entry = {**entry, **_datasets(entry, where)}
    claim = build(Claim, entry, where)
    _known(where, "statistic", claim.statistic, STATISTICS)
    if "threshold" not in entry:
        claim = replace(claim, threshold=STATISTICS[claim.statistic].threshold)
    claim = replace(claim, says=" ".join(claim.says.split()), note=" ".join(claim.note.split()))
    _check_values(claim, where, given=entry)
    _check_names(claim, where, methods)
    _check_sides(claim, where, STATISTICS[claim.statistic])
    return claim


def _datasets(entry: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """Return the key `datasets`, where it is text or an empty list: `all` is none by name."""
    if isinstance(entry.get("datasets"), str):
        if entry["datasets"] != "all":
            raise UserError(f"{where}: datasets is {entry['datasets']!r}: expected a list or all.")
        return {"datasets": []}
    if entry.get("datasets") == []:
        raise UserError(f"{where}: datasets is empty: expected at least one, or all.")
    return {}


def _check_values(claim: Claim, where: str, given: Mapping[str, Any]) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", claim.id):
        raise UserError(f"{where}: the id is {claim.id!r}: expected lower-case letters, digits and _.")
    if claim.earliest > claim.step:
        raise UserError(f"{where}: earliest is {claim.earliest}: expected 1 to step ({claim.step}).")
    if claim.margin is not None and ("threshold" in given or claim.margin <= 0):
        raise UserError(f"{where}: margin is {claim.margin:g}: expected more than 0, and no threshold.")
    if claim.phase is not None:
        _known(where, "phase", claim.phase, PHASES)
    if claim.published is not None:
        _known(where, "published verdict", claim.published, VERDICTS[:3])
    if claim.figure is None:
        return
    _known(where, "figure", claim.figure, FIGURES)
    if claim.phase == "offline":
        raise UserError(
            f"{where}: phase is 'offline': expected none beside a figure, which is of fine-tuning."
        )


def _check_names(claim: Claim, where: str, methods: Collection[str]) -> None:
    """Methods, metric and datasets: those of the figure, or any known method where there is none."""
    of_figure = f" of figure {claim.figure}" if claim.figure else ""
    rows = published_runs(claim.figure) if claim.figure else None
    if claim.metric is not None:
        shown = [metric for key, metric in METRIC_OF_CURVE.items() if key[0] == claim.figure]
        _known(where, f"metric{of_figure}", claim.metric, shown if claim.figure else UNITS)
    for method in claim.methods:
        _known(where, f"method{of_figure}", method, methods if rows is None else sorted(set(rows["method"])))
    if rows is None:
        return
    panels = sorted(set(rows["dataset"]), key=panel_order)
    for dataset in (*claim.datasets, *claim.versus):
        _known(where, f"dataset{of_figure}", dataset, panels)


def _check_sides(claim: Claim, where: str, statistic: Statistic) -> None:
    count = 2 // len(claim.metrics) if statistic.compares == "methods" else 1
    if len(claim.methods) != count:
        raise UserError(f"{where}: {len(claim.methods)} methods are given: {claim.statistic} takes {count}.")
    if (statistic.compares == "datasets") != bool(claim.versus):
        verb = "needs" if statistic.compares == "datasets" else "takes no"
        raise UserError(f"{where}: {claim.statistic} {verb} datasets under 'versus'.")
    if claim.versus and not claim.datasets:
        raise UserError(f"{where}: datasets is 'all': expected a list beside 'versus'.")


def _known(where: str, what: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UserError(f"{where}: unknown {what} {value!r}: expected one of {names(known)}.")
