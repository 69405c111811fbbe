"""Curves come back as they were written, and what is not whole curves is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from storage import UserError
from storage.curves import COLUMNS, KIND, METRICS, read_curves, read_provenance, write_curves
from storage.tables import write_table

PROVENANCE = {"configuration_hash": "0123456789ab", "seeds": [0], "versions": {"torch": "2.13.0"}}


def curves(seed: int = 0, steps: int = 5) -> pd.DataFrame:
    rows = [
        ("pilot", "off2on", "halfcheetah-random", seed, "online", "step", 1000 * step, metric, step / 3)
        for step in range(steps)
        for metric in ("return", "q_mean")
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_rows_and_provenance_come_back(tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    write_curves(path, curves(), PROVENANCE)
    assert_frame_equal(read_curves([path]), curves())
    assert read_provenance(path) == PROVENANCE
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.parquet"]


@settings(deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    texts=st.tuples(st.text(max_size=5), st.text(max_size=5)),
)
def test_any_finite_value_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], texts: tuple[str, str]
) -> None:
    path = tmp_path_factory.mktemp("curves") / "curves.parquet"
    rows = [
        (texts[0], "sac", texts[1], 3, "online", "step", step, "return", value)
        for step, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    write_curves(path, frame, {})
    assert_frame_equal(read_curves(path), frame, check_exact=True)


def test_equal_rows_give_equal_bytes_whatever_the_frame_was_before(tmp_path: Path) -> None:
    frame = curves()
    other = curves().iloc[:, ::-1].set_index(pd.Index(range(100, 110)))
    write_curves(tmp_path / "a.parquet", frame, PROVENANCE)
    write_curves(tmp_path / "b.parquet", other, dict(reversed(PROVENANCE.items())))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_rewriting_what_was_read_gives_equal_bytes(tmp_path: Path) -> None:
    write_curves(tmp_path / "a.parquet", curves(), PROVENANCE)
    write_curves(
        tmp_path / "b.parquet",
        read_curves([tmp_path / "a.parquet"]),
        read_provenance(tmp_path / "a.parquet"),
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_many_files_are_joined_in_order_whatever_their_folders_are_called(tmp_path: Path) -> None:
    paths = [tmp_path / f"seed={seed}" / "curves.parquet" for seed in (7, 3)]
    for path, seed in zip(paths, (7, 3), strict=True):
        write_curves(path, curves(seed=seed), PROVENANCE | {"seeds": [seed]})
    expected = pd.concat([curves(seed=7), curves(seed=3)], ignore_index=True)
    assert_frame_equal(read_curves(paths), expected)


@pytest.mark.parametrize(
    ("change", "said", "sentence"),
    [
        (lambda frame: frame.iloc[:0], {}, "holds no curve: expected at least one row"),
        (lambda frame: frame.assign(seed=-1), {}, "has seeds from -1 to -1: expected from 0 to 4294967295"),
        (lambda frame: frame.assign(seed=2**32), {}, "has seeds from 4294967296 to 4294967296: expected"),
        (lambda frame: frame.assign(step=frame["step"] - 1), {}, "has a curve with a step -1: expected none"),
        (lambda frame: frame, {"seeds": [0, 1]}, "of the seeds [0]: expected its provenance's, [0, 1]"),
        (lambda frame: frame, {"seeds": 5}, "of the seeds [0]: expected its provenance's, 5"),
        (lambda frame: frame, {"seeds": [[1]]}, "of the seeds [0]: expected its provenance's, [[1]]"),
        (
            lambda frame: frame,
            {"configuration": {"schedule": {"steps": 5000}}},
            "has a curve of seed 0 that ends at step 4000: expected 5000",
        ),
        (
            lambda frame: frame[frame["step"] < 4000],
            {"configuration": {"schedule": {"updates": 4000}}},
            "has a curve of seed 0 that ends at step 3000: expected 4000",
        ),
    ],
)
def test_rows_that_are_not_those_of_a_finished_job_are_neither_written_nor_read(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: dict[str, Any], sentence: str
) -> None:
    path, provenance = tmp_path / "curves.parquet", {"seeds": []} | said
    with pytest.raises(UserError) as refusal:
        write_curves(path, change(curves()), provenance)
    assert sentence in str(refusal.value) and not path.exists()
    table = pa.Table.from_pandas(change(curves()), schema=KIND.schema, preserve_index=False)
    write_table(path, table, KIND, provenance)
    with pytest.raises(UserError) as refusal:
        read_curves(path)
    assert str(path) in str(refusal.value) and sentence in str(refusal.value)


def test_a_point_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="given twice"):
        write_curves(tmp_path / "a.parquet", pd.concat([curves(), curves()]), PROVENANCE)
    write_curves(tmp_path / "a.parquet", curves(), PROVENANCE)
    write_curves(tmp_path / "b.parquet", curves(steps=1), PROVENANCE)
    with pytest.raises(UserError, match=r"b\.parquet.*given twice"):
        read_curves([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_the_phases_of_one_method_do_not_collide(tmp_path: Path) -> None:
    write_curves(tmp_path / "online.parquet", curves(), PROVENANCE)
    offline = curves().assign(phase="offline", unit="update")
    write_curves(tmp_path / "offline.parquet", offline, PROVENANCE)
    both = read_curves([tmp_path / "offline.parquet", tmp_path / "online.parquet"])
    assert list(both["phase"].value_counts()) == [10, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(metric="Reward!"), "the metric 'Reward!' is none: expected a lower-case"),
        (lambda frame: frame.assign(phase="neither"), "unknown phase 'neither': expected one of offline, on"),
        (lambda frame: frame.assign(unit="hour"), "unknown unit 'hour': expected one of update, step, ep"),
        (lambda frame: frame.assign(value=float("nan")), "'return' is nan at step 0"),
        (lambda frame: frame.drop(columns="seed"), "have the columns run, method"),
        (lambda frame: frame.assign(extra=1), "have the columns run, method"),
        (lambda frame: frame.assign(seed="first"), "wrong type"),
    ],
)
def test_rows_of_another_kind_are_refused(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(UserError, match=message) as refusal:
        write_curves(tmp_path / "curves.parquet", change(curves()), PROVENANCE)
    assert "curves.parquet" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_file_is_refused_in_one_sentence_with_its_name(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "curves.parquet"
    write_curves(path, curves(), PROVENANCE)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_curves, read_provenance):
        with pytest.raises(UserError) as refusal:
            read(path)
        assert str(refusal.value) == f"{path} is not a whole Parquet file; it may be truncated: make it again"


def test_a_file_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    write_curves(path, curves(steps=500), PROVENANCE)
    content = bytearray(path.read_bytes())
    content[4:600] = b"\xff" * 596
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"curves\.parquet"):
        read_curves(path)


def test_a_foreign_or_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    with pytest.raises(UserError, match=r"foreign\.parquet is not a file of curves.*found the columns a"):
        read_curves(path)
    with pytest.raises(UserError, match=r"missing\.parquet does not exist"):
        read_curves(tmp_path / "missing.parquet")
    with pytest.raises(UserError, match="No files of curves"):
        read_curves([])


def test_a_full_disk_leaves_no_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: pa.Table, where: Path, **options: object) -> None:
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"curves\.parquet could not be written: the disk is full"):
        write_curves(tmp_path / "curves.parquet", curves(), PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def test_every_metric_says_what_it_is_and_its_unit() -> None:
    assert all(text.endswith("]") and "[" in text for text in METRICS.values())
