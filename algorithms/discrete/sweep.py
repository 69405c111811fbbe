"""Methods in gridworlds over weights, temperatures and seeds: what each one's policy returns.

`cql_half` is CQL at half of the weight, the control for ReDS: were rho the data's own policy, ReDS would be
that. AWR has no weight of a penalty; its temperature alone is swept, and it is given Q*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import MinLen

from algorithms.discrete import networks, tabular
from algorithms.discrete.networks import NetworkConfig
from envs.gridworld import MAZES, Gridworld, Values
from offline_data.gridworld import heteroskedastic_weights, sampled
from storage.constraints import Count, Positive, PositiveCount, Seed

AWR = "awr"
Numbers = Annotated[tuple[Positive, ...], MinLen(1)]


class Objective(NamedTuple):
    """A loss, and what its weight is multiplied by."""

    kind: networks.Kind
    factor: float


OBJECTIVES = {
    "cql": Objective("cql", 1.0),
    "cql_half": Objective("cql", 0.5),
    "reds": Objective("reds", 1.0),
    "cql_reweighted": Objective("reweighted", 1.0),
    AWR: Objective("awr", 1.0),
}


@dataclass(frozen=True)
class SweepConfig:
    """The sweep: every maze with every size of data, by tables or by networks."""

    mazes: Annotated[tuple[str, ...], MinLen(1)] = tuple(MAZES)
    samples_a_state: Annotated[tuple[Count, ...], MinLen(1)] = (0,)  # 0: the data's exact probabilities
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0, 1, 2, 3, 4)
    alphas: Numbers = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # ours, around where methods fail
    reds_temperatures: Numbers = (1.0,)  # ours; the first one is judged
    reweighting_temperatures: Numbers = (2.0,)  # [GRID] T of its last runs
    awr_temperatures: Numbers = (0.05, 0.1, 0.3, 1.0)  # [GRID] 1
    iterations: PositiveCount = 2000  # ours, at most; of tables

    def __post_init__(self) -> None:
        """Raise UserError for an unknown maze."""
        for name in self.mazes:
            Gridworld.named(name)

    def temperatures(self, method: str) -> Sequence[float]:
        """Return those of a method; a method without one has one that changes nothing."""
        own = {
            "reds": self.reds_temperatures,
            "cql_reweighted": self.reweighting_temperatures,
            AWR: self.awr_temperatures,
        }
        return own.get(method, (1.0,))


class Solved(NamedTuple):
    """Results of one method on one maze with one size of data: a row of `rows` a table of `q` [P, S, A]."""

    rows: pd.DataFrame
    q: Values


def sweep(config: SweepConfig, sizes: NetworkConfig | None) -> Iterator[Solved]:
    """Solve everything, method by method, by networks of these `sizes` or (none) by tables.

    Rows have the columns maze, samples_a_state, method, alpha, temperature, seed, return, residual (of
    tables: the last change of a value; else 0).
    """
    for name in config.mazes:
        world = Gridworld.named(name)
        for size in config.samples_a_state:
            data = {seed: _data(world, size, seed) for seed in config.seeds}
            for method in OBJECTIVES:
                rows = _plan(config, method).assign(maze=name, samples_a_state=size)
                weights = np.stack([data[seed] for seed in rows["seed"]])
                yield _solve(world, weights, method, rows, config.iterations, sizes)


def _data(world: Gridworld, samples_a_state: int, seed: int) -> Values:
    weights = heteroskedastic_weights(world, seed)
    return sampled(weights, samples_a_state, seed) if samples_a_state else weights


def _plan(config: SweepConfig, method: str) -> pd.DataFrame:
    """Plan a row for each table or network of a method."""
    alphas = (0.0,) if method == AWR else config.alphas
    points = [(a, t, s) for a in alphas for t in config.temperatures(method) for s in config.seeds]
    return pd.DataFrame(points, columns=["alpha", "temperature", "seed"]).assign(method=method)


def _solve(
    world: Gridworld,
    weights: Values,
    method: str,
    rows: pd.DataFrame,
    iterations: int,
    sizes: NetworkConfig | None,
) -> Solved:
    kind, factor = OBJECTIVES[method]
    alpha, temperature = factor * rows["alpha"].to_numpy(), rows["temperature"].to_numpy()
    residual: Any = 0.0
    if sizes is not None:
        q = networks.train(world, weights, kind, alpha, temperature, list(rows["seed"]), sizes)
    elif kind == "awr":
        q = tabular.advantage_weighted(world, weights, temperature)
    else:
        q, residual = tabular.solve(world, weights, kind, alpha, temperature, iterations)
    return Solved(rows.assign(**{"return": world.returns(q), "residual": residual}), q)
