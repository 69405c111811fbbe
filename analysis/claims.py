"""The paper's claims as tests with a verdict: reproduced, contradicted, undecided, or not run.

`claims.yaml` lists the claims. Each names a statistic of `STATISTICS`, the methods and datasets it looks at
and up to which step; it is oriented so that the claim says "above the threshold" (or, for a claim of no
effect, "within a margin of nothing"). The verdict is the interval's: wholly on the claimed side, wholly on
the other, or neither. Intervals resample whole runs within each task (`analysis.aggregate`).

The same code judges the paper's own curves (`analysis.published.published_runs`), whole and cut to the
datasets and steps that were run here, so that nobody has to guess what the paper would have shown there.

`python -m analysis.claims --curves FILES` prints a line a claim; `--fail-on contradicted` turns a verdict
into an exit status.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import trim_mean

from analysis.aggregate import Bootstrap, probability_of_improvement, run_values, whole_run_interval
from analysis.published import FIGURES, METHOD_OF_CURVE, METRIC_OF_CURVE, SUCCESS, published_runs
from analysis.scores import Scores, judged_phase, panel_order
from analysis.success import comparable
from storage import UserError
from storage.curves import COLUMNS, PHASES, read_curves
from storage.files import read_json, write_json
from storage.yaml_files import read_yaml

CLAIMS = Path(__file__).with_name("claims.yaml")
VERSION = 1
"""Of `reproduction.json`: raised when a key changes its meaning."""
VERDICTS = ("reproduced", "contradicted", "undecided", "not_run")
FAILED = 3
"""Exit status where a claim has a verdict of --fail-on."""
MINIMUM_RUNS = 3
"""Runs of each method that a verdict takes: the interval of two is the two. (Ours.)"""
COMPLETE = 0.95
"""Share of a claim's steps that counts as all: schedules rarely end on the paper's step. (Ours.)"""
MANY = 1000
"""Seeds beyond which a claim is called too close to tell. (Ours.)"""
_FEW = 4  # datasets that one line has room to name

Steps = NDArray[np.int64]


def mean_difference(first: Scores, second: Scores, _steps: Steps) -> float:
    """Mean over runs and tasks at the last step, first less second; both are [runs, tasks, steps]."""
    return float(first[:, :, -1].mean() - second[:, :, -1].mean())


def iqm_difference(first: Scores, second: Scores, _steps: Steps) -> float:
    """Interquartile mean over runs and tasks at the last step, first less second."""
    one, other = (trim_mean(side[:, :, -1].ravel(), 0.25) for side in (first, second))
    return float(one - other)


def last_step_improvement(first: Scores, second: Scores, _steps: Steps) -> float:
    """Probability that a run of the first beats one of the second at the last step, averaged over tasks."""
    return probability_of_improvement(first[:, :, -1], second[:, :, -1])


def area_difference(first: Scores, second: Scores, steps: Steps) -> float:
    """Mean over steps (trapezia), runs and tasks, first less second: who is above on the way."""
    difference = first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))
    return float(_mean_over_steps(difference, steps))


def _mean_over_steps(curves: Scores, steps: Steps) -> Scores:
    """Average over the last axis by trapezia: steps need not be evenly spaced."""
    return np.asarray(np.trapezoid(curves, steps, axis=-1) / (steps[-1] - steps[0]), dtype=np.float64)


def initial_drop(curves: Scores, _steps: Steps) -> float:
    """Start less lowest later point of the mean curve of each task, averaged over tasks.

    Negative where every later point is above the start. The lowest of noisy points is too low, so a claim
    about it has a threshold above 0.
    """
    mean = curves.mean(axis=0)
    return float(np.mean(mean[:, 0] - mean[:, 1:].min(axis=-1)))


def drop_difference(first: Scores, second: Scores, steps: Steps) -> float:
    """How much further the second falls at first: `initial_drop` of the second less that of the first."""
    return initial_drop(second, steps) - initial_drop(first, steps)


def shortfall_difference(first: Scores, second: Scores, steps: Steps) -> float:
    """How much more the second loses before it has recovered: second less first.

    A method's shortfall is how far the mean curve of a task is below its own start, averaged over steps
    and tasks: deep and long falls count, what comes after recovery does not.
    """
    losses = [np.maximum(side.mean(axis=0)[:, :1] - side.mean(axis=0), 0) for side in (second, first)]
    return float(np.subtract(*(_mean_over_steps(loss, steps).mean() for loss in losses)))


def lowest_peak(curves: Scores, _steps: Steps) -> float:
    """The highest point of the mean curve of each task, on the task where it is lowest."""
    return float(curves.mean(axis=0).max(axis=-1).min())


def fall(curves: Scores, _steps: Steps) -> float:
    """Mean over runs and tasks at the first step less that at the last."""
    return float(curves[:, :, 0].mean() - curves[:, :, -1].mean())


def lead_below_others(first: Scores, others: Scores, _steps: Steps) -> float:
    """How far the first dataset's mean is below the lowest of the others' at the last step."""
    return float(others[:, :, -1].mean(axis=0).min() - first[:, :, -1].mean())


@dataclass(frozen=True)
class Statistic:
    """A number over one or two sides, each [runs, tasks, steps], whose size above `threshold` is the claim.

    `compares` says what the sides are: two "methods" (or, where the figure shows two metrics, those of one
    method), or one method's "datasets" with others; "nothing" has one side. `unit` is empty for the unit of
    the figure's metric.
    """

    function: Callable[..., float]
    compares: str = "methods"
    threshold: float = 0.0
    unit: str = ""
    shortest: int = 1
    """Steps that it takes at least."""


STATISTICS: dict[str, Statistic] = {
    "mean_difference": Statistic(mean_difference),
    "iqm_difference": Statistic(iqm_difference),
    "probability_of_improvement": Statistic(last_step_improvement, threshold=0.5, unit="probability"),
    "area_difference": Statistic(area_difference, shortest=2),
    "initial_drop": Statistic(initial_drop, compares="nothing", shortest=2),
    "drop_difference": Statistic(drop_difference, shortest=2),
    "shortfall_difference": Statistic(shortfall_difference, shortest=2),
    "lowest_peak": Statistic(lowest_peak, compares="nothing"),
    "fall": Statistic(fall, compares="nothing", shortest=2),
    "lead_below_others": Statistic(lead_below_others, compares="datasets"),
}
_UNITS = {
    "return": "normalised score",
    "offline_fraction": "share",
    "auroc_ensemble": "percentage points",
    SUCCESS: "success",
    "online_share": "share",
    "random_share": "share",
}


@dataclass(frozen=True)
class Claim:
    """One claim of `claims.yaml`; docs/claims.md explains the keys.

    `datasets` is None where all of the figure's are meant (without a figure: all of the curves'). `metric` is
    one of the figure's, where it is about that alone. `phase` is the curves' (None: online with a
    figure, else `scores.judged_phase`).
    """

    id: str
    says: str
    statistic: str
    methods: tuple[str, ...]
    step: int
    earliest: int
    figure: str | None = None
    datasets: tuple[str, ...] | None = None
    versus: tuple[str, ...] = ()
    threshold: float = 0.0
    margin: float | None = None
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
        return STATISTICS[self.statistic].unit or _UNITS[self.metrics[0]]

    def sides(self, datasets: Collection[str]) -> list[tuple[str, str, list[str]]]:
        """(method, metric, its datasets) for each side of the statistic, of those in `datasets`."""
        own = [name for name in self.datasets or datasets if name in datasets]
        sides = [(method, metric, own) for method in self.methods for metric in self.metrics]
        if self.versus:
            others = [name for name in self.versus if name in datasets]
            sides.append((self.methods[0], self.metrics[0], others))
        return sides


@dataclass(frozen=True)
class Outcome:
    """What a claim's statistic is on some curves. `low` and `high` are None where one run has no interval.

    `seeds` is about how many runs of each method would decide an undecided one, were their spread to stay
    (None: it is decided, or no number would do).
    """

    verdict: str
    estimate: float
    low: float | None
    high: float | None
    runs: int
    datasets: tuple[str, ...]
    last_step: int
    seeds: int | None


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict on our curves, beside what the paper's own curves say.

    `published` is the paper's whole figure, `published_here` the part with our datasets and steps;
    `restricted` names that part where it is not the whole claim. `reason` says what an undecided or not_run
    claim lacks.
    """

    claim: Claim
    verdict: str
    ours: Outcome | None
    published: Outcome | None
    published_here: Outcome | None
    restricted: str
    reason: str


# --- judging ----------------------------------------------------------------------------------------------


def judge(claims: Sequence[Claim], curves: pd.DataFrame, bootstrap: Bootstrap) -> list[Judgement]:
    """The verdict on each claim from `curves` (columns of `storage.curves`), in the order of `claims`."""
    return [_judge(claim, curves, bootstrap) for claim in claims]


def _judge(claim: Claim, curves: pd.DataFrame, bootstrap: Bootstrap) -> Judgement:
    phase = claim.phase or ("online" if claim.figure else judged_phase(curves))
    curves = curves[curves["phase"] == phase]
    theirs = published_runs(claim.figure) if claim.figure else None
    wanted = _datasets(claim, theirs if theirs is not None else curves)
    whole = None if theirs is None else _outcome(claim, theirs, wanted, claim.step, bootstrap)
    available = [name for name in wanted if _has(curves, claim, name)]
    missing = _missing_curves(claim, curves, wanted, available)
    ours = None if missing else _outcome(claim, curves, available, claim.step, bootstrap)
    if not missing and (ours is None or ours.last_step < claim.earliest):
        missing = _missing_steps(claim, curves, available)
    if ours is None or missing:
        return Judgement(claim, "not_run", None, whole, None, "", missing)
    restricted = _restriction(claim, ours, wanted)
    here = whole
    if theirs is not None and restricted:
        here = _outcome(claim, theirs, available, ours.last_step, bootstrap)
    verdict, reason = ours.verdict, _what_it_takes(ours)
    if whole and here and whole.verdict == "reproduced" != here.verdict:
        # A part on which the paper's own curves fall short of the claim cannot speak for or against it.
        verdict = "undecided"
        reason = "the paper's own curves do not show it on this part either: run more of it"
    return Judgement(claim, verdict, ours, whole, here, restricted, reason)


def _outcome(
    claim: Claim, curves: pd.DataFrame, datasets: Collection[str], last_step: int, bootstrap: Bootstrap
) -> Outcome | None:
    """The claim's statistic on `datasets` up to `last_step`; None where the sides share too few steps."""
    statistic = STATISTICS[claim.statistic]
    sides = claim.sides(datasets)
    measured = [run_values(curves, method, names, metric) for method, metric, names in sides]
    shared = set.intersection(*(set(steps.tolist()) for _, steps in measured))
    steps = np.array(sorted(step for step in shared if step <= last_step), dtype=np.int64)
    if len(steps) < statistic.shortest:
        return None
    values = [side[:, :, np.isin(own, steps)] for side, own in measured]

    def estimator(*drawn: Scores) -> Scores:
        return np.array([statistic.function(*drawn, steps)])

    name = f"{claim.statistic} over {steps.tolist()}"
    (estimate,), ((low,), (high,)) = whole_run_interval(estimator, values, bootstrap, name)
    runs = min(len(side) for side in values)
    verdict = verdict_of(low, high, claim.threshold, claim.margin) if runs >= MINIMUM_RUNS else "undecided"
    decided = verdict != "undecided" or runs < MINIMUM_RUNS
    return Outcome(
        verdict=verdict,
        estimate=float(estimate),
        low=None if math.isnan(low) else float(low),
        high=None if math.isnan(high) else float(high),
        runs=runs,
        datasets=tuple(dict.fromkeys(chain.from_iterable(names for *_, names in sides))),
        last_step=int(steps[-1]),
        seeds=None if decided else seeds_to_decide(estimate, low, high, runs, claim.threshold, claim.margin),
    )


def verdict_of(low: float, high: float, threshold: float, margin: float | None = None) -> str:
    """The verdict of an interval: the claim is "above `threshold`", or "within `margin` of 0"."""
    if margin is None:
        claimed, opposite = low > threshold, high < threshold
    else:
        claimed, opposite = -margin < low and high < margin, low > margin or high < -margin
    return "reproduced" if claimed else "contradicted" if opposite else "undecided"


def seeds_to_decide(
    estimate: float, low: float, high: float, runs: int, threshold: float, margin: float | None = None
) -> int | None:
    """About how many runs would put the whole interval on the side of its estimate; None if none would.

    The half-width w of a bootstrap interval of n runs goes as sqrt((n - 1) / n) / sqrt(n): the resampled
    deviation is the one that divides by n. It has to shrink to the distance d from the estimate to what it
    must exclude, so m runs do with m^2 / (m - 1) = (w / d)^2 n^2 / (n - 1).
    """
    edges = [threshold] if margin is None else [-margin, margin]
    reach = [(high - estimate if edge > estimate else estimate - low, abs(edge - estimate)) for edge in edges]
    if margin is not None and abs(estimate) > margin:
        reach = [min(reach, key=lambda pair: pair[1])]
    if any(distance == 0 for _, distance in reach):
        return None
    target = max(width / distance for width, distance in reach) ** 2 * runs**2 / (runs - 1)
    return math.ceil((target + math.sqrt(max(target**2 - 4 * target, 0.0))) / 2 - 1e-9)


def _datasets(claim: Claim, curves: pd.DataFrame) -> list[str]:
    """Every dataset that the claim is about; of `curves` where it says all."""
    if claim.datasets is not None:
        return [*claim.datasets, *claim.versus]
    names = sorted(set(curves["dataset"]), key=panel_order)
    return [name for name in names if _has(curves, claim, name)]


def _has(curves: pd.DataFrame, claim: Claim, dataset: str) -> bool:
    rows = curves[curves["dataset"] == dataset]
    found = set(zip(rows["method"], rows["metric"], strict=True))
    return set(product(claim.methods, claim.metrics)) <= found


def _missing_curves(
    claim: Claim, curves: pd.DataFrame, wanted: Collection[str], available: Collection[str]
) -> str:
    if available and all(names for *_, names in claim.sides(available)):
        return ""
    rows = curves[curves["metric"].isin(claim.metrics) & curves["dataset"].isin(list(wanted))]
    methods = [method for method in claim.methods if method not in set(rows["method"])] or claim.methods
    what = "" if claim.metrics == ("return",) else f"{' and '.join(claim.metrics)} of "
    absent = [name for name in wanted if name not in available]
    where = f"any of its {len(absent)} datasets" if len(absent) > _FEW else " or ".join(absent)
    return f"needs {what}{' and '.join(methods)} on {where or 'one dataset'}"


def _missing_steps(claim: Claim, curves: pd.DataFrame, available: Collection[str]) -> str:
    rows = curves[
        curves["dataset"].isin(list(available))
        & curves["method"].isin(list(claim.methods))
        & curves["metric"].isin(claim.metrics)
    ]
    last = rows.groupby(["method", "dataset", "seed", "metric"])["step"].max().min()
    return f"needs {claim.earliest:,} steps that all runs share, the curves end at {last:,}"


def _restriction(claim: Claim, ours: Outcome, wanted: Collection[str]) -> str:
    parts = []
    if len(ours.datasets) < len(wanted):
        parts.append(f"{len(ours.datasets)} of {len(wanted)} datasets")
    if ours.last_step < COMPLETE * claim.step:
        parts.append(f"to step {ours.last_step:,} of {claim.step:,}")
    return ", ".join(parts)


def _what_it_takes(ours: Outcome) -> str:
    if ours.verdict != "undecided":
        return ""
    if ours.runs < MINIMUM_RUNS:
        return f"needs at least {MINIMUM_RUNS} seeds, has {ours.runs}"
    if ours.seeds is None or ours.seeds > MANY:
        return f"too close to tell: more than {MANY:,} seeds"
    return f"about {ours.seeds} seeds would decide it, were the spread to stay"


# --- what is written --------------------------------------------------------------------------------------


def reproduction(
    judgements: Sequence[Judgement],
    errors: pd.DataFrame,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole of `reproduction.json`: verdicts, and `errors` (of `analysis.reproduction_error`).

    Keys are sorted, claims are in the order of their ids, and what is missing is null.
    """
    document = {
        "version": VERSION,
        "bootstrap": {
            "repetitions": bootstrap.repetitions,
            "seed": bootstrap.seed,
            "confidence": bootstrap.confidence,
        },
        "provenance": dict(provenance or {}),
        "verdicts": {verdict: sum(j.verdict == verdict for j in judgements) for verdict in VERDICTS},
        "claims": sorted((_as_json(judgement) for judgement in judgements), key=lambda entry: entry["id"]),
        "errors": errors.astype(object).where(errors.notna(), None).to_dict(orient="records"),
    }
    ordered: dict[str, Any] = json.loads(json.dumps(document, sort_keys=True))
    return ordered


def failing(document: Mapping[str, Any], verdicts: Collection[str]) -> list[str]:
    """Ids of the claims of `reproduction`'s result that have one of `verdicts`. UserError: no such result."""
    try:
        found = [str(claim["id"]) for claim in document["claims"] if claim["verdict"] in verdicts]
    except (KeyError, TypeError) as error:
        raise UserError(f"The document holds no claims with verdicts: it lacks {error}.") from error
    if not document["claims"]:
        raise UserError("The document holds no claims with verdicts: expected at least one.")
    return found


def verdict_lines(judgements: Sequence[Judgement]) -> str:
    """One line a claim, for the terminal: verdict, claim, our number and the paper's, what is lacking."""
    width = max((len(judgement.claim.id) for judgement in judgements), default=0)
    lines = []
    for judgement in judgements:
        here = judgement.published_here or judgement.published
        where = "published, this part" if judgement.restricted else "published"
        parts = (
            numbers(judgement.claim, judgement.ours),
            _extent(judgement),
            f"{where} {numbers(judgement.claim, here)}" if here else "",
            judgement.reason,
        )
        texts = "; ".join(part for part in parts if part)
        lines.append(f"{judgement.verdict:<12}  {judgement.claim.id:<{width}}  {texts}")
    counts = [f"{sum(j.verdict == verdict for j in judgements)} {verdict}" for verdict in VERDICTS]
    return "\n".join([*lines, "", f"{len(judgements)} claims: {', '.join(counts)}."]) + "\n"


def verdict_table(judgements: Sequence[Judgement]) -> str:
    """The verdicts as a Markdown table, and a note that explains it."""
    headings = ("claim", "figure", "ours", "published", "published, this part", "verdict", "on", "notes")
    rows = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    for judgement in judgements:
        claim, here = judgement.claim, judgement.published_here
        cells = (
            f"**{claim.id}**: {claim.says}",
            claim.figure or "",
            numbers(claim, judgement.ours),
            _with_verdict(claim, judgement.published),
            _with_verdict(claim, here) if judgement.restricted else "",
            judgement.verdict.replace("_", " "),
            _extent(judgement),
            " ".join(
                f"{text[0].upper()}{text[1:].rstrip('.')}." for text in (judgement.reason, claim.note) if text
            ),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    note = (
        "A number is the claim's statistic with its interval over resampled runs; the claim says that it is"
        " above the threshold (or within the margin). Published: the same statistic of the paper's digitised"
        " curves, their runs rebuilt from mean and deviation. Scores are normalised (0 the random policy, 100"
        " the reference expert)."
    )
    return "\n".join([*rows, "", note]) + "\n"


def numbers(claim: Claim, outcome: Outcome | None) -> str:
    """ "+29.0 [24.1, 33.5] > 0": estimate, interval and what it is held against; empty without an outcome."""
    if outcome is None:
        return ""
    decimals = 1 if claim.unit == _UNITS["return"] else 2
    sign = "" if claim.statistic == "probability_of_improvement" else "+"
    interval = "no interval"
    if outcome.low is not None and outcome.high is not None:
        interval = f"[{outcome.low:.{decimals}f}, {outcome.high:.{decimals}f}]"
    against = f"> {claim.threshold:g}" if claim.margin is None else f"within ±{claim.margin:g}"
    return f"{outcome.estimate:{sign}.{decimals}f} {interval} {against}"


def _with_verdict(claim: Claim, outcome: Outcome | None) -> str:
    return f"{numbers(claim, outcome)}: {outcome.verdict}" if outcome else ""


def _extent(judgement: Judgement) -> str:
    if judgement.ours is None:
        return ""
    seeds = "1 seed" if judgement.ours.runs == 1 else f"{judgement.ours.runs} seeds"
    return f"{seeds}, {judgement.restricted or 'the whole claim'}"


def _as_json(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    outcomes = {
        name: None if outcome is None else {**vars(outcome), "datasets": list(outcome.datasets)}
        for name, outcome in (
            ("ours", judgement.ours),
            ("published", judgement.published),
            ("published_here", judgement.published_here),
        )
    }
    return {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in vars(claim).items()},
        **outcomes,
        "metrics": list(claim.metrics),
        "unit": claim.unit,
        "verdict": judgement.verdict,
        "restricted": judgement.restricted,
        "reason": judgement.reason,
    }


# --- the file of claims -----------------------------------------------------------------------------------

_REQUIRED = ("id", "says", "statistic", "methods", "datasets", "step", "earliest")
_OPTIONAL = ("figure", "versus", "threshold", "margin", "metric", "phase", "published", "note")
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "id": (str, "text"),
    "says": (str, "text"),
    "figure": (str, "text in quotes"),
    "statistic": (str, "text"),
    "methods": (list, "a list"),
    "datasets": ((list, str), "a list or all"),
    "versus": (list, "a list"),
    "step": (int, "a whole number"),
    "earliest": (int, "a whole number"),
    "threshold": ((int, float), "a number"),
    "margin": ((int, float), "a number"),
    "metric": (str, "text"),
    "phase": (str, "text"),
    "published": (str, "text"),
    "note": (str, "text"),
}


def read_claims(*paths: Path, methods: Collection[str] = ()) -> list[Claim]:
    """The claims of YAML files, checked; without a path the paper's.

    `methods` are labels that are known beside the paper's.

    Raises:
        UserError: a file is missing, ambiguous, not YAML or empty, or a claim has an unknown or missing key,
            a value of the wrong kind, another's id, or an unknown figure, statistic, method or dataset; the
            sentence names it.
    """
    claims: list[Claim] = []
    for path in paths or (CLAIMS,):
        for number, entry in enumerate(_entries(path), start=1):
            claim = _claim(entry, f"{path}: claim {number}", {*METHOD_OF_CURVE.values(), *methods})
            if claim.id in {earlier.id for earlier in claims}:
                raise UserError(f"{path}: two claims have the id {claim.id!r}: expected one.")
            claims.append(claim)
    return claims


def _entries(path: Path) -> list[Any]:
    content = read_yaml(path)
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no claims: expected a list with at least one.")
    return content


def _claim(entry: Any, where: str, methods: Collection[str]) -> Claim:
    if not isinstance(entry, dict):
        raise UserError(f"{where} is {entry!r}: expected keys with values.")
    if isinstance(entry.get("id"), str):
        where = f"{where} ({entry['id']})"
    _check_keys(entry, where)
    figure, statistic = entry.get("figure"), STATISTICS.get(entry["statistic"])
    if statistic is None:
        raise _unknown(where, "statistic", entry["statistic"], STATISTICS)
    if figure is not None and figure not in FIGURES:
        raise _unknown(where, "figure", figure, FIGURES)
    _check_names(entry, where, methods)
    if not 0 < entry["earliest"] <= entry["step"]:
        raise UserError(f"{where}: earliest is {entry['earliest']}: expected 1 to step ({entry['step']}).")
    if "margin" in entry and ("threshold" in entry or entry["margin"] <= 0):
        raise UserError(f"{where}: margin is {entry['margin']}: expected more than 0, and no threshold.")
    if entry.get("phase") not in (None, *PHASES):
        raise _unknown(where, "phase", entry["phase"], PHASES)
    if figure is not None and entry.get("phase") == "offline":
        raise UserError(
            f"{where}: phase is 'offline': expected none beside a figure, which is of fine-tuning."
        )
    if entry.get("published") not in (None, *VERDICTS[:3]):
        raise _unknown(where, "published verdict", entry["published"], VERDICTS[:3])
    shown = {metric: None for key, metric in METRIC_OF_CURVE.items() if key[0] == figure}
    if "metric" in entry and entry["metric"] not in shown:
        raise _unknown(where, f"metric of figure {figure}", entry["metric"], shown)
    lists = {key: tuple(entry[key]) for key in ("methods", "versus") if key in entry}
    datasets = None if entry["datasets"] == "all" else tuple(entry["datasets"])
    texts = {key: " ".join(entry[key].split()) for key in ("says", "note") if key in entry}
    claim = Claim(**{"threshold": statistic.threshold, **entry, **lists, **texts, "datasets": datasets})
    _check_sides(claim, where, statistic)
    return claim


def _check_keys(entry: Mapping[str, Any], where: str) -> None:
    for key in entry:
        if key not in _TYPES:
            raise _unknown(where, "key", key, _TYPES)
    for key in _REQUIRED:
        if key not in entry:
            raise UserError(f"{where}: the key {key!r} is missing.")
    for key, value in entry.items():
        kind, expected = _TYPES[key]
        texts = value if isinstance(value, list) else []
        wrong = (
            not isinstance(value, kind)
            or isinstance(value, bool)
            or not all(isinstance(t, str) for t in texts)
        )
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{where}: {key} is {value!r}: expected {expected}.")
    if not re.fullmatch(r"[a-z0-9_]+", entry["id"]):
        raise UserError(f"{where}: the id is {entry['id']!r}: expected lower-case letters, digits and _.")


def _check_sides(claim: Claim, where: str, statistic: Statistic) -> None:
    count = 2 // len(claim.metrics) if statistic.compares == "methods" else 1
    if len(claim.methods) != count:
        raise UserError(f"{where}: {len(claim.methods)} methods are given: {claim.statistic} takes {count}.")
    if (statistic.compares == "datasets") != bool(claim.versus):
        verb = "needs" if statistic.compares == "datasets" else "takes no"
        raise UserError(f"{where}: {claim.statistic} {verb} datasets under 'versus'.")
    if claim.versus and claim.datasets is None:
        raise UserError(f"{where}: datasets is 'all': expected a list beside 'versus'.")


def _check_names(entry: Mapping[str, Any], where: str, methods: Collection[str]) -> None:
    """Methods and datasets: those of the figure, or any known method where there is none."""
    figure = entry.get("figure")
    rows = published_runs(figure) if figure is not None else None
    known = methods if rows is None else sorted(set(rows["method"]))
    for method in entry["methods"]:
        if method not in known:
            raise _unknown(where, "method" if rows is None else f"method of figure {figure}", method, known)
    if isinstance(entry["datasets"], str):
        if entry["datasets"] != "all":
            raise UserError(f"{where}: datasets is {entry['datasets']!r}: expected a list or all.")
    elif not entry["datasets"]:
        raise UserError(f"{where}: datasets is empty: expected at least one, or all.")
    if rows is not None:
        named = [] if entry["datasets"] == "all" else entry["datasets"]
        panels = sorted(set(rows["dataset"]), key=panel_order)
        for dataset in (*named, *entry.get("versus", ())):
            if dataset not in panels:
                raise _unknown(where, f"dataset of figure {figure}", dataset, panels)


def _unknown(where: str, what: str, value: object, known: Collection[str]) -> UserError:
    return UserError(f"{where}: unknown {what} {value!r}: expected one of {', '.join(known)}.")


# --- command line -----------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the paper's claims on curves, or look at verdicts that were written before."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.claims",
        description=f"{main.__doc__} Without either, say what the paper's own curves give.",
        epilog=f"Exit status {FAILED}: a claim has a verdict of --fail-on; 1: something has to be mended.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--curves", type=Path, nargs="+", help="Parquet files of curves")
    source.add_argument("--reproduction", type=Path, help="a reproduction.json, to look at its verdicts")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="YAML file (default: the paper's)")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file as well")
    parser.add_argument("--repetitions", type=int, default=Bootstrap.repetitions, help="default: %(default)s")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=VERDICTS,
        help=f"exit with {FAILED} where a claim has this verdict (may be given again)",
    )
    options = parser.parse_args(arguments)
    try:
        document = read_json(options.reproduction) if options.reproduction else _judged(options)
        found = failing(document, options.fail_on)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if found:
        print(f"{' or '.join(options.fail_on)}: {', '.join(found)}", file=sys.stderr)
    return FAILED if found else 0


def _judged(options: argparse.Namespace) -> dict[str, Any]:
    read = read_curves(options.curves) if options.curves else pd.DataFrame(columns=list(COLUMNS))
    curves = comparable(read)
    bootstrap = Bootstrap(options.repetitions)
    judgements = judge(read_claims(options.claims, methods=set(curves["method"])), curves, bootstrap)
    print(verdict_lines(judgements), end="")
    document = reproduction(judgements, pd.DataFrame(), bootstrap)
    if options.json:
        write_json(options.json, document)
    return document


if __name__ == "__main__":
    sys.exit(main())
