"""Outside curves enter whole and with provenance, or are refused in one sentence and leave nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.intervals import Bootstrap
from analysis.leaderboard import Entry, markdown, rows
from analysis.outside import enter, read_outside
from storage import UserError
from storage.curves import COLUMNS

SAID: dict[str, Any] = {
    "implementation": "Theirs, example.org/theirs",
    "commit": "0123456789abcdef",
    "data": "D4RL v2",
    "environment": "HalfCheetah-v2",
    "evaluation": "10 deterministic episodes",
    "hardware": "one core",
    "offline_updates": 1000000,
    "pflop": 3.5,
    "core_hours": None,
}


def curves(seeds: tuple[int, ...] = (0, 1, 2), last: float = 6000.0) -> pd.DataFrame:
    """Returns at two steps; seed s ends at `last` + 100 s."""
    fixed = {"run": "theirs", "method": "mine", "dataset": "halfcheetah-medium", "phase": "online"}
    points = [
        (seed, step, 4000.0 if step == 0 else last + 100 * seed) for seed in seeds for step in (0, 5000)
    ]
    frame = pd.DataFrame(points, columns=["seed", "step", "value"]).assign(
        **fixed, unit="step", metric="return"
    )
    return frame[list(COLUMNS)]


def csv(path: Path, frame: pd.DataFrame, said: dict[str, Any]) -> Path:
    above = "".join(f"# {key}: {json.dumps(value)}\n" for key, value in said.items())
    path.write_text(above + frame.to_csv(index=False))
    return path


def parquet(path: Path, frame: pd.DataFrame, said: dict[str, Any]) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if said:
        table = table.replace_schema_metadata({"provenance": json.dumps(said)})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(("write", "name"), [(csv, "a.csv"), (parquet, "a.parquet")])
def test_what_enters_is_read_again_as_it_was(write: Any, name: str, tmp_path: Path) -> None:
    kept = enter(write(tmp_path / name, curves(), SAID), tmp_path / "outside")
    assert kept == tmp_path / "outside" / "theirs.parquet"
    frame, said = read_outside(kept)
    pd.testing.assert_frame_equal(frame, curves())
    assert (said.implementation, said.pflop, said.core_hours) == ("Theirs, example.org/theirs", 3.5, None)


def spoilt(**values: Any) -> pd.DataFrame:
    """The curves with other values in the last row."""
    frame = curves().astype({"value": float})
    for name, value in values.items():
        frame[name] = [*frame[name][:-1], value]
    return frame


def less(key: str) -> dict[str, Any]:
    return {name: value for name, value in SAID.items() if name != key}


WRONG = [
    (pd.concat([curves(), curves().iloc[-1:]]), SAID, "one point of a curve is given twice (run theirs"),
    (curves().assign(note="x"), SAID, "unknown column 'note': expected run, method"),
    (curves().drop(columns="seed"), SAID, "the column 'seed' is missing: expected run, method"),
    (curves(), {}, "has no provenance: expected"),
    (curves(), less("commit"), "provenance: the key 'commit' is missing"),
    (curves(), SAID | {"licence": "MIT"}, "provenance: unknown key 'licence': expected one of"),
    (curves(), SAID | {"data": ""}, "provenance: data is empty: expected text"),
    (curves(), SAID | {"offline_updates": 0.5}, "provenance.offline_updates"),
    (curves(), SAID | {"pflop": -1}, "provenance.pflop"),
    (curves(), SAID | {"pflop": "many"}, "provenance.pflop"),
    (spoilt(value=float("inf")), SAID, "row 6: the metric 'return' is inf at step 5000 of seed 2 on half"),
    (spoilt(value=float("nan")), SAID, "row 6"),
    (spoilt(value=1e12), SAID, "row 6: the metric 'return' is 1e+12 at step 5000 of seed 2 on halfcheetah"),
    (spoilt(step=6000), SAID, "The curves lack a point: method mine, dataset halfcheetah-medium, seed 0"),
    (spoilt(method="other"), SAID, "the method is mine, other: expected one name in all rows"),
    (curves().assign(run="Mine!"), SAID, "the run is Mine!: expected one name in all rows"),
    (spoilt(phase="offline"), SAID, "a row has the phase 'offline' and unit 'step': expected online"),
    (spoilt(phase="between"), SAID, "unknown phase 'between': expected one of offline, online"),
    (curves().assign(unit="update"), SAID, "a row has the phase 'online' and unit 'update'"),
    (curves().assign(metric="score"), SAID, "The curves hold no returns of an online phase"),
    (curves().assign(dataset="ant-medium"), SAID, "The dataset 'ant-medium' has no reference scores"),
    (curves().assign(seed=0.5), SAID, "the column 'seed' is not of whole numbers"),
    (curves().assign(value="good"), SAID, "the column 'value' is not of numbers: row 1 has 'good'"),
    (curves((-1, 0)), SAID, "has seeds from -1 to 0"),
    (curves().iloc[:0], SAID, "holds no curve"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "name"), [(csv, "bad.csv"), (parquet, "bad.parquet")])
@pytest.mark.parametrize(("frame", "said", "sentence"), WRONG, ids=[sentence for _, _, sentence in WRONG])
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(
    write: Any, name: str, frame: pd.DataFrame, said: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        enter(write(tmp_path / name, frame, said), tmp_path / "outside")
    assert sentence in str(error.value)
    assert "bad." in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "outside").glob("*"))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "tabs.csv").write_text("# implementation: [\nrun\n")
    for name in ("broken.parquet", "empty.csv", "tabs.csv", "absent.csv", "curves.json"):
        with pytest.raises(UserError, match=name):
            enter(tmp_path / name, tmp_path / "outside")


def test_a_run_enters_once(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", curves(), SAID)
    enter(file, tmp_path)
    with pytest.raises(UserError, match=r"theirs\.parquet is there already"):
        enter(file, tmp_path)


def entry(frame: pd.DataFrame, data: str = "D4RL v2", pflop: float | None = 2.0) -> Entry:
    return Entry(frame, "somebody", data, None, pflop, None, ["0123456789abcdef"])


def test_a_row_has_the_interquartile_mean_of_the_last_scores_and_their_interval() -> None:
    [row] = rows([entry(curves())], Bootstrap(200)).to_dict("records")
    score = 100 * (6100 + 280.178953) / (12135 + 280.178953)
    assert row["iqm"] == pytest.approx(score)
    assert row["low"] <= row["iqm"] <= row["high"]
    assert (row["steps"], row["seeds"], row["commit"]) == (5000, 3, "012345678")


def test_methods_on_other_data_stand_in_tables_of_their_own_and_the_best_comes_first() -> None:
    worse, better = (curves(last=last).assign(method=name) for last, name in ((6000, "low"), (7000, "high")))
    entries = [entry(worse), entry(curves((0,)), "D4RL v0", None), entry(better)]
    text = markdown(rows(entries, Bootstrap(200)), Bootstrap(200))
    assert text.count("## halfcheetah-medium\n") == 2
    assert text.index("Data: D4RL v0.") < text.index("Data: D4RL v2.")
    assert text.index("| high ") < text.index("| low ")
    assert "none (one run)" in text
    assert "not stated" in text
    assert "nan" not in text


def test_a_variant_is_named_in_words_as_in_figures() -> None:
    variant = curves().assign(method="off2on_carried_fast")
    [row] = rows([entry(variant)], Bootstrap(200)).to_dict("records")
    assert row["method"] == "Off2On carried fast"
