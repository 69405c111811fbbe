"""Write results/leaderboard.md from all committed curves, after an outside method's files, if any, entered.

    python -m workflow.leaderboard [their_curves.csv ...]

docs/leaderboard.md has the form of an outside file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from algorithms.training import acceleration
from analysis.intervals import Bootstrap
from analysis.leaderboard import OURS, Entry, markdown, rows
from analysis.outside import enter, read_outside
from offline_data.recipes import UNIFORM, UNTRAINED
from storage import UserError
from storage.curves import COLUMNS, read_curves, read_provenance
from storage.files import write_text
from workflow import cli
from workflow.code_hash import ROOT
from workflow.configuration import read
from workflow.cost.estimate import seed_compute
from workflow.jobs import Json
from workflow.plan import Plan
from workflow.plan.data import policies_of

BOARD, REFERENCE = Path("results", "leaderboard.md"), Path("results", "reference")
OUTSIDE = "outside"
_ACTIONS = {UNIFORM: "uniform actions", UNTRAINED: "an untrained policy's actions"}


def main(options: argparse.Namespace) -> None:
    """Enter the files, then write the page."""
    reference = ROOT / REFERENCE
    for file in options.files:
        enter(file, reference / OUTSIDE)
    write_text(ROOT / BOARD, page(reference))


def page(reference: Path) -> str:
    """Return the page of all curves in `reference`: folders of committed runs, and outside files."""
    bootstrap = Bootstrap()
    entries = [*_ours(reference), *_outside(reference / OUTSIDE)]
    return markdown(rows(entries, bootstrap), bootstrap)


def _outside(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.glob("*.parquet")):
        frame, said = read_outside(path)
        data = f"{said.data}, {said.environment}"
        for _, curves in frame.groupby("dataset"):
            yield Entry(curves, said.implementation, data, *said.takes, [said.commit])


def _ours(reference: Path) -> Iterator[Entry]:
    """Yield committed fine-tuning: of each run once, though several folders may hold its curves.

    A run that was made again to the same returns, such as with more measured, is the same run.
    """
    files = sorted(reference.glob("*/curves/*/*/seeds_*.parquet"))
    plans = {name: _plan(name, reference) for name in dict.fromkeys(map(_folder, files))}
    plans = {name: plan for name, plan in plans.items() if not plan.data.images and not _demonstrates(plan)}
    costs = {name: seed_compute(plan).set_index(["dataset", "method"]) for name, plan in plans.items()}
    frames = [read_curves(path).assign(file=str(path)) for path in files if _folder(path) in plans]
    whole = pd.concat(frames, ignore_index=True).drop_duplicates(list(COLUMNS))
    runs = [curves for _, curves in whole.groupby(["run", "method", "dataset"], sort=False)]
    told = set[tuple[object, ...]]()
    for curves in sorted(runs, key=lambda run: run["seed"].nunique(), reverse=True):
        paths = [Path(file) for file in curves["file"].unique()]
        folder, (dataset, method) = _folder(paths[0]), curves.iloc[0][["dataset", "method"]]
        data = _made(plans[folder].data.entry(dataset))
        seeds = {(method, dataset, data, *seed) for seed in _returns(curves)}
        if seeds <= told:
            continue
        told |= seeds
        updates, pflop, core_hours = costs[folder].loc[(dataset, method)]
        commits = [str(read_provenance(path)["git_commit"]) for path in paths]
        yield Entry(curves[list(COLUMNS)], OURS, data, int(updates), pflop, core_hours, commits)


def _returns(curves: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    """Yield each seed with its returns over steps."""
    rows = curves[curves["metric"] == "return"].sort_values("step")
    for seed, own in rows.groupby("seed"):
        yield seed, *zip(own["step"], own["value"], strict=True)


def _folder(path: Path) -> str:
    """Return the configuration's name, of whose curves a committed file is."""
    return path.parents[3].name


def _demonstrates(plan: Plan) -> bool:
    return bool(plan.configuration.get("demonstration", False))


def _plan(run: str, reference: Path) -> Plan:
    own = reference / run / "config.yaml"  # where the configuration of that name has gone on since
    file = own if own.is_file() else ROOT / "config" / f"{run}.yaml"
    if not file.is_file():
        raise UserError(f"{REFERENCE / run} has curves: expected config/{run}.yaml, which they were made by.")
    return Plan({**read(file), "curves": "recorded"})


def _made(entry: Json) -> str:
    """How a dataset of ours was made: recordings that differ by more than their draws have other words."""
    size = f"{entry['transitions']:,} transitions, " if "transitions" in entry else ""
    how = "".join(f" of {policy}" for policy in policies_of(entry))
    if entry["recipe"] == "random":
        how = f" ({_ACTIONS[entry.get('actions', UNIFORM)]})"
    if "deviation_scale" in entry:
        how += f" at {entry['deviation_scale']:g} of its deviation"
    return f"recorded here, {entry['recipe']}{how}, {size}{entry['environment']}"


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("files", nargs="*", type=Path, help="outside curves that enter, CSV or Parquet")
    acceleration.prepare_process()
    cli.run(main, arguments)
