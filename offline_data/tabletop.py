"""Scripted policies of the tasks on the table (`envs.tabletop`), as one writes them for a robot by hand.

Points are reached by a proportional controller; which phase an episode is in, a script tells from what it
sees. It sees with noise, and so does not always succeed. All numbers are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from envs.manipulation.tabletop import HAND_BOX, MOTION
from envs.tabletop import ENVIRONMENTS, MIDDLE, OBJECT_HEIGHT, UNIT
from offline_data.collect import Policy

Rows = NDArray[np.float64]

NOISE = 0.07
"""Deviation of what a script sees, in decimetres, and twice that, that of its actions."""

_GAIN = 0.8  # of the way that is left, in a step
_ABOVE = 0.5  # over the object, until the hand is right above it
_RIGHT_ABOVE = 0.14
_AT = 0.25
_CLOSED = 0.62  # of the fingers' way: they hold the object, which is half as wide as the open hand
_CARRIED = 0.35  # how far from the hand the object is held
_LIFT_TO = 1.3
_DRAGGED = 0.5  # a step, at most
_UP = np.array([0.0, 0.0, 1.0])


def script(environment: str, seed: int, noise: float = NOISE) -> Policy:
    """Return the script of a task, with the noise of a seed."""
    named, generator = ENVIRONMENTS[environment], np.random.default_rng(seed)
    aim = _AIMS[named.task]

    def policy(observations: Rows) -> Rows:
        seen = named.judged.parts(observations)
        if "object" in seen:
            seen["object"] = seen["object"] + noise * generator.standard_normal(seen["object"].shape)
        point, is_open = aim(seen)
        ways = (_GAIN * UNIT / MOTION * (point - seen["hand"])).clip(-1, 1)
        ways = (ways + 2 * noise * generator.standard_normal(ways.shape)).clip(-1, 1)
        if named.actions == "Absolute":
            low, high = HAND_BOX
            places = MIDDLE + UNIT * seen["hand"] + MOTION * ways
            ways = (2 * (places - low) / (high - low) - 1).clip(-1, 1)
        return np.column_stack([ways, np.where(is_open, 0.7, -0.7)])

    return policy


Aim = Callable[[Mapping[str, Rows]], tuple[Rows, NDArray[np.bool_]]]
"""Of what is seen: where the hand is to go [copies, 3], and whether it is to be open [copies]."""


def _reach(seen: Mapping[str, Rows]) -> tuple[Rows, NDArray[np.bool_]]:
    return seen["goal"], np.ones(len(seen["goal"]), np.bool_)


def _grasp_then(carry: Callable[[Mapping[str, Rows]], Rows]) -> Aim:
    """Above the object, down, close; and once it is held, to where `carry` says."""

    def aim(seen: Mapping[str, Rows]) -> tuple[Rows, NDArray[np.bool_]]:
        hand, thing = seen["hand"], seen["object"]
        aside = np.linalg.norm((hand - thing)[:, :2], axis=1)
        above = hand[:, 2] - thing[:, 2]
        closed = seen["fingers"].mean(axis=1) < _CLOSED
        held = closed & (np.linalg.norm(hand - thing, axis=1) < _CARRIED)
        close = held | ((aside < 2 * _RIGHT_ABOVE) & (above < _AT))
        # It goes on down while it closes: a hand that stopped where noise decides would hover, and agents
        # that clone it never close.
        low = np.where((close | (aside < _RIGHT_ABOVE))[:, None], thing, thing + _ABOVE * _UP)
        return np.where(held[:, None], carry(seen), low), ~close

    return aim


def _drag(seen: Mapping[str, Rows]) -> Rows:
    """Along the table to the goal, not at full speed: friction holds the object back."""
    way = (seen["goal"] - seen["hand"])[:, :2]
    way = way / np.maximum(1, np.linalg.norm(way, axis=1, keepdims=True) / _DRAGGED)
    return np.column_stack([seen["hand"][:, :2] + way, np.full(len(way), OBJECT_HEIGHT)])


def _lift(seen: Mapping[str, Rows]) -> Rows:
    return np.column_stack([seen["hand"][:, :2], np.full(len(seen["hand"]), _LIFT_TO)])


def _raise_first(seen: Mapping[str, Rows]) -> Rows:
    """Straight up to the goal's height, then to the goal."""
    over = np.column_stack([seen["hand"][:, :2], seen["goal"][:, 2]])
    high = seen["hand"][:, 2] > seen["goal"][:, 2] - 0.3
    return np.where(high[:, None], seen["goal"], over)


_AIMS: Mapping[str, Aim] = {
    "Reach": _reach,
    "Slide": _grasp_then(_drag),
    "Lift": _grasp_then(_lift),
    "Place": _grasp_then(_raise_first),
}
