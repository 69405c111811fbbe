"""Writing and reading Minari datasets (HDF5): whole or absent, checked, and fast with short episodes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.storage.datasets_root_dir import get_dataset_path
from numpy.typing import NDArray
from tqdm import tqdm

from envs.locomotion import specification
from envs.reference_scores import KNOWN, reference_scores
from offline_data import environment_spec
from offline_data.transitions import Episode, Transitions
from storage import UserError
from storage.checksums import sha256
from storage.files import atomic_path, check_regular, read_json, write_json
from storage.provenance import versions

_LOCAL_ID = re.compile(r"[a-z0-9-]+/[a-z0-9-]+-local-v\d+")
_DATA = Path("data")
_HDF5 = _DATA / "main_data.hdf5"
_METADATA = _DATA / "metadata.json"


def write_dataset(
    folder: Path | str,
    dataset_id: str,
    episodes: Sequence[Episode],
    environment: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write `episodes` as the Minari dataset `dataset_id` under the Minari root `folder`, atomically.

    `minari.load_dataset(dataset_id)` opens it with MINARI_DATASETS_PATH set to `folder`. To the caller's
    `metadata` (JSON values; `recipe`, `seeds`, `steps`, …) are added the environment, its reference scores,
    the versions of the packages and the checksum of the data. Equal episodes give equal bytes of data.
    Time: about 1 ms an episode, and 15 KB on disk beside its numbers.

    Args:
        folder: the Minari root.
        dataset_id: such as "halfcheetah/random-local-v0": never one that D4RL or Minari publish.
        episodes: at least one.
        environment: such as "HalfCheetah-v4".
        metadata: JSON values.

    Raises:
        UserError: the id is not a local one, an episode does not fit the environment or holds a number that
            is not finite, or the place cannot be written.
    """
    check_local_id(dataset_id, episodes)
    spec = specification(environment)
    low, high = np.asarray(spec.action_low, np.float32), np.asarray(spec.action_high, np.float32)
    box = gymnasium.spaces.Box
    buffers = (
        _buffer(episode, f"{dataset_id}: episode {number}", spec.observation_size, low, high)
        for number, episode in enumerate(episodes)
    )
    minimum, maximum = reference_scores(environment)
    write_buffers(
        Path(folder) / dataset_id,
        buffers,
        len(episodes),
        _largest_size(episodes),
        (box(-np.inf, np.inf, (spec.observation_size,), np.float32), box(low, high, dtype=np.float32)),
        environment_spec.registered(environment),
        {
            **metadata,
            **described(dataset_id, environment, ("gymnasium", "mujoco")),
            "ref_min_score": minimum,
            "ref_max_score": maximum,
        },
    )


def check_local_id(dataset_id: str, episodes: Sequence[Any]) -> None:
    """Raise UserError unless `dataset_id` is a name that only local datasets have, and there are episodes."""
    if not _LOCAL_ID.fullmatch(dataset_id):
        raise UserError(
            f"{dataset_id!r} is not the id of a local dataset: expected a name such as"
            " 'halfcheetah/random-local-v0', which is no D4RL or published Minari name"
        )
    if not episodes:
        raise UserError(f"{dataset_id}: no episodes were given, expected at least one")


def write_buffers(
    path: Path,
    buffers: Iterable[EpisodeBuffer],
    count: int,
    size: int,
    spaces: tuple[Any, Any],
    environment_spec: Any,
    metadata: Mapping[str, Any],
) -> None:
    """Write the `count` episodes `buffers` as the Minari dataset in the folder `path`, atomically.

    Args:
        path: the Minari root and below it the dataset's id.
        buffers: made one after the other, as they are written.
        count: how many.
        size: bytes that the HDF5 file stays under.
        spaces: of observations and of actions, Gymnasium's.
        environment_spec: Gymnasium's.
        metadata: JSON values; the checksum of the data is added.

    Raises:
        UserError: the place cannot be written.
    """
    path = path.resolve()  # Minari joins a relative path with itself
    with atomic_path(path) as temporary:
        temporary.mkdir()
        _check_space(temporary, size)
        storage = MinariStorage.new(
            temporary / _DATA,
            observation_space=spaces[0],
            action_space=spaces[1],
            env_spec=environment_spec,
            jpeg_encoding=False,
        )
        with tqdm(buffers, desc="writing", total=count, unit="episode", mininterval=1) as progress:
            storage.update_episodes(progress)
        storage.update_metadata({**metadata, "data_sha256": sha256(temporary / _HDF5)})
    _mark_namespace(path)


def published_root(dataset_id: str) -> Path:
    """Return the folder that Minari keeps `dataset_id` under, downloaded by Minari where it is not there yet.

    The folder is Minari's own: MINARI_DATASETS_PATH, or ~/.minari/datasets.

    Raises:
        UserError: it is not there and cannot be downloaded.
    """
    root: Path = get_dataset_path().resolve()
    if (root / dataset_id / _METADATA).exists():
        return root
    try:
        minari.download_dataset(dataset_id)
    except Exception as error:  # whatever Minari's transport raises: its libraries have no common error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"The Minari dataset {dataset_id!r} is not under {root} and could not be downloaded: {reason}"
        ) from error
    return root


def read_transitions(folder: Path | str, dataset_id: str, environment: str | None = None) -> Transitions:
    """Load a Minari dataset of plain vectors, ours or published, into contiguous float32 arrays.

    Memory: the arrays themselves and little more. Time: about 0.2 ms an episode.

    Args:
        folder: the Minari root.
        dataset_id: in a namespace of any depth: "mujoco/hopper/medium-v0".
        environment: what the data must have been recorded on, by name and version: v4 and v5 differ in
            Hopper's and Walker2d's rewards and in Walker2d's model; and unchanged, as
            `environment_spec.differences` says. None: not checked. Data that do not say what they were
            recorded on are judged by their sizes alone.

    Returns:
        The transitions; `metadata` is the dataset's own, with D4RL's reference scores where it has none.

    Raises:
        UserError: the dataset is missing, truncated, damaged, of another shape than its metadata say, of
            another or a changed environment, or holds a number that is not finite.
    """
    metadata, arrays = read_arrays(folder, dataset_id, _read_arrays)
    path = Path(folder) / dataset_id
    recorded_on = _recorded_on(metadata, path)
    if environment is not None:
        _check_environment(dataset_id, arrays, recorded_on, environment)
    named = recorded_on["id"] if recorded_on else environment
    return Transitions(**arrays, metadata=_with_reference_scores(metadata, named))


def marked_ends(folder: Path | str, dataset_id: str) -> dict[str, Any]:
    """How a Minari dataset marks the ends of its episodes, as JSON values.

    `marked_terminals` episodes end in a termination, `marked_time_outs` in a truncation alone, and
    `unmarked_ends` in neither: taken, like a time-out, for cut there. `rule` is "minari": Minari stores each
    episode by itself, with the observation after its last step.

    Raises:
        UserError: as `read_transitions`, or an episode goes on after a time-out.
    """
    _, arrays = read_arrays(folder, dataset_id, _read_marks)
    terminals, time_outs = arrays["terminals"], arrays["time_outs"]
    return {
        "rule": "minari",
        "marked_terminals": int(terminals.sum()),
        "marked_time_outs": int((time_outs & ~terminals).sum()),
        "unmarked_ends": int((~time_outs & ~terminals).sum()),
    }


def read_published(dataset_id: str, environment: str | None = None) -> tuple[Transitions, dict[str, Any]]:
    """Return any Minari dataset of plain vectors, and how the ends of its episodes are marked.

    Args:
        dataset_id: in a namespace of any depth; downloaded by Minari where it is not there.
        environment: as in `read_transitions`.

    Raises:
        UserError: as `published_root`, `read_transitions` and `marked_ends`, or an episode is longer than the
            time limit of `environment`.
    """
    root = published_root(dataset_id)
    transitions, ends = read_transitions(root, dataset_id, environment), marked_ends(root, dataset_id)
    limit = math.inf if environment is None else specification(environment).time_limit
    for number, rows in enumerate(transitions.episodes()):
        if (steps := rows.stop - rows.start) > limit:
            raise UserError(
                f"The Minari dataset {dataset_id!r}: episode {number} has {steps} steps, more than the"
                f" {limit} that {environment} allows; expected one episode to end where the next begins"
            )
    return transitions, ends


def read_arrays(
    folder: Path | str, dataset_id: str, read: Callable[[Any, int, int], dict[str, NDArray[Any]]]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return metadata of a Minari dataset, and what `read(file, episodes, steps)` makes of its checked data.

    `read` raises ValueError for data that contradict the metadata, which say how many episodes and steps.

    Raises:
        UserError: the dataset is missing, truncated, damaged or of another layout than `read` expects.
    """
    path = Path(folder) / dataset_id
    if not (path / _METADATA).exists():
        raise UserError(f"{path} holds no Minari dataset: expected {_METADATA} in it")
    metadata: dict[str, Any] = read_json(path / _METADATA)
    if not isinstance(metadata, dict):
        raise UserError(f"{path / _METADATA} holds no JSON object; expected a Minari dataset's metadata")
    data = path / _HDF5
    if (kind := metadata.get("data_format", "hdf5")) != "hdf5":
        raise UserError(f"{path} is stored as {kind!r}: expected Minari's data_format hdf5")
    check_regular(data)
    if not data.exists():
        raise UserError(f"{path} holds no HDF5 data: expected {_HDF5} in it")
    if "data_sha256" in metadata and metadata["data_sha256"] != sha256(data):
        raise UserError(f"{data} is truncated or damaged: its checksum is not the one in its metadata")
    try:
        with h5py.File(data, "r") as file:
            episodes, steps = int(metadata["total_episodes"]), int(metadata["total_steps"])
            if episodes < 1 or steps < 1:
                raise ValueError(f"the metadata say {episodes} episodes and {steps} steps")
            if len(file) != episodes:
                raise ValueError(f"it has {len(file)} episodes where its metadata say {episodes}")
            return metadata, read(file, episodes, steps)
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        raise UserError(f"{data} is truncated, damaged or of another layout: {error}") from error


def check_recorded_on(transitions: Transitions, environment: str) -> None:
    """Refuse transitions whose metadata name another environment, or a changed one, as `read_transitions`."""
    dataset_id = transitions.metadata.get("dataset_id", "data")
    if (recorded_on := _recorded_on(transitions.metadata, Path(dataset_id))) is not None:
        _check_environment(dataset_id, vars(transitions), recorded_on, environment)


def _recorded_on(metadata: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """Gymnasium's specification of the environment of a dataset, where its metadata tell."""
    if metadata.get("env_spec") is None:
        return None
    try:
        return environment_spec.parsed(metadata["env_spec"])
    except ValueError as error:
        raise UserError(
            f"{path / _METADATA} holds an env_spec that {error}; expected Gymnasium's JSON"
        ) from error


def _check_environment(
    dataset_id: str,
    arrays: Mapping[str, NDArray[Any]],
    recorded_on: Mapping[str, Any] | None,
    environment: str,
) -> None:
    if recorded_on is not None and recorded_on["id"] != environment:
        raise UserError(
            f"The Minari dataset {dataset_id!r} was recorded on {recorded_on['id']}, and the environment"
            f" asked for is {environment}; expected the same name and version"
        )
    spec = specification(environment)
    if recorded_on is not None and (found := environment_spec.differences(recorded_on, environment)):
        raise UserError(
            f"The Minari dataset {dataset_id!r} was recorded on a changed {environment}: {', '.join(found)};"
            " expected the environment as gymnasium.make gives it by its name alone"
        )
    for key, size in (("observations", spec.observation_size), ("actions", spec.action_size)):
        if arrays[key].shape[1] != size:
            raise UserError(
                f"The Minari dataset {dataset_id!r} has {key} of size {arrays[key].shape[1]}, expected"
                f" {size} of {environment}"
            )


def _with_reference_scores(metadata: dict[str, Any], environment: str | None) -> dict[str, Any]:
    family = str(environment).rpartition("-v")[0]
    if family not in KNOWN or metadata.get("ref_max_score") is not None:
        return metadata
    minimum, maximum = reference_scores(str(environment))
    return {**metadata, "ref_min_score": minimum, "ref_max_score": maximum}


def _largest_size(episodes: Sequence[Episode]) -> int:
    """Bytes that the HDF5 file of `episodes` stays under: chunks round up, each episode has tables."""
    numbers = sum(e.observations.nbytes + e.actions.nbytes + e.rewards.nbytes + 2 * len(e) for e in episodes)
    return int(1.5 * numbers) + 16_384 * len(episodes) + 1_000_000


def _check_space(folder: Path, size: int) -> None:
    """Raise OSError unless `size` bytes can be written in `folder`.

    HDF5 does not fail on a full disk, it crashes the process (segmentation fault on closing the file), so
    the disk is asked before.
    """
    scratch = folder / "space"
    with scratch.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    scratch.unlink()


def _buffer(
    episode: Episode, name: str, observation_size: int, low: NDArray[np.float32], high: NDArray[np.float32]
) -> EpisodeBuffer:
    steps = len(episode)
    expected = {
        "observations": (steps + 1, observation_size),
        "actions": (steps, len(low)),
        "rewards": (steps,),
    }
    for key, shape in expected.items():
        array: NDArray[np.float32] = getattr(episode, key)
        if steps == 0 or array.shape != shape or array.dtype != np.float32:
            raise UserError(
                f"{name}: {key} is {array.dtype} {array.shape}, expected float32 {shape}, not empty"
            )
        if not np.isfinite(array).all():
            raise UserError(f"{name}: {key} holds a value that is not a finite number")
    if np.any(episode.actions < low) or np.any(episode.actions > high):
        raise UserError(f"{name}: an action is outside the environment's range {low.min()} to {high.max()}")
    terminations, truncations = np.zeros((2, steps), dtype=np.bool_)
    terminations[-1], truncations[-1] = episode.terminated, episode.truncated
    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=terminations,
        truncations=truncations,
    )


def described(dataset_id: str, environment: str, required: Sequence[str]) -> dict[str, Any]:
    """Return the metadata that every dataset has; `required` are the packages that its environment needs."""
    installed = versions()
    return {
        "dataset_id": dataset_id,
        "environment": environment,
        "versions": installed,
        "minari_version": installed["minari"],
        "author": {"Off2On Replication Suite"},
        "requirements": [f"{name}=={installed[name]}" for name in required],
    }


def _mark_namespace(dataset: Path) -> None:
    """Make Minari list the dataset's namespace."""
    mark = dataset.parent / "namespace_metadata.json"
    if not mark.exists():
        write_json(mark, {})


def _read_arrays(file: Any, episodes: int, steps: int) -> dict[str, NDArray[Any]]:
    """Read all episodes into arrays made once, through HDF5's low level: three times as fast as h5py's high.

    Opening a dataset costs far more than reading a short episode from it.
    """
    identifier = file.id
    width, actions = _width(file, "observations"), _width(file, "actions")
    check_fits(4 * steps * (2 * width + actions + 2))
    arrays: dict[str, NDArray[Any]] = {
        "observations": np.empty((steps, width), np.float32),
        "actions": np.empty((steps, actions), np.float32),
        "rewards": np.empty(steps, np.float32),
        "masks": np.empty(steps, np.float32),
        "next_observations": np.empty((steps, width), np.float32),
        "episode_ends": np.zeros(steps, np.bool_),
    }
    terminations = np.empty(steps, np.bool_)
    for number, rows in stored_episodes(identifier, episodes, steps):
        observations = np.empty((rows.stop - rows.start + 1, width), np.float32)
        read_stored(identifier, number, "observations", observations)
        arrays["observations"][rows] = observations[:-1]
        arrays["next_observations"][rows] = observations[1:]
        read_stored(identifier, number, "actions", arrays["actions"][rows])
        read_stored(identifier, number, "rewards", arrays["rewards"][rows])
        read_stored(identifier, number, "terminations", terminations[rows])
        arrays["episode_ends"][rows.stop - 1] = True
    np.logical_not(terminations, out=arrays["masks"], casting="unsafe")
    return arrays


def _width(file: Any, key: str) -> int:
    """Return how many numbers a step has of `key`. UserError where these are no vectors."""
    _check_in_file(file.id, b"episode_0")
    _check_in_file(file["episode_0"].id, key.encode())
    if file["episode_0"].get(key, getclass=True) is h5py.Group:
        parts = ", ".join(file["episode_0"][key])
        raise UserError(f"{file.filename} has {key} of several parts ({parts}): expected vectors of numbers")
    shape = stored_shape(file.id, 0, key)[1:]
    if len(shape) != 1:
        raise UserError(f"{file.filename} has {key} of the shape {shape}: expected vectors of numbers")
    return shape[0]


def _read_marks(file: Any, episodes: int, steps: int) -> dict[str, NDArray[Any]]:
    """Whether the last step of each episode is marked as a terminal, and as a time-out. [E] each."""
    terminals, time_outs = np.empty((2, episodes), np.bool_)
    for number, rows in stored_episodes(file.id, episodes, steps):
        terminations, truncations = np.empty((2, rows.stop - rows.start), np.bool_)
        read_stored(file.id, number, "terminations", terminations)
        read_stored(file.id, number, "truncations", truncations)
        if truncations[:-1].any():
            raise ValueError(
                f"episode {number} goes on after a time-out at step {truncations.argmax()} of its"
                f" {len(truncations)}"
            )
        terminals[number], time_outs[number] = terminations[-1], truncations[-1]
    return {"terminals": terminals, "time_outs": time_outs}


def stored_episodes(file: Any, episodes: int, steps: int) -> Iterator[tuple[int, slice]]:
    """Yield the number of each episode and which of all rows are its; together they are as many as `steps`.

    Raises ValueError where they are not.
    """
    start = 0
    for number in range(episodes):
        length = stored_shape(file, number, "rewards")[0]
        rows = slice(start, start + length)
        if length == 0 or rows.stop > steps:
            raise ValueError(f"episode {number} has {length} steps, which its metadata do not allow")
        yield number, rows
        start = rows.stop
    if start != steps:
        raise ValueError(f"it has {start} steps where its metadata say {steps}")


def stored_shape(file: Any, episode: int, key: str) -> tuple[int, ...]:
    """Return the shape of an episode's array in the opened HDF5 file's identifier `file`."""
    shape: tuple[int, ...] = _open(file, episode, key).shape
    return shape


def read_stored(file: Any, episode: int, key: str, out: NDArray[Any]) -> None:
    """Read an episode's array into `out`. Raises ValueError where its shape is another."""
    dataset = _open(file, episode, key)
    if dataset.shape != out.shape:
        raise ValueError(f"{key} of episode {episode} has the shape {dataset.shape}, expected {out.shape}")
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, out)


def _open(file: Any, episode: int, key: str) -> Any:
    """Return the HDF5 dataset `key` of an episode, of which every number lies in this very file."""
    *groups, name = f"episode_{episode}/{key}".encode().split(b"/")
    place = file
    for group in groups:
        _check_in_file(place, group)
        place = h5py.h5g.open(place, group)
    _check_in_file(place, name)
    dataset = h5py.h5d.open(place, name)
    layout = dataset.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
        raise ValueError(f"{key} lies outside the file; expected no virtual and no external data")
    check_held(dataset, key)
    return dataset


def check_held(dataset: Any, key: str) -> None:
    """Check that the file holds every number that its HDF5 dataset (the low level's) declares.

    What a file leaves out HDF5 would fill, terabytes of it from a file of kilobytes. Compressed data may
    stand for a thousand times their size: `check_fits` before they are read.

    Raises:
        ValueError: it does not.
    """
    declared = math.prod(dataset.shape) * dataset.get_type().get_size()
    layout = dataset.get_create_plist()
    if layout.get_layout() == h5py.h5d.CHUNKED:
        chunks = (math.ceil(n / chunk) for n, chunk in zip(dataset.shape, layout.get_chunk(), strict=True))
        whole = dataset.get_num_chunks() == math.prod(chunks)
    else:
        whole = dataset.get_storage_size() >= declared
    if not whole:
        raise ValueError(f"{key} declares {declared:,} bytes, of which the file holds a part")


def check_fits(size: int) -> None:
    """Raise ValueError unless `size` bytes are less than the machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ValueError(f"it declares {size:,} bytes, more than this machine's memory of {memory:,}")


def _check_in_file(group: Any, name: bytes) -> None:
    """Refuse links: one could lead to any file that this process may read."""
    if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name.decode()} is a link; expected the data themselves")
