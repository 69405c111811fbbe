"""D4RL's own HDF5 files (v0 to v2), read by the authors' rule and converted once to a Minari dataset.

The rule ([C], Off2On's loader): a row's next observation is the row after it; a row marked in `timeouts` is
left out, because the row after it belongs to another episode; a terminal row is kept, its target masked.
A time-out never becomes a terminal.

Minari keeps one observation more than steps. After a time-out that one is the observation of the row left
out. After a terminal it is the file's `next_observations` where it has them, and else the terminal row's own
observation again: the true one is in no file of v0, the row after it is another episode's, and the mask
keeps its value out of every target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.minari_io import sha256
from datasets.recipes import Recording, described, store
from datasets.transitions import Episode, Transitions, from_episodes
from envs.locomotion import specification
from records import UserError

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("timeouts", "next_observations")
_FLAGS = ("terminals", "timeouts")


def convert(path: Path | str, folder: Path | str, dataset_id: str, environment: str) -> dict[str, Any]:
    """Write the D4RL file `path` as the local Minari dataset `dataset_id` under `folder`; its summary.

    Args:
        path: such as hopper_medium.hdf5.
        folder: the Minari root.
        dataset_id: such as "hopper/medium-local-v0".
        environment: what the file's steps are of, such as "Hopper-v4"; D4RL's files do not say it.

    Raises:
        UserError: as `read_episodes`; an action out of range; the place cannot be written.
    """
    return store(folder, dataset_id, recording(path, environment))


def recording(path: Path | str, environment: str) -> Recording:
    """The episodes of the D4RL file `path`, and where they come from. UserError: as `read_episodes`."""
    episodes = read_episodes(path, environment)
    source = {"source": Path(path).name, "source_sha256": sha256(Path(path))}
    return described(environment, episodes, "d4rl", [], **source)


def read_transitions(path: Path | str, environment: str) -> Transitions:
    """The transitions of a D4RL file in its order. Raises UserError as `read_episodes`."""
    return from_episodes(read_episodes(path, environment), {"dataset_id": str(path)})


def read_episodes(path: Path | str, environment: str) -> list[Episode]:
    """The episodes of a D4RL file in its order, without those that the rule leaves no step of.

    Where the file has no `timeouts`, an episode ends at a terminal or at the environment's time limit. The
    last row, where it ends no episode, only gives the observation after the row before it.

    Raises:
        UserError: the file is missing, truncated, no HDF5, lacks a key, holds other types, lengths or sizes,
            numbers that are not finite, or data that lie outside the file.
    """
    path = Path(path)
    arrays = _read(path, environment)
    observations, terminals = arrays["observations"], arrays["terminals"]
    # The observation after a terminal row, as the head of this module says.
    after = arrays.get("next_observations", observations)
    left_out = arrays["timeouts"] if "timeouts" in arrays else _at_time_limit(terminals, environment)
    left_out[-1] |= not terminals[-1]
    episodes = []
    start = 0
    for end in np.flatnonzero(terminals | left_out).tolist():
        terminated = not left_out[end]
        rows = slice(start, end + terminated)
        if rows.stop > start:
            episodes.append(
                Episode(
                    observations=np.concatenate(
                        [observations[start : end + 1], after[end : end + terminated]]
                    ),
                    actions=arrays["actions"][rows],
                    rewards=arrays["rewards"][rows],
                    terminated=terminated,
                    truncated=not terminated,
                )
            )
        start = end + 1
    if not episodes:
        raise UserError(f"{path} holds no whole transition; expected at least two rows of one episode")
    return episodes


def _at_time_limit(terminals: NDArray[np.bool_], environment: str) -> NDArray[np.bool_]:
    """Which rows [M] are the last that the time limit allows, counted from the episode's first."""
    rows = np.arange(len(terminals))
    begins = np.append(True, terminals[:-1])
    limit = specification(environment).time_limit
    reached: NDArray[np.bool_] = (
        rows - np.maximum.accumulate(np.where(begins, rows, 0))
    ) % limit == limit - 1
    return reached


def _read(path: Path, environment: str) -> dict[str, NDArray[Any]]:
    """The arrays of the file, checked: float32 numbers and bool flags, all of one length."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected an HDF5 file in D4RL's layout")
    try:
        with h5py.File(path, "r") as file:
            stored = {key: _stored(file, key, path) for key in _REQUIRED}
            present = [key for key in _OPTIONAL if file.get(key, getlink=True) is not None]
            stored |= {key: _stored(file, key, path) for key in present}
            _check_types(stored, path)
            _check_shapes(stored, path, environment)
            arrays = {key: _array(key, dataset) for key, dataset in stored.items()}
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is truncated, damaged or not an HDF5 file: {error}") from error
    for key, array in arrays.items():
        if key in _FLAGS and not np.isin(array, (0, 1)).all():
            raise UserError(f"{path}: {key} holds a value other than 0 and 1")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {key} holds a value that is not a finite number")
    return {key: array.astype(np.bool_) if key in _FLAGS else array for key, array in arrays.items()}


def _stored(file: Any, key: str, path: Path) -> Any:
    """The HDF5 dataset `key`, of which every number lies in this very file."""
    link = file.get(key, getlink=True)
    if link is None:
        raise UserError(f"{path} lacks {key!r}; expected D4RL's layout: {', '.join(_REQUIRED)}")
    dataset = file[key] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise UserError(
            f"{path}: {key} is not an array in the file itself; expected no links, no virtual data"
        )
    return dataset


def _check_types(stored: dict[str, Any], path: Path) -> None:
    numbers = {key: dataset.dtype for key, dataset in stored.items() if key not in _FLAGS}
    # D4RL's v1 and v2 replay files hold all their numbers as float64; a file that mixes is none of D4RL's.
    expected = np.float64 if all(kind == np.float64 for kind in numbers.values()) else np.float32
    for key, kind in numbers.items():
        if kind != expected:
            raise UserError(f"{path}: {key} is {kind}, expected float32")
    for key in _FLAGS:
        if key in stored and stored[key].dtype.kind not in "buif":
            raise UserError(f"{path}: {key} is {stored[key].dtype}, expected truth values")


def _check_shapes(stored: dict[str, Any], path: Path, environment: str) -> None:
    spec = specification(environment)
    widths = {
        "observations": spec.observation_size,
        "next_observations": spec.observation_size,
        "actions": spec.action_size,
    }
    shapes = {key: dataset.shape for key, dataset in stored.items()}
    for key, shape in shapes.items():
        if len(shape) == 0 or shape[0] == 0 or shape[0] != (shapes["observations"] or (0,))[0]:
            raise UserError(
                f"{path}: {key} has the shape {shape} and observations {shapes['observations']}; expected one"
                " row a step in both"
            )
        if key in widths and shape[1:] != (widths[key],):
            raise UserError(
                f"{path}: {key} has rows of {shape[1:]}, expected ({widths[key]},) of {environment}"
            )
        if key not in widths and shape[1:] not in ((), (1,)):
            raise UserError(f"{path}: {key} has rows of {shape[1:]}, expected one number a row")


def _array(key: str, dataset: Any) -> NDArray[Any]:
    """The whole array, a column as a vector; HDF5 converts, so memory holds it once."""
    array: NDArray[Any] = np.empty(dataset.shape, dataset.dtype if key in _FLAGS else np.float32)
    dataset.read_direct(array)
    return array.reshape(len(array), -1)[:, 0].copy() if key in (*_FLAGS, "rewards") else array
