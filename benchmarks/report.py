"""Write the tables of README.md anew, and draw the scaling curves, from what lies in results/.

    python -m benchmarks.report

A table stands between two comments with its name; nothing else in README.md is touched.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import draw_scaling
from storage.files import atomic_path, read_json

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
WORDS = {
    "cql": "CQL", "sac": "SAC", "off2on": "Off2On", "awac": "AWAC", "bcq": "BCQ",
    "rlpd": "RLPD", "wsrl": "WSRL", "cal_ql": "Cal-QL", "pex": "PEX", "rebrac": "ReBRAC", "edac": "EDAC",
    "so2": "SO2", "iql": "IQL", "dmpo": "DMPO", "lbrac_v": "LBRAC-v",
    "corl": "CORL's", "rlkit": "rlkit's", "d3rlpy": "d3rlpy's", "authors'": "the authors'",
}  # fmt: skip
OURS = (
    "cql", "sac", "off2on", "awac", "bcq", "rlpd", "wsrl", "cal_ql", "pex", "rebrac", "edac", "so2", "iql",
    "dmpo", "lbrac_v",
)  # fmt: skip
Json = dict[str, Any]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def named(contender: str, settings: str = "suite") -> str:
    """What a person calls a contender: "corl cql" is CORL's CQL."""
    words = re.sub(r"[\w']+", lambda word: WORDS.get(word[0], word[0]), contender)
    own = contender.split(",")[0] in OURS
    usual = settings == ("suite" if own else "pytorch")
    return f"**{words}**" if own and usual else words if usual else f"{words}, {SETTINGS[settings]}"


SETTINGS = {"pytorch": "PyTorch's settings", "suite": "our settings"}


def updates(document: Json) -> str:
    """Time, operations and rate of every contender."""
    rows = []
    for entry in document["entries"].values():
        if entry["contender"] != "product":
            rows.append(
                (
                    named(entry["contender"], entry["settings"]),
                    f"{statistics.median(entry['processor_ms']):.1f}",
                    f"{entry['gflop']:.2f}",
                    f"{entry['gflop_per_second']:.0f}",
                    f"{entry['share_of_bound']:.0%}" if "share_of_bound" in entry else "",
                )
            )
    found = markdown(("", "ms", "GFLOP", "GFLOP/s", "bound"), rows)
    product = {
        settings: document["entries"][f"product ({settings})"]["gflop_per_second"] for settings in SETTINGS
    }
    before, after = document["load_average"]
    left_out = "".join(f" Left out: {reason}" for reason in document.get("left_out", {}).values())
    return (
        f"{found}\n\nMedians of {document['rounds']} rounds of {document['updates_per_round']} updates, in"
        f" processor time; load averages of {before:.1f} before and {after:.1f} after. The large product"
        f" reached {product['suite']:.0f} GFLOP/s under our settings, {product['pytorch']:.0f} under"
        f" PyTorch's.{left_out}"
    )


def ratios(document: Json) -> str:
    """How many times as long each peer takes."""
    entries = document["entries"]
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in document["ratios"]:
        peer, ours = entries[row["peer"]], entries[row["ours"]]
        values = row["processor"]
        text = f"{values['median']:.2f} ({values['lowest']:.2f}-{values['highest']:.2f})"
        settings = (peer["settings"], ours["settings"])
        found.setdefault((peer["contender"], ours["contender"]), {})[settings] = text
    columns = (("pytorch", "suite"), ("suite", "suite"), ("pytorch", "pytorch"))
    rows = [
        (f"{named(peer)} / {named(ours)}".replace(", our settings", ""), *(cells.get(c, "") for c in columns))
        for (peer, ours), cells in found.items()
    ]
    return markdown(("", "as each is run", "both under our settings", "both under PyTorch's"), rows)


def environments(document: Json, other: Json) -> str:
    """Rates of the batch and of Gymnasium's loops, on several threads and on one."""
    names = {
        "batch": "`EnvironmentBatch`",
        "loop": "Gymnasium's environments in a loop",
        "sync_vector": "Gymnasium's `SyncVectorEnv`",
        "rollout": "bare physics (`mujoco.rollout`)",
    }
    [many], [one] = document["results"], other["results"]
    rows = [
        (
            name,
            *(f"{part['median_steps_per_second'][key] / 1e3:.1f}" for part in (many, one)),
            *(f"{part['median_steps_per_processor_second'][key] / 1e3:.1f}" for part in (many, one)),
        )
        for key, name in names.items()
    ]
    for label, key in (("loop", "batch_over_loop"), ("SyncVectorEnv", "batch_over_sync_vector")):
        rows.append((f"**batch / {label}**", f"**{many[key]:.2f}**", f"**{one[key]:.2f}**", "", ""))
    threads = [f"{many['threads']} threads", "1 thread"]
    header = ["", *(f"{t}, clock" for t in threads), *(f"{t}, processor" for t in threads)]
    return markdown(header, rows)


def sum_tree(document: Json) -> str:
    """A draw and an update, in microseconds, of each branching and of the binary tree."""
    rows = [
        (
            f"`SumTree`, {result['branching']} children a node",
            *(f"{result[key]:.0f}" for key in ("sample", "set", "total")),
            f"{result['ratio']:.2f}",
        )
        for result in document["results"]
    ]
    first = document["results"][0]
    binary = (first["peer_sample"], first["peer_set"], first["peer_sample"] + first["peer_set"])
    rows.append(("binary tree in numpy", *(f"{value:.0f}" for value in binary), "1"))
    return markdown(("", "draw", "update", "together", "times as fast"), rows)


def memory(document: Json, recorded: Json) -> str:
    """The most memory that each job ever held, in GB."""
    rows = [
        (name, *(f"{part['jobs'][name]['peak_gb']:.2f}" for part in (document, recorded)))
        for name in document["jobs"]
    ]
    return markdown(("", "random numbers", "read from the recorded dataset"), rows)


def scaling(document: Json) -> str:
    """Agent-updates a second by agents and by batch, memory, and seconds of the DAG."""
    parts = []
    for part, key, head in (("agents", "agents", "agents side by side"), ("batches", "rows", "rows a batch")):
        sizes = sorted({row[key] for row in document[part]})
        rate = {(row["method"], row[key]): row["agent_updates_per_second"] for row in document[part]}
        methods = list(dict.fromkeys(row["method"] for row in document[part]))
        rows = [(f"{m}, agent-updates a second", *(f"{rate[m, s]:.1f}" for s in sizes)) for m in methods]
        parts.append(markdown((head, *map(str, sizes)), rows))
    held = document["memory"]
    parts.append(
        markdown(
            ("CQL agents", *(str(row["agents"]) for row in held)),
            [
                ("transitions", *(f"{row['rows']:,}" for row in held)),
                ("GB", *(f"{row['peak_gb']:.2f}" for row in held)),
            ],
        )
    )
    dag = document["dag"]
    cores = list(dag["model_s"])
    names = {
        "measured_s": "measured",
        "from_job_times_s": "from the jobs' times on one core",
        "model_s": "model of `snakemake cost`",
    }
    rows = [
        (name, *(f"{dag[key][count]:.0f}" if count in dag[key] else "" for count in cores))
        for key, name in names.items()
    ]
    parts.append(markdown(("seconds of the DAG on so many cores", *cores), rows))
    return "\n\n".join(parts)


def cost(document: Json) -> str:
    """The model beside what a run took."""
    rows = [
        (
            f"`{document['configuration']}`, {stage['stage']}",
            str(stage["jobs"]),
            f"{stage['model_s']:.0f}",
            f"{stage['processor_s']:.0f}",
            f"{stage['model_s'] / stage['processor_s']:.2f}",
            f"{stage['model_gb']:.2f}",
            f"{stage['measured_gb']:.2f}",
        )
        for stage in document["stages"]
    ]
    return markdown(("", "jobs", "model, s", "took, s", "ratio", "model, GB", "held, GB"), rows)


def other_sizes(document: Json) -> str:
    """The model beside updates of sizes that its rates were not measured at."""
    rows = [
        (
            f"{row['method']}, {row['loop']}, {row['rows']} rows, {'-'.join(map(str, row['hidden_widths']))}",
            f"{row['model_ms']:.1f}",
            f"{row['took_ms']:.1f}",
            f"{row['model_ms'] / row['took_ms']:.2f}",
        )
        for row in document["updates_of_other_sizes"]
    ]
    return markdown(("", "model, ms", "took, ms", "ratio"), rows)


TABLES: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "updates": (updates, ("updates",)),
    "ratios": (ratios, ("updates",)),
    "updates of AWAC and BCQ": (updates, ("updates_awac_bcq",)),
    "ratios of AWAC and BCQ": (ratios, ("updates_awac_bcq",)),
    "updates of today's baselines": (updates, ("updates_today",)),
    "ratios of today's baselines": (ratios, ("updates_today",)),
    "updates of DMPO and LBRAC-v": (updates, ("updates_heterogeneous",)),
    "ratios of DMPO and LBRAC-v": (ratios, ("updates_heterogeneous",)),
    "environments": (environments, ("environments", "environments_one_thread")),
    "sum tree": (sum_tree, ("sum_tree",)),
    "memory": (memory, ("memory", "memory_recorded")),
    "scaling": (scaling, ("scaling",)),
    "cost of other sizes": (other_sizes, ("../../workflow/cost/measured",)),
    "cost of smoke": (cost, ("cost_smoke",)),
    "cost of figure 3": (cost, ("cost_figure_03",)),
}
"""What makes each table, and from which files of results/."""


def filled(text: str, results: Path = RESULTS) -> str:
    """`text` with the tables as the results say; a table whose results are not there yet says so."""
    for name, (make, sources) in TABLES.items():
        files = [results / f"{source}.json" for source in sources]
        missing = [file.name for file in files if not file.exists()]
        table = f"Not measured yet: {', '.join(missing)}." if missing else make(*map(read_json, files))
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        if found:
            _, _, after = rest.partition(end)
            text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def main() -> None:
    """Fill README.md and draw."""
    readme = FOLDER / "README.md"
    text = filled(readme.read_text(encoding="utf-8"))
    with atomic_path(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if (RESULTS / "scaling.json").exists():
        draw_scaling(read_json(RESULTS / "scaling.json"), RESULTS / "scaling.png")


if __name__ == "__main__":
    main()
