"""What a run left: all that figures are drawn from, and what their captions say of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.intervals import Bootstrap
from analysis.statistics import Statistics
from paper_figures import style
from storage import UserError
from storage.curves import UNITS


class Updates(NamedTuple):
    """When a method learns: a block's episodes, updates an episode brings, the first block's factor.

    `offline` is how many updates its agents have had before, on each dataset.
    """

    block_size: int
    per_episode: int
    first_block_multiplier: int
    offline: Mapping[str, int]

    def after(self, dataset: str, episodes: pd.Series) -> pd.Series:
        """How many updates an agent has had after so many episodes."""
        more = (self.first_block_multiplier - 1) * episodes.clip(upper=self.block_size)
        return self.offline[dataset] + self.per_episode * (episodes + more)


@dataclass(frozen=True)
class Results:
    """One run's results, read by every figure.

    `read_curves` gives its curves (`analysis.success.comparable`), `compared` the statistics that were made
    from them, which tasks with images have none of. `ensemble_size` is Off2On's N, `pretraining_updates` of
    each dataset the CQL updates of the agents that fine-tuning started from; `authors_agents`: those that the
    paper's authors released. `members_shared`: a method's seeds start from the same pre-trained agents.
    `demonstration`: the run is too small to judge the paper by. `files` are what a figure draws beside
    curves: likelihoods, summaries of datasets, vectors of behaviours, pictures. `updates` says when each
    method learns that was fine-tuned over episodes.
    """

    read_curves: Callable[[], pd.DataFrame]
    ensemble_size: int
    pretraining_updates: Mapping[str, int]
    compared: Statistics | None = None
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    authors_agents: bool = False
    members_shared: bool = False
    demonstration: bool = False
    files: tuple[Path, ...] = ()
    updates: Mapping[str, Updates] = field(default_factory=dict)

    @property
    def statistics(self) -> Statistics:
        """The statistics of the curves. UserError where there are none."""
        if self.compared is None:
            raise UserError("The results hold no statistics: expected those of datasets of vectors.")
        return self.compared

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The curves, columns of `storage.curves`, read once."""
        return self.read_curves()

    @property
    def datasets(self) -> Collection[str]:
        """The datasets that there are curves on."""
        return self.compared.datasets if self.compared else dict.fromkeys(self.curves["dataset"])

    def methods(self, dataset: str) -> Collection[str]:
        """Return the methods that were run on a dataset."""
        if self.compared:
            return self.compared.methods
        return dict.fromkeys(self.curves.loc[self.curves["dataset"] == dataset, "method"])

    def offline_updates(self, datasets: Iterable[str], method: str | None = None) -> str:
        """Return how many updates the agents have had offline, by dataset where they differ.

        CQL's, or, of a `method` that was fine-tuned over episodes, those of what it started from.
        """
        counts = self.updates[method].offline if method else self.pretraining_updates
        found: dict[int, list[str]] = {}
        for dataset in dict.fromkeys(datasets):
            found.setdefault(counts[dataset], []).append(dataset)
        if len(found) == 1:
            return f"{next(iter(found)):,}"
        return style.listed(f"{updates:,} ({style.listed(names)})" for updates, names in found.items())

    @property
    def along(self) -> str:
        """What the horizontal axis of learning counts, such as environment steps."""
        return UNITS[self.statistics.unit]

    @property
    def band(self) -> str:
        """What the bands of our curves are."""
        return f"{100 * self.bootstrap.confidence:g}% bootstrap interval"
