"""Datasets with images on disk, as Minari stores them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from minari.data_collector import EpisodeBuffer
from numpy.typing import NDArray

from offline_data.image_episodes import ImageEpisode, ImageEpisodes, joined
from offline_data.minari_io import (
    check_fits,
    check_local_id,
    described,
    read_arrays,
    read_stored,
    stored_episodes,
    stored_shape,
    write_buffers,
)
from storage import UserError


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
    check_fits((steps + episodes) * math.prod(image_shape))
    frames = np.empty((steps + episodes, *image_shape), np.uint8)
    state_size = stored_shape(identifier, 0, "observations/state")[1]
    states = np.empty((steps + episodes, state_size), np.float32)
    actions = np.empty((steps, stored_shape(identifier, 0, "actions")[1]), np.float32)
    rewards = np.empty(steps, np.float32)
    lengths, sources = [], []
    for number, rows in stored_episodes(identifier, episodes, steps):
        lengths.append(rows.stop - rows.start)
        source = np.empty(lengths[-1] + 1, np.int8)
        shown = slice(rows.start + number, rows.stop + number + 1)
        read_stored(identifier, number, "observations/image", frames[shown])
        read_stored(identifier, number, "observations/state", states[shown])
        read_stored(identifier, number, "actions", actions[rows])
        read_stored(identifier, number, "rewards", rewards[rows])
        read_stored(identifier, number, "infos/source", source)
        sources.append(int(source[0]))
    whole = joined(lengths, frames, states, actions, rewards, sources, {})
    return {key: array for key, array in vars(whole).items() if key != "metadata"}


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
