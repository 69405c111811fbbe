"""Data of the gridworlds as weights over states and actions: careless in rooms, careful in hallways.

The mixture is [GRID]'s `mixed_limited_skewed`, the heteroskedastic one; envs/gridworld.py names the source.
"""

from __future__ import annotations

import numpy as np

from envs.gridworld import LEFT, Gridworld, Values, epsilon_greedy

SKEW = 10.0  # [GRID] how much likelier LEFT, mostly away from the exit, is in a room than another action


def heteroskedastic_weights(world: Gridworld, seed: int) -> Values:
    """Probability of each state and action in the data. [S, A]

    In rooms actions are weighted at random and LEFT ten times as much; in hallways they are those of the
    epsilon-greedy optimal policy. `seed` draws the weights in rooms.
    """
    q = world.optimal_q[None]
    policy = epsilon_greedy(q)
    optimal = (world.visits(policy)[..., None] * policy)[0]
    random = np.random.default_rng(seed).random(q.shape[1:])
    random[:, LEFT] *= SKEW
    weights = np.where(world.rooms[:, None], random / random.sum(), optimal / optimal.sum())
    return np.asarray(weights / weights.sum())


def sampled(weights: Values, samples_a_state: int, seed: int) -> Values:
    """Shares of `samples_a_state` times S transitions that are drawn by `weights`. [S, A]"""
    count = samples_a_state * len(weights)
    drawn = np.random.default_rng([seed, count]).multinomial(count, weights.ravel())
    return np.asarray(drawn.reshape(weights.shape) / count)
