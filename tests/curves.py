"""Made-up curves for the tests of statistics and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from storage.curves import COLUMNS

OFFLINE, STEPS, EPISODES = ("offline", "update"), ("online", "step"), ("online", "episode")
"""A phase and what its steps count."""

Row = tuple[Any, ...]


def curve_row(
    method: str,
    dataset: str,
    seed: int,
    step: int,
    value: float,
    metric: str = "return",
    phase: tuple[str, str] = STEPS,
) -> Row:
    """One row, in the order of a curve's columns."""
    return ("made-up", method, dataset, seed, *phase, step, metric, value)


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a curve."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def make_curves(
    methods: Sequence[str] = ("off2on", "sac_ft", "sac"),
    datasets: Sequence[str] = ("halfcheetah-random",),
    seeds: Sequence[int] = (0, 1, 2),
    steps: Sequence[int] = (0, 1000, 2000),
    noise: float = 200.0,
) -> pd.DataFrame:
    """Curves of given methods, datasets and seeds: rising returns with noise of their own."""
    random = np.random.default_rng(7)
    return frame(
        curve_row(method, dataset, seed, step, 500.0 * k + 0.3 * step + random.normal(0, noise))
        for k, method in enumerate(reversed(methods))
        for dataset in datasets
        for seed in seeds
        for step in steps
    )
