"""The scaling curves as one picture of four panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from storage.files import atomic_path

Json = dict[str, Any]


def draw_scaling(document: Json, path: Path) -> None:
    """Draw `benchmarks.scaling`'s document as a PNG file."""
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    _rates(axes[0, 0], document["agents"], "agents", "agents side by side, batch 256")
    _rates(axes[0, 1], document["batches"], "rows", "rows of a batch, one agent")
    _memory(axes[1, 0], document["memory"])
    _cores(axes[1, 1], document["dag"])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def _rates(axes: Axes, rows: list[Json], key: str, label: str) -> None:
    for method in dict.fromkeys(row["method"] for row in rows):
        points = [
            (row[key], row["agent_updates_per_second"] * (row["rows"] if key == "rows" else 1))
            for row in rows
            if row["method"] == method
        ]
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=method)
    _doublings(axes, sorted({row[key] for row in rows}))
    axes.set(xlabel=label, ylabel="rows learned from a second" if key == "rows" else "agent-updates a second")
    axes.grid(alpha=0.3)
    axes.legend()


def _doublings(axes: Axes, sizes: list[int]) -> None:
    """Both axes logarithmic, with plain numbers: the sizes below, one, two and five beside."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _memory(axes: Axes, rows: list[Json]) -> None:
    least = min(row["rows"] for row in rows)
    populations = [(row["agents"], row["peak_gb"]) for row in rows if row["rows"] == least]
    datasets = [(row["rows"] / 1e6, row["peak_gb"]) for row in rows if row["agents"] == 1]
    axes.plot(
        *zip(*sorted(populations), strict=True), marker="o", color="C2", label="CQL agents, little data"
    )
    axes.set(ylabel="most memory held, GB")
    axes.set_xlabel("CQL agents, 10,000 transitions", color="C2")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    above = axes.twiny()
    above.plot(*zip(*sorted(datasets), strict=True), marker="s", color="C3")
    above.set_xlabel("million transitions, one agent", color="C3")


def _cores(axes: Axes, dag: Json) -> None:
    names = {
        "from_job_times_s": ("from the jobs' times on one core", "o--"),
        "model_s": ("model of `snakemake cost`", "s:"),
        "measured_s": ("measured", "D"),
    }
    for key, (label, style) in names.items():
        points = sorted((int(cores), seconds) for cores, seconds in dag.get(key, {}).items())
        axes.plot(*zip(*points, strict=True), style, label=label)
    _doublings(axes, sorted(map(int, dag["model_s"])))
    axes.set(xlabel="cores", ylabel="seconds of the DAG")
    axes.grid(alpha=0.3)
    axes.legend()
