"""Methods tried on a few made-up transitions: whether a run can begin, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from algorithms.methods.interface import Method, OfflineStart, Start
from algorithms.population.encoders import IMAGE, STATE
from algorithms.population.encoding import Observed
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch, combined
from algorithms.replay.extras import EPISODE_ENDS, Needed
from algorithms.replay.stores import OfflineData, OnlineBuffer
from envs.locomotion import specification
from offline_data.image_episodes import TASK, ImageEpisode, from_image_episodes
from offline_data.transitions import Transitions
from storage import UserError

ROWS = 64
"""Transitions that each run is given."""

EPISODES = 100
"""Episodes that pre-training is tried for: a method may look for so many sources of them."""

Agent = Mapping[str, Tensor]


class Sizes(NamedTuple):
    """Shapes of observations and size of actions."""

    observation_size: Observed
    action_size: int


def sizes_of(environment: str) -> Sizes:
    """Return the sizes of a task of vectors, each number of whose actions agents keep in [-1, 1].

    UserError for an environment whose actions are of another range: agents would reach a part of it alone,
    or be charged beyond it.
    """
    spec = specification(environment)
    if (spec.action_low != -1).any() or (spec.action_high != 1).any():
        raise UserError(
            f"environment {environment} takes actions from {spec.action_low.min():g} to"
            f" {spec.action_high.max():g}: expected -1 to 1, the range that agents act in"
        )
    return Sizes(spec.observation_size, spec.action_size)


def begin(
    method: type[Method],
    config: Any,
    sizes: Sizes,
    members: Sequence[Agent],
    seeds: Sequence[int] = (0,),
    offline: OfflineData | None = None,
) -> Method:
    """Begin a run for each of `seeds`, from `members`, with `ROWS` online transitions of its own.

    UserError, as where it begins in earnest, for missing data and agents that do not fit.
    """
    start = Start(
        seeds,
        Streams([seed + 1 for seed in seeds]),
        *sizes,
        offline,
        OnlineBuffer(len(seeds), ROWS, *sizes, needed=method.needed(config), horizon=ROWS),
        members,
        ROWS,
    )
    learner = method.begin(start, config)
    rows = [made_up(seed, sizes) for seed in seeds]
    learner.replay.add(combined(rows, lambda *each: torch.stack(each)))
    return learner


def begin_offline(method: type[Method], config: Any, sizes: Sizes, agents: Sequence[Agent] = ()) -> Method:
    """One agent's pre-training, from `agents` if there is one. UserError as where it begins in earnest."""
    return method.begin_offline(OfflineStart([0], *sizes, agents, returns=range(EPISODES)), config)


def made_up(seed: int, sizes: Sizes, rows: int = ROWS) -> Batch:
    """Make `rows` random transitions. [rows, ...] each"""
    before, after = observations(seed, sizes.observation_size, rows)
    return Batch(
        before,
        random(seed + 2, rows, sizes.action_size).tanh(),
        random(seed + 3, rows),
        torch.ones(rows),
        after,
        {EPISODE_ENDS: torch.arange(1, rows + 1) == rows},
    )


def observations(seed: int, observed: Observed, rows: int) -> tuple[Any, Any]:
    """Random ones before and after `rows` steps, of one episode where they are named."""
    if isinstance(observed, int):
        return random(seed, rows, observed), random(seed + 4, rows, observed)
    frames = {name: random(seed, rows + 1, *shape) for name, shape in observed.items()}
    frames[IMAGE] = (255 * frames[IMAGE].sigmoid()).to(torch.uint8)
    before, after = ({name: each[i : rows + i] for name, each in frames.items()} for i in (0, 1))
    return before, after


def offline_data(sizes: Sizes, needed: Needed, rows: int = ROWS) -> OfflineData:
    """Make `rows` random transitions, as a dataset's of one episode, with the extras that are `needed`."""
    batch = made_up(1, sizes, rows)
    if not isinstance(sizes.observation_size, int):
        shown = {
            name: torch.cat([each, batch.next_observations[name][-1:]]).numpy()
            for name, each in batch.observations.items()
        }
        episode = ImageEpisode(shown[IMAGE], shown[STATE], batch.actions.numpy(), batch.rewards.numpy(), TASK)
        return OfflineData.from_transitions(from_image_episodes([episode]), needed=needed)
    arrays = {name: getattr(batch, name).numpy() for name in FIELDS}
    ends = batch.extras[EPISODE_ENDS].numpy()
    return OfflineData.from_transitions(Transitions(**arrays, episode_ends=ends), needed=needed)


def random(seed: int, *shape: int) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
