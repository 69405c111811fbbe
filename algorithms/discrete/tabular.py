"""CQL, ReDS and their controls on tables: the exact fixed points of their losses, many side by side.

A state's loss is strictly convex in its row of Q, so that for given targets it is solved, not descended. With
beta the data's shares of actions in a state, the loss

    sum_a beta_a (Q_a - y_a)^2 + alpha ( push-down(Q) - push-up(Q) )

is least where Q_a = b_a - k_a softmax_a(Q), which one number a state decides, the soft maximum Z of its Q:
softmax_a = omega(log k_a + b_a - Z) / k_a, omega Wright's function, and they sum to one. For CQL the map from
targets to this row moves no value further than a target moved, so that value iteration with it has one fixed
point, that of Q-learning with the loss. ReDS and re-weighted CQL take rho or their weights of the last table;
`residual` says how still they have come to lie.

Actions that the data of a state lack have no target and are never taken; a state without data has value 0.
Arrays have the axes P (tables side by side), S and A.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax, wrightomega

from envs.gridworld import Gridworld, Values

Kind = Literal["cql", "reds", "reweighted"]
TOLERANCE = 1e-6
"""The largest change of a value in one iteration at which a table lies still."""
_NEWTON_STEPS = 60


class Tables(NamedTuple):
    """Fixed points [P, S, A], -inf for an action that the data lack, and the last change of each [P]."""

    q: Values
    residual: Values


def solve(
    world: Gridworld, weights: Values, kind: Kind, alpha: Values, temperature: Values, iterations: int
) -> Tables:
    """Iterate values with the loss of `kind`, from tables of zeros.

    `weights [P, S, A]` are the data's; `alpha [P]` is the weight of the penalty, `temperature [P]` that
    which rho (exp(-A / temperature)) or the re-weighting (softmax(Q / temperature)) has.
    """
    known, shares = weights > 0, action_shares(weights)
    scale, heat = alpha[:, None, None] / 2, temperature[:, None, None]
    with np.errstate(divide="ignore"):
        slopes = np.where(known, scale / shares, 1.0) * (0.5 if kind == "reds" else 1.0)
    q = np.where(known, 0.0, -np.inf)
    soft_maximum = np.zeros(q.shape[:2])
    residual = np.full(len(q), np.inf)
    for _ in range(iterations):
        values = np.where(known.any(axis=2), q.max(axis=2), 0.0)
        pushed = world.backup(values) + scale * _push(kind, q, shares, known, heat)
        following, soft_maximum = _rows(pushed, slopes, known, soft_maximum)
        residual = np.abs(np.where(known, following, 0.0) - np.where(known, q, 0.0)).max(axis=(1, 2))
        q = following
        if residual.max() < TOLERANCE:
            break
    return Tables(q, residual)


def action_shares(weights: Values) -> Values:
    """beta(a|s) of weights [..., S, A]; 0 in a state without data."""
    totals = weights.sum(axis=-1, keepdims=True)
    shares: Values = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    return shares


def _push(kind: Kind, q: Values, shares: Values, known: NDArray[np.bool_], heat: Values) -> Values:
    """Return push-up less rho's push-down, over alpha / 2, which a target gains; of the last table."""
    if kind == "cql":
        return np.ones_like(q)
    if kind == "reweighted":
        chosen = softmax(np.where(known, q, -1e30) / heat, axis=2)
        return np.asarray(q.shape[2] * chosen)
    levels = np.where(known, -np.where(known, q, 0.0) / heat, -np.inf)
    top = levels.max(axis=2, keepdims=True)
    poor = np.exp(levels - np.where(np.isfinite(top), top, 0.0))
    total = (shares * poor).sum(axis=2, keepdims=True)
    ratio = np.divide(poor, total, out=np.zeros_like(poor), where=total > 0)  # rho(a|s) / beta(a|s)
    return np.asarray(1.0 - 0.5 * ratio)


def _rows(pushed: Values, slopes: Values, known: NDArray[np.bool_], start: Values) -> tuple[Values, Values]:
    """Q [P, S, A] with Q = pushed - slopes softmax(Q) over known actions, and its soft maximum [P, S]."""
    any_known, levels = known.any(axis=2), np.where(known, np.log(slopes) + pushed, -np.inf)
    z = start.copy()
    for _ in range(_NEWTON_STEPS):
        omega = wrightomega(levels - z[..., None])
        error = (omega / slopes).sum(axis=2) - 1.0
        fall = (omega / (1.0 + omega) / slopes).sum(axis=2)
        move = np.where(any_known, error / np.where(fall > 0, fall, 1.0), 0.0)
        z += move
        if np.abs(move).max() < 1e-9:
            break
    omega = wrightomega(levels - z[..., None])
    return np.where(known, pushed - omega, -np.inf), z


def advantage_weighted(world: Gridworld, weights: Values, temperature: Values) -> Values:
    """Log preferences of AWR's policy, which knows Q*: log beta + A* / temperature. [P, S, A]

    A* = Q* less its mean over actions [GRID]; -inf for an action that the data lack.
    """
    advantage = world.optimal_q - world.optimal_q.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(action_shares(weights)) + advantage / temperature[:, None, None])
