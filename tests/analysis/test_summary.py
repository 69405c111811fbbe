"""The closing table says start, end and interval of each method on each dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.aggregate import statistics
from analysis.statistics import Statistics, closing_rows
from analysis.summary import closing_table, costed_rows
from tests.curves import make_curves


def test_every_method_and_dataset_has_its_line() -> None:
    result = statistics(make_curves(datasets=("halfcheetah-random", "hopper-medium")), repetitions=20)
    lines = closing_table(result).splitlines()
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


def test_columns_are_aligned() -> None:
    lines = closing_table(statistics(make_curves(), repetitions=20)).splitlines()[:5]
    assert len({len(line) for line in lines}) == 1


def test_one_run_is_said_to_have_no_interval() -> None:
    table = closing_table(statistics(make_curves(seeds=(0,)), repetitions=20))
    assert table.count("none (one run)") == 3
    assert "nan" not in table


def test_markdown_holds_the_same_table() -> None:
    result = statistics(make_curves(), repetitions=20)
    pd.testing.assert_frame_equal(costed_rows(result, None), closing_rows(result), check_exact=True)
    text = closing_table(result, form="pipe")
    assert text.splitlines()[0].split()[:4] == ["|", "method", "|", "dataset"]
    assert text.count("halfcheetah-random") == 3


def compute_of(result: Statistics) -> pd.DataFrame:
    """Two PFLOP and four core-hours a seed on each dataset, but for a method of which nothing is known."""
    pairs = [(method, dataset) for method in result.methods[:-1] for dataset in result.datasets]
    frame = pd.DataFrame(pairs, columns=["method", "dataset"])
    return frame.assign(
        offline_updates=1000, pflop=2.0, core_hours=[4.0 + place for place in range(len(frame))]
    )


def test_a_row_says_what_a_seed_takes_and_its_score_an_hour() -> None:
    result = statistics(make_curves(datasets=("halfcheetah-random", "hopper-medium")), repetitions=5)
    rows = costed_rows(result, compute_of(result)).set_index(["method", "dataset"])
    assert rows[["pflop", "core_hours"]].iloc[:3].to_numpy().tolist() == [[2, 4], [2, 5], [2, 4.5]]
    np.testing.assert_array_equal(rows["score_per_core_hour"], rows["end"] / rows["core_hours"])
    lines = closing_table(result, compute_of(result)).splitlines()
    assert lines[0].endswith("score per core-hour")
    assert lines[2].split()[-4:] == ["1,000", "2", "4", f"{rows['score_per_core_hour'].iloc[0]:.3g}"]
    assert "model has them" in lines[-1]


def test_what_is_not_known_of_the_compute_is_left_empty() -> None:
    result = statistics(make_curves(), repetitions=5)
    table = closing_table(result, compute_of(result))
    assert "nan" not in table
    assert costed_rows(result, compute_of(result))["pflop"].isna().sum() == 1


def test_over_all_datasets_a_seed_takes_their_mean() -> None:
    result = statistics(make_curves(datasets=("halfcheetah-random", "hopper-medium")), repetitions=5)
    rows = costed_rows(result, compute_of(result))
    assert rows.loc[rows["dataset"] == "all", "core_hours"].tolist()[:2] == [4.5, 6.5]
