"""A saved actor as a policy to record with: apart from its training, so that data outlive an edit of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.population import checkpoints
from algorithms.population.networks import Policy, TanhGaussian
from algorithms.population.streams import Streams, derived_seed
from storage import UserError


def load_behaviour_policy(
    path: Path, observation_size: int, action_size: int, seed: int, deviation_scale: float = 1.0
) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Load an actor as a function observations [E, obs] -> sampled actions [E, A], seeded by `seed`.

    Its deviations before tanh are taken times `deviation_scale`. UserError where the file is damaged or the
    actor is of other sizes.
    """
    tensors, _ = checkpoints.load(path)
    weights = [tensor for name, tensor in sorted(tensors.items()) if name.endswith("weight")]
    if not weights or weights[0].shape[1] != observation_size or weights[-1].shape[2] != 2 * action_size:
        raise UserError(
            f"{path}: expected an actor for {observation_size} observations and {action_size} actions"
        )
    policy = Policy(1, observation_size, action_size, [weight.shape[2] for weight in weights[:-1]])
    policy.load_state_dict(tensors)
    streams = Streams([derived_seed(seed, "behaviour policy")])

    @torch.no_grad()
    def act(observations: NDArray[np.float64]) -> NDArray[Any]:
        rows = torch.from_numpy(observations.astype(np.float32)).unsqueeze(0)
        mean, log_std = policy(rows)
        narrowed = TanhGaussian(mean, log_std + math.log(deviation_scale))
        actions, _ = narrowed.sample(streams.normal(len(observations), action_size))
        result: NDArray[np.float32] = actions.squeeze(0).numpy()
        return result

    return act
