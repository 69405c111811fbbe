"""Fine-tuning: how a run with an online method is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from algorithms.methods.interface import Method, Start
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OfflineData, OnlineBuffer, Recordings
from algorithms.training.acceleration import one_by_one
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineSchedule, run_online
from algorithms.training.probes import Probe
from algorithms.training.worlds import World, check_sizes, world_of
from storage import UserError

Members = Sequence[Mapping[str, Tensor]]


def fine_tune(
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Recordings | None,
    members: Members,
    job: Job,
    reward_scale: float = 1.0,
    probes: Sequence[Probe] = (),
    trained: list[dict[str, Tensor]] | None = None,
) -> pd.DataFrame:
    """Run `method` online, one run for each of `job.seeds`, side by side; returns their curve.

    `config` is of the class `method.Config`. `transitions` is the offline data, its rewards already scaled
    (None for methods from scratch); `members` the pre-trained agents run by run; `probes` measure what else a
    paper shows; `trained` is extended by the agents in the end, run by run. Raises UserError for missing
    data, or agents of another number or size. A custom method computes `acceleration.one_by_one`.
    """
    if not method.__module__.startswith("algorithms.methods."):
        job = job._replace(compute=one_by_one(job.compute))
    world = world_of(job)
    learner = make_learner(method, config, online, transitions, members, job, world)
    curve = run_online(online, learner, job, reward_scale, probes, world).curve
    if trained is not None:
        trained += [one_agent(learner.agents, index) for index in range(learner.agents.count)]
    return curve


def make_learner(
    method: type[Method],
    config: Any,
    online: OnlineSchedule,
    transitions: Recordings | None,
    members: Members,
    job: Job,
    world: World,
) -> Method:
    """Begin the online phase of `method` in the job's `world`; the other arguments are `fine_tune`'s."""
    if not isinstance(config, method.Config):
        raise UserError(f"{job.label} was given {type(config).__name__}, expected {method.Config.__name__}")
    device, seeds = job.compute.device, job.seeds
    needed, sizes = method.needed(config), (world.observation, world.action_size)
    offline = None if transitions is None else OfflineData.from_transitions(transitions, device, needed)
    if offline is not None and transitions is not None:
        check_sizes(offline, world, transitions.metadata.get("dataset_id", "the dataset"))
    capacity = world.horizon * (online.steps + online.initial_steps)
    start = Start(
        [derived_seed(seed, job.label) for seed in seeds],
        Streams([derived_seed(seed, job.label, "batches") for seed in seeds], device),
        *sizes,
        offline,
        OnlineBuffer(len(seeds), capacity, *sizes, device, needed, world.horizon),
        members,
        world.horizon * online.block_size,
    )
    learner = method.begin(start, config)
    learner.agents.move_to(device)
    return learner
