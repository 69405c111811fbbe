"""Episodes with images: as they are recorded, as Minari stores them, and compact, as learning reads them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from minari.data_collector import EpisodeBuffer
from numpy.typing import NDArray

from offline_data.arrays import EpisodeRows, Shape, check_arrays, check_last_ends
from offline_data.minari_io import (
    check_local_id,
    described,
    read_arrays,
    read_stored,
    stored_shape,
    write_buffers,
)
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
    return _joined(
        lengths,
        frames=np.concatenate([episode.images for episode in episodes]),
        states=np.concatenate([episode.states for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        sources=[episode.source for episode in episodes],
        metadata=metadata or {},
    )


def write_image_dataset(
    folder: Path | str,
    dataset_id: str,
    episodes: Sequence[ImageEpisode],
    environment: str,
    options: Mapping[str, Any],
    metadata: Mapping[str, Any],
    spaces: tuple[Any, Any],
) -> None:
    """Write `episodes` as the Minari dataset `dataset_id` under the Minari root `folder`, atomically.

    Observations are dictionaries of `image` and `state`, the images as they are (no JPEG); `infos/source` is
    each step's source. To the caller's `metadata` are added the environment, versions and checksum. Equal
    episodes give equal bytes of data. Size: that of the images, 6.9 kB each.

    Args:
        folder: the Minari root.
        dataset_id: such as "manipulation/grasp-closed-drawer-local-v0".
        episodes: at least one.
        environment: such as "GraspClosedDrawer-v0".
        options: what the environment was made with beside its name; Minari recovers it with them.
        metadata: JSON values.
        spaces: those of observations and of actions; the environment is registered with Gymnasium.

    Raises:
        UserError: the id is not a local one, an episode's arrays are of other shapes or types than
            `ImageEpisode` says or hold a number that is not finite, or the place cannot be written.
    """
    check_local_id(dataset_id, episodes)
    image_shape, action_size = episodes[0].images.shape[1:], episodes[0].actions.shape[1]
    spec = copy.deepcopy(gymnasium.spec(f"manipulation/{environment}"))
    spec.kwargs.update(options)
    write_buffers(
        Path(folder) / dataset_id,
        (
            _buffer(episode, f"{dataset_id}: episode {number}", image_shape, action_size)
            for number, episode in enumerate(episodes)
        ),
        len(episodes),
        _largest_size(episodes),
        spaces,
        spec,
        {**metadata, **described(dataset_id, environment, ("gymnasium", "mujoco", "dm-control"))},
    )


def read_image_dataset(folder: Path | str, dataset_id: str) -> ImageEpisodes:
    """Load a dataset of `write_image_dataset`; `metadata` is the dataset's own.

    Raises:
        UserError: the dataset is missing, truncated, damaged, of another layout or of other shapes than its
            metadata say, or holds a number that is not finite.
    """
    metadata, arrays = read_arrays(folder, dataset_id, _read_arrays)
    return ImageEpisodes(**arrays, metadata=metadata)


def _read_arrays(file: Any, episodes: int, steps: int) -> dict[str, NDArray[Any]]:
    """Read all episodes into arrays made once."""
    identifier = file.id
    image_shape = stored_shape(identifier, 0, "observations/image")[1:]
    frames = np.empty((steps + episodes, *image_shape), np.uint8)
    state_size = stored_shape(identifier, 0, "observations/state")[1]
    states = np.empty((steps + episodes, state_size), np.float32)
    actions = np.empty((steps, stored_shape(identifier, 0, "actions")[1]), np.float32)
    rewards = np.empty(steps, np.float32)
    lengths, sources, start = [], [], 0
    for number in range(episodes):
        length = stored_shape(identifier, number, "rewards")[0]
        rows = slice(start, start + length)
        if length == 0 or rows.stop > steps:
            raise ValueError(f"episode {number} has {length} steps, which its metadata do not allow")
        source = np.empty(length + 1, np.int8)
        shown = slice(start + number, rows.stop + number + 1)
        read_stored(identifier, number, "observations/image", frames[shown])
        read_stored(identifier, number, "observations/state", states[shown])
        read_stored(identifier, number, "actions", actions[rows])
        read_stored(identifier, number, "rewards", rewards[rows])
        read_stored(identifier, number, "infos/source", source)
        lengths.append(length)
        sources.append(int(source[0]))
        start = rows.stop
    if start != steps:
        raise ValueError(f"it has {start} steps where its metadata say {steps}")
    joined = _joined(lengths, frames, states, actions, rewards, sources, {})
    return {key: array for key, array in vars(joined).items() if key != "metadata"}


def _joined(
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


def _buffer(
    episode: ImageEpisode, name: str, image_shape: tuple[int, ...], action_size: int
) -> EpisodeBuffer:
    steps = len(episode)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "images": (np.uint8, (steps + 1, *image_shape)),
        "states": (np.float32, (steps + 1, *episode.states.shape[1:])),
        "actions": (np.float32, (steps, action_size)),
        "rewards": (np.float32, (steps,)),
    }
    for key, (kind, shape) in expected.items():
        array: NDArray[Any] = getattr(episode, key)
        if steps == 0 or array.dtype != kind or array.shape != shape:
            raise UserError(
                f"{name}: {key} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}, not empty"
            )
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} holds a value that is not a finite number")
    truncations = np.zeros(steps, dtype=np.bool_)
    truncations[-1] = True
    return EpisodeBuffer(
        observations={"image": episode.images, "state": episode.states},
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=np.zeros(steps, dtype=np.bool_),
        truncations=truncations,
        infos={"source": np.full(steps + 1, episode.source, dtype=np.int8)},
    )


def _largest_size(episodes: Sequence[ImageEpisode]) -> int:
    """Bytes that the HDF5 file of `episodes` stays under: chunks round up, each episode has tables."""
    numbers = sum(
        episode.images.nbytes + episode.states.nbytes + episode.actions.nbytes + 16 * len(episode)
        for episode in episodes
    )
    return int(1.6 * numbers) + 32_768 * len(episodes) + 1_000_000
