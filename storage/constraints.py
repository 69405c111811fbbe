"""Types of settings: which values each may have, for whoever reads it and for the check of configurations.

They stand in the dataclasses beside their numbers. Python does not check them: `storage.settings` does,
wherever settings come from a file or a command line.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from annotated_types import Interval, MinLen, Predicate

MANY = 10**9

Count = Annotated[int, Interval(ge=0, le=MANY)]
PositiveCount = Annotated[int, Interval(ge=1, le=MANY)]
FewCount = Annotated[int, Interval(ge=1, le=1_000)]  # of episodes, agents, threads
Candidates = Annotated[int, Interval(ge=1, le=10_000)]
UpToHundred = Annotated[int, Interval(ge=0, le=100)]
BatchSize = Annotated[int, Interval(ge=1, le=10**6)]
EnsembleSize = Annotated[int, Interval(ge=1, le=100)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Widths = Annotated[tuple[Annotated[int, Interval(ge=1, le=2**16)], ...], MinLen(1)]

Positive = Annotated[float, Interval(gt=0, le=10**6)]
NotNegative = Annotated[float, Interval(ge=0, le=10**6)]
Rate = Annotated[float, Interval(gt=0, le=1)]  # of learning, of averaging
Share = Annotated[float, Interval(gt=0, lt=1)]  # neither none nor all
Weight = Annotated[float, Interval(ge=0, le=1)]
RewardScale = Annotated[float, Interval(gt=0, le=1_000)]
UpToTen = Annotated[float, Interval(ge=0, le=10)]
UpToTwo = Annotated[float, Interval(ge=0, le=2)]
UpToHundredEitherWay = Annotated[float, Interval(ge=-100, le=100)]  # nats a dimension
LargestQ = Annotated[float, Interval(gt=0, le=10**30)]


def increasing(ends: tuple[float, float]) -> bool:
    """Whether a range has its lower end first; ValueError, which says what was expected, where it has not."""
    if all(low < high for low, high in pairwise(ends)):
        return True
    raise ValueError("expected the lower end first and a higher one after it")


def around_zero(ends: tuple[float, float]) -> bool:
    """Whether 0 lies inside a range; ValueError where it does not."""
    if ends[0] < 0 < ends[1]:
        return True
    raise ValueError("expected a range with 0 inside of it")


LogStd = Annotated[float, Interval(ge=-20, le=2)]
LogStdRange = Annotated[tuple[LogStd, LogStd], Predicate(increasing)]
LogStdRangeAroundZero = Annotated[LogStdRange, Predicate(around_zero)]
"""For agents that start with a deviation of 1: beyond the edges there is no gradient, so that a deviation
that starts there may stay 1 for ever, and what is cloned with it is cloned hardly at all."""
WideLogStd = Annotated[float, Interval(ge=-20, le=3)]
WideLogStdRangeAroundZero = Annotated[
    tuple[WideLogStd, WideLogStd], Predicate(increasing), Predicate(around_zero)
]
Value = Annotated[float, Interval(ge=-(10**9), le=10**9)]
ValueRange = Annotated[tuple[Value, Value], Predicate(increasing)]
PositiveRange = Annotated[tuple[Positive, Positive], Predicate(increasing)]
