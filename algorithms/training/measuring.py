"""The rows of a loop's curve: each measured at once, or beside the learning that follows.

Beside: in a thread of its own, on a copy of the agents as they were. Learning goes on until the next row, a
checkpoint of a later step, or the end. A checkpoint of the same step keeps what the row has besides, and the
job that goes on from it measures again: an evaluation depends on agents, seeds and step alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pandas as pd
import torch
from numpy.typing import ArrayLike

from algorithms.training.log import Row, TrainingLog

Measured = Mapping[str, ArrayLike]
"""Metrics by the names of `storage.curves.METRICS`, one entry a seed."""


def measured_steps(first: int, until: int, interval: int, ends: Sequence[int]) -> list[int]:
    """List the steps of a curve's rows so far: the first, then every `interval` and those of `ends`."""
    regular = range(interval, until + 1, interval)
    return [first, *sorted({step for step in (*regular, *ends) if first < step <= until})]


class Measuring:
    """Writes rows of a log, at most one of them awaited."""

    def __init__(
        self, log: TrainingLog, beside: bool, watch: Callable[[pd.DataFrame], None] | None = None
    ) -> None:
        """`watch` is called with the curve so far after each row."""
        self._watch = watch
        self._means: dict[str, float] = {}  # over seeds, of the last row that was written
        self._log = log
        self._thread: ThreadPoolExecutor | None = None
        self._awaited: tuple[Row, Future[Measured]] | None = None
        if beside:
            threads = torch.get_num_threads()  # a new thread would ask for its own, and round otherwise
            self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,))

    def begin(self, step: int, measure: Callable[[], Measured]) -> None:
        """Write the row of `step` with what `measure` finds, now or when it has found it.

        Rows keep their order.
        """
        self.finish()
        self._begin(self._log.take(step), measure)

    def restore(self, manifest: Mapping[str, Any], steps: Sequence[int], updates: int) -> Row | None:
        """Restore the log from a checkpoint's manifest; the row that it awaited, for `go_on`.

        UserError unless it has rows of all of `steps`, the last one's written or awaited, and means of the
        `updates` since.
        """
        row = None
        if manifest["awaited"] is not None:
            *steps, last = steps
            row = self._log.kept_row(manifest["awaited"], last)
        self._log.restore(manifest["log"])
        self._log.check(steps, updates)
        return row

    def go_on(self, awaited: Row | None, measurement: Callable[[], Callable[[], Measured]]) -> None:
        """Begin the row that a checkpoint kept as `awaited`, if any, again with what `measurement` makes."""
        if awaited is not None:
            self._begin(awaited, measurement())

    def _begin(self, row: Row, measure: Callable[[], Measured]) -> None:
        if self._thread is None:
            self._write(row, measure())
        else:
            self._awaited = row, self._thread.submit(measure)

    def _write(self, row: Row, measured: Measured) -> None:
        self._means = self._log.write(row, measured)
        if self._watch is not None:
            self._watch(self._log.frame())

    def shown(self, name: str) -> str:
        """Return the last mean of a metric that was written, for a progress bar."""
        return f"{self._means[name]:.3g}" if self._means else "awaited"

    def finish(self) -> None:
        """Wait for the awaited row, and write it."""
        if self._awaited is not None:
            row, measured = self._awaited
            self._awaited = None
            self._write(row, measured.result())

    def awaited(self, step: int) -> list[Any] | None:
        """Return what a checkpoint of `step` keeps of an awaited row; an earlier step's is waited for."""
        if self._awaited is not None and self._awaited[0].step != step:
            self.finish()
        return None if self._awaited is None else list(self._awaited[0])
