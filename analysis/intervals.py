"""Percentile intervals of rliable's stratified bootstrap, kept by content.

Runs are drawn with replacement within each task, so they say how the number would vary with other seeds on
the same tasks. rliable 1.2.0 ignores its `random_state` and draws from NumPy's global generator, so that one
is seeded before each call and put back after it: an interval depends on its own scores, the seed and the
repetitions, not on what else is computed. That is also why it can be kept: given a folder,
`interval_estimate` files each result under a hash of all it depends on, and the next call reads it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from analysis.scores import Scores
from storage import UserError
from storage.files import read_json, write_json


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: the number of resamples, the seed of each call, the interval's coverage.

    `cache` is a folder in which intervals are kept by content, and may be deleted at any time.
    """

    repetitions: int = 2000
    seed: int = 0
    confidence: float = 0.95
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise UserError(f"The bootstrap repetitions are {self.repetitions}: expected at least 1.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"The bootstrap seed is {self.seed}: expected 0 to 2^32 - 1.")
        if not 0 < self.confidence < 1:
            raise UserError(f"The coverage of the intervals is {self.confidence}: expected between 0 and 1.")


def interval_estimate(
    estimator: Callable[..., Scores],
    scores: Scores | list[Scores],
    bootstrap: Bootstrap,
    name: str | None = None,
) -> tuple[Scores, Scores]:
    """`estimator(scores)` [K] and its stratified bootstrap interval [2, K] (low, high).

    `scores` is one array [runs, tasks, ...], or a list of such arrays that are resampled independently and
    given to `estimator` as arguments. The interval of a single run is NaN: resampling it cannot vary.

    `name` tells the estimator, with its own settings, from all others; what has a name is kept in
    `bootstrap.cache`, where there is one.
    """
    arrays = scores if isinstance(scores, list) else [scores]
    if all(len(array) == 1 for array in arrays):
        point = np.asarray(estimator(*arrays), dtype=np.float64)
        return point, np.full((2, *point.shape), np.nan)
    if bootstrap.cache is None or name is None:
        return _drawn(estimator, scores, bootstrap)
    kept = bootstrap.cache / f"{_content_hash(name, arrays, bootstrap)}.json"
    return _kept(kept) or _keep(kept, name, _drawn(estimator, scores, bootstrap))


def whole_run_interval(
    estimator: Callable[..., Scores], curves: list[Scores], bootstrap: Bootstrap, name: str
) -> tuple[Scores, Scores]:
    """As `interval_estimate`, for an estimator that looks along a run: each drawn run is drawn whole.

    `curves` are arrays [runs, tasks, steps]. rliable draws anew in every cell of the axes behind the runs,
    so on curves it would put a drawn run together from steps of different runs, and average their noise away.
    """
    runs = [np.tile(np.arange(len(array), dtype=np.float64)[:, None], array.shape[1]) for array in curves]

    def of_runs(*drawn: Scores) -> Scores:
        chosen = [
            array[run.astype(int), np.arange(run.shape[1])] for array, run in zip(curves, drawn, strict=True)
        ]
        return estimator(*chosen)

    if bootstrap.cache is None or all(len(array) == 1 for array in curves):
        return interval_estimate(of_runs, runs, bootstrap)
    kept = bootstrap.cache / f"{_content_hash(f'{name}, whole runs', curves, bootstrap)}.json"
    return _kept(kept) or _keep(kept, name, _drawn(of_runs, runs, bootstrap))


def _drawn(
    estimator: Callable[..., Scores], scores: Scores | list[Scores], bootstrap: Bootstrap
) -> tuple[Scores, Scores]:
    from rliable import library  # here: see `analysis.scores.interquartile_mean`

    with _global_seed(bootstrap.seed):
        points, intervals = library.get_interval_estimates(
            {"scores": scores},
            estimator,
            reps=bootstrap.repetitions,
            confidence_interval_size=bootstrap.confidence,
        )
    return np.asarray(points["scores"], dtype=np.float64), np.asarray(intervals["scores"], dtype=np.float64)


def _keep(path: Path, name: str, found: tuple[Scores, Scores]) -> tuple[Scores, Scores]:
    content = {"name": name, "point": found[0].tolist(), "interval": found[1].tolist()}
    write_json(path, {**content, "sha256": _checksum(content)})
    return found


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _kept(path: Path) -> tuple[Scores, Scores] | None:
    """Read a file of the cache; None where there is no file, or not a whole one."""
    try:
        content = read_json(path)
        if content.pop("sha256") != _checksum(content):
            return None
        point = np.array(content["point"], dtype=np.float64)
        interval = np.array(content["interval"], dtype=np.float64)
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return (point, interval) if point.ndim == 1 and interval.shape == (2, *point.shape) else None


def _content_hash(name: str, arrays: Sequence[Scores], bootstrap: Bootstrap) -> str:
    """Hash all that an interval depends on: scores, settings, this package's code and the libraries."""
    digest = hashlib.sha256(_code_hash().encode())
    settings = [name, bootstrap.repetitions, bootstrap.seed, bootstrap.confidence]
    digest.update(json.dumps([*settings, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()


@cache
def _code_hash() -> str:
    libraries = ("arch", "numpy", "rliable", "scipy")
    digest = hashlib.sha256(" ".join(version(library) for library in libraries).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator, seeded inside the block and as it was before after it."""
    state: Any = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
