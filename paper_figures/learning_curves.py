"""Learning curves: normalised score over steps or updates, every seed and what they have in common."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.scores import score_arrays
from paper_figures import drawing, style
from paper_figures.results import Results

COLUMNS = (
    "dataset",
    "method",
    "label",
    "kind",
    "seed",
    "step",
    "value",
    "low",
    "high",
    "runs",
    "band",
    "unit",
    "along",
)
SEED = "seed"
IQM = "iqm"


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`: a row per method, dataset and step, then per seed as well.

    Kind "iqm" is the interquartile mean over seeds with its interval, kind "seed" one run. Scores are
    normalised.

    Raises:
        UserError: the curves lack a method, dataset, seed or step of the statistics.
    """
    statistics = results.statistics
    scores = score_arrays(
        results.curves,
        phase=statistics.phase,
        methods=statistics.methods,
        datasets=statistics.datasets,
        seeds=statistics.seeds,
    )
    parts = []
    for task, dataset in enumerate(statistics.datasets):
        for method in statistics.methods:
            common = {
                "dataset": dataset,
                "method": method,
                "label": style.method_label(method, results.ensemble_size),
                "unit": "normalised score",
            }
            iqm = statistics.curve(method, dataset).rename(columns={"estimate": "value"})
            parts.append(iqm.assign(kind=IQM, seed="", band=results.band, **common))
            for seed, values in zip(scores.seeds, scores.values[method][:, task], strict=True):
                run = pd.DataFrame({"step": scores.steps, "value": values, "runs": 1})
                parts.append(run.assign(kind=SEED, seed=str(seed), band="", **common))
    return pd.concat(parts, ignore_index=True).assign(along=results.along)[list(COLUMNS)]


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw a panel a dataset: seeds thin, their interquartile mean thick, its interval."""
    kinds = {IQM: drawing.OURS, SEED: drawing.SEED}
    rows = drawn.assign(source=drawn["kind"].map(kinds), run=drawn["seed"])
    along = str(drawn["along"].iloc[0])
    return drawing.draw(rows, _sources(drawn), "normalised score", along, panel_width=2.4, split=True)


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table`."""
    iqm = drawn[drawn["kind"] == IQM]
    seeds = int(iqm["runs"].iloc[0])
    lines = (
        f" Thin: each of {seeds} seeds; thick: their interquartile mean; band: its {iqm['band'].iloc[0]}."
        if seeds > 1
        else " One seed, hence no interval."
    )
    return (
        f"Learning curves of {style.listed(iqm['label'])} on {style.listed(iqm['dataset'])}:"
        " normalised score (0 the random policy, 100 the reference expert) of deterministic evaluation, over"
        f" {results.along}."
        f"{lines}"
    )


def _sources(drawn: pd.DataFrame) -> dict[str, str]:
    """Return the legend's words for thick and thin lines."""
    if (drawn["runs"] == 1).all():
        return {drawing.OURS: "one seed, no interval"}
    iqm = drawn[drawn["kind"] == IQM].iloc[0]
    title = f"interquartile mean of {iqm['runs']} seeds and its {iqm['band']}"
    return {drawing.OURS: title, drawing.SEED: "each seed"}
