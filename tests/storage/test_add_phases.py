"""Curves of before phases get the columns, and nothing else of them changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from storage import UserError
from storage.add_phases import _BEFORE, add_phases
from storage.curves import COLUMNS, read_curves, read_provenance
from storage.tables import write_table

OLD = tuple(name for name in COLUMNS if name not in ("phase", "unit"))


def old_file(path: Path, schedule: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame([("r", "awac", "d", 0, step, "return", step / 3) for step in (0, 9)], columns=OLD)
    table = pa.Table.from_pandas(frame, schema=_BEFORE.schema, preserve_index=False)
    write_table(path, table, _BEFORE, {"seeds": [0], "configuration": {"schedule": schedule}})
    return frame


@pytest.mark.parametrize(
    ("schedule", "phase", "unit"),
    [
        ({"updates": 9}, "offline", "update"),
        ({"steps": 9}, "online", "step"),
        ({"steps": 9, "updates_per_episode": 2}, "online", "episode"),
    ],
)
def test_the_schedule_says_the_phase_and_values_and_provenance_stay(
    tmp_path: Path, schedule: dict[str, Any], phase: str, unit: str
) -> None:
    path = tmp_path / "curves.parquet"
    frame = old_file(path, schedule)
    add_phases(path)
    found = read_curves(path)
    assert set(zip(found["phase"], found["unit"], strict=True)) == {(phase, unit)}
    assert_frame_equal(found[list(OLD)], frame, check_exact=True)
    assert read_provenance(path)["configuration"] == {"schedule": schedule}
    before = path.read_bytes()
    add_phases(path)
    assert path.read_bytes() == before


def test_curves_whose_provenance_has_no_schedule_are_refused_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    old_file(path, {})
    table = pa.Table.from_pandas(old_file(path, {}), schema=_BEFORE.schema, preserve_index=False)
    write_table(path, table, _BEFORE, {"configuration": {}})
    before = path.read_bytes()
    with pytest.raises(UserError, match="names no schedule"):
        add_phases(path)
    assert path.read_bytes() == before
