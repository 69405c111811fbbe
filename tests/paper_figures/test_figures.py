"""Figures draw exactly their tables, in the same bytes every time, and refuse what they cannot draw."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.aggregate import statistics
from analysis.scores import returns
from analysis.statistics import Statistics, write_statistics
from paper_figures import (
    critic_loss,
    drawing,
    interval_estimates,
    learning_curves,
    performance_profiles,
    probability_of_improvement,
    sample_efficiency,
    style,
    success_by_regime,
)
from paper_figures.index import FIGURES, Drawing, write
from paper_figures.results import Results
from storage import UserError
from tests.curves import make_curves
from tests.published import published_curve, published_panels
from workflow.figure_names import GENERAL_FIGURES

ROOT = Path(__file__).parents[2]
DATASETS = ("halfcheetah-random", "hopper-medium")


@pytest.fixture
def curves() -> pd.DataFrame:
    return make_curves(datasets=DATASETS)


@pytest.fixture
def result(curves: pd.DataFrame) -> Statistics:
    return statistics(curves, repetitions=20)


@pytest.fixture
def results(curves: pd.DataFrame, result: Statistics) -> Results:
    return results_of(curves, result)


def results_of(curves: pd.DataFrame, result: Statistics, **others: Any) -> Results:
    settings: dict[str, Any] = {
        "ensemble_size": 5,
        "pretraining_updates": dict.fromkeys(result.datasets, 100_000),
    } | others
    return Results(lambda: curves, compared=result, **settings)


def drawn_lines(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines]


def drawn_bands(axes: Axes) -> list[np.ndarray]:
    """Corners of each filled band, as sets of points without repeats."""
    return [np.unique(patch.get_path().vertices, axis=0) for patch in axes.patches]


def assert_drawn(axes: Axes, rows: pd.DataFrame) -> None:
    """The curve `rows` (step, value, low, high) is among the lines and bands of `axes`."""
    line = rows[["step", "value"]].to_numpy(dtype=float)
    assert any(np.array_equal(line, other) for other in drawn_lines(axes))
    corners = np.concatenate([rows[["step", side]].to_numpy(dtype=float) for side in ("low", "high")])
    assert any(
        all(np.any(np.all(np.isclose(other, corner, rtol=1e-12), axis=1)) for corner in corners)
        for other in drawn_bands(axes)
    )


def test_figure_3_draws_exactly_its_csv(results: Results, tmp_path: Path) -> None:
    table = write("figure_03", results, tmp_path / "figure_03")
    written = pd.read_csv(tmp_path / "figure_03.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    axes = FIGURES["figure_03"].draw(written).axes
    assert [panel.get_title() for panel in axes] == list(DATASETS)
    for panel in axes:
        curves = written[written["dataset"] == panel.get_title()].groupby(["source", "method"])
        assert len(curves) == len(panel.lines) == len(panel.patches) == 6
        for _, rows in curves:
            assert_drawn(panel, rows)


def test_figure_3_shows_our_mean_and_the_published_curve_over_the_same_steps(
    results: Results, result: Statistics
) -> None:
    table = FIGURES["figure_03"].table(results).set_index(["dataset", "source", "method"]).sort_index()
    for dataset in DATASETS:
        for method, curve in (("off2on", "Ours"), ("sac_ft", "SAC-ft"), ("sac", "SAC")):
            ours = table.loc[(dataset, drawing.OURS, method)]
            mean = result.curve(method, dataset, "mean")
            np.testing.assert_array_equal(ours["value"], returns(mean["estimate"].to_numpy(), dataset))
            np.testing.assert_array_equal(ours["high"], returns(mean["high"].to_numpy(), dataset))
            theirs = table.loc[(dataset, drawing.PUBLISHED, method)]
            assert list(theirs["step"]) == [0, 1000, 2000] == list(ours["step"])
            source = published_curve(3, dataset, curve).iloc[:3]
            np.testing.assert_array_equal(theirs["value"], source["mean"])
            np.testing.assert_array_equal(theirs["high"], source["mean"] + source["std"])


def test_figure_3_has_both_units(results: Results) -> None:
    figure = FIGURES["figure_03"].draw(FIGURES["figure_03"].table(results))
    figure.draw_without_rendering()
    panel = figure.axes[0]
    (right,) = panel.child_axes
    assert (panel.get_ylabel(), figure.axes[1].child_axes[0].get_ylabel()) == ("return", "normalised score")
    low, high = panel.get_ylim()
    score = [100 * (value + 280.178953) / (12135.0 + 280.178953) for value in (low, high)]
    np.testing.assert_allclose(right.get_ylim(), score)


def test_one_legend_names_methods_and_tells_ours_from_the_published(results: Results) -> None:
    figure = FIGURES["figure_03"].draw(FIGURES["figure_03"].table(replace(results, ensemble_size=3)))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "Off2On (N = 3); published Off2On (N = 5)",
        "SAC-ft",
        "SAC",
        "this suite (mean, 95% bootstrap interval, 3 seeds)",
        "published (mean ± std, 4 runs)",
    ]
    dashed = [line.is_dashed() for line in figure.axes[0].lines]
    assert dashed.count(True) == 3 == dashed.count(False)
    assert all(line.get_marker() != "None" for line in figure.axes[0].lines)


def test_curves_that_coincide_do_not_hide_each_other() -> None:
    curves = make_curves(methods=("off2on", "sac_ft"), steps=tuple(range(0, 40_000, 1000)))
    curves["value"] = 1.0
    table = FIGURES["figure_03"].table(results_of(curves, statistics(curves, repetitions=5)))
    ours = [line for line in FIGURES["figure_03"].draw(table).axes[0].lines if not line.is_dashed()]
    under, over = ours
    assert under.get_linewidth() > over.get_linewidth()
    marked = [set(range(first, 40, stride)) for first, stride in (line.get_markevery() for line in ours)]
    assert all(marked) and not set.intersection(*marked)


def test_a_method_has_one_colour_everywhere(results: Results) -> None:
    drawers = (FIGURES["figure_03"], learning_curves, sample_efficiency, performance_profiles)
    expected = {style.LOOKS[method].colour.lower() for method in results.statistics.methods}
    for figure in (drawer.draw(drawer.table(results)) for drawer in drawers):
        assert {to_hex(line.get_color()) for line in figure.axes[0].lines} == expected


@pytest.mark.parametrize("panels", [1, 5, 12])
def test_figure_3_has_a_panel_a_dataset_in_the_order_of_the_paper(panels: int) -> None:
    names = sorted(published_panels(3), reverse=True)[:panels]
    curves = make_curves(datasets=names, seeds=(0,))
    figure = FIGURES["figure_03"].draw(
        FIGURES["figure_03"].table(results_of(curves, statistics(curves, repetitions=5)))
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert sorted(titles) == sorted(names)
    if panels == 12:
        assert titles[:5] == [
            "halfcheetah-random",
            "halfcheetah-medium",
            "halfcheetah-medium-replay",
            "halfcheetah-medium-expert",
            "hopper-random",
        ]


def test_learning_curves_draw_exactly_their_csv(results: Results, tmp_path: Path) -> None:
    table = write("learning_curves", results, tmp_path / "learning_curves")
    written = pd.read_csv(
        tmp_path / "learning_curves.csv",
        float_precision="round_trip",
        dtype={"seed": str, "band": str},
        na_values={"low": [""], "high": [""]},
        keep_default_na=False,
    )
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    figure = learning_curves.draw(written)
    for panel in figure.axes:
        rows = written[written["dataset"] == panel.get_title()]
        assert len(panel.lines) == 3 * (3 + 1)
        for _, iqm in rows[rows["kind"] == learning_curves.IQM].groupby("method"):
            assert_drawn(panel, iqm)
        for _, run in rows[rows["kind"] == learning_curves.SEED].groupby(["method", "seed"]):
            line = run[["step", "value"]].to_numpy(dtype=float)
            assert any(np.array_equal(line, other) for other in drawn_lines(panel))


@pytest.mark.parametrize("count", [drawing.CROWD, drawing.CROWD + 1])
def test_more_methods_than_a_panel_can_show_have_a_panel_each(count: int) -> None:
    curves = make_curves(methods=[f"mine_{place}" for place in range(count)], seeds=(0, 1))
    drawn = learning_curves.table(results_of(curves, statistics(curves, repetitions=5)))
    figure = learning_curves.draw(drawn)
    if count == drawing.CROWD:
        assert [axes.get_title() for axes in figure.axes] == ["halfcheetah-random"]
        return
    assert [axes.get_title() for axes in figure.axes] == list(dict.fromkeys(drawn["label"]))
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    for axes in figure.axes:  # its own mean and seeds, the others' means in grey
        assert len(axes.lines) == (1 + 2) + (count - 1)
        assert_drawn(
            axes, drawn[(drawn["label"] == axes.get_title()) & (drawn["kind"] == learning_curves.IQM)]
        )
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["the other methods", "each seed"]


def test_sample_efficiency_draws_exactly_its_csv(results: Results, tmp_path: Path) -> None:
    table = write("sample_efficiency", replace(results, ensemble_size=3), tmp_path / "sample_efficiency")
    written = pd.read_csv(
        tmp_path / "sample_efficiency.csv", float_precision="round_trip", keep_default_na=False
    )
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    left, right = sample_efficiency.draw(written).axes
    for _, rows in written[written["panel"] == sample_efficiency.EFFICIENCY].groupby("method"):
        assert_drawn(left, rows)
    pairs = written[written["panel"] == sample_efficiency.IMPROVEMENT]
    lines = drawn_lines(right)[1:]  # the first is the line of no difference
    for k, (_, row) in enumerate(pairs.iterrows()):
        np.testing.assert_array_equal(lines[2 * k][:, 0], [row["low"], row["high"]])
        np.testing.assert_array_equal(lines[2 * k + 1][:, 0], [row["value"]])
    names = [label.get_text() for label in right.get_yticklabels()]
    assert names == ["Off2On (N = 3)\nover SAC-ft", "Off2On (N = 3)\nover SAC"]


def test_performance_profiles_draw_exactly_their_csv(results: Results, tmp_path: Path) -> None:
    table = write("performance_profiles", results, tmp_path / "profiles")
    written = pd.read_csv(tmp_path / "profiles.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    (axes,) = performance_profiles.draw(written).axes
    for _, rows in written.groupby("method"):
        assert_drawn(axes, rows.assign(step=rows["threshold"]))


def test_probabilities_of_improvement_fill_a_matrix_whose_halves_add_to_one(
    results: Results, tmp_path: Path
) -> None:
    table = write("probability_of_improvement", results, tmp_path / "matrix")
    cells = table.set_index(["method", "versus"])
    assert len(cells) == 6
    for (method, versus), cell in cells.iterrows():
        reverse = cells.loc[(versus, method)]
        assert cell["value"] + reverse["value"] == pytest.approx(1.0)
        assert cell["low"] + reverse["high"] == pytest.approx(1.0)
    (axes,) = probability_of_improvement.draw(table).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    shown = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    for _, row in table.iterrows():
        position = (names.index(row["versus_label"]), names.index(row["label"]))
        assert shown[position] == f"{row['value']:.2f}"


def test_success_by_regime_draws_exactly_its_csv(
    curves: pd.DataFrame, result: Statistics, results: Results, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no success of off2on on halfcheetah-random"):
        write("success_by_regime", results, tmp_path / "success")
    shares = np.random.default_rng(0).random(len(curves))
    both = pd.concat([curves, curves.assign(metric="success", value=shares)])
    table = write("success_by_regime", results_of(both, result), tmp_path / "success")
    written = pd.read_csv(tmp_path / "success.csv")
    last = both[(both["metric"] == "success") & (both["step"] == 2000)]
    means = last.groupby(["dataset", "method"])["value"].mean()
    for _, row in written.iterrows():
        assert row["value"] == pytest.approx(means[row["dataset"], row["method"]])
        assert row["low"] <= row["value"] <= row["high"]
    assert len(table) == len(written) == len(means)
    [panel] = success_by_regime.draw(written).axes
    drawn = [line.get_xdata()[0] for line in panel.lines if len(line.get_xdata()) == 1]
    assert drawn == pytest.approx(list(written["value"]))
    assert [tick.get_text() for tick in panel.get_yticklabels()] == list(DATASETS)


def test_success_by_regime_has_a_panel_a_regime(curves: pd.DataFrame, result: Statistics) -> None:
    names = {
        "lift-delta-from-place": ("cross-task", "lift, delta (from place)"),
        "place-delta-far-from-near": ("held-out region", "place, delta"),
        "slide-absolute-in-domain": ("in-domain", "slide, absolute"),
        "slide-delta-in-domain": ("in-domain", "slide, delta"),
    }
    assert {name: success_by_regime.regime(name) for name in names} == names
    shares = curves.assign(metric="success", value=0.5)
    of_one = success_by_regime.table(results_of(pd.concat([curves, shares]), result))
    rows = pd.concat([of_one[of_one["dataset"] == DATASETS[0]].assign(dataset=name) for name in names])
    panels = success_by_regime.draw(rows).axes
    shown = {
        panel.get_title("left"): [tick.get_text() for tick in panel.get_yticklabels()] for panel in panels
    }
    assert shown == {
        "in-domain": ["slide, absolute", "slide, delta"],
        "held-out region": ["place, delta"],
        "cross-task": ["lift, delta (from place)"],
    }


def test_interval_estimates_draw_exactly_their_csv(results: Results, tmp_path: Path) -> None:
    table = write("interval_estimates", results, tmp_path / "estimates")
    written = pd.read_csv(tmp_path / "estimates.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    assert len(table) == 3 * 4 and not (tmp_path / "estimates.txt").read_text().startswith("Learning")
    panels = interval_estimates.draw(written).axes
    assert [panel.get_title() for panel in panels] == ["median", "IQM", "mean", "optimality gap"]
    for panel, statistic in zip(panels, interval_estimates.AGGREGATES, strict=True):
        rows = written[written["statistic"] == statistic]
        assert list(rows["method"]) == list(results.statistics.methods)
        for k, row in enumerate(rows.itertuples()):
            interval, point = drawn_lines(panel)[2 * k : 2 * k + 2]
            assert list(interval[:, 0]) == [row.low, row.high] and list(point[:, 0]) == [row.value]


def test_a_matrix_tells_apart_methods_of_one_name() -> None:
    """An ensemble of two and the ablation N = 2 have the same label."""
    methods = ("off2on", "off2on_n2", "sac")
    curves = make_curves(methods=methods)
    result = statistics(curves, repetitions=5, methods=methods)
    table = probability_of_improvement.table(results_of(curves, result, ensemble_size=2))
    assert len(probability_of_improvement.draw(table).axes[0].texts) == 6


DRAW = """
import sys
from pathlib import Path
from analysis.statistics import read_statistics
from paper_figures.index import write
from paper_figures.results import Results
from storage.curves import read_curves
folder, into = Path(sys.argv[1]), Path(sys.argv[2])
statistics = read_statistics(folder / "statistics.parquet")
updates = dict.fromkeys(statistics.datasets, 100_000)
results = Results(lambda: read_curves(folder / "curves.parquet"), 5, updates, statistics)
for name in ("figure_03", "learning_curves", "sample_efficiency"):
    write(name, results, into / name)
import analysis.published, analysis.summary
print(" ".join(sys.modules))
"""


def test_two_runs_write_the_same_bytes_and_need_no_training_code(
    curves: pd.DataFrame, result: Statistics, tmp_path: Path
) -> None:
    from storage.curves import write_curves

    write_curves(tmp_path / "curves.parquet", curves, {})
    write_statistics(result, tmp_path / "statistics.json", tmp_path / "statistics.parquet")
    folders = [tmp_path / name for name in ("first", "second")]
    for number, folder in enumerate(folders):
        run = subprocess.run(
            [sys.executable, "-c", DRAW, str(tmp_path), str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        modules = set(run.stdout.split())
        assert not {name.split(".")[0] for name in modules} & {
            "torch",
            "mujoco",
            "gymnasium",
            "minari",
            "offline_data",
            "workflow",
        }
        ours = {name for name in modules if name.split(".")[0] == "algorithms"}
        assert ours == {"algorithms", "algorithms.catalogue"}
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(
        f"{stem}{suffix}"
        for stem in ("figure_03", "learning_curves", "sample_efficiency")
        for suffix in (".csv", ".pdf", ".png", ".txt")
    )
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_persons_own_settings_do_not_change_the_figure(results: Results, tmp_path: Path) -> None:
    write("figure_03", results, tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50, "axes.facecolor": "black"}):
        write("figure_03", results, tmp_path / "styled")
    for suffix in (".pdf", ".png"):
        plain, styled = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("plain", "styled"))
        assert plain == styled


def test_pdfs_hold_no_date(results: Results, tmp_path: Path) -> None:
    write("figure_03", results, tmp_path / "figure")
    assert b"CreationDate" not in (tmp_path / "figure.pdf").read_bytes()


def test_a_failed_figure_leaves_nothing(tmp_path: Path) -> None:
    class BrokenFigure(Figure):
        def savefig(self, *arguments: object, **options: object) -> None:
            Path(str(arguments[0])).write_bytes(b"half")
            raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        style.save(BrokenFigure(), tmp_path / "figure", pd.DataFrame({"a": [1]}), "caption")
    assert list(tmp_path.iterdir()) == []


def test_critic_losses_draw_each_seed_and_their_median(
    curves: pd.DataFrame, result: Statistics, tmp_path: Path
) -> None:
    losses = curves.assign(metric="critic_loss", value=curves["value"].abs() + 1)
    table = write("critic_loss", results_of(pd.concat([curves, losses]), result), tmp_path / "critic_loss")
    written = pd.read_csv(
        tmp_path / "critic_loss.csv",
        float_precision="round_trip",
        dtype={"seed": str},
        na_values={"low": [""], "high": [""]},
        keep_default_na=False,
    )
    pd.testing.assert_frame_equal(written, table, check_dtype=False, check_exact=True)
    for (dataset, method), rows in table.groupby(["dataset", "method"]):
        own = losses[(losses["dataset"] == dataset) & (losses["method"] == method)]
        median = rows[rows["kind"] == "median"].set_index("step")
        pd.testing.assert_series_equal(
            median["value"], own.groupby("step")["value"].median(), check_names=False
        )
        assert (median["high"] == own.groupby("step")["value"].max()).all()
        assert len(rows[rows["kind"] == "seed"]) == len(own)
    panels = critic_loss.draw(written).axes
    assert [panel.get_title() for panel in panels] == list(DATASETS)
    for panel in panels:
        medians = written[(written["dataset"] == panel.get_title()) & (written["kind"] == "median")]
        assert panel.get_yscale() == "log"
        for _, rows in medians.groupby("method"):
            assert_drawn(panel, rows)


def test_curves_without_a_critics_loss_are_named(results: Results) -> None:
    with pytest.raises(UserError, match="The curves hold no critic_loss of off2on"):
        critic_loss.table(results)


def test_learning_curves_name_what_the_curves_lack(curves: pd.DataFrame, result: Statistics) -> None:
    with pytest.raises(UserError, match="no method 'sac_ft'"):
        learning_curves.table(results_of(curves[curves["method"] != "sac_ft"], result))
    with pytest.raises(UserError, match="no dataset 'hopper-medium'"):
        learning_curves.table(results_of(curves[curves["dataset"] != "hopper-medium"], result))


@pytest.mark.parametrize("drawer", [sample_efficiency, probability_of_improvement])
def test_one_method_cannot_be_compared(drawer: Drawing) -> None:
    curves = make_curves(methods=("sac",))
    with pytest.raises(UserError, match="one method, sac"):
        drawer.table(results_of(curves, statistics(curves, repetitions=5)))


def test_a_method_of_somebody_elses_has_a_look_of_its_own() -> None:
    look = style.looks(["my_method"])["my_method"]
    assert look == style.looks(["off2on", "my_method"])["my_method"]
    assert look.name == "my method" == style.method_label("my_method", 5)
    names = [f"method_{k}" for k in range(8)]
    together = style.looks(names).values()
    assert len({one.colour for one in together}) == len({one.marker for one in together}) == len(names)
    assert not {one.colour for one in together} & {known.colour for known in style.LOOKS.values()}


def test_an_unknown_figure_is_named(results: Results, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no figure 'figure_99': expected one of learning_curves"):
        write("figure_99", results, tmp_path / "figure_99")


def test_an_empty_table_is_refused_before_it_is_drawn(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_curves, "table", lambda _: pd.DataFrame())
    with pytest.raises(UserError, match="figure learning_curves has no rows to draw"):
        write("learning_curves", results, tmp_path / "learning_curves")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_captions_say_what_the_results_are(seeds: tuple[int, ...], tmp_path: Path) -> None:
    curves = make_curves(seeds=seeds)
    results = results_of(curves, statistics(curves, repetitions=20), members_shared=True)
    panel = FIGURES["figure_03"].table(results)
    text = FIGURES["figure_03"].caption(panel, results)
    assert "first 2,000 environment steps, on halfcheetah-random." in text
    assert "after 100,000 CQL updates" in text and "same pre-trained agents" in text
    assert "Not run, hence not drawn: AWAC and BCQ-ft." in text and "emonstration" not in text
    several = replace(results, pretraining_updates={DATASETS[0]: 60_000, DATASETS[1]: 100_000})
    assert "after 60,000 CQL updates" in FIGURES["figure_03"].caption(panel, several)
    assert several.offline_updates(DATASETS) == f"60,000 ({DATASETS[0]}) and 100,000 ({DATASETS[1]})"
    own = FIGURES["figure_03"].caption(panel, replace(results, members_shared=False))
    assert "agents of its own" in own and "same pre-trained agents" not in own
    measured = [curves.assign(metric=metric, value=0.5) for metric in ("critic_loss", "success")]
    everything = replace(results, read_curves=lambda: pd.concat([curves, *measured]), demonstration=True)
    for name in GENERAL_FIGURES:
        write(name, everything, tmp_path / name)
    captions = {name: (tmp_path / f"{name}.txt").read_text() for name in GENERAL_FIGURES}
    for caption in captions.values():
        assert "demonstration of the machinery" in caption and "not evidence" in caption
        assert "A processor of another kind rounds differently" in caption
    measures = ("critic_loss", "success_by_regime")
    pilot, *others = (caption for name, caption in captions.items() if name not in measures)
    if len(seeds) == 1:
        assert "1 seed without an interval" in text and "One seed" in pilot
        assert all("no interval" in caption for caption in others)
    else:
        assert "3 seeds with its 95% bootstrap interval" in text and "each of 3 seeds" in pilot
        assert all("3 seeds on one dataset" in caption for caption in others)
