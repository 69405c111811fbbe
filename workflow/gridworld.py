"""Sweep CQL, its half, ReDS, re-weighted CQL and AWR over the gridworlds in which ReDS is explained.

    python -m workflow.gridworld config/gridworlds/tables.yaml --output results/gridworld --map 0.4

It leaves sweep.csv, all that was solved; curves.parquet, which `python -m analysis.verdicts` judges; and the
figures, each with the CSV of what it draws and a caption.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from algorithms.discrete.networks import NetworkConfig
from algorithms.discrete.sweep import AWR, Solved, SweepConfig, sweep
from algorithms.training import acceleration
from envs.gridworld import Gridworld, Values
from paper_figures import gridworld as figures
from paper_figures import style
from storage import UserError
from storage.curves import COLUMNS, write_curves
from storage.files import write_text
from storage.provenance import collect
from storage.settings import build
from storage.yaml_files import read_yaml
from workflow import cli

BEST = "best"
"""In place of alpha in a dataset's name: each method at the setting that is best on the other seeds."""


def main(options: argparse.Namespace) -> None:
    """Solve, write, draw."""
    solve(*_settings(options.settings), options.map, options.output)


def solve(config: SweepConfig, sizes: NetworkConfig | None, alpha: float | None, output: Path) -> None:
    """Solve everything, by networks of these sizes or by tables; leave it and its figures in a folder.

    Values are drawn at one `alpha`, or not. UserError where that was not swept.
    """
    acceleration.prepare_process()
    solved = list(sweep(config, sizes))
    rows = pd.concat([each.rows for each in solved], ignore_index=True)
    best = {name: float(world.returns(world.optimal_q[None])[0]) for name, world in _worlds(config).items()}
    rows["percent"] = 100 * rows["return"] / rows["maze"].map(best)
    rows["approximator"] = "tables" if sizes is None else "networks"
    settings = {**asdict(config), "networks": asdict(sizes) if sizes else None}
    provenance = collect(settings, list(config.seeds), acceleration.arithmetic())
    write_text(output / "sweep.csv", rows.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    write_curves(output / "curves.parquet", curves(rows, config), provenance)
    drawn, folder = figures.sweep_table(rows), output / "figures"
    style.save(figures.draw_sweep(drawn), folder / "sweep", drawn, figures.sweep_caption(drawn))
    if alpha is not None:
        drawn = maps(solved, rows, alpha)
        style.save(figures.draw_maps(drawn), folder / "values", drawn, figures.maps_caption(drawn))


def _settings(path: Path) -> tuple[SweepConfig, NetworkConfig | None]:
    """Return what the file says; networks where it has that key. UserError where it is wrong."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is {content!r}: expected keys with values.")
    networks = content.pop("networks", None)
    sizes = None if networks is None else build(NetworkConfig, networks, f"{path}: networks")
    return build(SweepConfig, content, str(path)), sizes


def _worlds(config: SweepConfig) -> dict[str, Gridworld]:
    return {name: Gridworld.named(name) for name in config.mazes}


def curves(rows: pd.DataFrame, config: SweepConfig) -> pd.DataFrame:
    """Return the rows as curves of one point (step 1: done), each method at its first temperature.

    A dataset is a maze, a size of data and an alpha.
    One dataset more, `BEST`, has each method at its best alpha and temperature for the seeds but its own.
    """
    first = pd.concat(
        [own[own["temperature"] == config.temperatures(str(name))[0]] for name, own in rows.groupby("method")]
    )
    alike = first[first["method"] != AWR].assign(place=lambda frame: frame["alpha"].map("alpha-{:g}".format))
    settings = ["maze", "samples_a_state", "method"]
    chosen = [chosen_on_other_seeds(own) for _, own in rows.groupby(settings)]
    both = pd.concat([alike, *chosen], ignore_index=True)
    data = both["samples_a_state"].map(lambda size: f"{size}-samples" if size else "exact")
    place = both["place"].fillna(BEST)
    frame = both.assign(
        dataset=both["maze"] + "-" + data + "-" + both["approximator"] + "-" + place,
        run="gridworld",
        phase="offline",
        unit="update",
        step=1,
        metric="return",
        value=both["return"],
    )
    return frame[list(COLUMNS)]


def maps(solved: Sequence[Solved], rows: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return what the maps draw: the first seed's values in the last maze, with its first data, at one alpha.

    UserError where that alpha was not swept.
    """
    maze, first = str(rows["maze"].iloc[-1]), rows.iloc[0]
    world, parts = Gridworld.named(maze), []
    columns = {"row": world.cells[:, 0], "column": world.cells[:, 1], "maze": maze, "alpha": alpha}
    columns |= {"samples_a_state": first["samples_a_state"], "seed": first["seed"]}
    percents = rows.set_index(["maze", "samples_a_state", "method", "alpha", "temperature", "seed"])[
        "percent"
    ]
    optimal = {**columns, "method": "optimal", "percent": 100.0}
    parts.append(pd.DataFrame(optimal | _values(world.optimal_q)))
    for each in solved:
        own, like = each.rows.reset_index(drop=True), each.rows.iloc[0]
        if (
            like["maze"] != maze
            or like["samples_a_state"] != first["samples_a_state"]
            or like["method"] == AWR
        ):
            continue
        here = own[(own["alpha"] == alpha) & (own["seed"] == first["seed"])]
        if here.empty:
            raise UserError(f"--map is {alpha:g}: expected one of the file's alphas.")
        key = (
            maze,
            like["samples_a_state"],
            like["method"],
            alpha,
            here["temperature"].iloc[0],
            first["seed"],
        )
        found = {**columns, "method": like["method"], "percent": percents[key]}
        parts.append(pd.DataFrame(found | _values(each.q[here.index[0]])))
    return pd.concat(parts, ignore_index=True)


def _values(q: Values) -> dict[str, Values]:
    """Largest Q of each state, NaN where the data have none, and the action that has it."""
    best = q.max(axis=1)
    return {"value": np.where(np.isfinite(best), best, np.nan), "action": q.argmax(axis=1)}


def chosen_on_other_seeds(own: pd.DataFrame) -> pd.DataFrame:
    """For each seed the row of the setting that returns most over the other seeds; of equals the first."""
    parts = []
    for seed, at_seed in own.groupby("seed"):
        others = own[own["seed"] != seed]
        means = (others if len(others) else own).groupby(["alpha", "temperature"])["return"].mean()
        best = means.index[int(np.argmax(means))]
        parts.append(
            at_seed[[each == best for each in zip(at_seed["alpha"], at_seed["temperature"], strict=True)]]
        )
    return pd.concat(parts)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("settings", type=Path, help="YAML file with fields of SweepConfig")
    arguments.add_argument("--output", type=Path, required=True, help="folder of what it leaves")
    arguments.add_argument("--map", type=float, help="the alpha that maps of values are drawn at")
    cli.run(main, arguments)
