"""Fine-tuning: how a run with an online method is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from algorithms.methods.interface import Method, Start
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData, OnlineBuffer
from algorithms.training.acceleration import one_by_one
from algorithms.training.jobs import Job, check_sizes
from algorithms.training.online import OnlineSchedule, run_online
from algorithms.training.probes import Probe
from envs.locomotion import specification
from offline_data.transitions import Transitions
from storage import UserError

Members = Sequence[Mapping[str, Tensor]]


def fine_tune(
    label: str,
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    job: Job,
    reward_scale: float = 1.0,
    probes: Sequence[Probe] = (),
    trained: list[dict[str, Tensor]] | None = None,
) -> pd.DataFrame:
    """Run `method` online, one run for each of `seeds`, side by side; returns their curve.

    `label` is what the curve calls it; two labels of one method share no random numbers. `config` is of the
    class `method.Config`. `transitions` is the offline data, its rewards already scaled (None for methods
    from scratch); `members` the pre-trained agents run by run; `probes` measure what else a paper shows;
    `trained` is extended by the agents in the end, run by run. Raises UserError for missing data, or agents
    of another number or size. A custom method computes `acceleration.one_by_one`.
    """
    if not method.__module__.startswith("algorithms.methods."):
        job = job._replace(compute=one_by_one(job.compute))
    learner = make_learner(
        label, method, config, online, transitions, members, seeds, job.environment, job.compute.device
    )
    curve = run_online(online, label, learner, seeds, job, reward_scale, probes).curve
    if trained is not None:
        trained += [one_agent(learner.agents, index) for index in range(learner.agents.count)]
    return curve


def make_learner(
    label: str,
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Transitions | None,
    members: Members,
    seeds: Sequence[int],
    environment: str,
    device: str = "cpu",
) -> Method:
    """`method` at the start of its online phase, on `device`; the arguments are `fine_tune`'s."""
    if not isinstance(config, method.Config):
        raise UserError(f"{label} was given {type(config).__name__}, expected {method.Config.__name__}")
    spec = specification(environment)
    if transitions is not None:
        check_sizes(transitions, environment)
    needed = method.needed(config)
    start = Start(
        seeds=[derived_seed(seed, label) for seed in seeds],
        draws=Streams([derived_seed(seed, label, "batches") for seed in seeds], device),
        observation_size=spec.observation_size,
        action_size=spec.action_size,
        offline=None if transitions is None else OfflineData.from_transitions(transitions, device, needed),
        buffer=OnlineBuffer(
            len(seeds),
            online.steps + online.initial_steps,
            spec.observation_size,
            spec.action_size,
            device,
            needed,
        ),
        members=members,
        block_size=online.block_size,
    )
    learner = method.begin(start, config)
    learner.agents.move_to(device)
    return learner
