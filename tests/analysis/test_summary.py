"""The closing table says start, end and interval of each method on each dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.aggregate import statistics
from analysis.statistics import closing_rows
from analysis.summary import markdown_table, summary_table, write_summary

MakeCurves = Callable[..., pd.DataFrame]


def test_every_method_and_dataset_has_its_line(make_curves: MakeCurves) -> None:
    result = statistics(make_curves(datasets=("halfcheetah-random", "hopper-medium")), repetitions=20)
    lines = summary_table(result).splitlines()
    assert lines[0].split() == [
        "method",
        "dataset",
        "seeds",
        "steps",
        "start",
        "end",
        *["interval", "of", "the", "end"],
    ]
    for line, row in zip(lines[2:11], closing_rows(result).itertuples(), strict=True):
        interval = [f"{row.end_low:.1f}", "to", f"{row.end_high:.1f}"]
        numbers = ["3", "2,000", f"{row.start:.1f}", f"{row.end:.1f}"]
        assert line.split() == [row.method, row.dataset, *numbers, *interval]
    assert "95% stratified bootstrap interval (20 repetitions)" in lines[-1]


def test_columns_are_aligned(make_curves: MakeCurves) -> None:
    lines = summary_table(statistics(make_curves(), repetitions=20)).splitlines()[:5]
    assert len({len(line) for line in lines}) == 1


def test_one_run_is_said_to_have_no_interval(make_curves: MakeCurves) -> None:
    table = summary_table(statistics(make_curves(seeds=(0,)), repetitions=20))
    assert table.count("none (one run)") == 3
    assert "nan" not in table


def test_the_files_hold_the_same_table(make_curves: MakeCurves, tmp_path: Path) -> None:
    result = statistics(make_curves(), repetitions=20)
    write_summary(result, tmp_path / "summary.csv", tmp_path / "summary.md")
    written = pd.read_csv(tmp_path / "summary.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(written, closing_rows(result), check_exact=True)
    text = (tmp_path / "summary.md").read_text()
    assert text == markdown_table(result)
    assert text.splitlines()[0].split()[:4] == ["|", "method", "|", "dataset"]
    assert text.count("halfcheetah-random") == 3
