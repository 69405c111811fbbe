"""Parquet files with a JSON header in their metadata and one checksum over both: whole or refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from storage import UserError
from storage.files import atomic_path, check_regular

_CHECKSUM = b"sha256"
_MOST_ROWS = 10**8
"""Above any table of ours: repeated values of many more fit in a file of kilobytes."""


class Kind(NamedTuple):
    """What a file is called in a refusal, its schema, and the metadata key of its header."""

    name: str
    schema: pa.Schema
    key: bytes


LIKELIHOODS = Kind(
    "log likelihoods",
    pa.schema([("dataset", pa.string()), ("source", pa.string()), ("value", pa.float64())]),
    b"provenance",
)
"""Figure 1a's: `source` is "offline" or "online", `value` in nats."""


FINGERPRINTS = Kind(
    "fingerprints",
    pa.schema(
        [
            ("setting", pa.string()),
            ("agent", pa.string()),
            ("step", pa.int64()),
            ("metric", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    b"provenance",
)
"""Of agents (`algorithms.diagnostics.fingerprint`): `setting` says how, `step` how long they learned."""


BEHAVIOURS = Kind(
    "estimated behaviours",
    pa.schema(
        [
            ("dataset", pa.string()),
            ("method", pa.string()),
            ("agent", pa.int64()),
            ("kind", pa.string()),
            ("number", pa.int64()),
            ("behaviour", pa.int64()),
            ("source", pa.int64()),
            ("return", pa.float64()),
            ("x", pa.float64()),
            ("y", pa.float64()),
        ]
    ),
    b"provenance",
)
"""By agent a row a trajectory (its estimated `behaviour`, true `source` and return), a behaviour and, where
there is one, the learned policy: `kind` says which; `x` and `y` are principal components of the vectors."""


def write_table(path: Path | str, table: pa.Table, kind: Kind, header: Mapping[str, Any]) -> None:
    """Write `table` (of the kind's schema) and `header` (JSON values), atomically.

    Equal content gives byte-identical files with one version of pyarrow. UserError where the disk refuses.
    """
    text = json.dumps(header, sort_keys=True)
    # The metadata is set whole: pandas' own would tie the bytes to its version.
    table = table.replace_schema_metadata({kind.key: text, _CHECKSUM: _digest(table, text.encode())})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_table(path: Path | str, kind: Kind) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table and the header that `write_table` wrote.

    Parquet's own checksums cover its pages and not its footer, hence one of ours; a file without it is of
    before there was one.

    Raises:
        UserError: the file is missing, truncated, damaged or of another kind.
    """
    check_regular(path)
    try:
        # Not `pq.read_table`: it would read columns out of folder names like `seed=1`.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows > _MOST_ROWS:
                raise UserError(f"{path} declares {file.metadata.num_rows:,} rows: expected fewer")
            table = file.read()
        metadata: dict[bytes, bytes] = dict(table.schema.metadata or {})
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: expected a Parquet file of {kind.name}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole Parquet file; it may be truncated: make it again") from error
    if not table.schema.equals(kind.schema) or kind.key not in metadata:
        raise UserError(
            f"{path} is not a file of {kind.name}: expected the columns {', '.join(kind.schema.names)} and"
            f" {kind.key.decode()}, found the columns {', '.join(table.schema.names)}"
        )
    try:
        header = json.loads(metadata[kind.key])
        whole = metadata.get(_CHECKSUM, b"").decode() in ("", _digest(table, metadata[kind.key]))
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged: it does not match its checksum; remove it and make it again")
    if not isinstance(header, dict):
        raise UserError(f"{path} is not a file of {kind.name}: its {kind.key.decode()} is no JSON object")
    return table, header


def _digest(table: pa.Table, header: bytes) -> str:
    digest = hashlib.sha256(header)
    for column in table.columns:
        if pa.types.is_string(column.type):
            digest.update(json.dumps(column.to_pylist()).encode())
        else:
            digest.update(column.to_numpy().tobytes())
    return digest.hexdigest()
