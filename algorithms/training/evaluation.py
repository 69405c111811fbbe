"""Evaluation episodes: every agent plays all of its episodes at once, in one batch of environments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.methods.interface import Method
from algorithms.population.streams import derived_seed
from algorithms.training.acceleration import Compute
from envs.locomotion import EnvironmentBatch
from envs.reference_scores import normalised_score

Act = Callable[[Tensor], Tensor]  # observations [G, E, observation_size] -> actions [G, E, action_size]


class Evaluation(NamedTuple):
    """Undiscounted returns and lengths of the episodes of G agents or ensembles. [G, episodes] each

    `successes`: which of them end in success, where the environment has such.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    successes: NDArray[np.bool_] | None = None

    def metrics(self, environment: str) -> dict[str, NDArray[np.float64]]:
        """Average over episodes, by the names of `storage.curves.METRICS`. [G] each"""
        mean_return = self.returns.mean(axis=1)
        succeeded = {} if self.successes is None else {"success": self.successes.mean(axis=1)}
        return {
            **succeeded,
            "return": mean_return,
            "normalised_score": np.asarray(normalised_score(mean_return, environment)),
            "episode_length": self.lengths.mean(axis=1),
        }


def evaluation_of(
    player: Method, environment: str, seeds: Sequence[int], step: int, episodes: int, compute: Compute
) -> Callable[[], dict[str, NDArray[np.float64]]]:
    """Return a function that evaluates `player` as it is now, as `Evaluation.metrics`.

    With `compute.evaluation_beside` a copy on the CPU plays, so that the player may learn on before.
    """
    if compute.evaluation_beside:
        still = copy.copy(player)
        still.agents = player.agents.as_they_are()
        player, compute = still, replace(compute, device="cpu", tf32=False, updates_per_graph=0)

    def measure() -> dict[str, NDArray[np.float64]]:
        return evaluate(player.exploit, environment, seeds, step, episodes, compute).metrics(environment)

    return measure


@torch.no_grad()
def evaluate(
    act: Act,
    environment: str,
    seeds: Sequence[int],
    step: int,
    episodes: int,
    compute: Compute | None = None,
) -> Evaluation:
    """Play `episodes` whole episodes with each of the G = len(seeds) agents.

    Start states depend on (seed, step, episode) alone, so an evaluation leaves no state behind and is
    the same after a resume. No episode is cut short: [C] discards incomplete paths. `act` computes on
    the device of `compute` (None: the CPU).
    """
    compute = compute or Compute()
    starts = [derived_seed(seed, "evaluation", step, e) % 2**32 for seed in seeds for e in range(episodes)]
    batch = EnvironmentBatch(environment, starts, compute.environment_threads)
    observations = batch.reset()
    running = np.ones(batch.copies, dtype=bool)
    ends = observations.copy()
    returns, lengths = np.zeros(batch.copies), np.zeros(batch.copies, dtype=np.int64)
    while running.any():
        shaped = torch.from_numpy(observations.astype(np.float32)).reshape(len(seeds), episodes, -1)
        actions = act(shaped.to(compute.device)).reshape(batch.copies, -1).cpu().numpy().astype(np.float64)
        observations, rewards, terminations, truncations = batch.step(actions)
        ends[running] = observations[running]
        returns += np.where(running, rewards, 0.0)
        lengths += running
        finished = terminations | truncations
        running &= ~finished
        if finished.any() and running.any():
            observations = batch.reset(finished)
    shape, successes = (len(seeds), episodes), batch.successes(ends)
    succeeded = None if successes is None else successes.reshape(shape)
    return Evaluation(returns.reshape(shape), lengths.reshape(shape), succeeded)
