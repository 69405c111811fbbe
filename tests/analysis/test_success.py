"""Success over episodes: the paper's trailing mean, and claims of the manipulation tasks on our curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.claims import read_claims
from analysis.intervals import Bootstrap
from analysis.judging import judge
from analysis.reproduction_error import reproduction_errors
from analysis.success import comparable, success_lines, success_markdown, success_rows
from tests.curves import EPISODES, curve_row, frame

TASKS = ("pick-place", "grasp-closed-drawer", "grasp-blocked-drawer")
STEPS = range(0, 1001, 10)
FEW = Bootstrap(repetitions=100)


def curves_of(success: dict[str, float], seeds: int = 4) -> pd.DataFrame:
    """Curves that rise evenly from 0 to `success[method]`, with the noise of five episodes."""
    random = np.random.default_rng(5)
    rows = []
    for method, end in success.items():
        for task in TASKS:
            for seed in range(seeds):
                for step in STEPS:
                    level = min(1.0, end * step / 500) if step < 500 else end
                    value = random.binomial(5, level) / 5
                    measured = {"success_deterministic": value, "return": 40 * value}
                    if step:
                        measured["random_share"] = 0.3 - step / 5000
                    for metric, number in measured.items():
                        rows.append(curve_row(method, task, seed, step, number, metric, EPISODES))
    return frame(rows)


def test_each_point_is_the_mean_of_up_to_ten_evaluations() -> None:
    curves = curves_of({"off2on": 1.0, "cql_ft": 0.5}, seeds=2)
    shuffled = comparable(curves.sample(frac=1, random_state=1))
    trailing = shuffled[shuffled["metric"] == "success_trailing"].set_index(
        ["method", "dataset", "seed", "step"]
    )
    measured = curves[curves["metric"] == "success_deterministic"]
    for (method, task, seed), run in measured.groupby(["method", "dataset", "seed"]):
        values = list(run.sort_values("step")["value"])
        for number, step in enumerate(STEPS):
            window = values[max(0, number - 9) : number + 1]
            found = trailing.loc[(method, task, seed, step), "value"]
            assert found == pytest.approx(sum(window) / len(window), abs=1e-12)


def test_returns_without_reference_scores_are_left_out_and_others_stay() -> None:
    other = frame([curve_row("sac", "hopper-random", 0, 0, 7.0)])
    joined = comparable(pd.concat([curves_of({"off2on": 1.0}, seeds=1), other], ignore_index=True))
    assert list(joined.loc[joined["metric"] == "return", "dataset"]) == ["hopper-random"]
    pd.testing.assert_frame_equal(comparable(other), other)


def test_claims_about_success_are_judged_on_our_curves() -> None:
    claims = [claim for claim in read_claims() if claim.figure in ("5a", "15", "17")]
    good = curves_of({"off2on": 0.99, "cql_ft": 0.5, "sac_single_online_only": 0.2})
    verdicts = {j.claim.id: j.verdict for j in judge(claims, comparable(good), FEW)}
    assert verdicts["success_on_every_task_from_images"] == "reproduced"
    assert verdicts["ends_above_cql_ft_from_images"] == "reproduced"
    assert verdicts["single_agent_online_only_stays_unstable"] == "reproduced"
    assert verdicts["random_samples_are_abandoned"] == "reproduced"
    assert verdicts["ensemble_above_one_from_images"] == "not_run"
    bad = curves_of({"off2on": 0.3, "cql_ft": 0.8})
    verdicts = {j.claim.id: j.verdict for j in judge(claims, comparable(bad), FEW)}
    assert verdicts["success_on_every_task_from_images"] == "contradicted"
    assert verdicts["ends_above_cql_ft_from_images"] == "contradicted"


def test_errors_compare_success_in_its_own_unit_at_episodes() -> None:
    errors = reproduction_errors(comparable(curves_of({"off2on": 1.0}, seeds=2)), FEW)
    ours = errors[(errors["figure"] == "5a") & (errors["dataset"] == "grasp-closed-drawer")]
    assert list(ours["step"]) == [0, 50, 100, 200, 300, 500, 700, 1000]
    end = ours.set_index("step").loc[1000]
    assert end["published"] == pytest.approx(0.978, abs=1e-3)
    assert end["ours"] == pytest.approx(1.0)


def test_the_closing_table_has_a_row_a_method_and_task() -> None:
    rows = success_rows(comparable(curves_of({"off2on": 1.0, "cql_ft": 0.5}, seeds=2)), FEW)
    assert len(rows) == 6
    assert set(rows["last_step"]) == {1000}
    assert (rows.loc[rows["method"] == "off2on", "end"] == 1.0).all()
    assert success_markdown(rows).count("\n| ") == 6
    assert "pick-place, off2on: success 0.00 to 1.00 (1.00 to 1.00), 2 seeds, 1,000 episodes" in (
        success_lines(rows).splitlines()
    )
    none = success_rows(comparable(frame([])), FEW)
    assert none.empty and success_lines(none) == ""
