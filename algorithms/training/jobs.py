"""What every training job has: names, a place for its resumable state, a device, a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from algorithms.training.acceleration import Compute


class Job(NamedTuple):
    """Names of a training job in its curve, where its resumable state lives, what it computes on.

    One agent or one run learns for each of `seeds`; two labels of one method share no random numbers. `make`
    makes the environment of that name where it is one of episodes; without it it is MuJoCo's.
    `watch` is called with the curve so far whenever it has a new row.
    """

    run: str
    label: str
    dataset: str
    environment: str
    seeds: Sequence[int]
    configuration_hash: str
    state_folder: Path
    compute: Compute = Compute()
    make: Callable[[str], Any] | None = None
    watch: Callable[[pd.DataFrame], None] | None = None


def progress_bar(job: Job, total: int, initial: int, unit: str) -> tqdm[Any]:
    """Make a bar with rate and time left on stderr: live on a terminal, a line now and then in a log.

    Jobs that run at once share a terminal: dataset and label say whose bar it is.
    """
    return tqdm(
        total=total,
        initial=initial,
        unit=unit,
        desc=f"{job.dataset}, {job.label}",
        mininterval=0.5 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
    )
