"""Score arrays: every run in its place, and no comparison of what is incomplete."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.scores import environment_family, normalised, panel_order, returns, score_arrays
from storage import UserError
from tests.curves import make_curves

DATASETS = ("halfcheetah-random", "hopper-medium")


def test_each_return_stands_at_its_run_task_and_step() -> None:
    curves = make_curves(datasets=DATASETS).sample(frac=1.0, random_state=3)
    scores = score_arrays(curves)
    assert (scores.seeds, scores.datasets, scores.steps) == ((0, 1, 2), DATASETS, (0, 1000, 2000))
    reference = {"halfcheetah-random": (-280.178953, 12135.0), "hopper-medium": (-20.272305, 3234.3)}
    for row in curves.itertuples():
        low, high = reference[row.dataset]
        place = (row.seed, DATASETS.index(row.dataset), scores.steps.index(row.step))
        assert scores.values[row.method][place] == pytest.approx(100 * (row.value - low) / (high - low))


def test_methods_come_in_the_order_of_tables_and_what_the_catalogue_lacks_after_them() -> None:
    curves = make_curves(methods=("mine", "sac", "cql", "off2on"))
    assert score_arrays(curves).methods == ("off2on", "sac", "cql", "mine")


def test_the_phases_of_one_method_are_apart_and_the_online_one_is_judged_unless_another_is_named() -> None:
    online = make_curves(methods=("awac", "sac"))
    offline = make_curves(methods=("awac", "cql"), steps=(0, 500)).assign(phase="offline", unit="update")
    both = pd.concat([offline, online])
    found = score_arrays(both)
    assert (found.methods, found.steps) == (("awac", "sac"), (0, 1000, 2000))
    assert (found.phase, found.unit) == ("online", "step")
    for scores in (score_arrays(both, phase="offline"), score_arrays(offline)):
        assert (scores.methods, scores.steps) == (("awac", "cql"), (0, 500))
        assert (scores.phase, scores.unit) == ("offline", "update")


def test_other_metrics_do_not_matter() -> None:
    curves = make_curves()
    noise = curves.assign(metric="q_mean", value=1e9)
    both = score_arrays(pd.concat([noise, curves]))
    for method, values in score_arrays(curves).values.items():
        np.testing.assert_array_equal(both.values[method], values)


def test_a_missing_seed_is_named() -> None:
    curves = make_curves()
    curves = curves[~((curves["method"] == "sac_ft") & (curves["seed"] == 1))]
    with pytest.raises(UserError, match="seed 1 of method sac_ft on dataset halfcheetah-random"):
        score_arrays(curves)


def test_a_missing_dataset_of_one_method_is_named() -> None:
    curves = make_curves(datasets=DATASETS)
    curves = curves[~((curves["method"] == "sac") & (curves["dataset"] == "hopper-medium"))]
    with pytest.raises(UserError, match=r"seed 0 of method sac on dataset hopper-medium \(3 curves in all\)"):
        score_arrays(curves)


def test_a_missing_step_is_named() -> None:
    curves = make_curves()
    here = (curves["method"] == "off2on") & (curves["seed"] == 2) & (curves["step"] == 1000)
    with pytest.raises(UserError, match="method off2on, dataset halfcheetah-random, seed 2, step 1000"):
        score_arrays(curves[~here])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"methods": ["awac"]}, "no method 'awac'"),
        ({"datasets": ["hopper-medium"]}, "no dataset 'hopper-medium'"),
        ({"seeds": [0, 9]}, "no seed 9"),
    ],
)
def test_what_is_asked_for_and_absent_is_named(wanted: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        score_arrays(make_curves(), **wanted)


def test_only_what_is_asked_for_is_taken() -> None:
    scores = score_arrays(make_curves(), methods=["sac", "off2on"], seeds=[2])
    assert (scores.methods, scores.seeds) == (("sac", "off2on"), (2,))
    assert scores.values["sac"].shape == (1, 1, 3)


def test_a_point_given_twice_is_named() -> None:
    curves = make_curves()
    again = curves[(curves["step"] == 0) & (curves["seed"] == 1) & (curves["method"] == "sac")]
    with pytest.raises(UserError, match="twice: method sac, dataset halfcheetah-random, seed 1, step 0"):
        score_arrays(pd.concat([curves, again.assign(run="another")]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_return_that_is_not_finite_is_named(value: float) -> None:
    curves = make_curves()
    curves.loc[curves.index[5], "value"] = value
    with pytest.raises(UserError, match="not finite: method"):
        score_arrays(curves)


def test_a_phase_without_curves_is_refused() -> None:
    with pytest.raises(UserError, match="no returns of an offline phase"):
        score_arrays(make_curves(), phase="offline")


def test_returns_undo_normalisation() -> None:
    values = np.linspace(-500.0, 9000.0, 12).reshape(3, 4)
    np.testing.assert_allclose(returns(normalised(values, "walker2d-random"), "walker2d-random"), values)
    ends = np.array([60.0, 9359.0])
    np.testing.assert_allclose(normalised(ends, "inverted-double-pendulum-replay"), [0.0, 100.0])


def test_families_are_told_by_the_dataset_name() -> None:
    assert environment_family("halfcheetah-medium-expert") == "HalfCheetah"
    assert environment_family("inverted-double-pendulum-replay") == "InvertedDoublePendulum"
    with pytest.raises(UserError, match="'ant-random' has no reference scores"):
        environment_family("ant-random")


def test_datasets_are_ordered_as_in_the_paper() -> None:
    shuffled = ["hopper-random", "halfcheetah-medium-expert", "halfcheetah-medium", "halfcheetah-random"]
    ordered = ["halfcheetah-random", "halfcheetah-medium", "halfcheetah-medium-expert", "hopper-random"]
    assert sorted(shuffled, key=panel_order) == ordered
