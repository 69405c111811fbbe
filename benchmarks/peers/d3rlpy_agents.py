"""d3rlpy's SAC and CQL at the sizes of the others, timed in d3rlpy's own environment.

`benchmarks.updates` starts this file there as a worker; of the suite it imports what needs torch alone.
Both keep d3rlpy's defaults, which are two critics, 256-256 networks, batch 256 and for CQL 10 sampled
actions of each kind, weight 5 and no entropy in the target; CQL's weight is not learned, as in the suite.
An update is d3rlpy's own `update`, which takes a batch of numpy arrays and returns its losses as numbers.
"""

from __future__ import annotations

import sys
from typing import Any

import d3rlpy
import numpy as np
from d3rlpy.dataset import Transition, TransitionMiniBatch

from benchmarks.workers import ACTION_SIZE, BATCH_SIZE, OBSERVATION_SIZE, SEED, Update, random_batch, serve


def minibatch() -> TransitionMiniBatch:
    """The batch that all contenders learn from, as d3rlpy's replay hands it out."""
    observations, actions, rewards, masks, next_observations = (
        field[0].numpy() for field in random_batch(SEED)
    )
    transitions = [
        Transition(
            observation=observations[row],
            action=actions[row],
            reward=rewards[row : row + 1],
            next_observation=next_observations[row],
            next_action=np.zeros(ACTION_SIZE, np.float32),
            terminal=float(1 - masks[row]),
            interval=1,
            rewards_to_go=rewards[row : row + 1].reshape(1, 1),
        )
        for row in range(BATCH_SIZE)
    ]
    return TransitionMiniBatch.from_transitions(transitions)


def learner(config: Any) -> Update:
    """Updates of one agent."""
    agent = config.create(device="cpu:0")
    agent.create_impl((OBSERVATION_SIZE,), ACTION_SIZE)
    batch = minibatch()
    return lambda: agent.update(batch)


CONTENDERS = {
    "d3rlpy sac": lambda: learner(d3rlpy.algos.SACConfig()),
    "d3rlpy cql": lambda: learner(d3rlpy.algos.CQLConfig(alpha_learning_rate=0.0)),
}

if __name__ == "__main__":
    serve(sys.argv[1], CONTENDERS)
