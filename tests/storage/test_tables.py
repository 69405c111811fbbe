"""A Parquet file of ours comes back as it was written, or is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import UserError
from storage.tables import Kind, read_table, write_table

KIND = Kind("tests", pa.schema([("name", pa.string()), ("value", pa.float64())]), b"made_by")
TABLE = pa.table({"name": ["a", "b"], "value": [0.1 + 0.2, np.nan]}, schema=KIND.schema)
HEADER = {"cpu": "x", "seeds": [0, 1]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(tmp_path / "table.parquet", TABLE, KIND, HEADER)
    return tmp_path / "table.parquet"


def content(path: Path) -> str:
    table, header = read_table(path, KIND)
    return f"{table.to_pydict()} {header}"


def test_table_and_header_come_back(path: Path) -> None:
    assert content(path) == f"{TABLE.to_pydict()} {HEADER}"


def test_a_flipped_bit_anywhere_changes_nothing_or_is_refused_by_name(path: Path) -> None:
    whole, expected, refused = path.read_bytes(), content(path), 0
    for bit in range(3, 8 * len(whole), 23):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert content(path) == expected
        except UserError as refusal:
            assert str(path) in str(refusal) and "\n" not in str(refusal)
            refused += 1
    assert refused > len(whole) // 8


def test_a_truncated_file_is_refused_by_name(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"table\.parquet is not a whole Parquet file"):
            read_table(path, KIND)


def test_a_file_from_before_there_was_a_checksum_is_read(path: Path) -> None:
    pq.write_table(TABLE.replace_schema_metadata({b"made_by": b"{}"}), path)
    assert read_table(path, KIND)[1] == {}


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({}, "is not a file of tests: expected the columns name, value and made_by"),
        ({b"made_by": b"{"}, "is damaged"),
        ({b"made_by": b"\xff"}, "is damaged"),
        ({b"made_by": b"[" * 100_000}, "is damaged"),
        ({b"made_by": b"5"}, "its made_by is no JSON object"),
        ({b"made_by": b"{}", b"sha256": b"0"}, "is damaged"),
    ],
)
def test_a_foreign_header_is_refused(path: Path, metadata: dict[bytes, Any], sentence: str) -> None:
    pq.write_table(TABLE.replace_schema_metadata(metadata), path)
    with pytest.raises(UserError, match=sentence):
        read_table(path, KIND)
