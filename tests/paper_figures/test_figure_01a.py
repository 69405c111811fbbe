"""Figure 1a draws exactly its table, relative to the offline mean, and compares only what compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from analysis.aggregate import statistics
from paper_figures import figure_01a
from paper_figures.results import Results
from storage import UserError
from storage.tables import LIKELIHOODS, write_table
from tests.curves import make_curves


def likelihoods(*datasets: str) -> pd.DataFrame:
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"dataset": dataset, "source": source, "value": random.normal(mean, 3.0, size)})
        for dataset in datasets
        for source, mean, size in (("offline", -20.0, 200), ("online", -26.0, 300))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def results() -> Results:
    curves = make_curves()
    updates = dict.fromkeys(("halfcheetah-random", "pendulum-random"), 40_000)
    return Results(lambda: curves, 5, updates, statistics(curves, repetitions=5))


def histograms(figure: Figure) -> list[tuple[np.ndarray, np.ndarray]]:
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    return [(patch.get_data().values, patch.get_data().edges) for patch in patches]


def test_bins_are_normalised_shared_by_both_kinds_and_hold_every_sample() -> None:
    rows = likelihoods("halfcheetah-random")
    table = figure_01a.table_of(rows)
    bins = table[table["kind"] == figure_01a.HISTOGRAM]
    for samples, own in bins.groupby("samples"):
        values = rows.loc[rows["source"] == samples, "value"]
        width = own["high"] - own["low"]
        for low, high, density in zip(own["low"], own["high"], own["density"], strict=True):
            inside = ((values >= low) & ((values < high) | (high == own["high"].max()))).sum()
            assert density * len(values) * width.iloc[0] == pytest.approx(inside, abs=1e-6)
        assert float((own["density"] * width).sum()) == pytest.approx(1.0)
    offline, online = (bins[bins["samples"] == samples]["low"].to_numpy() for samples in figure_01a.SAMPLES)
    np.testing.assert_array_equal(offline, online)


def test_our_numbers_stand_beside_the_published_ones() -> None:
    table = figure_01a.table_of(likelihoods("halfcheetah-random"))
    found = table[table["kind"] == figure_01a.SUMMARY].set_index(["source", "samples"])
    assert found.loc[("published", "offline"), ["mean", "std"]].tolist() == [-53.7, 4.4]
    assert found.loc[("published", "online"), ["mean", "std"]].tolist() == [-61.2, 6.1]
    assert found.loc[("this suite", "offline"), "mean"] == pytest.approx(-20, abs=0.7)
    assert found.loc[("this suite", "online"), "count"] == 300


def test_the_figure_draws_exactly_its_csv_relative_to_the_offline_mean(tmp_path: Path) -> None:
    table = figure_01a.table_of(likelihoods("halfcheetah-random"))
    table.to_csv(tmp_path / "drawn.csv", index=False)
    written = pd.read_csv(tmp_path / "drawn.csv", float_precision="round_trip")
    figure = figure_01a.draw(written)
    summaries = table[table["kind"] == figure_01a.SUMMARY].set_index(["source", "samples"])
    ours = summaries.loc["this suite"]["mean"]
    drawn = histograms(figure)
    assert len(drawn) == 2
    for (values, edges), samples in zip(drawn, figure_01a.SAMPLES, strict=True):
        bins = table[(table["kind"] == figure_01a.HISTOGRAM) & (table["samples"] == samples)]
        np.testing.assert_array_equal(values, bins["density"])
        np.testing.assert_allclose(edges[:-1], bins["low"] - ours["offline"], rtol=1e-12)
    lines = figure.axes[0].lines
    assert all(line.is_dashed() for line in lines)
    np.testing.assert_allclose(lines[0].get_xdata(), [-4.4, 0.0, 4.4], atol=1e-9)
    np.testing.assert_allclose(lines[1].get_xdata(), [-7.5 - 6.1, -7.5, -7.5 + 6.1], atol=1e-9)


def test_a_dataset_that_the_paper_has_not_stands_alone(results: Results) -> None:
    table = figure_01a.table_of(likelihoods("pendulum-random"))
    assert set(table["source"]) == {"this suite"}
    figure = figure_01a.draw(table)
    assert len(histograms(figure)) == 2 and len(figure.legends) == 1 and not figure.axes[0].lines
    text = figure_01a.caption(table, results)
    assert text.startswith("Counterpart of the paper's Figure 1a.") and "published" not in text


def test_every_dataset_has_a_panel() -> None:
    table = figure_01a.table_of(likelihoods("pendulum-random", "halfcheetah-random"))
    titles = [axes.get_title() for axes in figure_01a.draw(table).axes]
    assert titles == ["pendulum-random", "halfcheetah-random"]


def test_the_caption_says_that_only_the_shift_compares(results: Results) -> None:
    text = figure_01a.caption(figure_01a.table_of(likelihoods("halfcheetah-random")), results)
    assert "halfcheetah-random, published: mean -53.7 nats offline, -61.2 online, a shift of -7.5." in text
    assert "after 40,000 updates" in text and "exploring policy" in text
    assert "absolute levels do not compare" in text and "its sign does" in text


def test_files_are_read_whole_or_refused(tmp_path: Path) -> None:
    def write(name: str, frame: pd.DataFrame) -> Path:
        table = pa.Table.from_pandas(frame, schema=LIKELIHOODS.schema, preserve_index=False)
        write_table(tmp_path / f"{name}.parquet", table, LIKELIHOODS, {})
        return tmp_path / f"{name}.parquet"

    rows = likelihoods("a")
    one, two = write("one", rows), write("two", rows.assign(dataset="b"))
    found = figure_01a.read_likelihoods([one, two])
    assert len(found) == 2 * len(rows) and list(found["dataset"].unique()) == ["a", "b"]

    write("cut", rows).write_bytes(one.read_bytes()[:-100])
    rows.to_parquet(tmp_path / "foreign.parquet", index=False)
    write("half", rows[rows["source"] == "online"])
    write("infinite", rows.assign(value=np.inf))
    for name, message in (
        ("none", "does not exist"),
        ("cut", "not a whole Parquet file"),
        ("foreign", "expected the columns dataset, source, value"),
        ("half", "sources offline and online"),
        ("infinite", "not a finite number"),
    ):
        with pytest.raises(UserError, match=message):
            figure_01a.read_likelihoods([tmp_path / f"{name}.parquet"])
    with pytest.raises(UserError, match="No files"):
        figure_01a.read_likelihoods([])
