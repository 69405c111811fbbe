"""Claims: each statistic by its definition, verdicts on made-up curves, and on the paper's own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analysis.claim_statistics import STATISTICS
from analysis.claims import CLAIMS, Claim, read_claims
from analysis.intervals import Bootstrap
from analysis.judging import Judgement, Outcome, judge, seeds_to_decide, verdict_of
from analysis.published import METHOD_OF_CURVE, published_runs
from analysis.scores import Scores, normalised
from analysis.verdicts import FAILED, failing, main, numbers, reproduction, verdict_lines, verdict_table
from envs.reference_scores import reference_scores
from storage import UserError
from storage.curves import COLUMNS, write_curves
from tests.curves import curve_row, frame
from tests.published import published_curve

FEW = Bootstrap(repetitions=200, seed=1)
PANEL = "halfcheetah-random"
STEPS = np.array([0, 1000, 2000, 5000])
END = Claim(
    id="end",
    says="Off2On ends above SAC-ft.",
    statistic="mean_difference",
    methods=("off2on", "sac_ft"),
    step=250_000,
    earliest=1000,
    figure="3",
    datasets=(PANEL,),
)
NOTHING = frame([])


def curves_of(
    scores: Mapping[str, Callable[[int, float], float]],
    *,
    seeds: int = 5,
    noise: float = 1.0,
    datasets: Sequence[str] = (PANEL,),
    steps: Sequence[int] = (0, 10_000, 125_000, 250_000),
    metric: str = "return",
) -> pd.DataFrame:
    """Curves of given normalised scores: `scores[method](step, noise of the seed)`."""
    random = np.random.default_rng(3)
    rows = []
    for method, score in scores.items():
        for dataset in datasets:
            low, high = reference_scores("HalfCheetah")
            for seed in range(seeds):
                shift = random.normal(0, noise)
                for step in steps:
                    value = score(step, shift)
                    value = low + value / 100 * (high - low) if metric == "return" else value
                    rows.append(curve_row(method, dataset, seed, step, value, metric))
    return frame(rows)


def one(claim: Claim, curves: pd.DataFrame, bootstrap: Bootstrap = FEW) -> Judgement:
    return judge([claim], curves, bootstrap)[0]


def two_methods(lead: float, **settings: Any) -> pd.DataFrame:
    return curves_of(
        {"off2on": lambda _, shift: 50 + lead + shift, "sac_ft": lambda _, shift: 50 + shift}, **settings
    )


# --- each statistic by its definition -----------------------------------------------------------------------


def trapezia(curve: Sequence[float]) -> float:
    area = 0.0
    for k in range(1, len(STEPS)):
        area += (STEPS[k] - STEPS[k - 1]) * (curve[k] + curve[k - 1]) / 2
    return area / (STEPS[-1] - STEPS[0])


def over_updates(curve: Sequence[float]) -> float:
    """Every update counts once, by the first point that is not before it."""
    updates = range(1, int(STEPS[-1]) + 1)
    held = (next(value for step, value in zip(STEPS, curve, strict=True) if k <= step) for k in updates)
    return math.fsum(held) / len(updates)


def mean_curve(runs: Scores, task: int) -> list[float]:
    return [sum(run[task][k] for run in runs) / len(runs) for k in range(runs.shape[2])]


def over_tasks(runs: Scores, number: Callable[[list[float]], float]) -> float:
    return sum(number(mean_curve(runs, task)) for task in range(runs.shape[1])) / runs.shape[1]


def drop(curve: list[float]) -> float:
    return curve[0] - min(curve[1:])


def shortfall(curve: list[float]) -> float:
    return trapezia([max(curve[0] - value, 0.0) for value in curve])


def middle_half(runs: Scores) -> float:
    ordered = sorted(run[task][-1] for run in runs for task in range(runs.shape[1]))
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def wins(first: Scores, second: Scores) -> float:
    tasks = range(first.shape[1])
    pairs = [(a[k][-1], b[k][-1]) for k in tasks for a in first for b in second]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


SLOW: dict[str, Callable[..., float]] = {
    "mean_difference": lambda a, b: over_tasks(a, lambda c: c[-1]) - over_tasks(b, lambda c: c[-1]),
    "iqm_difference": lambda a, b: middle_half(a) - middle_half(b),
    "probability_of_improvement": wins,
    "area_difference": lambda a, b: over_tasks(a, trapezia) - over_tasks(b, trapezia),
    "interval_mean_difference": lambda a, b: over_tasks(a, over_updates) - over_tasks(b, over_updates),
    "initial_drop": lambda a: over_tasks(a, drop),
    "drop_difference": lambda a, b: over_tasks(b, drop) - over_tasks(a, drop),
    "shortfall_difference": lambda a, b: over_tasks(b, shortfall) - over_tasks(a, shortfall),
    "lowest_peak": lambda a: min(max(mean_curve(a, task)) for task in range(a.shape[1])),
    "fall": lambda a: over_tasks(a, lambda c: c[0] - c[-1]),
    "lead_below_others": lambda a, b: (
        min(mean_curve(b, task)[-1] for task in range(b.shape[1])) - over_tasks(a, lambda c: c[-1])
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_each_statistic_equals_its_slow_definition(name: str) -> None:
    random = np.random.default_rng(4)
    first, second = random.normal(50, 20, (4, 3, 4)), random.normal(45, 20, (3, 3, 4))
    sides = [first] if STATISTICS[name].compares == "nothing" else [first, second]
    assert STATISTICS[name].function(*sides, STEPS) == pytest.approx(SLOW[name](*sides), rel=1e-12)


# --- verdicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lead", "verdict"), [(10.0, "reproduced"), (-10.0, "contradicted"), (0.2, "undecided")]
)
def test_a_claim_with_a_known_answer_gets_it(lead: float, verdict: str) -> None:
    judgement = one(END, two_methods(lead))
    assert judgement.verdict == verdict
    assert judgement.ours is not None and judgement.ours.estimate == pytest.approx(lead, abs=2)
    assert (judgement.reason == "") == (verdict != "undecided")
    assert judgement.restricted == ""


@pytest.mark.parametrize(
    ("other", "verdict"),
    [(50.0, "reproduced"), (70.0, "contradicted"), (30.0, "contradicted"), (45.2, "undecided")],
)
def test_a_claim_of_no_effect_needs_the_interval_within_its_margin(other: float, verdict: str) -> None:
    claim = replace(END, margin=5.0)
    curves = curves_of({"off2on": lambda _, shift: 50 + shift, "sac_ft": lambda _, shift: other + shift})
    judgement = one(claim, curves)
    assert judgement.ours is not None
    assert judgement.ours.verdict == verdict


def test_an_initial_drop_is_held_against_its_threshold() -> None:
    claim = replace(
        END, statistic="initial_drop", methods=("sac_ft_online_only",), figure="1b", threshold=5.0
    )
    claim = replace(claim, datasets=("halfcheetah-medium",), step=10_000, earliest=5000)
    for depth, verdict in ((10.0, "reproduced"), (1.0, "contradicted")):
        curves = curves_of(
            {"sac_ft_online_only": lambda step, shift, d=depth: 40 + shift - d * (step == 5000)},  # type: ignore[misc]
            datasets=["halfcheetah-medium"],
            steps=(0, 5000, 10_000, 250_000),
        )
        assert one(claim, curves).verdict == verdict


def test_one_dataset_is_held_against_the_lowest_of_others() -> None:
    (claim,) = [c for c in read_claims() if c.id == "offline_samples_abandoned_fastest_on_random"]
    share = {"walker2d-random": 0.1, "walker2d-medium": 0.8, "walker2d-medium-replay": 0.3}
    curves = pd.concat(
        [
            curves_of(
                {"off2on": lambda step, shift, v=value: v + 0.01 * shift},  # type: ignore[misc]
                datasets=[dataset],
                steps=(5000, 25_000),
                metric="offline_fraction",
            )
            for dataset, value in share.items()
        ]
    )
    judgement = one(claim, curves)
    assert judgement.verdict == "reproduced" and judgement.restricted == "3 of 4 datasets"
    assert judgement.ours is not None and judgement.ours.estimate == pytest.approx(0.2, abs=0.03)


def test_two_metrics_of_one_method_are_two_sides() -> None:
    (claim,) = [c for c in read_claims() if c.id == "ensemble_tells_actions_apart_better"]
    name, steps = "hopper-medium-expert", (10_000, 240_000)
    higher, lower = (
        curves_of({"off2on": lambda _, s, v=v: v + s}, datasets=[name], steps=steps, metric=m, noise=0.1)  # type: ignore[misc]
        for m, v in (("auroc_ensemble", 60.0), ("auroc_individual", 57.0))
    )
    judgement = one(claim, pd.concat([higher, lower]))
    assert judgement.verdict == "reproduced"
    assert one(claim, higher).reason.startswith("needs auroc_ensemble and auroc_individual of off2on on")


def test_fewer_than_three_seeds_decide_nothing() -> None:
    judgement = one(END, two_methods(30.0, seeds=2))
    assert (judgement.verdict, judgement.reason) == ("undecided", "needs at least 3 seeds, has 2")
    single = one(END, two_methods(30.0, seeds=1))
    assert single.ours is not None and single.ours.low is None and "no interval" in verdict_lines([single])


def test_what_was_not_run_is_named() -> None:
    only = curves_of({"off2on": lambda _, shift: shift})
    assert one(END, only).reason == f"needs sac_ft on {PANEL}"
    assert one(END, NOTHING).reason == f"needs off2on and sac_ft on {PANEL}"
    short = one(replace(END, earliest=20_000), two_methods(9.0, steps=(0, 10_000)))
    assert short.reason == "needs 20,000 steps that all runs share, the curves end at 10,000"
    for judgement in (one(END, only), one(END, NOTHING), short):
        assert judgement.verdict == "not_run" and judgement.ours is None
        assert judgement.published is not None and judgement.published.verdict == "reproduced"


def test_a_part_of_a_claim_says_so_and_is_held_against_the_same_part_of_the_paper() -> None:
    claim = replace(END, datasets=())
    judgement = one(claim, two_methods(9.0, steps=(0, 10_000)))
    assert judgement.restricted == "1 of 12 datasets, to step 10,000 of 250,000"
    here = judgement.published_here
    assert here is not None and (here.datasets, here.last_step) == ((PANEL,), 10_000)
    ours, theirs = (
        normalised(published_curve(3, PANEL, curve).set_index("step")["mean"].to_numpy()[10], PANEL)
        for curve in ("Ours", "SAC-ft")
    )
    assert here.estimate == pytest.approx(ours - theirs, rel=1e-6)


def test_a_part_on_which_the_paper_falls_short_too_decides_nothing() -> None:
    claim = replace(END, methods=("sac", "awac"))
    curves = curves_of({"sac": lambda _, s: 5 + s, "awac": lambda _, s: 30 + s}, steps=(0, 10_000))
    judgement = one(claim, curves)
    assert judgement.ours is not None and judgement.ours.verdict == "contradicted"
    assert judgement.verdict == "undecided" and "own curves do not show it" in judgement.reason


@given(
    low=st.floats(-50, 50), width=st.floats(0, 50), threshold=st.floats(-50, 50), margin=st.floats(0.1, 50)
)
def test_a_verdict_is_a_matter_of_sides(low: float, width: float, threshold: float, margin: float) -> None:
    high = low + width
    verdict = verdict_of(low, high, threshold)
    assert (verdict == "reproduced") == (threshold < low)
    assert (verdict == "contradicted") == (high < threshold)
    equal = verdict_of(low, high, 0.0, margin)
    assert (equal == "reproduced") == (low > -margin and high < margin)
    assert (equal == "contradicted") == (low > margin or high < -margin)


def test_the_seeds_that_would_decide_do_decide() -> None:
    """The half-width of n runs is z s sqrt((n - 1) / n) / sqrt(n): search for n in float64."""
    estimate, spread, runs = 2.0, 6.0, 4

    def half_width(count: int) -> float:
        return 1.96 * spread * np.sqrt((count - 1) / count) / np.sqrt(count)

    expected = next(n for n in range(3, 1000) if half_width(n) < estimate)
    width = half_width(runs)
    assert seeds_to_decide(estimate, estimate - width, estimate + width, runs, 0.0) == expected
    assert seeds_to_decide(-estimate, -estimate - width, -estimate + width, runs, 0.0) == expected
    assert seeds_to_decide(0.0, -width, width, runs, 0.0, margin=2.0) == expected
    assert seeds_to_decide(0.0, -width, width, runs, 0.0) is None


@pytest.mark.parametrize("margin", [None, 2.0])
def test_more_seeds_than_there_were_decide_what_they_left_undecided(margin: float | None) -> None:
    """An interval that ends on the edge of its claim, as shares of few episodes do, is undecided."""
    edge = margin or 0.0
    assert verdict_of(edge - 3.0, edge, edge if margin is None else 0.0, margin) == "undecided"
    assert seeds_to_decide(edge - 1.5, edge - 3.0, edge, 3, 0.0, margin) == 4


# --- the paper's own curves ---------------------------------------------------------------------------------


def test_there_are_claims_about_every_figure_with_curves() -> None:
    claims = read_claims()
    assert len(claims) >= 14
    # 4c and 4d are panels of 11 and 12, 4b is one of 10.
    assert {claim.figure for claim in claims} == {
        "1b",
        "1c",
        "3",
        "4a",
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
        "14",
        "5a",
        "5b",
        "15",
        "16",
        "17",
    }
    methods = {method for claim in claims for method in claim.methods}
    assert methods == set(METHOD_OF_CURVE.values())


def test_the_published_curves_give_the_verdicts_that_the_file_says() -> None:
    judgements = judge(read_claims(), NOTHING, Bootstrap(repetitions=300))
    found = {j.claim.id: j.published.verdict for j in judgements if j.published}
    assert found == {claim.id: claim.published for claim in read_claims()}
    assert {j.verdict for j in judgements} == {"not_run"}


def test_published_runs_have_the_published_mean_and_deviation() -> None:
    runs = published_runs("1b")
    assert set(runs.columns) == set(COLUMNS)
    rows = runs[runs["method"] == "sac_ft_online_only"].groupby("step")["value"]
    curve = published_curve("1b", "halfcheetah-medium", "Online only").set_index("step")
    np.testing.assert_allclose(rows.mean(), curve["mean"], rtol=1e-12)
    np.testing.assert_allclose(rows.std(ddof=0), curve["std"], rtol=1e-9)


# --- what is written ----------------------------------------------------------------------------------------


def test_reproduction_is_sorted_json_without_nan() -> None:
    errors = pd.DataFrame({"figure": ["3"], "low": [np.nan]})
    judgements = judge([replace(END, id="z"), replace(END, id="a")], two_methods(9.0, seeds=1), FEW)
    document = reproduction(judgements, errors, FEW, {"curves": "abc"})
    text = json.dumps(document, allow_nan=False)
    assert text == json.dumps(document, sort_keys=True) and document["version"] == 1
    assert [claim["id"] for claim in document["claims"]] == ["a", "z"]
    assert document["errors"] == [{"figure": "3", "low": None}]
    assert document["claims"][0]["ours"]["low"] is None
    assert failing(document, ["undecided"]) == ["a", "z"] and failing(document, ["contradicted"]) == []


def test_judged_claims_come_first_and_the_others_share_a_line() -> None:
    without = replace(END, id="not_run", methods=("off2on", "awac"))
    claims = [without, replace(without, id="nor"), END]
    lines = verdict_lines(judge(claims, two_methods(10.0), FEW)).splitlines()
    assert lines[0].startswith("reproduced    end  +") and "5 seeds, the whole claim; published" in lines[0]
    assert lines[1].startswith("not_run       the other 2; reproduction.md says")
    assert lines[2:] == ["", "3 claims: 1 reproduced, 0 contradicted, 0 undecided, 2 not_run."]


def test_every_claim_has_its_line_where_none_is_judged_and_its_row() -> None:
    claims = [replace(END, id="not_run", methods=("off2on", "awac"))]
    judgements = judge(claims, two_methods(10.0), FEW)
    lines = verdict_lines(judgements).splitlines()
    assert lines[0].startswith("not_run       not_run  published") and lines[0].endswith(
        f"needs awac on {PANEL}"
    )
    assert lines[-1] == "1 claims: 0 reproduced, 0 contradicted, 0 undecided, 1 not_run."
    judgements = judge([END, *claims], two_methods(10.0), FEW)
    rows = verdict_table(judgements).splitlines()
    assert len({line.count(" | ") for line in (rows[0], *rows[2:4])}) == 1
    assert "nan" not in verdict_table(judgements).lower()


def test_a_critics_loss_has_its_digits_whatever_its_size() -> None:
    claim = replace(END, figure=None, metric="critic_loss")
    outcome = Outcome("reproduced", 0.00531, 0.0041, 0.062, 3, (PANEL,), 10, None)
    assert numbers(claim, outcome) == "+0.00531 [0.0041, 0.062] > 0"
    assert numbers(END, outcome) == "+0.0 [0.0, 0.1] > 0"


def test_the_text_of_a_claim_is_no_markup_in_the_table() -> None:
    says = "<script>x</script> ![a](http://b) `c` d | e"
    [row] = [
        line
        for line in verdict_table(
            judge([replace(END, says=says, note="<b>")], two_methods(10.0), FEW)
        ).splitlines()
        if "script" in line
    ]
    assert r"\<script>x\</script> !\[a\](http://b) \`c\` d \| e" in row
    assert r"\<b>" in row and not re.search(r"(?<!\\)[<`]", row)


def test_a_claim_about_a_method_of_ones_own_needs_no_figure(tmp_path: Path) -> None:
    entry = {**minimal(), "methods": ["mine", "sac_ft"]}
    del entry["figure"]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry]))
    (claim,) = read_claims(tmp_path / "claims.yaml", methods=["mine"])
    curves = curves_of({"mine": lambda _, s: 60 + s, "sac_ft": lambda _, s: 50 + s})
    judgement = one(claim, curves)
    assert judgement.verdict == "reproduced" and judgement.published is None


@pytest.mark.parametrize(("lead", "status"), [(10.0, 0), (-10.0, FAILED)])
def test_the_exit_status_is_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lead: float, status: int
) -> None:
    write_curves(tmp_path / "curves.parquet", two_methods(lead), {})
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([minimal()]))
    arguments = ["--claims", str(tmp_path / "claims.yaml"), "--repetitions", "50"]
    arguments += ["--curves", str(tmp_path / "curves.parquet"), "--json", str(tmp_path / "reproduction.json")]
    assert main(arguments) == 0
    assert main([*arguments, "--fail-on", "contradicted"]) == status
    written = ["--reproduction", str(tmp_path / "reproduction.json"), "--fail-on", "contradicted"]
    assert main([*written, "--fail-on", "undecided"]) == status
    assert ("made_up" in capsys.readouterr().err) == (status == FAILED)


# --- a file of claims that is wrong -------------------------------------------------------------------------


def minimal() -> dict[str, Any]:
    return {
        "id": "made_up",
        "says": "Off2On ends above SAC-ft.",
        "figure": "3",
        "statistic": "mean_difference",
        "methods": ["off2on", "sac_ft"],
        "datasets": [PANEL],
        "step": 250_000,
        "earliest": 10_000,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"methods": ["off2on", "iql"]},
            "claim 1 (made_up): unknown method of figure 3 'iql': expected one of",
        ),
        ({"methods": ["off2on", "off2on_n1"]}, "unknown method of figure 3 'off2on_n1'"),
        ({"methods": ["off2on"]}, "1 methods are given: mean_difference takes 2"),
        ({"methods": "off2on"}, "methods is 'off2on': expected a list"),
        ({"methods": ["off2on", 3]}, "methods.1 is 3: expected text"),
        ({"figure": "2"}, "unknown figure '2': expected one of 1b, 1c, 3"),
        ({"figure": 3}, "figure is 3: expected text"),
        (
            {"statistic": "vibes"},
            "unknown statistic 'vibes': expected one of mean_difference, iqm_difference",
        ),
        ({"metric": "auroc"}, "unknown metric of figure 3 'auroc': expected one of return"),
        (
            {"metric": "auroc", "figure": None},
            "unknown metric 'auroc': expected one of return, offline_fraction",
        ),
        ({"statistc": "mean_difference"}, "unknown key 'statistc': expected one of id, says"),
        ({"says": None}, "says is None: expected text"),
        (
            {"datasets": ["ant-random"]},
            "unknown dataset of figure 3 'ant-random': expected one of halfcheetah",
        ),
        ({"datasets": "random"}, "datasets is 'random': expected a list or all"),
        ({"datasets": []}, "datasets is empty: expected at least one, or all"),
        ({"versus": [PANEL]}, "mean_difference takes no datasets under 'versus'"),
        ({"statistic": "lead_below_others", "methods": ["off2on"]}, "lead_below_others needs datasets under"),
        ({"step": 2.5e5}, "step is 250000.0: expected a whole number"),
        ({"earliest": 0}, "earliest is 0: expected at least 1"),
        ({"earliest": 300_000}, "earliest is 300000: expected 1 to step (250000)"),
        ({"threshold": float("nan")}, "threshold is nan: expected a number"),
        ({"threshold": True}, "threshold is True: expected a number"),
        ({"margin": 0}, "margin is 0: expected more than 0"),
        ({"margin": 5, "threshold": 1}, "margin is 5: expected more than 0, and no threshold"),
        ({"published": "yes"}, "unknown published verdict 'yes': expected one of reproduced"),
        ({"id": "Ends above"}, "the id is 'Ends above': expected lower-case letters, digits and _"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_sentence(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([{**minimal(), **change}]))
    with pytest.raises(UserError) as refusal:
        read_claims(path)
    text = str(refusal.value)
    assert message in text and text.startswith(str(path)) and text.endswith(".") and "\n" not in text


def test_a_claim_without_a_figure_is_about_the_metric_that_it_names(tmp_path: Path) -> None:
    entry = {**minimal(), "figure": None, "metric": "assignment_nmi", "threshold": 0.1, "step": 4000}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry | {"earliest": 1000}]))
    (claim,) = read_claims(tmp_path / "claims.yaml")
    scores = {"off2on": lambda *_: 0.9, "sac_ft": lambda *_: 0.5}
    curves = curves_of(scores, steps=[4000], metric="assignment_nmi")
    returned = curves_of(scores, steps=[4000])
    judged = one(claim, pd.concat([curves, returned]))
    assert judged.ours and judged.verdict == "reproduced"
    assert judged.ours.estimate == pytest.approx(0.4)
    assert "of off2on" in one(claim, returned).reason


@pytest.mark.parametrize("key", ["id", "says", "statistic", "methods", "datasets", "step", "earliest"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    entry = minimal()
    del entry[key]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry]))
    with pytest.raises(UserError, match=f"the key '{key}' is missing"):
        read_claims(tmp_path / "claims.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not YAML"),
        ("", "holds no claims: expected a list"),
        ("claims: []", "holds no claims: expected a list"),
        ("- just text", "claim 1 is 'just text': expected keys with values"),
        (yaml.safe_dump([minimal(), minimal()]), "two claims have the id 'made_up'"),
    ],
)
def test_a_file_that_holds_no_claims_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "claims.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_claims(tmp_path / "claims.yaml")
    with pytest.raises(UserError, match="could not be read"):
        read_claims(tmp_path / "absent.yaml")


def test_a_wrong_file_ends_the_command_with_its_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--claims", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml could not be read" in capsys.readouterr().err


def test_the_file_of_claims_is_in_the_room() -> None:
    assert CLAIMS.exists()
