"""What a paper measures of a run besides its learning: handed to a loop by a step, known to no loop."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from algorithms.methods.interface import Method, Metrics


class Probe:
    """Something that is measured of a run. It may only look; a subclass overrides what it needs."""

    def at(self, learner: Method, step: int) -> Mapping[str, ArrayLike]:
        """Measure at the evaluation of `step`, for some again after a resume. [S] each"""
        return {}

    def of_update(self, metrics: Metrics, number: int) -> Metrics:
        """Choose metrics of update `number` (from 0) since the last new data, averaged by themselves."""
        return {}
