"""How likely held-out trajectories are under estimated behaviours, as a mixture of policies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from algorithms.methods.behaviour_cloning import inside
from algorithms.methods.multi_source import LatentAgents, MultiSourceConfig
from offline_data.transitions import Transitions

ROWS = 10_000  # transitions that are judged at a time


def assignment(agent: Mapping[str, Tensor]) -> NDArray[np.int64]:
    """Return each trajectory's behaviour, of an agent of `multi_source` or `lbrac_v`. [M]"""
    found: NDArray[np.int64] = agent["assignment"][0].numpy()
    return found


def directions(agent: Mapping[str, Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors of trajectories [M, d], and of behaviours and the learned policy [K + 1, d]."""
    tables = (agent["trajectories.vectors"][0], agent["policies.vectors"][0])
    trajectories, policies = (functional.normalize(table, dim=-1).double().numpy() for table in tables)
    return trajectories, policies


@torch.no_grad()
def log_densities(
    agent: Mapping[str, Tensor], config: MultiSourceConfig, data: Transitions
) -> NDArray[np.float64]:
    """log pi(a|s; e_k) of each transition under each behaviour, in nats. [K, transitions]

    UserError where the agent is not of these settings or of the data's sizes.
    """
    sizes = (data.observations.shape[1], data.actions.shape[1])
    agents = LatentAgents([0], *sizes, config, torch.zeros(len(assignment(agent))))
    agents.start_from([agent])
    found = np.empty((config.policies, len(data)))
    for start in range(0, len(data), ROWS):
        rows = slice(start, start + ROWS)
        states, actions = (
            torch.from_numpy(part[rows]).unsqueeze(0) for part in (data.observations, data.actions)
        )
        for policy in range(config.policies):
            likely = agents.of_numbers(states, torch.tensor([[policy]])).log_density(inside(actions))
            found[policy, rows] = likely[0].double().numpy()
    return found


def mixture_log_likelihood(
    densities: NDArray[np.float64], made: NDArray[np.int64], data: Transitions
) -> float:
    """Mean log likelihood of whole trajectories, in nats a transition.

    sum_trajectories log sum_k p_k prod_t pi_k(a_t|s_t), over the number of transitions, from `densities`
    [K, transitions]; p_k is the share of the training trajectories `made` [M] by policy k.
    """
    counts = np.bincount(made, minlength=len(densities))
    with np.errstate(divide="ignore"):  # a policy without trajectories has no share
        shares = np.log(counts / counts.sum())
    starts = [rows.start for rows in data.episodes()]
    joint = np.add.reduceat(densities, starts, axis=1) + shares[:, None]
    return float(np.logaddexp.reduce(joint, axis=0).sum() / len(data))
