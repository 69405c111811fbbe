"""Episodes with images: as they are recorded, and compact, as learning reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_data.arrays import EpisodeRows, Shape, check_arrays, check_last_ends
from storage import UserError

PRIOR, TASK, RANDOM = 0, 1, 2
"""Where a transition is from: the first stage, rewards zeroed; the second stage; uniform actions."""
SOURCES = ("prior", "task", "random")
"""The names of these, in their order."""


@dataclass(frozen=True)
class ImageEpisode:
    """One episode of T steps that never terminates.

    `images` [T + 1, H, W, 3] uint8 and `states` [T + 1, S] float32 hold those after the last step too;
    `actions` [T, A] and `rewards` [T] are float32; `source` is one of `PRIOR`, `TASK`, `RANDOM`.
    """

    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    source: int

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)


@dataclass(frozen=True)
class ImageEpisodes(EpisodeRows):
    """N transitions of E episodes, episode after episode, every image once.

    Transition n leads from `frames[frame_index[n]]` to `frames[frame_index[n] + 1]`.

    frames [N + E, H, W, 3] uint8; states [N + E, S] float32, beside them; frame_index [N] int64; actions [N,
    A], rewards [N] and masks [N] (1 everywhere, as these tasks never terminate) float32; source [N] int8, as
    in `ImageEpisode`; episode_ends [N] bool.

    Raises:
        UserError: shapes or types disagree, a number is not finite, or the images do not fit the episodes.
    """

    frames: NDArray[np.uint8]
    states: NDArray[np.float32]
    frame_index: NDArray[np.int64]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    masks: NDArray[np.float32]
    source: NDArray[np.int8]
    episode_ends: NDArray[np.bool_]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.metadata.get("dataset_id", "image episodes")
        check_arrays(name, vars(self), _shapes(len(self.rewards), int(self.episode_ends.sum())))
        check_last_ends(name, self.episode_ends)
        if not np.array_equal(self.frame_index, _frame_index(self.episode_ends)):
            raise UserError(f"{name}: frame_index does not count the frames of its episodes")
        if not np.isin(self.source, range(len(SOURCES))).all():
            raise UserError(f"{name}: source holds a value other than those of {', '.join(SOURCES)}")

    @property
    def observations(self) -> dict[str, NDArray[Any]]:
        """The frames by what they show. [N + E, ...] each"""
        return {"image": self.frames, "state": self.states}


def _shapes(rows: int, episodes: int) -> dict[str, Shape]:
    return {
        "frames": Shape(np.uint8, 4, rows + episodes),
        "states": Shape(np.float32, 2, rows + episodes),
        "frame_index": Shape(np.int64, 1, rows),
        "actions": Shape(np.float32, 2, rows),
        "rewards": Shape(np.float32, 1, rows),
        "masks": Shape(np.float32, 1, rows),
        "source": Shape(np.int8, 1, rows),
        "episode_ends": Shape(np.bool_, 1, rows),
    }


def from_image_episodes(
    episodes: Sequence[ImageEpisode], metadata: Mapping[str, Any] | None = None
) -> ImageEpisodes:
    """Join `episodes`, in their order. Raises UserError where there are none."""
    if not episodes:
        raise UserError("no image episodes were given, expected at least one")
    lengths = [len(episode) for episode in episodes]
    return joined(
        lengths,
        frames=np.concatenate([episode.images for episode in episodes]),
        states=np.concatenate([episode.states for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        sources=[episode.source for episode in episodes],
        metadata=metadata or {},
    )


def joined(
    lengths: Sequence[int],
    frames: NDArray[np.uint8],
    states: NDArray[np.float32],
    actions: NDArray[np.float32],
    rewards: NDArray[np.float32],
    sources: Sequence[int],
    metadata: Mapping[str, Any],
) -> ImageEpisodes:
    """Index the transitions of concatenated episodes with these `lengths` [E] and `sources` [E]."""
    episode_ends = np.zeros(len(rewards), dtype=np.bool_)
    episode_ends[np.cumsum(lengths) - 1] = True
    return ImageEpisodes(
        frames=frames,
        states=states,
        frame_index=_frame_index(episode_ends),
        actions=actions,
        rewards=rewards,
        masks=np.ones(len(rewards), dtype=np.float32),
        source=np.repeat(np.asarray(sources, dtype=np.int8), lengths),
        episode_ends=episode_ends,
        metadata=dict(metadata),
    )


def _frame_index(episode_ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return frame that each transition starts at: every episode before it has one more than it has steps."""
    ended_before: NDArray[np.int64] = np.cumsum(episode_ends) - episode_ends
    return np.arange(len(episode_ends)) + ended_before
