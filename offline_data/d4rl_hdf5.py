"""D4RL's own HDF5 files (v0 to v2), read by a rule that has a name and converted once to a Minari dataset.

The authors' rule ([C], Off2On's loader), "authors": a row's next observation is the row after it; a row
marked in `timeouts` is left out, because the row after it belongs to another episode; a terminal row is kept,
its target masked. A time-out never becomes a terminal.

The marks are not always whole: D4RL says so of its replay files (its issues 86 and 162). By the authors' rule
the next observation of a last row without a mark is another episode's. So the default, "checked", is the
authors' rule and, where the file has `next_observations`, ends an episode too at a row whose next observation
is not the row after it. That row is kept with its own, its target not masked. What marks and
`next_observations` leave in doubt is refused.

Minari keeps one observation more than steps. After a time-out that one is the observation of the row left
out. After a terminal it is the file's `next_observations` where it has them, and else the terminal row's own
observation again: the true one is in no file of v0, the row after it is another episode's, and the mask
keeps its value out of every target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from envs.locomotion import specification
from offline_data.minari_io import check_fits, check_held
from offline_data.recipes import Recording, described
from offline_data.transitions import Episode
from storage import UserError
from storage.checksums import sha256

RULES = CHECKED, AUTHORS = ("checked", "authors")
"""Where episodes end, as the head of this module says."""

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("timeouts", "next_observations")
_FLAGS = ("terminals", "timeouts")
# Of 1 + |observation|: above what float32 and another simulator's rounding leave, far below a reset's noise.
_TOLERANCE = 1e-4
_ROWS_NAMED = 10


def recording(path: Path | str, environment: str, episode_ends: str = CHECKED) -> Recording:
    """Return the episodes of the D4RL file `path` in its order, by one of `RULES`, and where they come from.

    Those that the rule leaves no step of are left out. Where the file has no `timeouts`, an episode ends at a
    terminal or at the environment's time limit. The last row, where it ends no episode, only gives the
    observation after the row before it.

    The metadata have `episode_ends`, what was decided about them: the `rule`; how many ends
    `marked_terminals` and `marked_time_outs` made, and `at_time_limit` the limit, where a file marks no
    time-outs; `unmarked_ends`, how many more there are by `next_observations` (None: the file has none to
    tell by), the `first_unmarked_rows` of them, which "authors" takes for steps of one episode and "checked"
    does not; how many episodes are `longer_than_time_limit`; how many `rows_left_out` of the steps.

    Raises:
        UserError: the file is missing, truncated, no HDF5, lacks a key, holds other types, lengths or sizes,
            numbers that are not finite, or data that lie outside the file; by "checked", an episode is longer
            than the time limit, or `next_observations` agree with the rows after theirs less often than not.
    """
    arrays = _read(Path(path), environment)
    ends = _ends(arrays, Path(path), environment, episode_ends)
    return described(
        environment,
        _episodes(arrays, ends, path),
        "d4rl",
        [],
        source=Path(path).name,
        source_sha256=sha256(Path(path)),
        episode_ends=ends.decided,
    )


class _Ends(NamedTuple):
    """The rows [M] that end an episode, and what was decided of them (JSON values).

    `terminal`: kept, to a terminal state. `left_out`: no step. `unmarked`: kept, not to a terminal state.
    """

    terminal: NDArray[np.bool_]
    left_out: NDArray[np.bool_]
    unmarked: NDArray[np.bool_]
    decided: dict[str, Any]


def _ends(arrays: dict[str, NDArray[Any]], path: Path, environment: str, rule: str) -> _Ends:
    if rule not in RULES:
        raise UserError(f"episode_ends is {rule!r}: expected one of {', '.join(RULES)}")
    terminals = arrays["terminals"]
    no_rows = np.zeros_like(terminals)
    marks_time_outs, tells_unmarked = "timeouts" in arrays, "next_observations" in arrays
    marked = terminals | arrays["timeouts"] if marks_time_outs else terminals
    unmarked = _contradicted(arrays, marked) if tells_unmarked else no_rows
    if rule == CHECKED:
        _check_order(unmarked, marked, path)
    cut = unmarked if rule == CHECKED else no_rows
    time_outs = arrays["timeouts"] if marks_time_outs else _at_time_limit(terminals | cut, environment) & ~cut
    left_out = time_outs.copy()
    left_out[-1] |= not terminals[-1]
    terminal = terminals & ~left_out
    longer = _longer_than_limit(terminal | left_out | cut, path, environment, rule)
    decided = {
        "rule": rule,
        "marked_terminals": int(terminal.sum()),
        "marked_time_outs": int(time_outs.sum()) if marks_time_outs else 0,
        "at_time_limit": 0 if marks_time_outs else int(time_outs.sum()),
        "unmarked_ends": int(unmarked.sum()) if tells_unmarked else None,
        "first_unmarked_rows": np.flatnonzero(unmarked)[:_ROWS_NAMED].tolist(),
        "longer_than_time_limit": longer,
        "rows_left_out": int(left_out.sum()),
    }
    return _Ends(terminal, left_out, cut, decided)


def _contradicted(arrays: dict[str, NDArray[Any]], marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows [M] are not `marked` and have a next observation that is not the row after them."""
    found = np.zeros_like(marked)
    stated, following = arrays["next_observations"][:-1], arrays["observations"][1:]
    # A column at a time, so that memory holds no second copy; what overflows is no rounding.
    with np.errstate(over="ignore"):
        for column in range(following.shape[1]):
            difference = np.abs(stated[:, column] - following[:, column])
            found[:-1] |= difference > _TOLERANCE * (1 + np.abs(following[:, column]))
    return found & ~marked


def _check_order(unmarked: NDArray[np.bool_], marked: NDArray[np.bool_], path: Path) -> None:
    """Refuse rows out of order and numbers of another scale, of which every step would be an episode."""
    found, able = int(unmarked.sum()), int((~marked[:-1]).sum())
    if 2 * found > able:
        raise UserError(
            f"{path}: next_observations contradict the next row's observation at {found} of the {able} rows"
            f" without a mark, row {unmarked.argmax()} the first; expected rows in order of time, or"
            f" episode_ends: {AUTHORS}"
        )


def _longer_than_limit(ends: NDArray[np.bool_], path: Path, environment: str, rule: str) -> int:
    """How many episodes are longer than the time limit; "checked" refuses them."""
    limit = specification(environment).time_limit
    last = np.flatnonzero(ends)
    lengths = np.diff(last, prepend=-1)
    longer = np.flatnonzero(lengths > limit)
    if rule == CHECKED and len(longer):
        end, length = int(last[longer[0]]), int(lengths[longer[0]])
        raise UserError(
            f"{path}: rows {end - length + 1} to {end} are one episode of {length} steps, longer than the"
            f" {limit} of {environment}: expected terminals and timeouts to mark the ends of all, or"
            f" episode_ends: {AUTHORS}"
        )
    return len(longer)


def _episodes(arrays: dict[str, NDArray[Any]], ends: _Ends, path: Path | str) -> list[Episode]:
    observations = arrays["observations"]
    # The observation after a row that is kept and ends an episode, as the head of this module says.
    after = arrays.get("next_observations", observations)
    episodes = []
    start = 0
    for end in np.flatnonzero(ends.terminal | ends.left_out | ends.unmarked).tolist():
        kept, terminated = not ends.left_out[end], bool(ends.terminal[end])
        rows = slice(start, end + kept)
        if rows.stop > start:
            episodes.append(
                Episode(
                    observations=np.concatenate([observations[start : end + 1], after[end : end + kept]]),
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


def _at_time_limit(ends: NDArray[np.bool_], environment: str) -> NDArray[np.bool_]:
    """Which rows [M] are the last that the time limit allows, counted from the row after one of `ends`."""
    rows = np.arange(len(ends))
    begins = np.append(True, ends[:-1])
    limit = specification(environment).time_limit
    reached: NDArray[np.bool_] = (
        rows - np.maximum.accumulate(np.where(begins, rows, 0))
    ) % limit == limit - 1
    return reached


def _read(path: Path, environment: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file, checked: float32 numbers and bool flags, all of one length."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected an HDF5 file in D4RL's layout")
    try:
        with h5py.File(path, "r") as file:
            stored = {key: _stored(file, key, path) for key in _REQUIRED}
            present = [key for key in _OPTIONAL if file.get(key, getlink=True) is not None]
            stored |= {key: _stored(file, key, path) for key in present}
            _check_types(stored, path)
            _check_shapes(stored, path, environment)
            for key, dataset in stored.items():
                check_held(dataset.id, key)
            check_fits(4 * sum(dataset.size for dataset in stored.values()))
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
    """Return the HDF5 dataset `key`, of which every number lies in this very file."""
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
    # D4RL's v1 and v2 replay files hold float64; HDF5 converts floats of any size and byte order.
    for key, dataset in stored.items():
        flag = key in _FLAGS
        if dataset.dtype.kind not in ("buif" if flag else "f"):
            expected = "truth values" if flag else "float32"
            raise UserError(f"{path}: {key} is {dataset.dtype}, expected {expected}")


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
    """Return the whole array, a column as a vector; HDF5 converts, so memory holds it once."""
    array: NDArray[Any] = np.empty(dataset.shape, dataset.dtype if key in _FLAGS else np.float32)
    dataset.read_direct(array)
    return array.reshape(len(array), -1)[:, 0].copy() if key in (*_FLAGS, "rewards") else array
