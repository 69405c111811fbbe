"""Recording a policy in many copies of an environment at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from envs.locomotion import EnvironmentBatch, specification
from offline_data.transitions import Episode
from storage import UserError

Policy = Callable[[NDArray[np.float64]], NDArray[Any]]
"""Observations [copies, obs] -> actions [copies, A] in the environment's own range."""


class _Cut(NamedTuple):
    """Where an episode ends: the steps recorded up to there, the observation after them, and why."""

    stop: int
    final: NDArray[np.float32]
    terminated: bool
    truncated: bool


def environment_seeds(seed: int, copies: int) -> list[int]:
    """Return the seed of each copy: unrelated ones for neighbouring values of `seed`."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(copies)]


def record(
    environment: str, policy: Policy, steps: int, seed: int, copies: int, threads: int
) -> list[Episode]:
    """Roll `policy` out for exactly `steps` transitions in all and return the episodes.

    The copies share the steps evenly (the first `steps % copies` take one more); an episode that the end
    of the recording cuts is marked truncated, not terminal. What is recorded depends on `seed`, `copies`
    and the policy, never on `threads`. Memory: the recording twice, in float32.

    Args:
        environment: e.g. "HalfCheetah-v4".
        policy: called once a step with the observations of all copies.
        steps: transitions to record.
        seed: of the environments' initial states; a policy that samples has its own.
        copies: environments stepped at once.
        threads: of the simulator.

    Raises:
        UserError: `steps` is smaller than `copies`, or `copies` is not positive.
    """
    if not 1 <= copies <= steps:
        raise UserError(f"copies is {copies}, expected a number from 1 to the number of steps ({steps})")
    environments = EnvironmentBatch(environment, environment_seeds(seed, copies), threads)
    quota = np.full(copies, steps // copies)
    quota[: steps % copies] += 1
    length = int(quota[0])

    current = environments.reset()
    observations = np.empty((copies, length, current.shape[1]), dtype=np.float32)
    rewards = np.empty((copies, length), dtype=np.float32)
    actions = np.empty((copies, length, specification(environment).action_size), dtype=np.float32)
    cuts: list[list[_Cut]] = [[] for _ in range(copies)]

    with tqdm(total=steps, desc="recording", unit="step", unit_scale=True, mininterval=1) as progress:
        for time in range(length):
            # The step is taken with the stored, rounded action: the data hold what was done.
            action = np.asarray(policy(current), dtype=np.float32)
            result = environments.step(action)
            observations[:, time] = current
            actions[:, time] = action
            rewards[:, time] = result.rewards
            done = result.terminations | result.truncations
            recorded = time < quota
            for copy in np.flatnonzero(recorded & (done | (time + 1 == quota))).tolist():
                terminated = bool(result.terminations[copy])
                truncated = bool(result.truncations[copy]) or not terminated
                final = result.observations[copy].astype(np.float32)
                cuts[copy].append(_Cut(time + 1, final, terminated, truncated))
            current = environments.reset(done) if done.any() else result.observations
            progress.update(int(recorded.sum()))

    return [
        episode
        for copy in range(copies)
        for episode in _episodes(observations[copy], actions[copy], rewards[copy], cuts[copy])
    ]


def _episodes(
    observations: NDArray[np.float32],
    actions: NDArray[np.float32],
    rewards: NDArray[np.float32],
    cuts: list[_Cut],
) -> Iterator[Episode]:
    start = 0
    for cut in cuts:
        rows = slice(start, cut.stop)
        yield Episode(
            observations=np.concatenate([observations[rows], cut.final[None]]),
            actions=actions[rows],
            rewards=rewards[rows],
            terminated=cut.terminated,
            truncated=cut.truncated,
        )
        start = cut.stop
