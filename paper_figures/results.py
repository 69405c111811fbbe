"""What a run left: all that figures are drawn from, and what their captions say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.intervals import Bootstrap
from analysis.statistics import Statistics
from storage.curves import UNITS


@dataclass(frozen=True)
class Results:
    """One run's results, read by every figure.

    `read_curves` gives the curves that `statistics` was made from (columns of `storage.curves`); only the
    figures that draw more than statistics call it. `ensemble_size` is Off2On's N, `pretraining_updates` the
    CQL updates of the agents that fine-tuning started from; `authors_agents`: those that the paper's authors
    released. `members_shared`: the seeds of one method start
    from the same pre-trained agents. `demonstration`: the run is too small to judge the paper by.
    `likelihoods` are the files of Figure 1a. `cache` is a folder that keeps intervals by content
    (`analysis.intervals.Bootstrap`).
    """

    statistics: Statistics
    read_curves: Callable[[], pd.DataFrame]
    ensemble_size: int
    pretraining_updates: int
    authors_agents: bool = False
    members_shared: bool = False
    demonstration: bool = False
    likelihoods: tuple[Path, ...] = ()
    cache: Path | None = None

    @property
    def along(self) -> str:
        """What the horizontal axis of learning counts, such as environment steps."""
        return UNITS[self.statistics.unit]

    @property
    def bootstrap(self) -> Bootstrap:
        """How the statistics drew their intervals, for figures that draw more of them."""
        drawn = self.statistics
        return Bootstrap(drawn.repetitions, drawn.seed, drawn.confidence, self.cache)
