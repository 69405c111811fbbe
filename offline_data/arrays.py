"""Parallel arrays of transitions, episode after episode: what holds for every kind of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from storage import UserError


class Shape(NamedTuple):
    """What an array must be: its type, dimensions and number of rows."""

    kind: DTypeLike
    dimensions: int
    rows: int


def check_arrays(name: str, arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, Shape]) -> None:
    """UserError, naming the dataset and the array, where one is not as expected, contiguous and finite."""
    for key, (kind, dimensions, rows) in expected.items():
        array = arrays[key]
        if array.dtype != kind or array.ndim != dimensions or len(array) != rows:
            raise UserError(
                f"{name}: {key} is {array.dtype} of shape {array.shape}, expected {np.dtype(kind)} with"
                f" {dimensions} dimension(s) and {rows} rows"
            )
        if not array.flags.c_contiguous:
            raise UserError(f"{name}: {key} is not contiguous in memory")
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} holds a value that is not a finite number")


def check_last_ends(name: str, episode_ends: NDArray[np.bool_]) -> None:
    """UserError where there is no transition or the last one does not end its episode."""
    if len(episode_ends) == 0 or not episode_ends[-1]:
        raise UserError(f"{name}: the last transition must end an episode")


def episode_slices(episode_ends: NDArray[np.bool_]) -> Iterator[slice]:
    """Yield the rows of each episode, in order."""
    start = 0
    for end in np.flatnonzero(episode_ends).tolist():
        yield slice(start, end + 1)
        start = end + 1
