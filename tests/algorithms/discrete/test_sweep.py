"""The sweep of the gridworlds: each row is its own method, weight, temperature and data, solved alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from algorithms.discrete import networks, tabular
from algorithms.discrete.networks import NetworkConfig
from algorithms.discrete.sweep import SweepConfig, sweep
from envs.gridworld import Gridworld, Values
from offline_data.gridworld import heteroskedastic_weights, sampled

WORLD = Gridworld.named("maze3")
CONFIG = SweepConfig(
    mazes=("maze3",),
    samples_a_state=(0, 16),
    seeds=(3, 0),
    alphas=(0.3, 0.5),
    reds_temperatures=(0.7, 2.0),
    reweighting_temperatures=(3.0,),
    awr_temperatures=(0.2,),
    iterations=5,
)
LOSSES = {
    "cql": ("cql", 1.0),
    "cql_half": ("cql", 0.5),
    "reds": ("reds", 1.0),
    "cql_reweighted": ("reweighted", 1.0),
    "awr": ("awr", 0.0),
}
"""The loss of each method, and what its weight is times that of the row."""
TEMPERATURES = {"reds": (0.7, 2.0), "cql_reweighted": (3.0,), "awr": (0.2,)}

Solver = Callable[[Values, Any, float, float, int], Values]


def by_table(data: Values, kind: Any, alpha: float, temperature: float, seed: int) -> Values:
    heat = np.array([temperature])
    if kind == "awr":
        return tabular.advantage_weighted(WORLD, data[None], heat)
    return tabular.solve(WORLD, data[None], kind, np.array([alpha]), heat, CONFIG.iterations).q


SIZES = NetworkConfig(hidden_widths=(3,), iterations=2, steps=1)


def by_network(data: Values, kind: Any, alpha: float, temperature: float, seed: int) -> Values:
    heat = np.array([temperature])
    return networks.train(WORLD, data[None], kind, np.array([alpha]), heat, [seed], SIZES)


@pytest.mark.parametrize(
    ("sizes", "solve"), [(None, by_table), (SIZES, by_network)], ids=["table", "network"]
)
def test_every_row_is_solved_as_it_would_be_alone(sizes: NetworkConfig | None, solve: Solver) -> None:
    planned = set()
    for rows, q in sweep(CONFIG, sizes):
        assert len(rows) == len(q)
        for place, (_, row) in enumerate(rows.iterrows()):
            kind, factor = LOSSES[row["method"]]
            data = heteroskedastic_weights(WORLD, row["seed"])
            if row["samples_a_state"]:
                data = sampled(data, row["samples_a_state"], row["seed"])
            alone = solve(data, kind, factor * row["alpha"], row["temperature"], row["seed"])
            np.testing.assert_allclose(q[place], alone[0], rtol=1e-5, atol=1e-5)
            assert row["return"] == pytest.approx(float(WORLD.returns(q[place][None])[0]))
            planned.add(tuple(row[["samples_a_state", "method", "alpha", "temperature", "seed"]]))
    assert planned == {
        (size, method, alpha, temperature, seed)
        for size in (0, 16)
        for method in LOSSES
        for alpha in ((0.0,) if method == "awr" else (0.3, 0.5))
        for temperature in TEMPERATURES.get(method, (1.0,))
        for seed in (0, 3)
    }


def test_the_residual_is_the_last_change_of_a_value_of_each_row_and_of_awr_none() -> None:
    found = {each.rows["method"].iloc[0]: each.rows for each in sweep(CONFIG, None)}
    assert (found["awr"]["residual"] == 0).all()
    for rows in (found["cql"], found["reds"]):
        assert isinstance(rows, pd.DataFrame)
        assert (rows["residual"] > tabular.TOLERANCE).all() and rows["residual"].nunique() > 1
