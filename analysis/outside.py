"""Curves of methods that this project did not run: a file with provenance, checked as its own curves are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from analysis.scores import normalised, score_arrays
from storage import UserError
from storage.constraints import Count, NotNegative
from storage.curves import COLUMNS, check_rows, check_whole, read_curves, read_provenance, write_curves
from storage.settings import build
from storage.yaml_files import yaml_of

_KINDS = {"seed": ("iu", "whole numbers"), "step": ("iu", "whole numbers"), "value": ("iuf", "numbers")}
RUN = re.compile(r"[a-z][a-z0-9_]{0,62}")
LARGEST_SCORE = 1000.0
"""Normalised score, either way, beyond which a return is in another unit, or garbage. (Ours.)"""


@dataclass(frozen=True)
class Provenance:
    """What an outside file says of its curves; compute is a seed's, None where it is not known."""

    implementation: str  # whose code: a name and an address
    commit: str
    data: str  # version or recipe of the offline data: D4RL v2
    environment: str  # with its version: HalfCheetah-v2
    evaluation: str  # 10 deterministic episodes
    hardware: str
    offline_updates: Count | None  # of each agent; 0 where nothing is pre-trained
    pflop: NotNegative | None
    core_hours: NotNegative | None

    @property
    def takes(self) -> tuple[int | None, float | None, float | None]:
        """Offline updates, PFLOP and core-hours."""
        return self.offline_updates, self.pflop, self.core_hours

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value == "":
                raise UserError(f"{name} is empty: expected text.")


def enter(path: Path, folder: Path) -> Path:
    """Check the outside curves of `path` and keep them as `folder`/<run>.parquet; return that.

    Raises:
        UserError: the file cannot be read, has no provenance or not all of it, columns that are unknown,
            missing or of another kind, rows that are doubled, not finite or not of fine-tuning, returns
            beyond `LARGEST_SCORE`, several methods or runs, a dataset without reference scores, seeds with
            other steps than the others', or there are curves of that run already.
    """
    frame, said = _read(path)
    frame, provenance = frame.reset_index(drop=True), build(Provenance, said, f"{path}: provenance")
    if frame.empty:
        raise UserError(f"{path} holds no curve: expected at least one row")
    _check_columns(frame, path)
    _check_values(frame, ~np.isfinite(frame["value"]), path, "expected a finite number")
    check_rows(frame, path)
    check_whole(frame, {}, path)
    if (wrong := frame[(frame["phase"] != "online") | (frame["unit"] != "step")]).shape[0]:
        phase, unit = wrong.iloc[0][["phase", "unit"]]
        raise UserError(f"{path}: a row has the phase {phase!r} and unit {unit!r}: expected online and step")
    for name in ("run", "method"):
        if len(found := sorted(set(frame[name]))) != 1 or not RUN.fullmatch(found[0]):
            raise UserError(
                f"{path}: the {name} is {', '.join(found) or 'empty'}: expected one name in all rows, of"
                " lower-case letters, digits and _"
            )
    try:
        for _, curves in frame.groupby("dataset"):
            score_arrays(curves)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    for dataset, returns in frame[frame["metric"] == "return"].groupby("dataset"):
        beyond = np.abs(normalised(returns["value"].to_numpy(), str(dataset))) > LARGEST_SCORE
        expected = f"expected a return whose normalised score is within ±{LARGEST_SCORE:g}"
        _check_values(returns, beyond, path, expected)
    kept = folder / f"{frame['run'].iloc[0]}.parquet"
    if kept.exists():
        raise UserError(f"{path}: {kept} is there already: expected a new run, or remove that file")
    seeds = sorted({int(seed) for seed in frame["seed"]})
    folder.mkdir(parents=True, exist_ok=True)
    write_curves(kept, frame, {**asdict(provenance), "seeds": seeds})
    return kept


def read_outside(path: Path) -> tuple[pd.DataFrame, Provenance]:
    """Return the curves that `enter` kept, and their provenance. UserError where the file is none such."""
    frame, said = read_curves(path), read_provenance(path)
    said.pop("seeds", None)
    return frame, build(Provenance, said, f"{path}: provenance")


def _check_values(frame: pd.DataFrame, wrong: ArrayLike, path: Path, expected: str) -> None:
    """UserError for the first of the rows whose value is `wrong` [n], by its number in the file."""
    found = frame[np.asarray(wrong)]
    if found.empty:
        return
    row = found.iloc[0]
    raise UserError(
        f"{path}: row {int(found.index[0]) + 1}: the metric {row['metric']!r} is {row['value']:g} at step"
        f" {row['step']} of seed {row['seed']} on {row['dataset']}: {expected}"
    )


def _check_columns(frame: pd.DataFrame, path: Path) -> None:
    if unknown := sorted(set(map(str, frame.columns)) - set(COLUMNS)):
        raise UserError(f"{path}: unknown column {unknown[0]!r}: expected {', '.join(COLUMNS)}")
    for name in COLUMNS:
        if name not in frame.columns:
            raise UserError(f"{path}: the column {name!r} is missing: expected {', '.join(COLUMNS)}")
        kind, expected = _KINDS.get(name, ("OU", "text"))
        texts = frame[name].dtype.kind != "O" or all(isinstance(value, str) for value in frame[name])
        if frame[name].dtype.kind not in kind or not texts:
            raise UserError(f"{path}: the column {name!r} is not of {expected}{_first(frame[name], kind)}")


def _first(column: pd.Series, kind: str) -> str:
    """Say which row of a column of (whole) numbers holds none; nothing where it is another matter."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(numbers) | ((kind == "iu") & (numbers % 1 != 0))
    if "O" in kind or not wrong.any():
        return ""
    number = int(np.argmax(wrong))
    return f": row {number + 1} has {str(column.iloc[number])!r}"


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of CSV or Parquet, and what stands above or beside them."""
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: expected a file that ends in .csv or .parquet")
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                table = file.read()
            return table.to_pandas(), _header(path, table.schema.metadata or {})
        lines = path.read_text(encoding="utf-8").splitlines()
        texts = {name: str for name in COLUMNS if name not in _KINDS}
        options: Any = {"keep_default_na": False, "float_precision": "round_trip"}
        frame = pd.read_csv(path, comment="#", dtype=texts, **options)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{path} is no whole file of curves: {' '.join(str(error).split())}") from error
    above = [line.removeprefix("#").removeprefix(" ") for line in lines if line.startswith("#")]
    said = yaml_of("\n".join(above), str(path))
    if not isinstance(said, dict):
        raise UserError(f"{path} has no provenance: expected lines `# key: value` above the columns' names")
    return frame, said


def _header(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        said = json.loads(metadata.get(b"provenance", b""))
    except ValueError:
        said = None
    if not isinstance(said, dict) or not said:
        raise UserError(f"{path} has no provenance: expected a JSON object under that key of its metadata")
    return said
