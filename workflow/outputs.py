"""What the jobs of each rule leave, and where: the one place that rules and the table of jobs read.

Rules are the rows of `RULES`. `{label}` and the like are a rule's wildcards, in whose order a job is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import NamedTuple


class Rule(NamedTuple):
    """Jobs of one kind: what tells them apart, and what each leaves, below results/<name>/.

    What has no suffix is a folder. `message` is what Snakemake says when one begins.
    """

    message: str
    place: str
    outputs: Mapping[str, str]

    @property
    def wildcards(self) -> list[str]:
        """The names of its wildcards, in their order."""
        return [name for _, name, *_ in Formatter().parse(self.place) if name]

    def left_by(self, results: str, names: Sequence[str]) -> dict[str, str]:
        """Where the job of these wildcards leaves its outputs."""
        values = dict(zip(self.wildcards, names, strict=True))
        return {key: f"{results}/{pattern.format(**values)}" for key, pattern in self.outputs.items()}


RULES = {
    # SAC from scratch: its replay, its best actor, and the first with a third of the best one's score.
    "behaviour": Rule(
        "train behaviour policy {wildcards.policy}", "{policy}", {"folder": "behaviour/{policy}"}
    ),
    # With behaviour policies or with scripts.
    "record": Rule(
        "record dataset {wildcards.family}-{wildcards.quality}",
        "{family}/{quality}",
        {"data": "datasets/{family}/{quality}-local-v0", "summary": "datasets/{family}-{quality}.json"},
    ),
    # One phase of one method on one dataset, some agents or seeds of it side by side.
    "train": Rule(
        "train {wildcards.label} on {wildcards.dataset}, {wildcards.job}",
        "{dataset}/{label}/{job}",
        {"agents": "agents/{dataset}/{label}/{job}", "curves": "curves/{dataset}/{label}/{job}.parquet"},
    ),
    # Who made which trajectory as it was estimated, beside who did, and how likely fresh trajectories are.
    "behaviours": Rule(
        "measure the behaviours of {wildcards.label} on {wildcards.dataset}",
        "{dataset}/{label}",
        {
            "behaviours": "behaviours/{dataset}/{label}.parquet",
            "measures": "behaviours/{dataset}/{label}.measures.parquet",
        },
    ),
    # Figure 1a: how likely an agent's online samples are under its offline data.
    "likelihood": Rule(
        "estimate likelihoods on {wildcards.dataset}",
        "{dataset}",
        {"table": "likelihood/{dataset}.parquet"},
    ),
    # The sweep over the gridworlds in which ReDS is explained.
    "gridworld": Rule(
        "solve the gridworlds",
        "",
        {"sweep": "gridworld/sweep.csv", "curves": "gridworld/curves.parquet"}
        | {
            f"{figure}_{suffix}": f"gridworld/figures/{figure}.{suffix}"
            for figure in ("sweep", "values")
            for suffix in ("pdf", "png", "csv", "txt")
        },
    ),
    "statistics": Rule(
        "compute statistics",
        "{comparison}",
        {"json": "{comparison}/statistics.json", "table": "{comparison}/statistics.parquet"},
    ),
    # PDF and PNG beside the CSV of exactly what they draw, and their caption.
    "figure": Rule(
        "draw {wildcards.figure}",
        "{figure}",
        {
            "pdf": "figures/{figure}.pdf",
            "png": "figures/{figure}.png",
            "csv": "figures/{figure}.csv",
            "caption": "figures/{figure}.txt",
        },
    ),
    "pictures": Rule("render the manipulation tasks", "", {"folder": "manipulation/pictures"}),
    "film_agents": Rule(
        "film {wildcards.task}: its script, an agent before and after fine-tuning",
        "{task}",
        {"strips": "manipulation/films/{task}", "gif": "figures/film_{task}.gif"},
    ),
    # Where each method starts and ends, the verdict on each claim, the error against each published curve.
    "reproduction": Rule(
        "judge the claims and write the closing table",
        "",
        {
            "text": "reproduction.txt",
            "markdown": "reproduction.md",
            "csv": "reproduction.csv",
            "json": "reproduction.json",
            "errors": "reproduction_error.csv",
            "errors_markdown": "reproduction_error.md",
        },
    ),
}
"""The rules whose jobs are rows of the table, by name."""
