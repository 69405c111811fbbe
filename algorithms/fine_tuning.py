"""The online methods by name: what each starts from and which replay it draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from algorithms.agents import Agents, load_members
from algorithms.jobs import Job, check_sizes
from algorithms.off2on import Off2OnAgents, Off2OnConfig, Off2OnLearner
from algorithms.online import Learner, OnlineConfig, run_online
from algorithms.randomness import Streams, derived_seed
from algorithms.replay import BalancedReplay, OfflineData, OnlineBuffer, OnlineReplay, UniformReplay
from algorithms.sac import SACConfig, SACLearner
from datasets.transitions import Transitions
from envs.locomotion import specification
from records import UserError

METHOD_CONFIGS: dict[str, type[SACConfig]] = {"off2on": Off2OnConfig, "sac_ft": SACConfig, "sac": SACConfig}
Members = Sequence[Mapping[str, Tensor]]


def fine_tune(
    method: str,
    config: SACConfig,
    online: OnlineConfig,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    job: Job,
    reward_scale: float = 1.0,
) -> pd.DataFrame:
    """Run `method` online, one run for each of `seeds`, side by side; returns their curve.

    `config` is of the method's class in `METHOD_CONFIGS`. `transitions` is the offline data, its rewards
    already scaled (None for "sac"); `members` the pre-trained agents run by run: none for "sac", one a
    run for "sac_ft", N a run for "off2on". Raises UserError for an unknown method, missing data, or
    agents of another number or size.
    """
    learner = make_learner(method, config, online, transitions, members, seeds, job.environment)
    return run_online(online, method, learner, seeds, job, reward_scale).curve


def make_learner(
    method: str,
    config: SACConfig,
    online: OnlineConfig,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    environment: str,
) -> Learner:
    """`method` at the start of its online phase; the arguments are `fine_tune`'s."""
    if method not in METHOD_CONFIGS:
        raise UserError(f"unknown method {method!r}, expected one of {', '.join(METHOD_CONFIGS)}")
    spec = specification(environment)
    buffer = OnlineBuffer(
        len(seeds), online.steps + online.initial_steps, spec.observation_size, spec.action_size
    )
    own_seeds = [derived_seed(seed, method) for seed in seeds]
    draws = Streams([derived_seed(seed, method, "batches") for seed in seeds])
    if method == "sac":
        if members:
            raise UserError(f"sac starts from scratch, and {len(members)} pre-trained agents were given")
        agents = Agents(own_seeds, spec.observation_size, spec.action_size, config)
        agents.initialise()
        return SACLearner(agents, OnlineReplay(buffer), draws, config)
    if transitions is None:
        raise UserError(f"{method} fine-tunes on offline data, and none were given")
    check_sizes(transitions, environment)
    offline = OfflineData.from_transitions(transitions)
    if method == "sac_ft":
        agents = Agents(own_seeds, spec.observation_size, spec.action_size, config)
        load_members(agents, members)
        return SACLearner(agents, UniformReplay(offline, buffer), draws, config)
    if not isinstance(config, Off2OnConfig):
        raise UserError(f"{method} was given a {type(config).__name__}, expected an Off2OnConfig")
    ensembles = Off2OnAgents(own_seeds, spec.observation_size, spec.action_size, config)
    ensembles.start_from(members)
    replay = BalancedReplay(offline, buffer, config.initial_online_fraction, online.block_size)
    return Off2OnLearner(ensembles, replay, draws, config)
