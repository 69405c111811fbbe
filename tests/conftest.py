"""Small made-up curves for the tests of statistics and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from storage.curves import COLUMNS

MakeCurves = Callable[..., pd.DataFrame]


@pytest.fixture
def make_curves() -> MakeCurves:
    """Curves of given methods, datasets and seeds: rising returns with noise of their own."""

    def make(
        methods: Sequence[str] = ("off2on", "sac_ft", "sac"),
        datasets: Sequence[str] = ("halfcheetah-random",),
        seeds: Sequence[int] = (0, 1, 2),
        steps: Sequence[int] = (0, 1000, 2000),
        noise: float = 200.0,
    ) -> pd.DataFrame:
        random = np.random.default_rng(7)
        rows = [
            (
                "made-up",
                method,
                dataset,
                seed,
                "online",
                "step",
                step,
                "return",
                500.0 * k + 0.3 * step + random.normal(0, noise),
            )
            for k, method in enumerate(reversed(methods))
            for dataset in datasets
            for seed in seeds
            for step in steps
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    return make
