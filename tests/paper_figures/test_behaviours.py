"""The picture of estimated behaviours draws what the step left, agent 0's, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from paper_figures import behaviours
from paper_figures.results import Results
from storage import UserError
from storage.tables import BEHAVIOURS, write_table


def results_of(*files: Path) -> Results:
    return Results(pd.DataFrame, 1, {}, files=files)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    rows = [
        ("d", "m", agent, kind, number, behaviour, source, value, 0.1 * number, agent)
        for agent in (0, 1)
        for kind, number, behaviour, source, value in (
            ("trajectory", 0, 1, 0, 5.0),
            ("trajectory", 1, 1, 0, 1.0),
            ("trajectory", 2, 0, 1, 9.0),
            ("trajectory", 3, 0, 1, 7.0),
            ("behaviour", 0, None, None, None),
            ("behaviour", 1, None, None, None),
            ("learned", 2, None, None, None),
        )
    ]
    frame = pd.DataFrame(rows, columns=BEHAVIOURS.schema.names)
    frame = frame.astype({"behaviour": "Int64", "source": "Int64", "x": float, "y": float})
    path = tmp_path / "m.parquet"
    write_table(path, pa.Table.from_pandas(frame, BEHAVIOURS.schema, preserve_index=False), BEHAVIOURS, {})
    return path


def test_it_draws_every_vector_of_the_first_agent(written: Path) -> None:
    results = results_of(written)
    drawn = behaviours.table(results)
    assert len(drawn) == 7
    assert drawn["percentile"].dropna().tolist() == [50.0, 25.0, 100.0, 75.0]
    figure = behaviours.draw(drawn)
    axes, shades = figure.axes
    assert [len(points.get_offsets()) for points in axes.collections] == [2, 2]
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 1]
    assert axes.get_xlabel() and axes.get_ylabel() and shades.get_ylabel()
    assert behaviours.caption(drawn, results).endswith("Behaviours that trajectories belong to: m on d: 2.")


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(UserError, match="No files of estimated behaviours were given"):
        behaviours.table(results_of())


def test_the_legend_names_what_is_drawn_and_no_more(written: Path) -> None:
    drawn = behaviours.table(results_of(written))
    for kinds, last in ((("learned",), "behaviour"), ((), "learned policy")):
        [legend] = behaviours.draw(drawn[~drawn["kind"].isin(kinds)]).legends
        assert legend.get_texts()[-1].get_text() == last
