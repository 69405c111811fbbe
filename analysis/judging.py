"""Verdicts on claims: reproduced, contradicted, undecided, or not run.

The verdict is the interval's: wholly on the claimed side, wholly on the other, or neither. Intervals resample
whole runs within each task (`analysis.aggregate`).

The same code judges the paper's own curves (`analysis.published.published_runs`), whole and cut to the
datasets and steps that were run here, so that nobody has to guess what the paper would have shown there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import pandas as pd

from analysis.claim_statistics import STATISTICS
from analysis.claims import Claim
from analysis.intervals import Bootstrap, whole_run_interval
from analysis.published import published_runs
from analysis.scores import Scores, judged_phase, panel_order, run_values

MINIMUM_RUNS = 3
"""Runs of each method that a verdict takes: the interval of two is the two. (Ours.)"""
COMPLETE = 0.95
"""Share of a claim's steps that counts as all: schedules rarely end on the paper's step. (Ours.)"""
MANY = 1000
"""Seeds beyond which a claim is called too close to tell. (Ours.)"""
_FEW = 4  # datasets that one line has room to name


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


def judge(claims: Sequence[Claim], curves: pd.DataFrame, bootstrap: Bootstrap) -> list[Judgement]:
    """Return verdict on each claim from `curves` (columns of `storage.curves`), in the order of `claims`."""
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
    """Return claim's statistic on `datasets` up to `last_step`; None where the sides share too few steps."""
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
    """Return the verdict of an interval: the claim is "above `threshold`", or "within `margin` of 0"."""
    if margin is None:
        claimed, opposite = low > threshold, high < threshold
    else:
        claimed, opposite = -margin < low and high < margin, low > margin or high < -margin
    return "reproduced" if claimed else "contradicted" if opposite else "undecided"


def seeds_to_decide(
    estimate: float, low: float, high: float, runs: int, threshold: float, margin: float | None = None
) -> int | None:
    """About how many runs, more than `runs`, would decide an undecided interval; None if none would.

    They put it whole on the side of its estimate.

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
    enough = math.ceil((target + math.sqrt(max(target**2 - 4 * target, 0.0))) / 2 - 1e-9)
    return max(enough, runs + 1)  # where the interval ends on the edge, `enough` is `runs`


def _datasets(claim: Claim, curves: pd.DataFrame) -> list[str]:
    """Every dataset that the claim is about; of `curves` where it says all."""
    if claim.datasets:
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
