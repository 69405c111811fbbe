"""Figures 4b and 10 draw our AUROC beside the published, where there is one, and say what is not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import statistics
from analysis.intervals import Bootstrap
from paper_figures.index import FIGURES
from paper_figures.results import Results
from storage import UserError
from tests.curves import make_curves
from tests.paper_figures.test_figures import drawn_lines
from tests.published import published_curve

STEPS = (0, 10_000, 20_000)


def make_results(datasets: Sequence[str], seeds: Sequence[int] = (0, 1, 2), measured: bool = True) -> Results:
    """Returns at every step; AUROC after the first, of the ensemble 60 and 62, of a member two less."""
    curves = make_curves(methods=("off2on", "sac_ft"), datasets=datasets, seeds=seeds, steps=STEPS)
    rows = curves[(curves["method"] == "off2on") & (curves["step"] > 0)]
    auroc = 58 + rows["step"] / 5_000 + rows["seed"] / 10
    parts = [
        rows.assign(metric=metric, value=auroc - lower)
        for metric, lower in (("auroc_ensemble", 0), ("auroc_individual", 2))
    ]
    everything = pd.concat([curves, *parts] if measured else [curves], ignore_index=True)
    return Results(lambda: everything, 5, defaultdict(int), statistics(curves, repetitions=20), Bootstrap(20))


def test_it_draws_exactly_its_csv(tmp_path: Path) -> None:
    datasets = ["walker2d-medium-expert", "halfcheetah-medium-expert", "walker2d-random"]
    table = FIGURES["figure_10"].table(make_results(datasets))
    table.to_csv(tmp_path / "drawn.csv", index=False)
    written = pd.read_csv(tmp_path / "drawn.csv", float_precision="round_trip")
    figure = FIGURES["figure_10"].draw(written)
    assert [axes.get_title() for axes in figure.axes] == datasets[1::-1]
    for axes in figure.axes:
        curves = written[written["dataset"] == axes.get_title()].groupby(["source", "label"])
        assert len(curves) == 4 == len(axes.lines) == len(axes.patches)
        for _, rows in curves:
            line = rows[["step", "value"]].to_numpy(dtype=float)
            assert any(np.array_equal(line, other) for other in drawn_lines(axes))


def test_ours_is_the_mean_over_seeds_and_theirs_the_digitised_curve_to_our_last_step() -> None:
    dataset = "hopper-medium-expert"
    table = FIGURES["figure_10"].table(make_results([dataset]))
    table = table.set_index(["source", "label"]).sort_index(kind="stable")
    for label, lower in (("Ensemble", 0), ("Individual", 2)):
        ours = table.loc[("this suite", label)]
        assert list(ours["step"]) == [10_000, 20_000]
        np.testing.assert_allclose(ours["value"], [60.1 - lower, 62.1 - lower])
        assert ((ours["low"] < ours["value"]) & (ours["value"] < ours["high"])).all()
        theirs, source = table.loc[("published", label)], published_curve(10, dataset, label)
        assert list(theirs["step"]) == [10_000, 20_000]
        np.testing.assert_array_equal(theirs["value"], source["mean"].iloc[:2])
        np.testing.assert_array_equal(theirs["low"], (source["mean"] - source["std"]).iloc[:2])
    assert set(table["unit"]) == {"AUROC [%]"}


def test_4b_is_the_panel_of_walker2d() -> None:
    datasets = ["walker2d-medium-expert", "hopper-medium-expert"]
    results = make_results(datasets)
    table = FIGURES["figure_04b"].table(results)
    assert set(table["dataset"]) == {"walker2d-medium-expert"}
    whole = FIGURES["figure_10"].table(results)
    same = whole[whole["dataset"] == "walker2d-medium-expert"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, same)


def test_a_dataset_that_the_paper_has_not_stands_alone() -> None:
    results = make_results(["halfcheetah-local"], seeds=(0,))
    table = FIGURES["figure_10"].table(results)
    assert set(table["source"]) == {"this suite"}
    figure = FIGURES["figure_10"].draw(table)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][2:] == ["this suite (1 seed, no interval)"]
    text = FIGURES["figure_10"].caption(table, results)
    assert text.startswith("Counterpart of the paper's Figure 10") and "not known" not in text


def test_the_caption_says_which_q_is_drawn_and_what_is_not_known() -> None:
    results = make_results(["walker2d-medium-expert"])
    text = FIGURES["figure_04b"].caption(FIGURES["figure_04b"].table(results), results)
    assert "Figure 4b of the paper, the first 20,000 environment steps" in text
    assert "smaller of a member's twin Q values" in text and "random subsample" in text
    assert "is not known" in text and "Ensemble and Individual, mean over 3 seeds" in text


def test_results_without_the_measurement_are_refused() -> None:
    unmeasured = make_results(["hopper-medium-expert"], measured=False)
    with pytest.raises(UserError, match="no auroc_ensemble of method off2on on dataset hopper-medium-expert"):
        FIGURES["figure_10"].table(unmeasured)
    curves = make_curves(methods=("sac",))
    other = Results(lambda: curves, 5, defaultdict(int), statistics(curves, repetitions=5))
    with pytest.raises(UserError, match=r"Figure 10 draws AUROC \[%\] of off2on, and the results hold none"):
        FIGURES["figure_10"].table(other)
