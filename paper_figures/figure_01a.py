"""Figure 1a: how likely an agent's online samples are under its offline data, a panel a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures import style
from paper_figures.drawing import OURS, PUBLISHED, STROKES
from paper_figures.results import Results
from storage import UserError
from storage.tables import LIKELIHOODS, read_table

COLUMNS = ("dataset", "source", "samples", "kind", "low", "high", "density", "mean", "std", "count")
HISTOGRAM, SUMMARY = "histogram", "summary"
SAMPLES = ("offline", "online")
BINS = 60
"""Over the range of both kinds of samples together. (Ours; the paper's have 34 and 44 of 0.68 nats.)"""

PUBLISHED_DATASET = "halfcheetah-random"
_PUBLISHED = {"offline": (-53.7, 4.4), "online": (-61.2, 6.1)}
"""Mean and standard deviation, in nats, of the histograms of the paper's Figure 1a. [D]"""

_COLOURS = {"offline": "#999999", "online": "#222222"}
"""Greys: colours are methods."""


def read_likelihoods(paths: Iterable[Path]) -> pd.DataFrame:
    """Log likelihoods as the step `likelihood` writes them: a row a sample, columns dataset, source, value.

    Raises:
        UserError: a file is missing, truncated or of another kind, or a value in it is not finite.
    """
    frames = []
    for path in paths:
        frame: pd.DataFrame = read_table(path, LIKELIHOODS)[0].to_pandas()
        if set(frame["source"]) != set(SAMPLES):
            raise UserError(f"{path} does not hold the sources {' and '.join(SAMPLES)}, and no others")
        if not np.isfinite(frame["value"]).all():
            raise UserError(f"{path} holds a log likelihood that is not a finite number")
        frames.append(frame)
    if not frames:
        raise UserError("No files of log likelihoods were given: expected at least one Parquet file")
    return pd.concat(frames, ignore_index=True)


def table(results: Results) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`, of the results' log likelihoods.

    Raises:
        UserError: as `read_likelihoods`.
    """
    return table_of(read_likelihoods(results.files))


def table_of(likelihoods: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the figure, columns `COLUMNS`, from log likelihoods (columns dataset, source, value).

    A row a bin (`low` to `high` in nats, `density` per nat), then a row of mean and standard deviation for
    each kind of samples, ours and, where the paper has the dataset, published.
    """
    parts = []
    for dataset, rows in likelihoods.groupby("dataset", sort=False):
        edges = np.histogram_bin_edges(rows["value"], BINS)
        for samples in SAMPLES:
            values = rows.loc[rows["source"] == samples, "value"].to_numpy(dtype=np.float64)
            names = {"dataset": dataset, "samples": samples}
            density, _ = np.histogram(values, edges, density=True)
            bins = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "density": density})
            parts.append(bins.assign(source=OURS, kind=HISTOGRAM, **names))
            ours = _summary(float(values.mean()), float(values.std()))
            parts.append(ours.assign(source=OURS, count=len(values), **names))
            if dataset == PUBLISHED_DATASET:
                parts.append(_summary(*_PUBLISHED[samples]).assign(source=PUBLISHED, **names))
    return pd.concat([part.reindex(columns=list(COLUMNS)) for part in parts], ignore_index=True)


def draw(drawn: pd.DataFrame) -> Figure:
    """Draw the rows of `table_of`, a panel a dataset, relative to each one's mean of offline samples."""
    datasets = list(dict.fromkeys(drawn["dataset"]))
    handles: list[Any] = [Patch(color=_COLOURS[samples], alpha=0.5, linewidth=0) for samples in SAMPLES]
    labels = [f"{OURS}, {samples}" for samples in SAMPLES]
    if (drawn["source"] == PUBLISHED).any():
        handles += [_dashed(Line2D([], []), samples) for samples in SAMPLES]
        labels += [f"{PUBLISHED}, {samples} (mean ± standard deviation)" for samples in SAMPLES]
    with style.look():
        figure = Figure(figsize=(max(3.0 * len(datasets), 5.0), 3.2))
        grid = figure.subplots(1, len(datasets), squeeze=False)[0]
        for axes, dataset in zip(grid, datasets, strict=True):
            _panel(axes, drawn[drawn["dataset"] == dataset])
            axes.set_title(dataset)
            axes.set_xlabel("log likelihood less the mean of offline samples [nats]")
        grid[0].set_ylabel("density [1 / nat]")
        style.legend_below(figure, handles, labels, columns=len(handles) // 2)
    return figure


def caption(drawn: pd.DataFrame, results: Results) -> str:
    """Return the caption of the rows of `table_of`."""
    published = (drawn["source"] == PUBLISHED).any()
    sentences = [
        "Figure 1a of the paper." if published else "Counterpart of the paper's Figure 1a.",
        "Log likelihood of held-out offline state-action pairs, and of pairs that a CQL agent gathered online"
        f" with its exploring policy after {results.offline_updates(drawn['dataset'])} updates, under a"
        " variational autoencoder of the offline pairs (importance-weighted estimate), relative to the mean"
        " of the offline pairs.",
    ]
    summaries = drawn[drawn["kind"] == SUMMARY]
    for (dataset, source), rows in summaries.groupby(["dataset", "source"], sort=False):
        offline, online = (float(rows.loc[rows["samples"] == samples, "mean"].iloc[0]) for samples in SAMPLES)
        sentences.append(
            f"{dataset}, {source}: mean {offline:.1f} nats offline, {online:.1f} online,"
            f" a shift of {online - offline:+.1f}."
        )
    if published:
        sentences.append(
            "Dashed: the published means and standard deviations, digitised from the vector graphics of the"
            " paper's figure, after 1,000,000 CQL updates on D4RL's v0 data. The paper's autoencoder and the"
            " scaling of its data are not known: absolute levels do not compare, the shift's size only"
            " roughly (it depends on them, too), its sign does."
        )
    return " ".join(sentences)


def _summary(mean: float, std: float) -> pd.DataFrame:
    return pd.DataFrame({"kind": [SUMMARY], "mean": mean, "std": std})


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Histograms of ours, and above them the published means with their deviations."""
    top = rows["density"].max()
    for source, of_source in rows.groupby("source", sort=False):
        means = of_source[of_source["kind"] == SUMMARY].set_index("samples")["mean"]
        for place, samples in enumerate(SAMPLES):
            kinds = of_source[of_source["samples"] == samples].groupby("kind")
            if source == OURS:
                bins = kinds.get_group(HISTOGRAM)
                edges = np.append(bins["low"], bins["high"].iloc[-1]) - means["offline"]
                axes.stairs(bins["density"], edges, fill=True, color=_COLOURS[samples], alpha=0.5)
            else:
                centre = means[samples] - means["offline"]
                std = float(kinds.get_group(SUMMARY)["std"].iloc[0])
                height = top * (1.08 + 0.08 * place)
                interval = Line2D([centre - std, centre, centre + std], [height] * 3)
                axes.add_line(_dashed(interval, samples))


def _dashed(line: Line2D, samples: str) -> Line2D:
    """Return the look of a published mean, its deviation to either side."""
    line.set(
        color=_COLOURS[samples],
        linestyle=STROKES[PUBLISHED].linestyle,
        linewidth=1.1,
        marker="o",
        markevery=[1],
    )
    return line
