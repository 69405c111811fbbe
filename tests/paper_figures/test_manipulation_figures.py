"""Figures of the manipulation tasks: they draw what their tables say, ours beside the published curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imsave

from analysis.intervals import Bootstrap
from analysis.success import comparable
from paper_figures import drawing, panels
from paper_figures.index import FIGURES, write
from paper_figures.panels import TASKS
from paper_figures.results import Results, Updates
from storage import UserError
from tests.curves import EPISODES, OFFLINE, curve_row, frame
from tests.published import published_curve

STEPS = range(0, 301, 10)
METHODS = ("off2on", "cql_ft", "sac_single_balanced", "cql_ensemble_balanced")
OF_CURVES = ["figure_05a", "figure_05b", "figure_15", "figure_16", "figure_17"]


def results_of(
    seeds: int = 3, methods: tuple[str, ...] = METHODS, pictures: tuple[Path, ...] = ()
) -> Results:
    random = np.random.default_rng(1)
    rows = []
    for method in methods:
        phase = OFFLINE if method in ("cql", "trained_on") else EPISODES
        for task in TASKS:
            for seed in range(seeds):
                for step in STEPS:
                    success = random.binomial(5, step / 300) / 5
                    measured = {"success_deterministic": success}
                    if step and method == "off2on":
                        measured |= {"online_share": 0.1 + step / 1000, "random_share": 0.3 - step / 2000}
                    for metric, value in measured.items():
                        rows.append(curve_row(method, task, seed, step, value, metric, phase))
    curves = frame(rows)
    return Results(
        lambda: comparable(curves), 4, dict.fromkeys(TASKS, 500_000), bootstrap=Bootstrap(20), files=pictures
    )


def picture(path: Path, width: int = 64) -> Path:
    """A grey one, 20 pixels high."""
    imsave(path, np.full((20, width, 3), 0.5))
    return path


@pytest.mark.parametrize("name", OF_CURVES)
def test_a_figure_draws_exactly_its_csv(tmp_path: Path, name: str) -> None:
    figure = FIGURES[name]
    drawn = write(name, results_of(), tmp_path / name)
    assert list(drawn.columns) == list(panels.COLUMNS)
    written = pd.read_csv(tmp_path / f"{name}.csv")
    np.testing.assert_allclose(written["value"], drawn["value"])
    lines = [
        line for axes in figure.draw(drawn).axes for line in axes.get_lines() if len(line.get_xdata()) > 1
    ]
    curves = drawn.groupby(["dataset", "source", "method"], sort=False)
    assert len(lines) == len(curves)
    of_lines = sorted(np.asarray(line.get_ydata()).tolist() for line in lines)
    assert of_lines == sorted(rows["value"].tolist() for _, rows in curves)
    assert {path.suffix for path in tmp_path.iterdir()} == {".pdf", ".png", ".csv", ".txt"}


def test_success_stands_beside_the_published_curve_over_the_same_episodes() -> None:
    drawn = FIGURES["figure_05a"].table(results_of())
    theirs = drawn[
        (drawn["source"] == drawing.PUBLISHED)
        & (drawn["dataset"] == "grasp-closed-drawer")
        & (drawn["method"] == "off2on")
    ]
    expected = published_curve("5a", "grasp-closed-drawer", "Ours")
    expected = expected[expected["step"] <= 300]
    np.testing.assert_allclose(theirs["value"], expected["mean"])
    np.testing.assert_allclose(theirs["high"] - theirs["value"], expected["std"], atol=1e-12)
    assert set(theirs["runs"]) == {8}
    assert list(dict.fromkeys(drawn["dataset"])) == list(TASKS)


def test_figure_15_gives_each_published_curve_to_the_method_it_starts_as() -> None:
    results = results_of(methods=("off2on", "sac_single_online_only", "sac_ensemble_online_only"))
    figure = FIGURES["figure_15"]
    drawn = figure.table(results)
    of_paper = drawn[(drawn["source"] == drawing.PUBLISHED) & (drawn["dataset"] == "grasp-closed-drawer")]
    starts = of_paper[of_paper["step"] == 0].set_index("method")["value"]
    assert starts["sac_single_online_only"] == pytest.approx(0.40, abs=1e-3)  # one agent, as in Figure 16
    assert starts["sac_ensemble_online_only"] == pytest.approx(0.10, abs=1e-3)
    caption = figure.caption(drawn, results)
    assert "The printed legend swaps the two curves of online replay" in caption
    assert "Not run, hence not drawn: SAC, one agent, balanced replay." in caption


def test_figure_5b_is_the_blocked_drawer_of_figure_17() -> None:
    whole, panel = (FIGURES[name].table(results_of()) for name in ("figure_17", "figure_05b"))
    assert set(panel["dataset"]) == {"grasp-blocked-drawer"}
    assert set(whole["dataset"]) == set(TASKS)
    assert set(panel["method"]) == {"online_share", "random_share"}
    ours = [rows[rows["source"] == drawing.OURS] for rows in (whole, panel)]
    same = ours[0][ours[0]["dataset"] == "grasp-blocked-drawer"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, ours[1].reset_index(drop=True))
    assert {int(n) for n in panel.loc[panel["source"] == drawing.PUBLISHED, "runs"]} == {8}


def test_a_share_lies_where_its_block_is_evaluated_ours_and_the_papers() -> None:
    drawn = FIGURES["figure_17"].table(results_of())
    printed = published_curve("17", "pick-place", "s1")["mean"]
    for _, rows in drawn.groupby(["dataset", "source", "method"]):
        assert list(rows["step"]) == list(STEPS)[1:]
    theirs = drawn[(drawn["source"] == drawing.PUBLISHED) & (drawn["dataset"] == "pick-place")]
    of_online = theirs[theirs["method"] == "online_share"]["value"]
    np.testing.assert_allclose(of_online, printed[: len(of_online)])


def test_pictures_are_placed_in_the_order_of_the_paper(tmp_path: Path) -> None:
    kinds = (("overview", 20), ("film", 64))
    files = [picture(tmp_path / f"{task}_{k}.png", width) for task in reversed(TASKS) for k, width in kinds]
    results = results_of(pictures=tuple(files))
    for name, width in (("figure_06", 20), ("figure_07", 64)):
        drawn = write(name, results, tmp_path / name)
        assert list(drawn["task"]) == list(TASKS)
        assert set(drawn["width"]) == {width}
    with pytest.raises(UserError, match=r"Figure 7 was given no pictures named <task>_film\.png"):
        FIGURES["figure_07"].table(results_of(pictures=(files[0],)))
    files[0].write_text("no picture")
    with pytest.raises(UserError, match="is not a readable picture"):
        FIGURES["figure_06"].table(results)


def test_scripts_on_the_table_stand_one_below_the_other(tmp_path: Path) -> None:
    tasks = ["reach", "slide", "lift", "place"]
    files = [picture(tmp_path / f"{task}_script.png") for task in sorted(tasks)]
    drawn = write("table_scripts", results_of(pictures=tuple(files)), tmp_path / "scripts")
    assert list(drawn["task"]) == tasks
    assert [axes.get_title() for axes in FIGURES["table_scripts"].draw(drawn).axes] == tasks


def test_fine_tuning_stands_beside_its_controls_by_updates(tmp_path: Path) -> None:
    results = results_of(methods=("off2on", "cql", "trained_on"))
    results = replace(results, updates={"off2on": Updates(10, 3, 5, dict.fromkeys(TASKS, 500))})
    drawn = write("image_controls", results, tmp_path / "controls")
    assert list(dict.fromkeys(drawn["method"])) == ["cql", "trained_on", "off2on"]
    counted = ["3 agents", "3 agents", "3 seeds"]
    assert [label.rpartition("(")[2][:-1] for label in dict.fromkeys(drawn["label"])] == counted
    ours = drawn[(drawn["dataset"] == TASKS[0]) & (drawn["method"] == "off2on")]
    # 10 episodes bring 30 updates, and the first ten 150.
    assert list(ours["step"][:4]) == [500, 650, 680, 710]
    assert ours["step"].iloc[-1] == 500 + 150 + 29 * 30
    curves = results.curves
    measured = curves[(curves["metric"] == "success_deterministic") & (curves["dataset"] == TASKS[0])]
    mean = measured[measured["method"] == "off2on"].groupby("step")["value"].mean()
    np.testing.assert_allclose(ours["value"], mean)
    last = measured[(measured["method"] == "trained_on") & (measured["step"] >= 270)]
    runs = ", ".join(f"{value:.2f}" for value in last.groupby("seed")["value"].mean())
    expected = f"CQL, trained on offline {last['value'].mean():.2f} ({runs})"
    assert expected in FIGURES["image_controls"].caption(drawn, results)
    with pytest.raises(UserError, match="of which the results hold none"):
        FIGURES["image_controls"].table(results_of(methods=()))


def test_a_run_is_drawn_from_the_updates_of_the_agents_that_it_starts_from() -> None:
    methods = ("off2on", "cql_ft", "cql_ensemble_balanced")
    offline = {"off2on": 500, "cql_ft": 800, "cql_ensemble_balanced": 500}  # and CQL's in general 100
    updates = {label: Updates(10, 3, 5, dict.fromkeys(TASKS, had)) for label, had in offline.items()}
    results = replace(results_of(methods=methods), updates=updates)
    results = replace(results, pretraining_updates=dict.fromkeys(TASKS, 100))
    figure = FIGURES["image_controls"]
    drawn = figure.table(results)
    for (_, method), rows in drawn.groupby(["dataset", "method"]):
        assert rows["step"].iloc[0] == offline[str(method)]
    said = figure.caption(drawn, results)
    assert "(Off2On (N = 4); and CQL-ft, ensemble and balanced replay) begins after 500; and (CQL-ft)" in said
    assert "(CQL-ft) begins after 800 updates offline; there, and where" in said


def test_of_a_label_with_both_phases_the_controls_tell_the_online_one(tmp_path: Path) -> None:
    curves = results_of(methods=("off2on",)).curves
    before = curves.assign(
        phase="offline", unit="update", seed=curves["seed"] + 1
    )  # one agent more than seeds
    both = pd.concat([curves, before], ignore_index=True)
    results = Results(lambda: both, 4, dict.fromkeys(TASKS, 500), bootstrap=Bootstrap(20))
    results = replace(results, updates={"off2on": Updates(10, 3, 5, dict.fromkeys(TASKS, 500))})
    alone = replace(results, read_curves=lambda: curves)
    figure = FIGURES["image_controls"]
    assert figure.caption(figure.table(results), results) == figure.caption(figure.table(alone), alone)


def test_agents_that_nothing_fine_tunes_are_told_of_without_it() -> None:
    curves = results_of(methods=("off2on",)).curves.assign(
        phase="offline", unit="update", method="trained_on"
    )
    results = Results(lambda: curves, 4, dict.fromkeys(TASKS, 500), bootstrap=Bootstrap(20))
    figure = FIGURES["image_controls"]
    said = figure.caption(figure.table(results), results)
    assert "Agents are trained on after 500 updates offline; there averages start anew" in said
    assert "ine-tuning" not in said


def test_films_say_how_often_each_succeeds(tmp_path: Path) -> None:
    outcomes = [("script", 0, 1), ("script", 1, 1), ("before", 0, 1), ("before", 1, 0), ("after", 0, 0)]
    rows = pd.DataFrame([*outcomes, ("after", 1, 1)], columns=["player", "episode", "success"])
    rows["success"] = rows["success"].astype(bool)
    rows.assign(shown=rows["episode"] == 1).to_csv(tmp_path / f"{TASKS[0]}_outcomes.csv", index=False)
    players = ("after", "before", "script")
    files = [picture(tmp_path / f"{TASKS[0]}_{player}.png") for player in players]
    figure = FIGURES["film"]
    drawn = write("film", results_of(pictures=tuple(files)), tmp_path / "film")
    assert list(drawn["player"]) == ["script", "before", "after"]
    assert list(drawn["success"]) == [True, False, True]
    assert list(drawn["successes"]) == [2, 1, 1]
    (tmp_path / f"{TASKS[0]}_outcomes.csv").unlink()
    with pytest.raises(UserError, match="is not a film strip with its outcomes"):
        figure.table(results_of(pictures=tuple(files)))


@pytest.mark.parametrize("name", OF_CURVES)
def test_what_the_results_lack_is_named(name: str) -> None:
    with pytest.raises(UserError, match=r"Figure \d+[ab]? draws .* results\s+hold no"):
        FIGURES[name].table(results_of(methods=("mine",)))


def test_one_seed_has_no_interval() -> None:
    results = results_of(seeds=1)
    figure = FIGURES["figure_05a"]
    drawn = figure.table(results)
    figure.draw(drawn)
    assert "mean over 1 seed without an interval" in figure.caption(drawn, results)
