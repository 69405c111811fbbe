"""The fingerprint of actor-critic agents: how pessimistic their Q is, and how sharp in the action.

A score says little about pre-trained agents: what fine-tuning meets is their Q. Each agent plays its own
sampled policy for a while, and its Q is compared there with itself in other actions and along the
trajectory. The authors' released agents are the reference ([C], read by
`algorithms.population.authors_checkpoints`). Q is the smaller of the twins, which the actor climbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics, load_members
from algorithms.population.networks import TanhGaussian
from algorithms.population.streams import Streams, derived_seed
from envs.locomotion import EnvironmentBatch, specification
from envs.reference_scores import normalised_score
from offline_data.transitions import Transitions
from storage import UserError

DRAWS = 20  # actions in each state, of the policy and uniform
DATA_ROWS = 10_000  # of a dataset, evenly spaced


@dataclass(frozen=True)
class Fingerprint:
    """Means over an agent's own states, but for `score`; the last three over the data's, NaN without."""

    score: float  # normalised, of the sampled policy, from the rewards of its steps
    q_mode: float  # Q(s, mode of pi)
    q_sample: float  # Q(s, a ~ pi), less q_mode
    q_uniform: float  # Q(s, a uniform), less q_mode
    q_flipped: float  # Q(s, -mode), less q_mode
    log_density: float  # log pi(a|s)
    deviation: float  # of pi, before tanh
    pessimism: float  # r + discount Q(s', a') - Q(s, a) along the trajectory: what Q lacks a step
    soft_td_error: float  # the same less discount log pi(a'|s'): the TD error at an entropy coefficient of 1
    entropy_coefficient: float  # the slope of Q over log pi within a state: alpha where pi ~ exp(Q / alpha)
    squared_td_error: float  # without entropy, summed over the twins, as CQL's critics are trained on it
    q_data: float  # Q(s, a) of the data
    q_data_policy: float  # Q(s, a ~ pi), less q_data


def population(agents: Sequence[Mapping[str, Tensor]], environment: str) -> ActorCritics:
    """Agents of one size (`agents.one_agent`'s tensors) side by side. UserError where they do not fit."""
    spec = specification(environment)
    layers = sorted(name for name in agents[0] if name.startswith("policy.") and name.endswith("bias"))
    if not layers:
        raise UserError("The agents have no policy: expected actor-critic agents")
    widths = tuple(agents[0][name].shape[-1] for name in layers[:-1])
    config = SACConfig(hidden_widths=widths)
    result = ActorCritics(range(len(agents)), spec.observation_size, spec.action_size, config)
    load_members(result, agents)
    return result


@torch.no_grad()
def fingerprints(
    agents: Sequence[Mapping[str, Tensor]],
    environment: str,
    transitions: Transitions | None = None,
    steps: int = 1_000,
    seed: int = 0,
    discount: float = 0.99,
) -> list[Fingerprint]:
    """Measure the fingerprint of each agent after `steps` steps of its own sampled policy.

    Each agent starts from the same states and draws from a stream of its own.

    Raises:
        UserError: the agents are of different sizes or of another environment.
    """
    acting = population(agents, environment)
    acting.streams = Streams([derived_seed(seed, f"fingerprint {index}") for index in range(len(agents))])
    observations, actions, rewards = _play(acting, environment, steps, seed)
    columns = {"score": torch.as_tensor(normalised_score(rewards.sum(dim=1).numpy(), environment))}
    columns |= _action_profile(acting, observations) | _along(
        acting, observations, actions, rewards, discount
    )
    columns |= _on_data(acting, transitions, discount)
    return [
        Fingerprint(**{name: float(values[index]) for name, values in columns.items()})
        for index in range(len(agents))
    ]


def _play(agents: ActorCritics, environment: str, steps: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations [P, T, obs], sampled actions [P, T, A] and rewards [P, T] of one copy an agent."""
    copies = EnvironmentBatch(environment, [derived_seed(seed, "fingerprint") % 2**32] * agents.count)
    current = copies.reset()
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        seen = torch.from_numpy(current.astype(np.float32))
        action, _ = agents.distribution(seen.unsqueeze(1)).sample(
            agents.streams.normal(1, agents.action_size)
        )
        result = copies.step(action[:, 0].numpy())
        rows.append((seen, action[:, 0], torch.from_numpy(result.rewards.astype(np.float32))))
        done = result.terminations | result.truncations
        current = copies.reset(done) if done.any() else result.observations
    observations, actions, rewards = (torch.stack(column, dim=1) for column in zip(*rows, strict=True))
    return observations, actions, rewards


def _action_profile(agents: ActorCritics, observations: Tensor) -> dict[str, Tensor]:
    """Q at the policy's mode, and how far it falls off to other actions. [P] each"""
    policy = agents.distribution(observations)
    at_mode, flipped = policy.mode(), -policy.mode()
    samples, log_density = _samples(agents, policy)
    uniform = 2 * agents.streams.uniform(*samples.shape[1:]) - 1
    q_mode, q_samples = _q(agents, observations, at_mode), _q(agents, observations, samples)
    q_deviation = q_samples - q_samples.mean(dim=-1, keepdim=True)
    density_deviation = log_density - log_density.mean(dim=-1, keepdim=True)
    product = (q_deviation * density_deviation).sum(dim=(1, 2))
    level = q_mode.mean(dim=1)
    return {
        "q_mode": level,
        "q_sample": q_samples.mean(dim=(1, 2)) - level,
        "q_uniform": _q(agents, observations, uniform).mean(dim=(1, 2)) - level,
        "q_flipped": _q(agents, observations, flipped).mean(dim=1) - level,
        "log_density": log_density.mean(dim=(1, 2)),
        "deviation": policy.log_std.exp().mean(dim=(1, 2)),
        "entropy_coefficient": product / density_deviation.square().sum(dim=(1, 2)),
    }


def _along(
    agents: ActorCritics, observations: Tensor, actions: Tensor, rewards: Tensor, discount: float
) -> dict[str, Tensor]:
    """Compute the played steps' TD errors, plain and soft at an entropy coefficient of 1. [P] each"""
    q = _q(agents, observations, actions)
    plain = rewards[:, :-1] + discount * q[:, 1:] - q[:, :-1]
    log_density = agents.distribution(observations[:, 1:]).log_density(actions[:, 1:])
    return {
        "pessimism": plain.mean(dim=1),
        "soft_td_error": (plain - discount * log_density).mean(dim=1),
    }


def _on_data(agents: ActorCritics, transitions: Transitions | None, discount: float) -> dict[str, Tensor]:
    """Compute the squared TD error that CQL trains on, and Q of data and policy actions. [P] each"""
    if transitions is None:
        unknown = torch.full((agents.count,), torch.nan)
        return dict.fromkeys(("squared_td_error", "q_data", "q_data_policy"), unknown)
    kept = np.linspace(0, len(transitions) - 1, min(DATA_ROWS, len(transitions))).astype(int)
    observations, actions, rewards, masks, followers = (
        torch.from_numpy(array[kept]).expand(agents.count, *array[kept].shape)
        for array in (
            transitions.observations,
            transitions.actions,
            transitions.rewards,
            transitions.masks,
            transitions.next_observations,
        )
    )
    following, _ = agents.distribution(followers).sample(agents.streams.normal(*actions.shape[1:]))
    target = rewards + discount * masks * _q(agents, followers, following)
    q = agents.q(observations, actions)
    acted, _ = agents.distribution(observations).sample(agents.streams.normal(*actions.shape[1:]))
    q_data = q.amin(dim=1).mean(dim=1)
    return {
        "squared_td_error": (q - target.unsqueeze(1)).square().mean(dim=2).sum(dim=1),
        "q_data": q_data,
        "q_data_policy": _q(agents, observations, acted).mean(dim=1) - q_data,
    }


def _samples(agents: ActorCritics, policy: TanhGaussian) -> tuple[Tensor, Tensor]:
    """DRAWS actions of the policy in each state [P, T, DRAWS, A] and their log densities [P, T, DRAWS]."""
    states, action_size = policy.mean.shape[1:]
    noise = agents.streams.normal(states, DRAWS, action_size)
    return policy.per_candidate().sample(noise)


def _q(agents: ActorCritics, observations: Tensor, actions: Tensor) -> Tensor:
    """Return the smaller twin's Q of one action a state, [P, T, A] -> [P, T], or several, [P, T, n, A]."""
    if actions.ndim == 3:
        smaller: Tensor = agents.q(observations, actions).amin(dim=1)
        return smaller
    several = actions.shape[2]
    q = _q(agents, observations.repeat_interleave(several, dim=1), actions.flatten(1, 2))
    return q.reshape(*actions.shape[:3])


def rows(setting: str, names: Sequence[str], step: int, found: Sequence[Fingerprint]) -> pd.DataFrame:
    """Make the tidy rows of `storage.tables.FINGERPRINTS`; what is not known has none."""
    wide = pd.DataFrame([asdict(one) for one in found]).assign(setting=setting, agent=list(names), step=step)
    tidy = wide.melt(["setting", "agent", "step"], var_name="metric")
    return tidy.dropna(subset="value").reset_index(drop=True)


def printed(tidy: pd.DataFrame) -> str:
    """Print tidy rows as text: a line a metric, a column an agent, setting and step."""
    order = [field.name for field in fields(Fingerprint)]
    wide = tidy.pivot(index="metric", columns=["setting", "agent", "step"], values="value")
    return str(wide.reindex([metric for metric in order if metric in wide.index]).round(2).to_string())
