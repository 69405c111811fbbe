"""Curves: what a run measured, as tidy rows in Parquet with their provenance in the file's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from storage import UserError
from storage.tables import Kind, read_table, write_table

LARGEST_SEED = 2**32 - 1
"""Of a run: what NumPy's and Gymnasium's generators take."""
COLUMNS = ("run", "method", "dataset", "seed", "phase", "unit", "step", "metric", "value")
"""`phase` is one of `PHASES`; `step` counts what `unit`, one of `UNITS`, says."""
PHASES = ("offline", "online")
UNITS = {"update": "gradient updates", "step": "environment steps", "episode": "episodes"}
"""What a curve's steps count, and what an axis calls them."""

METRICS: dict[str, str] = {
    "return": "mean undiscounted return of the deterministic evaluation episodes [reward]",
    "normalised_score": "100 (return - reference minimum) / (reference maximum - minimum) [percent]",
    "success_deterministic": "share of evaluation episodes with a rewarded last step, by the mode [1]",
    "success_stochastic": "the same from the same starts, by actions drawn from the policy [1]",
    "success": "share of the evaluation episodes that end in success [1]",
    "episode_length": "mean length of the evaluation episodes [steps]",
    "critic_loss": "mean critic loss since the last evaluation, all terms [reward squared]",
    "td_error": "mean squared temporal-difference error since the last evaluation [reward squared]",
    "conservative_penalty": "mean of CQL's soft maximum of Q less Q of the data, before its weight [reward]",
    "actor_loss": "mean actor loss since the last evaluation [reward]",
    "entropy_coefficient": "entropy coefficient alpha [reward per nat]",
    "divergence": "mean estimated divergence of the policy from the behaviour [nats; MMD: 1]",
    "divergence_weight": "weight of that divergence, alpha [reward per nat]",
    "reconstruction_loss": "mean negative log density of actions by trajectory, and by behaviour [nats]",
    "commitment": "mean cosine of a trajectory's vector with its behaviour's [1]",
    "assignment_purity": "share of trajectories whose source is the commonest of their behaviour's [1]",
    "assignment_nmi": "normalised mutual information of behaviours and true sources of trajectories [1]",
    "held_out_log_likelihood": "mean log likelihood of fresh trajectories under the behaviours [nats a step]",
    "behaviours_used": "mean number of behaviours that a batch's trajectories are assigned to [1]",
    "entropy": "mean estimated entropy of the policy on the batches [nats]",
    "q_mean": "mean Q on the batches since the last evaluation [reward]",
    "advantage_weight_max": "mean over updates of the largest weight of an imitated action in the batch [1]",
    "auroc_ensemble": "AUROC of the ensemble's Q on taken against random actions [percent]",
    "auroc_individual": "mean over members of the AUROC of each one's Q, on the same actions [percent]",
    "vae_loss": "mean loss of BCQ's action VAE: squared error plus half the KL divergence [1]",
    "density_ratio_loss": "mean loss of the density-ratio network since the last evaluation [1]",
    "offline_fraction": "share of offline samples in all draws since the last evaluation [1]",
    "offline_fraction_logged": "the same in one update of 100, the first of each block among them [1]",
    "online_share": "share of the run's own samples in all draws since the last evaluation [1]",
    "random_share": "share of samples of offline random-action episodes in the same draws [1]",
    "priority_mean": "mean of the priorities written since the last evaluation [1]",
    "priority_max": "mean over updates of the largest priority each wrote [1]",
    "online_weight_zero_fraction": "share of online draws whose density-ratio weight is zero [1]",
}
"""What the project's own methods measure, with its unit. A custom method may have further ones."""
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
METRIC_FORM = "a lower-case letter, then letters, digits and _, at most 63 in all"

_SCHEMA = pa.schema(
    [(name, pa.int64() if name in ("seed", "step") else pa.string()) for name in COLUMNS[:-1]]
    + [("value", pa.float64())]
)
KIND = Kind("curves", _SCHEMA, b"provenance")


def write_curves(path: Path | str, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write the rows of `frame` (columns `COLUMNS`, in any order) to the Parquet file `path`, atomically.

    Equal rows and equal provenance give byte-identical files with one version of pyarrow.

    Raises:
        UserError: a column is missing, unknown or of another type, a phase, a unit or the form of a metric's
            name is unknown, a value is not finite, two rows have one key, a seed or a step is out of range,
            there are no rows or not all that `provenance` says, or `path` cannot be written.
    """
    if set(frame.columns) != set(COLUMNS):
        found = ", ".join(map(str, frame.columns))
        raise UserError(f"{path}: curves have the columns {', '.join(COLUMNS)}, not {found}")
    check_rows(frame, path)
    try:
        table = pa.Table.from_pandas(frame[list(COLUMNS)], schema=_SCHEMA, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{path}: a column of the curves has the wrong type: {error}") from error
    check_whole(frame, provenance, path)
    write_table(path, table, KIND, provenance)


def read_curves(paths: Iterable[Path | str] | Path | str) -> pd.DataFrame:
    """Return the rows of all `paths`, one file after the other, with the columns `COLUMNS`.

    Raises:
        UserError: no path is given, a file is missing, truncated, damaged, not a file of curves or not of all
            that its provenance says, or two files hold the same point of a curve.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not paths:
        raise UserError("No files of curves were given: expected at least one Parquet file")
    frame = pd.concat([_rows(path) for path in paths], ignore_index=True)
    check_rows(frame, ", ".join(str(path) for path in paths))
    return frame


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Return the provenance that was written with the curves of `path`.

    Raises:
        UserError: the file is missing, truncated, damaged or not a file of curves.
    """
    return read_table(path, KIND)[1]


def _rows(path: Path | str) -> pd.DataFrame:
    table, provenance = read_table(path, KIND)
    for name, column in zip(COLUMNS, table.columns, strict=True):
        if column.null_count:
            raise UserError(f"{path} is not a file of curves: a {name} is missing")
    frame: pd.DataFrame = table.to_pandas()
    check_whole(frame, provenance, path)
    return frame


def check_whole(frame: pd.DataFrame, provenance: Mapping[str, Any], path: Path | str) -> None:
    """UserError where these are not all the rows of the job that the provenance is of."""
    if frame.empty:
        raise UserError(f"{path} holds no curve: expected at least one row")
    lowest, highest, first = frame["seed"].min(), frame["seed"].max(), frame["step"].min()
    if lowest < 0 or highest > LARGEST_SEED:
        raise UserError(f"{path} has seeds from {lowest} to {highest}: expected from 0 to {LARGEST_SEED}")
    if first < 0:
        raise UserError(f"{path} has a curve with a step {first}: expected none below 0")
    found, expected = frame["seed"].unique().tolist(), provenance.get("seeds", [])
    if expected and (not isinstance(expected, list) or sorted(found, key=str) != sorted(expected, key=str)):
        raise UserError(f"{path} has curves of the seeds {found}: expected its provenance's, {expected}")
    end = _end(provenance)
    for seed, last in frame.groupby("seed")["step"].max().items():
        if end is not None and last < end:
            raise UserError(f"{path} has a curve of seed {seed} that ends at step {last}: expected {end}")


def _end(provenance: Mapping[str, Any]) -> int | None:
    """Return the last step that a job was to make, as far as its provenance says; warm starts come on top."""
    configuration = provenance.get("configuration")
    schedule = configuration.get("schedule") if isinstance(configuration, Mapping) else None
    end = schedule.get("steps", schedule.get("updates")) if isinstance(schedule, Mapping) else None
    return end if type(end) is int else None


def check_rows(frame: pd.DataFrame, place: Path | str) -> None:
    """UserError where rows with the columns `COLUMNS`, which come from `place`, cannot be of curves."""
    for column, known in (("phase", PHASES), ("unit", tuple(UNITS))):
        if unknown := sorted(set(frame[column]) - set(known)):
            raise UserError(f"{place}: unknown {column} {unknown[0]!r}: expected one of {', '.join(known)}")
    for metric in sorted(set(frame["metric"])):
        if not METRIC_NAME.fullmatch(str(metric)):
            raise UserError(f"{place}: the metric {metric!r} is none: expected {METRIC_FORM}")
    finite = np.isfinite(frame["value"].to_numpy(dtype=np.float64))
    if not finite.all():
        row = frame.iloc[int(np.argmin(finite))]
        raise UserError(f"{place}: the metric {row['metric']!r} is {row['value']} at step {row['step']}")
    repeated = frame.duplicated(list(COLUMNS[:-1]))
    if repeated.any():
        row = frame.iloc[int(np.argmax(repeated.to_numpy()))]
        point = ", ".join(f"{name} {row[name]}" for name in COLUMNS[:-1])
        raise UserError(f"{place}: one point of a curve is given twice ({point})")
