"""CQL, ReDS, their controls and AWR in a gridworld with networks, many side by side: fitted Q-iteration.

The losses are `tabular`'s, with a perceptron where that has a table, and for what the data lack its guess.
Each iteration fixes the targets, which the known model gives for every state and action, and descends the
loss over the whole data for some steps. Settings are the notebook's ([GRID], envs/gridworld.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from algorithms.discrete import tabular
from algorithms.population.adam import AgentwiseAdam
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams
from envs.gridworld import Gridworld, Values
from storage.constraints import PositiveCount, Rate, Widths

Kind = Literal["cql", "reds", "reweighted", "awr"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size and schedule of the networks."""

    hidden_widths: Widths = (128, 128)  # [GRID]
    learning_rate: Rate = 1e-3  # [GRID] Adam
    iterations: PositiveCount = 1000  # [GRID]
    steps: PositiveCount = 50  # [GRID] of gradient descent in each iteration


def one_hot(world: Gridworld) -> Tensor:
    """Observations: a cell's column and row, each one of so many. [S, W + H]  [GRID] onehot"""
    rows, columns = torch.from_numpy(world.cells).unbind(dim=1)
    sizes = len(world.maze.rows[0]), len(world.maze.rows)
    parts = zip((columns, rows), sizes, strict=True)
    return torch.cat([torch.nn.functional.one_hot(*each) for each in parts], dim=1).float()


def train(
    world: Gridworld,
    weights: Values,
    kind: Kind,
    alpha: Values,
    temperature: Values,
    seeds: Sequence[int],
    config: NetworkConfig,
) -> Values:
    """Q (AWR: log preferences) of P networks, each from the stream of its seed. [P, S, A]

    `weights [P, S, A]`, `alpha [P]` and `temperature [P]` as in `tabular.solve`; AWR has no alpha and knows
    Q*.
    """
    sizes = len(seeds), world.cells.shape[0], world.next_states.shape[1]
    data = torch.from_numpy(weights).float()
    observations = one_hot(world).expand(sizes[0], -1, -1)
    network = PopulationMLP(sizes[0], observations.shape[2], config.hidden_widths, sizes[2])
    network.initialise(1 / config.hidden_widths[-1] ** 0.5, Streams(seeds))
    optimiser = AgentwiseAdam([{"params": network.parameters(), "lr": config.learning_rate}], sizes[0])
    loss = _loss(world, kind, data, torch.from_numpy(alpha).float(), torch.from_numpy(temperature).float())
    for _ in range(config.iterations):
        with torch.no_grad():
            values = network(observations).amax(dim=2).double().numpy()
        targets = torch.from_numpy(world.backup(values)).float()
        for _ in range(config.steps):
            optimiser.zero_grad()
            loss(network(observations), targets).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        return np.asarray(network(observations).double().numpy())


def _loss(
    world: Gridworld, kind: Kind, data: Tensor, alpha: Tensor, temperature: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss [P] of outputs [P, S, A] for targets [P, S, A]."""
    heat, states = temperature[:, None, None], data.sum(dim=2)
    advantage = torch.from_numpy(world.optimal_q - world.optimal_q.mean(axis=1, keepdims=True)).float()
    shares = torch.from_numpy(tabular.action_shares(data.double().numpy())).float()

    def penalty(q: Tensor) -> Tensor:
        pushed_up = data
        pushed_down = states * q.logsumexp(dim=2)
        if kind == "reds":
            poor = (shares.log() - q.detach() / heat).softmax(dim=2).nan_to_num()
            pushed_down = 0.5 * (pushed_down + states * (poor * q).sum(dim=2))
        elif kind == "reweighted":
            pushed_up = data * q.shape[2] * (q.detach() / heat).softmax(dim=2)
        return pushed_down.sum(dim=1) - (pushed_up * q).sum(dim=(1, 2))

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if kind == "awr":
            # Scaled to at most 1 in all states alike, which moves no minimum.
            weight = ((advantage - advantage.max()) / heat).exp()
            return -(data * weight * outputs.log_softmax(dim=2)).sum(dim=(1, 2))
        return (data * (outputs - targets).square()).sum(dim=(1, 2)) + alpha * penalty(outputs)

    return loss
