"""How fast HalfCheetah agents run: an average that rounding does not move.

A whole episode is chaotic. The last bit of a matrix product, which differs from processor to processor,
decides after some hundred steps where the agent is, and now and then whether it falls: a mean of five
episodes moves by a sixth. The speed after the start, averaged over many short runs, does not.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.training.evaluation import Act
from envs.locomotion import EnvironmentBatch

STARTS, RUN_UP, STEPS = 40, 50, 100
TOLERANCE = 0.3
"""Relative, of one agent's speed to the return a step of its whole episodes.

The speed itself moves by 0.05 with the processor and with the starts. The rest is the whole episodes': one
of five that stumbles takes 0.2 from their mean.
"""


@torch.no_grad()
def speeds(act: Act, agents: int) -> NDArray[np.float64]:
    """Mean reward a step of `agents` agents on HalfCheetah-v4, after a run-up. [agents]"""
    batch = EnvironmentBatch("HalfCheetah-v4", list(range(STARTS)) * agents)
    observations, total = batch.reset(), np.zeros(batch.copies)
    for step in range(RUN_UP + STEPS):
        shaped = torch.from_numpy(observations.astype(np.float32)).reshape(agents, STARTS, -1)
        actions = act(shaped).reshape(batch.copies, -1).numpy().astype(np.float64)
        observations, rewards, _, _ = batch.step(actions)
        if step >= RUN_UP:
            total += rewards
    speed: NDArray[np.float64] = total.reshape(agents, STARTS).mean(axis=1) / STEPS
    return speed
