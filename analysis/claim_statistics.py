"""The numbers that claims are about, over the curves of one or two sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.aggregate import probability_of_improvement
from analysis.scores import Scores, interquartile_mean

Steps = NDArray[np.int64]


def mean_difference(first: Scores, second: Scores, _steps: Steps) -> float:
    """Mean over runs and tasks at the last step, first less second; both are [runs, tasks, steps]."""
    return float(first[:, :, -1].mean() - second[:, :, -1].mean())


def iqm_difference(first: Scores, second: Scores, _steps: Steps) -> float:
    """Interquartile mean over runs and tasks at the last step, first less second."""
    one, other = (interquartile_mean(side[:, :, -1]) for side in (first, second))
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


def interval_mean_difference(first: Scores, second: Scores, steps: Steps) -> float:
    """Mean over updates, runs and tasks, first less second, of points that are means since the one before.

    So losses are kept. Each point counts by its interval, the first's from update 0; trapezia would count the
    first and the last of them half.
    """
    difference = first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))
    return float(np.average(difference, weights=np.diff(steps, prepend=0)))


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
    """Return the highest point of the mean curve of each task, on the task where it is lowest."""
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
    "interval_mean_difference": Statistic(interval_mean_difference),
    "initial_drop": Statistic(initial_drop, compares="nothing", shortest=2),
    "drop_difference": Statistic(drop_difference, shortest=2),
    "shortfall_difference": Statistic(shortfall_difference, shortest=2),
    "lowest_peak": Statistic(lowest_peak, compares="nothing"),
    "fall": Statistic(fall, compares="nothing", shortest=2),
    "lead_below_others": Statistic(lead_below_others, compares="datasets"),
}
