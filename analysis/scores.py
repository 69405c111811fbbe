"""From curves to score arrays: which runs are there, and their normalised scores, in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from algorithms.catalogue import LABELS
from envs.reference_scores import DATASETS, KNOWN, normalised_score, reference_scores
from storage import UserError

Scores = NDArray[np.float64]

_QUALITIES = ("random", "medium", "medium-replay", "medium-expert")


def interquartile_mean(scores: Scores, axis: int | None = None) -> Scores:
    """Average the middle half of `scores` along an axis, or of all of them."""
    # Imported here, as rliable is where it is called: a plan that reads claims spares the second they take.
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(scores, 0.25, axis=axis), dtype=np.float64)


@dataclass(frozen=True)
class ScoreArrays:
    """Normalised scores of several methods on the same datasets, seeds and steps.

    `values[method]` is [runs, tasks, steps]: run r is `seeds[r]`, task k is `datasets[k]`, time t is
    `steps[t]` of `unit` (`storage.curves.UNITS`) in `phase`. Scores are D4RL's: 0 is the random policy, 100
    the reference expert.
    """

    values: dict[str, Scores]
    seeds: tuple[int, ...]
    datasets: tuple[str, ...]
    steps: tuple[int, ...]
    phase: str
    unit: str

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.values)


def judged_phase(curves: pd.DataFrame) -> str:
    """Return the phase that is judged where none is named: online where `curves` have one, else offline."""
    return "online" if (curves["phase"] == "online").any() else "offline"


def score_arrays(
    curves: pd.DataFrame,
    *,
    phase: str | None = None,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> ScoreArrays:
    """Arrange the `return` rows of `curves` (columns of `storage.curves`) as normalised scores.

    What is not asked for by name is what the curves hold of `phase` (`judged_phase`), in the order of the
    catalogue, others after it. Every method must have every dataset, seed and step: an incomplete
    comparison is refused, never averaged over what happens to be there.

    Raises:
        UserError: a method, dataset, seed or step is missing, given twice or not finite; a dataset of an
            environment without reference scores.
    """
    phase = phase or judged_phase(curves)
    rows = curves[(curves["metric"] == "return") & (curves["phase"] == phase)]
    known = list(dict.fromkeys([*LABELS, *rows["method"]]))
    rows = _select(rows, "method", methods, known)
    rows = _select(rows, "dataset", datasets, set(rows["dataset"]))
    rows = _select(rows, "seed", seeds, set(rows["seed"]))
    if rows.empty:
        raise UserError(f"The curves hold no returns of an {phase} phase: expected at least one curve.")
    method_names = [m for m in (methods or known) if m in set(rows["method"])]
    dataset_names = list(datasets or sorted(set(rows["dataset"]), key=panel_order))
    seed_numbers = [int(seed) for seed in (seeds or sorted(set(rows["seed"])))]
    steps = sorted(int(step) for step in set(rows["step"]))

    index = ["method", "seed", "dataset", "step"]
    repeated = rows[rows.duplicated(index)]
    if not repeated.empty:
        raise UserError(f"The curves give one point twice: {_point(*repeated.iloc[0][index])}.")
    infinite = rows[~np.isfinite(rows["value"])]
    if not infinite.empty:
        raise UserError(f"The return is not finite: {_point(*infinite.iloc[0][index])}.")
    wanted = pd.MultiIndex.from_product([method_names, seed_numbers, dataset_names, steps], names=index)
    found = rows.set_index(index)["value"].reindex(wanted)
    if found.isna().any():
        raise UserError(_missing(found))
    cube = found.to_numpy(dtype=np.float64).reshape(
        len(method_names), len(seed_numbers), len(dataset_names), len(steps)
    )
    for task, dataset in enumerate(dataset_names):
        cube[:, :, task] = normalised(cube[:, :, task], dataset)
    return ScoreArrays(
        values=dict(zip(method_names, cube, strict=True)),
        seeds=tuple(seed_numbers),
        datasets=tuple(dataset_names),
        steps=tuple(steps),
        phase=phase,
        unit=str(rows["unit"].iloc[0]),
    )


def run_values(
    curves: pd.DataFrame, method: str, datasets: Sequence[str], metric: str = "return"
) -> tuple[Scores, NDArray[np.int64]]:
    """Return the measurements of one method's runs [runs, tasks, steps], and the steps [steps] they share.

    `curves` has the columns of `storage.curves`; task k is `datasets[k]`; returns are normalised scores,
    other metrics as they are. Where datasets have different seeds, there are as many runs as the fewest
    seeds, in the order of the seeds: the bootstrap pairs no runs across tasks. A dataset without rows leaves
    no runs.
    """
    rows = curves[(curves["method"] == method) & (curves["metric"] == metric)]
    tables = [
        rows[rows["dataset"] == dataset].pivot(index="seed", columns="step", values="value").dropna(axis=1)
        for dataset in datasets
    ]
    runs = min(len(table) for table in tables)
    steps = sorted(set.intersection(*(set(table.columns) for table in tables)))
    values = np.stack([table[steps].to_numpy(dtype=np.float64)[:runs] for table in tables], axis=1)
    if metric == "return":
        for task, dataset in enumerate(datasets):
            values[:, task] = normalised(values[:, task], dataset)
    return values, np.array(steps, dtype=np.int64)


def mean_over_runs(values: Scores) -> Scores:
    """Average over runs and their one task: [runs, 1, steps] -> [steps]."""
    return np.asarray(values.mean(axis=(0, 1)), dtype=np.float64)


def environment_family(dataset: str) -> str:
    """Family of the environment that `dataset` was recorded in: "halfcheetah-random" gives "HalfCheetah".

    Raises:
        UserError: no environment with reference scores begins the name, and it is not registered.
    """
    if dataset in DATASETS:
        return DATASETS[dataset]
    letters = dataset.replace("-", "").lower()
    for family in KNOWN:
        if letters.startswith(family.lower()):
            return family
    raise UserError(
        f"The dataset {dataset!r} has no reference scores: expected a name that begins with one of"
        f" {', '.join(family.lower() for family in KNOWN)}, or one that a configuration has."
    )


def panel_order(dataset: str) -> tuple[str, int, str]:
    """Sorts datasets as the paper's figures do: by environment, then from random to medium-expert."""
    environment, _, quality = dataset.partition("-")
    return environment, _QUALITIES.index(quality) if quality in _QUALITIES else len(_QUALITIES), quality


def normalised(returns: Scores, dataset: str) -> Scores:
    """Undiscounted returns (any shape) as normalised scores: 100 (R - random) / (expert - random)."""
    return normalised_score(returns, environment_family(dataset))


def returns(scores: Scores, dataset: str) -> Scores:
    """Return the inverse of `normalised`: normalised scores (any shape) as undiscounted returns."""
    low, high = reference_scores(environment_family(dataset))
    return np.asarray(low + np.asarray(scores, dtype=np.float64) / 100.0 * (high - low), dtype=np.float64)


def _select(
    rows: pd.DataFrame, column: str, wanted: Sequence[object] | None, default: Iterable[object]
) -> pd.DataFrame:
    for value in wanted or ():
        if value not in set(rows[column]):
            known = ", ".join(str(name) for name in sorted(set(rows[column])))
            raise UserError(f"The curves hold no {column} {value!r}: expected one of {known or '(none)'}.")
    return rows[rows[column].isin(list(wanted if wanted is not None else default))]


def _point(method: str, seed: int, dataset: str, step: int) -> str:
    return f"method {method}, dataset {dataset}, seed {seed}, step {step}"


def _missing(found: pd.Series[float]) -> str:
    """Name the coarsest thing that is missing: a whole curve rather than its first point."""
    absent = found.isna()
    whole = absent.groupby(level=["method", "seed", "dataset"], sort=False).all()
    if whole.any():
        method, seed, dataset = whole.index[int(np.argmax(whole.to_numpy()))]
        others = f"{int(whole.sum())} curves in all" if whole.sum() > 1 else "one curve"
        return (
            f"The curves lack seed {seed} of method {method} on dataset {dataset} ({others}):"
            " expected every method with every dataset and seed."
        )
    first = found.index[int(np.argmax(absent.to_numpy()))]
    return f"The curves lack a point: {_point(*first)}; expected every curve at the same steps."
