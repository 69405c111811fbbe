"""Where the curve of a running job is seen while it grows; no result depends on it.

In a file always, `results/<name>/state/<job>/curve.parquet`, which `storage.curves.read_curves` reads; and
where `watch` in the configuration asks for it in TensorBoard or Weights & Biases, which are installed beside.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from storage import UserError
from storage.curves import write_curves
from workflow.jobs import Job

Watch = Callable[[pd.DataFrame], None]
"""What is called with the whole curve so far whenever it has a new row."""

PROJECT = "off2on-replication"
"""In Weights & Biases, where WANDB_PROJECT names none."""


def check(asked: Sequence[str]) -> None:
    """UserError for a sink that is not installed."""
    for name in asked:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"watch has {name}, which is not installed: expected it in the environment"
                f" (pip install {name}), or another list."
            )


def watch_of(job: Job) -> Watch:
    """Return what shows the curve of a job, in its file and wherever the configuration asks for it."""
    asked = job.about.get("watch", [])
    check(asked)
    sinks: list[Watch] = [lambda curve: write_curves(job.state / "curve.parquet", curve, {})]
    sinks += [_SINKS[name](job) for name in asked]

    def watch(curve: pd.DataFrame) -> None:
        for sink in sinks:
            sink(curve)

    return watch


class _Fresh:
    """Rows of a curve that this process has not shown yet; at first all, also those of before a resume."""

    def __init__(self) -> None:
        self._shown = -1

    def of(self, curve: pd.DataFrame) -> pd.DataFrame:
        fresh = curve[curve["step"] > self._shown]
        self._shown = int(curve["step"].max())
        return fresh


def _tensorboard(job: Job) -> Watch:
    """Return a sink of event files in results/<name>/tensorboard: a run a seed, a chart a metric."""
    writing: Any = importlib.import_module("torch.utils.tensorboard")
    fresh, writers = _Fresh(), dict[int, Any]()

    def show(curve: pd.DataFrame) -> None:
        for each, rows in fresh.of(curve).groupby("seed"):
            seed = int(str(each))
            if seed not in writers:
                place = f"{job.results}/tensorboard/{'/'.join(job.names)}/seed_{seed}"
                # What an earlier process has written is hidden: the whole curve comes again.
                writers[seed] = writing.SummaryWriter(place, purge_step=0)
            for step, metric, value in rows[["step", "metric", "value"]].itertuples(index=False):
                writers[seed].add_scalar(metric, value, step)
            writers[seed].flush()

    return show


def _wandb(job: Job) -> Watch:
    """Return a sink of one run of Weights & Biases a job, which a resumed job goes on with."""
    wandb: Any = importlib.import_module("wandb")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=job.about["run"],
        name=job.name,
        id=f"{job.name.replace('/', '-')}-{job.fingerprint}",
        resume="allow",
        dir=job.results,
        config=dict(job.settings),
    )
    fresh = _Fresh()

    def show(curve: pd.DataFrame) -> None:
        for step, rows in fresh.of(curve).groupby("step"):
            values = rows[["metric", "seed", "value"]].itertuples(index=False)
            run.log({f"{metric}/seed_{seed}": value for metric, seed, value in values}, step=int(str(step)))

    return show


_SINKS: dict[str, Callable[[Job], Watch]] = {"tensorboard": _tensorboard, "wandb": _wandb}
