"""The scaling curves as one picture of four panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from records.files import atomic_path

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
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({row[key] for row in rows})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel=label, ylabel="rows learned from a second" if key == "rows" else "agent-updates a second")
    axes.grid(alpha=0.3)
    axes.legend()


def _memory(axes: Axes, rows: list[Json]) -> None:
    least = min(row["rows"] for row in rows)
    populations = [(row["agents"], row["peak_gb"]) for row in rows if row["rows"] == least]
    datasets = [(row["rows"] / 1e6, row["peak_gb"]) for row in rows if row["agents"] == 1]
    axes.plot(
        *zip(*sorted(populations), strict=True), marker="o", color="C2", label="CQL agents, little data"
    )
    axes.set(xlabel="CQL agents", ylabel="most memory held, GB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    above = axes.twiny()
    above.plot(*zip(*sorted(datasets), strict=True), marker="s", color="C3", label="transitions, one agent")
    above.set_xlabel("million transitions")
    handles = [*axes.lines, *above.lines]
    axes.legend(handles=handles, loc="lower right")


def _cores(axes: Axes, dag: Json) -> None:
    names = {
        "from_job_times_s": ("from the jobs' times on one core", "o--"),
        "model_s": ("model of `snakemake cost`", "s:"),
        "measured_s": ("measured", "D"),
    }
    for key, (label, style) in names.items():
        points = sorted((int(cores), seconds) for cores, seconds in dag.get(key, {}).items())
        axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    cores = sorted(map(int, dag["model_s"]))
    axes.set_xticks(cores, [str(count) for count in cores])
    axes.set(xlabel="cores", ylabel="seconds of the DAG")
    axes.grid(alpha=0.3)
    axes.legend()
