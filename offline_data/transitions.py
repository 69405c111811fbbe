"""Episodes as they are recorded, and transitions as learning reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.reference_scores import normalised_score
from offline_data.arrays import EpisodeRows, Shape, check_arrays, check_last_ends
from storage import UserError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Episode:
    """One episode of T steps.

    `observations` [T + 1, obs] holds the one after the last step too; `actions` [T, A] in the environment's
    own range; `rewards` [T] raw, never scaled. `terminated`: the last step led to a terminal state.
    `truncated`: it was cut there, by the time limit or by the end of the recording. Both may be true.
    """

    observations: Array
    actions: Array
    rewards: Array
    terminated: bool
    truncated: bool

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)


@dataclass(frozen=True)
class Transitions(EpisodeRows):
    """M transitions, episode after episode, as contiguous float32 arrays.

    `masks` [M] is 0 where the step led to a terminal state and 1 elsewhere: a time-out ends an episode
    (`episode_ends` [M], bool) but keeps mask 1, so that targets bootstrap through it.

    Raises:
        UserError: shapes or types disagree, a number is not finite, a terminal does not end its episode, or
            the last transition does not.
    """

    observations: Array
    actions: Array
    rewards: Array
    masks: Array
    next_observations: Array
    episode_ends: NDArray[np.bool_]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.metadata.get("dataset_id", "transitions")
        check_arrays(name, vars(self), _shapes(len(self.rewards)))
        if self.next_observations.shape != self.observations.shape:
            raise UserError(f"{name}: observations and next_observations differ in shape")
        if not np.isin(self.masks, (0.0, 1.0)).all():
            raise UserError(f"{name}: masks holds a value other than 0 and 1")
        check_last_ends(name, self.episode_ends)
        if np.any((self.masks == 0) & ~self.episode_ends):
            raise UserError(f"{name}: a terminal transition does not end its episode")


def _shapes(rows: int) -> dict[str, Shape]:
    return {
        "observations": Shape(np.float32, 2, rows),
        "actions": Shape(np.float32, 2, rows),
        "rewards": Shape(np.float32, 1, rows),
        "masks": Shape(np.float32, 1, rows),
        "next_observations": Shape(np.float32, 2, rows),
        "episode_ends": Shape(np.bool_, 1, rows),
    }


def from_episodes(episodes: Iterable[Episode], metadata: Mapping[str, Any] | None = None) -> Transitions:
    """Join `episodes` into transitions, in their order. Raises UserError where there are none."""
    episodes = list(episodes)
    if not episodes:
        raise UserError("no episodes were given, expected at least one")
    ends = np.cumsum([len(episode) for episode in episodes]) - 1
    episode_ends = np.zeros(ends[-1] + 1, dtype=np.bool_)
    episode_ends[ends] = True
    masks = np.ones(len(episode_ends), dtype=np.float32)
    masks[ends] = [not episode.terminated for episode in episodes]
    return Transitions(
        observations=np.concatenate([episode.observations[:-1] for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        masks=masks,
        next_observations=np.concatenate([episode.observations[1:] for episode in episodes]),
        episode_ends=episode_ends,
        metadata=dict(metadata or {}),
    )


def to_episodes(transitions: Transitions) -> list[Episode]:
    """Cut `transitions` into its episodes: the inverse of `from_episodes`, but for what masks cannot tell.

    An episode whose last mask is 1 is marked truncated, any other terminated and not truncated.

    Raises:
        UserError: inside an episode a next observation is not the observation of the step after it.
    """
    inside = np.flatnonzero(~transitions.episode_ends)
    if not np.array_equal(transitions.next_observations[inside], transitions.observations[inside + 1]):
        name = transitions.metadata.get("dataset_id", "transitions")
        raise UserError(
            f"{name}: inside an episode the next observation of a step is not the observation of the step"
            " after it; expected the transitions of one environment in order of time"
        )
    return [
        Episode(
            observations=np.concatenate(
                [transitions.observations[rows], transitions.next_observations[rows][-1:]]
            ),
            actions=transitions.actions[rows],
            rewards=transitions.rewards[rows],
            terminated=bool(transitions.masks[rows.stop - 1] == 0),
            truncated=bool(transitions.masks[rows.stop - 1] == 1),
        )
        for rows in transitions.episodes()
    ]


class _PublishedMean(NamedTuple):
    """The mean return of the episodes of one of D4RL's datasets, and who says so."""

    value: float
    source: str


# D4RL publishes no table of its datasets' mean returns. Here stand those with a public record of the number:
# v1 of one in an issue, v2 of five in the statistics that a public Decision Transformer script notes.
_V2 = "the v2 file, as noted in a public Decision Transformer script"
_D4RL_MEAN_RETURNS = {
    "halfcheetah-random": _PublishedMean(-288.797, _V2),
    "halfcheetah-medium": _PublishedMean(4770.335, _V2),
    "hopper-random": _PublishedMean(18.307, "D4RL issue 86 (hopper-random-v1: 45,264 episodes)"),
    "hopper-medium": _PublishedMean(1422.056, _V2),
    "walker2d-random": _PublishedMean(1.871, _V2),
    "walker2d-medium": _PublishedMean(2852.088, _V2),
}

_QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent
_BINS = 40


def summary(transitions: Transitions, environment: str) -> dict[str, Any]:
    """Summarise a dataset as JSON values.

    Returns and lengths are of episodes as they lie in the data: one that the end of the recording cut
    counts with what it has, so `cut_or_timed_out` says how many did not end in a terminal state.
    Quantiles are keyed by percent ("5"); `return_histogram` counts the episodes between `edges`.
    `d4rl_normalised_mean` is the mean of D4RL's dataset of that name, `d4rl_source` where that is said;
    both are None where it is not known.
    `episode_ends` is there for data that were recorded elsewhere: what reading them decided about where
    their episodes end (see `d4rl_hdf5.recording` and `minari_io.marked_ends`).

    Args:
        transitions: with raw rewards.
        environment: for the reference scores, e.g. "HalfCheetah-v4".
    """
    starts = np.array([rows.start for rows in transitions.episodes()])
    lengths = np.diff(starts, append=len(transitions))
    returns = np.add.reduceat(transitions.rewards.astype(np.float64), starts)
    counts, edges = np.histogram(returns, bins=_BINS)
    terminals = int((transitions.masks == 0).sum())
    dataset_id, decided = (transitions.metadata.get(key) for key in ("dataset_id", "episode_ends"))
    published = _D4RL_MEAN_RETURNS.get(_d4rl_name(str(dataset_id)))
    return {
        "dataset_id": dataset_id,
        "environment": environment,
        "steps": len(transitions),
        "episodes": len(starts),
        "terminals": terminals,
        "cut_or_timed_out": len(starts) - terminals,
        "length_mean": float(lengths.mean()),
        "length_quantiles": _quantiles(lengths),
        "return_mean": float(returns.mean()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
        "return_quantiles": _quantiles(returns),
        "return_histogram": {"edges": edges.tolist(), "episodes": counts.tolist()},
        "normalised_score": float(normalised_score(float(returns.mean()), environment)),
        "d4rl_normalised_mean": published and float(normalised_score(published.value, environment)),
        "d4rl_source": published and published.source,
        **({} if decided is None else {"episode_ends": decided}),
    }


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    found = np.percentile(values, _QUANTILES)
    return {str(percent): float(value) for percent, value in zip(_QUANTILES, found, strict=True)}


def _d4rl_name(dataset_id: str) -> str:
    """ "hopper-random" for "hopper/random-local-v0" and for "mujoco/hopper/random-v0"."""
    family_and_quality = "-".join(dataset_id.split("/")[-2:])
    return re.sub(r"(-local)?-v\d+$", "", family_and_quality)
