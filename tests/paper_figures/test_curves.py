"""The paper's figures of several methods, and of the offline share: what they draw, say and refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.aggregate import statistics
from analysis.intervals import Bootstrap
from analysis.published import METHOD_OF_CURVE, published_table
from analysis.scores import normalised, returns
from paper_figures import drawing, panels, style
from paper_figures.curves import Curves
from paper_figures.index import FIGURES, write
from paper_figures.results import Results
from storage import UserError
from tests.curves import curve_row, frame, make_curves
from tests.published import published_curve

COMPARISONS = [
    name for name, figure in FIGURES.items() if isinstance(figure, Curves) and panels.RETURN in figure.metrics
]
PENDULUM = "inverted-double-pendulum-replay"


def comparison(name: str) -> Curves:
    figure = FIGURES[name]
    assert isinstance(figure, Curves)
    return figure


def make_results(
    methods: Sequence[str],
    datasets: Sequence[str],
    *,
    steps: Sequence[int] = (0, 1000, 2000, 3000),
    more: Sequence[pd.DataFrame] = (),
    **others: Any,
) -> Results:
    """Results of these methods and datasets, and of `more` curves."""
    updates = dict.fromkeys(datasets, 40_000)
    settings: dict[str, Any] = {"ensemble_size": 5, "pretraining_updates": updates} | others
    curves = make_curves(methods=methods, datasets=datasets, steps=steps)
    curves = pd.concat([curves, *more], ignore_index=True)
    result = statistics(curves, repetitions=10, methods=methods, datasets=datasets)
    return Results(lambda: curves, compared=result, bootstrap=Bootstrap(10), **settings)


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_declares_the_methods_of_the_papers_figure(name: str) -> None:
    figure = comparison(name)
    published = {method for (number, _), method in METHOD_OF_CURVE.items() if number == figure.number}
    assert set(figure.methods) == published <= set(style.LOOKS)


def test_every_digitised_figure_is_drawn() -> None:
    drawn = {getattr(figure, "number", None) for figure in FIGURES.values()} - {None}
    assert {number for number, _ in METHOD_OF_CURVE} <= drawn


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_published_curve_lies_beside_ours_in_its_own_panel(name: str) -> None:
    figure = comparison(name)
    rows = published_table()
    dataset = str(rows.loc[rows["figure"] == figure.number, "panel"].iloc[-1])
    results = make_results(tuple(figure.methods), (dataset,))
    table = figure.table(results).set_index(["source", "method"]).sort_index()
    for method, label in figure.methods.items():
        (curve,) = [c for (n, c), m in METHOD_OF_CURVE.items() if (n, m) == (figure.number, method)]
        source = published_curve(figure.number, dataset, curve).iloc[:4]
        theirs = table.loc[(drawing.PUBLISHED, method)]
        np.testing.assert_array_equal(theirs["step"], source["step"])
        np.testing.assert_array_equal(theirs["value"], source["mean"])
        np.testing.assert_array_equal(theirs["low"], source["mean"] - source["std"])
        ours = table.loc[(drawing.OURS, method)]
        mean = results.statistics.curve(method, dataset, "mean")["estimate"].to_numpy()
        np.testing.assert_array_equal(ours["value"], returns(mean, dataset))
        assert set(ours["label"]) == {label.replace("{size}", "5")} == set(theirs["label"])
    picture = figure.draw(figure.table(results))
    assert [axes.get_title() for axes in picture.axes] == [dataset]
    curves = [line for line in picture.axes[0].lines if len(line.get_xydata()) == 4]
    dashed = [to_hex(line.get_color()) for line in curves if line.is_dashed()]
    assert dashed == [style.LOOKS[method].colour.lower() for method in figure.methods]


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_task_that_the_paper_has_not_is_drawn_without_published_curves(name: str, tmp_path: Path) -> None:
    figure = comparison(name)
    results = make_results(tuple(figure.methods), (PENDULUM,), ensemble_size=3, demonstration=True)
    table = write(name, results, tmp_path / name)
    assert set(table["source"]) == {drawing.OURS} and set(table["dataset"]) == {PENDULUM}
    (legend,) = figure.draw(table).legends
    assert not any(text.get_text().startswith("published") for text in legend.get_texts())
    text = (tmp_path / f"{name}.txt").read_text().rstrip()
    assert text.startswith(f"Counterpart of the paper's Figure {figure.number}, ")
    assert "ublished" not in text and text.endswith(style.DEMONSTRATION)


def test_a_figure_has_the_papers_panels_and_those_of_tasks_the_paper_has_not() -> None:
    figure = comparison("figure_04c")
    names = ("walker2d-random", "hopper-medium", PENDULUM)
    results = make_results(tuple(figure.methods), names)
    table = figure.table(results)
    assert list(dict.fromkeys(table["dataset"])) == [PENDULUM, "walker2d-random"]
    assert f"That figure has no curves for {PENDULUM}." in figure.caption(table, results)
    whole = comparison("figure_11").table(results)
    assert set(whole["dataset"]) == set(names)
    elsewhere = make_results(tuple(figure.methods), ("hopper-medium",))
    assert set(figure.table(elsewhere)["dataset"]) == {"hopper-medium"}


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_figure_whose_methods_were_not_run_names_them(name: str) -> None:
    figure = comparison(name)
    first, *missing = figure.methods
    with pytest.raises(UserError, match=f"results hold {first} of them: run also {style.listed(missing)}"):
        figure.table(
            make_results((first, "iql"), (PENDULUM,))
            if not figure.open
            else make_results(("off2on",), (PENDULUM,))
        )
    with pytest.raises(UserError, match="hold none of them"):
        replace(figure, open=False).table(make_results(("iql",), (PENDULUM,)))


def test_a_method_that_was_not_run_is_left_out_and_the_caption_says_so() -> None:
    figure = comparison("figure_12")
    results = make_results(("off2on", "off2on_n2"), ("walker2d-random",), ensemble_size=3)
    table = figure.table(results)
    assert set(table["method"]) == {"off2on", "off2on_n2"}
    text = figure.caption(table, results)
    assert "Not run, hence not drawn: N = 1." in text
    assert "Our ensembles have 3 members, the paper's 5." in text


def test_figure_3_draws_a_method_of_somebody_elses_beside_the_rest() -> None:
    results = make_results(("off2on", "sac", "my_method"), ("hopper-medium",))
    table = FIGURES["figure_03"].table(results)
    assert list(dict.fromkeys(table["method"])) == ["off2on", "sac", "my_method"]
    assert set(table.loc[table["method"] == "my_method", "source"]) == {drawing.OURS}
    assert "my_method" in FIGURES["figure_03"].caption(table, results)
    assert "my_method" not in set(
        FIGURES["figure_11"].table(
            make_results(("off2on", "off2on_uniform", "my_method"), ("hopper-medium",))
        )["method"]
    )


def test_figure_1b_ends_where_the_papers_axis_does_and_draws_asymptotes() -> None:
    figure = comparison("figure_01b")
    results = make_results(
        tuple(figure.methods), ("halfcheetah-medium",), steps=(0, 25_000, 50_000, 75_000, 100_000)
    )
    table = figure.table(results)
    assert table["step"].max() == 50_000
    for source, metric, last in (
        (drawing.OUR_LEVEL, drawing.OURS, 100_000),
        (drawing.PUBLISHED_LEVEL, drawing.PUBLISHED, 249_000),
    ):
        levels = table[table["source"] == source]
        assert set(levels["step"]) == {0, 50_000} and set(levels["band"]) == {f"value at step {last:,}"}
        assert set(levels["method"]) == set(table.loc[table["source"] == metric, "method"])
    published = table[(table["source"] == drawing.PUBLISHED_LEVEL) & (table["method"] == "sac_ft")]
    end = published_curve("1b", "halfcheetah-medium", "Uniform")["mean"].iloc[-1]
    np.testing.assert_array_equal(published["value"], [end, end])
    assert end == pytest.approx(6685, abs=1)  # the level printed in the paper's figure [D]
    assert len(figure.draw(table).axes[0].lines) == 8


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("figure_08", "confounded"),
        ("figure_13", "of other runs than Figure 3's"),
        ("figure_14", "printed legend is swapped"),
        ("figure_01b", "is SAC-ft's of Figure 3"),
        ("figure_01c", "that of N = 1 in Figure 12"),
    ],
)
def test_captions_say_what_is_confounded_or_swapped(name: str, words: str) -> None:
    figure = comparison(name)
    dataset = "halfcheetah-medium" if name == "figure_01b" else "halfcheetah-random"
    results = make_results(tuple(figure.methods), (dataset,))
    assert words in figure.caption(figure.table(results), results)


def test_the_notes_on_figures_8_and_14_are_true_of_the_published_curves() -> None:
    def curve(figure: str, name: str) -> pd.DataFrame:
        return published_curve(figure, "halfcheetah-random", name).set_index("step")["mean"]

    ours = curve("3", "Ours")
    np.testing.assert_allclose(curve("14", "B"), ours[curve("14", "B").index], atol=0.1)
    np.testing.assert_allclose(curve("8", "No Reg"), ours[curve("8", "No Reg").index], atol=0.1)
    assert curve("8", "CQL Reg")[0] == pytest.approx(curve("12", "N=1")[0], abs=0.1)


# --- the share of offline samples ---------------------------------------------------------------------


def shares(dataset: str, metrics: Sequence[str], method: str = "off2on") -> pd.DataFrame:
    """Shares of three seeds, mean 0.81, 0.61, 0.41 at steps 1000 to 3000; the logged ones are lower."""
    return frame(
        curve_row(method, dataset, seed, step, 1 - step / 5000 + 0.01 * seed - 0.1 * k, metric)
        for k, metric in enumerate(metrics)
        for seed in (0, 1, 2)
        for step in (1000, 2000, 3000)
    )


@pytest.mark.parametrize("logged", [False, True])
def test_the_offline_share_lies_beside_the_published_one_in_environment_steps(logged: bool) -> None:
    metrics = ("offline_fraction", "offline_fraction_logged") if logged else ("offline_fraction",)
    results = make_results(("off2on", "sac"), ("walker2d-random",), more=[shares("walker2d-random", metrics)])
    figure = FIGURES["figure_04a"]
    table = figure.table(results)
    ours = table[table["source"] == drawing.OURS]
    np.testing.assert_allclose(ours["value"], [0.81, 0.61, 0.41])
    assert list(ours["step"]) == [1000, 2000, 3000]
    theirs = table[table["source"] == drawing.PUBLISHED]
    assert list(theirs["step"]) == [200, 400, 600, 800, 1000, 2000, 3000]
    source = published_curve("9", "walker2d", "random")["mean"]
    np.testing.assert_allclose(theirs["value"], source.iloc[:7], atol=2e-3)
    (axes,) = figure.draw(table).axes
    assert len(axes.lines) == (3 if logged else 2) and axes.get_ylabel() == "share of offline samples"
    text = figure.caption(table, results)
    assert "runs ahead by four" in text and "share of all draws" in text
    assert ("Dash-dotted: ours in every 100th batch" in text) == logged


def test_the_offline_share_of_a_task_that_the_paper_has_not() -> None:
    results = make_results(("off2on", "sac"), (PENDULUM,), more=[shares(PENDULUM, ("offline_fraction",))])
    for name in ("figure_04a", "figure_09"):
        table = FIGURES[name].table(results)
        assert set(table["source"]) == {drawing.OURS}
        assert "runs ahead" not in FIGURES[name].caption(table, results)


def test_the_offline_share_names_what_is_missing() -> None:
    with pytest.raises(UserError, match="share of offline samples of off2on, and the results hold none"):
        FIGURES["figure_09"].table(make_results(("sac", "sac_ft"), (PENDULUM,)))
    with pytest.raises(UserError, match="hold no offline_fraction of method off2on on dataset inverted"):
        FIGURES["figure_09"].table(make_results(("off2on", "sac"), (PENDULUM,)))


def test_legends_are_as_wide_as_their_figure() -> None:
    labels = ["Off2On (N = 5)", "AWAC", "BCQ-ft", "SAC-ft", "SAC"]
    assert style.legend_columns(labels, 10.0) == 5 and style.legend_columns(labels, 0.5) == 1
    assert 1 < style.legend_columns(labels, 3.0) < 5
    assert style.legend_height(labels, 5) < style.legend_height(labels, 2) < style.legend_height(labels, 1)


def test_no_panel_is_left_alone_in_its_row_where_fewer_columns_have_as_many_rows() -> None:
    columns = [drawing.columns_of(panels) for panels in (1, 4, 5, 6, 7, 8, 9, 10, 12)]
    assert columns == [1, 4, 3, 3, 4, 4, 3, 4, 4]


def test_the_sweep_lies_beside_the_published_curve_and_says_how_far_each_rate_is_from_it() -> None:
    labels = ("off2on_at_3e-04", "off2on_at_5e-06")
    steps = (0, 5000, 10_000)
    results = make_results(labels, ("hopper-random", PENDULUM), steps=steps)
    figure = FIGURES["policy_learning_rate"]
    table = figure.table(results)
    theirs = table[table["source"] == drawing.PUBLISHED]
    assert set(theirs["dataset"]) == {"hopper-random"} and set(theirs["method"]) == {"off2on"}
    source = published_curve("3", "hopper-random", "Ours").set_index("step")["mean"]
    np.testing.assert_array_equal(theirs["value"], source.loc[: steps[-1]])
    published = normalised(source.loc[list(steps)].to_numpy(), "hopper-random")
    text = figure.caption(table, results)
    for label in labels:
        ours = results.statistics.curve(label, "hopper-random", "mean")["estimate"].to_numpy()
        apart = sum(abs(o - p) for o, p in list(zip(ours, published, strict=True))[1:]) / (len(steps) - 1)
        assert f"{apart:.1f} with learning rate {label[-5:]}" in text
    colours = {to_hex(line.get_color()) for line in figure.draw(table).axes[0].lines if not line.is_dashed()}
    assert len(colours) == len(labels)
