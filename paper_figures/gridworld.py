"""Figures of the gridworlds in which ReDS is explained: returns over the penalty's weight, maps of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from algorithms.catalogue import LABELS
from paper_figures import style

SHADES = ("#005A32", "#41AB5D", "#A1D99B", "#E6550D")
"""Of ReDS's temperatures, the first one its own colour."""
LOOKS = {
    "cql": ("CQL", LABELS["cql"].colour, "o"),
    "cql_half": ("CQL, half of the weight", "#999999", "s"),
    "reds": ("ReDS", SHADES[0], "v"),
    "cql_reweighted": ("CQL, re-weighted data", "#B15928", "D"),
    "awr": ("AWR, knows Q*", LABELS["awac"].colour, "^"),
    "optimal": ("optimal", "#000000", "*"),
}
"""Name, colour and marker of each method."""
ARROWS = ((0.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-1.0, 0.0), (1.0, 0.0))
"""Across and down, of the actions in their order."""
_POINT = ["maze", "samples_a_state", "approximator", "method", "alpha", "temperature"]


def data_name(samples_a_state: int) -> str:
    """How many transitions the data are."""
    return f"{samples_a_state} samples a state" if samples_a_state else "exact data"


def sweep_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest percent of the optimum over seeds at each setting."""
    groups = rows.groupby(_POINT, sort=False)["percent"]
    return groups.agg(mean="mean", low="min", high="max", seeds="count").reset_index()


def draw_sweep(drawn: pd.DataFrame) -> Figure:
    """Draw `sweep_table`: above the methods at their first temperatures, below ReDS at each of its own."""
    panels = list(dict.fromkeys(zip(drawn["maze"], drawn["samples_a_state"], strict=True)))
    weights = sorted(drawn.loc[drawn["method"] != "awr", "alpha"].unique())
    with style.look():
        figure = Figure(figsize=(max(2.6 * len(panels), 5.2), 5.6), layout="constrained")
        grid = figure.subplots(2, len(panels), sharex=True, sharey=True, squeeze=False)
        for column, (maze, size) in enumerate(panels):
            own = drawn[(drawn["maze"] == maze) & (drawn["samples_a_state"] == size)]
            grid[0, column].set_title(f"{maze}, {data_name(size)}")
            _methods(grid[0, column], own)
            _temperatures(grid[1, column], own)
            grid[1, column].set_xlabel("weight of the penalty, alpha")
            grid[1, column].set_xticks(weights, [f"{weight:g}" for weight in weights])
            grid[1, column].xaxis.set_minor_locator(NullLocator())
        for axes in grid[:, 0]:
            axes.set_ylabel("return [% of the optimum]")
        for axes in grid[:, -1]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _methods(axes: Axes, own: pd.DataFrame) -> None:
    for method, rows in own.groupby("method", sort=False):
        name, colour, marker = LOOKS[str(method)]
        if method == "awr":
            for style_of_line, (_, row) in zip(("-", "--", "-.", ":"), rows.iterrows(), strict=False):
                label = f"{name}, temperature {row['temperature']:g}"
                axes.axhline(row["mean"], color=colour, linewidth=0.9, linestyle=style_of_line, label=label)
            continue
        first = rows[rows["temperature"] == rows["temperature"].iloc[0]]
        axes.plot(first["alpha"], first["mean"], color=colour, marker=marker, markersize=3.5, label=name)
    axes.set_xscale("log")


def _temperatures(axes: Axes, own: pd.DataFrame) -> None:
    reds = own[own["method"] == "reds"].groupby("temperature", sort=False)
    for colour, (temperature, rows) in zip(SHADES, reds, strict=False):
        label = f"ReDS, temperature {temperature:g}"
        axes.plot(rows["alpha"], rows["mean"], color=colour, marker="v", markersize=3.5, label=label)
        band: dict[str, Any] = {"color": colour, "alpha": 0.12, "linewidth": 0}
        axes.fill_between(rows["alpha"], rows["low"], rows["high"], label="its worst to best draw", **band)
    half = own[own["method"] == "cql_half"]
    name, colour, marker = LOOKS["cql_half"]
    axes.plot(half["alpha"], half["mean"], color=colour, marker=marker, markersize=3.5, label=name)


def sweep_caption(drawn: pd.DataFrame) -> str:
    """Describe what the sweep shows, in numbers."""
    seeds = int(drawn["seeds"].iloc[0])
    sentences = [
        "Return of the epsilon-greedy policy of each method, in percent of that of the optimal one, over the"
        f" weight of the penalty: mean over {seeds} draws of the data's actions in rooms, by"
        f" {style.listed(drawn['approximator'])}. Above, each method at its first temperature"
        " (ReDS's 1, the re-weighting's 2); AWR has no weight. Below, ReDS's temperatures, shaded from the"
        " worst draw to the best, beside the control: CQL at half of the weight.",
    ]
    for maze, size in dict.fromkeys(zip(drawn["maze"], drawn["samples_a_state"], strict=True)):
        own = drawn[(drawn["maze"] == maze) & (drawn["samples_a_state"] == size)]
        first = own[own["method"] != "awr"].groupby(["method", "alpha"], sort=False).first().reset_index()
        means = first.groupby("method", sort=False)["mean"].mean()
        parts = [f"{LOOKS[str(method)][0]} {mean:.0f}" for method, mean in means.items()]
        sentences.append(f"Averaged over all weights on {maze} ({data_name(size)}): {', '.join(parts)}.")
    return " ".join(sentences)


def draw_maps(drawn: pd.DataFrame) -> Figure:
    """Draw a map for each method: a cell's value as shade, each map on its own scale, its action as an arrow.

    `drawn` has the columns maze, method, row, column, value (NaN: no data), action.
    """
    methods = list(dict.fromkeys(drawn["method"]))
    height, width = int(drawn["row"].max()) + 1, int(drawn["column"].max()) + 1
    with style.look():
        figure = Figure(
            figsize=(7.0, 7.2 * height / width * -(-len(methods) // 2) / 2 + 0.4), layout="constrained"
        )
        grid = figure.subplots(-(-len(methods) // 2), 2, squeeze=False)
        for axes, method in zip(grid.flat, methods, strict=False):
            own = drawn[drawn["method"] == method]
            shades = np.full((height, width), np.nan)
            shades[own["row"], own["column"]] = own["value"]
            image = axes.imshow(shades, cmap="viridis")
            figure.colorbar(image, ax=axes, shrink=0.7, label="largest Q of the cell")
            across, down = np.array(ARROWS)[own["action"].to_numpy()].T
            axes.quiver(
                own["column"], own["row"], across, -down, color="white", pivot="mid", scale=26, width=0.006
            )
            axes.set_title(LOOKS[str(method)][0])
            axes.set_facecolor("#222222")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
        for axes in grid.flat[len(methods) :]:
            axes.remove()
    return figure


def maps_caption(drawn: pd.DataFrame) -> str:
    """Describe what the maps show."""
    place = drawn.iloc[0]
    percents = drawn.groupby("method", sort=False)["percent"].first()
    parts = [f"{LOOKS[str(method)][0]} {percent:.0f}" for method, percent in percents.items()]
    data = data_name(place["samples_a_state"])
    return (
        f"Values of {place['maze']} ({data}, draw {place['seed']}) at a weight of {place['alpha']:g}: the"
        " largest Q of each cell as shade, each map on its own scale, its action as an arrow; the start is"
        " above on the left, the goal below on the right. Return in percent of the optimum:"
        f" {', '.join(parts)}."
    )
