"""Write docs/gallery.md, and README's table of methods and datasets, from the committed results.

    python -m workflow.results_page

Read from `results/reference` and `releases`: figures with their captions, the verdicts recorded beside them,
what made them (the table of results/reference/README.md), and whose curves there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from algorithms.catalogue import METHODS
from analysis.scores import panel_order
from paper_figures.panels import PAPER_DATASETS
from storage import UserError
from storage.curves import UNITS, read_curves
from storage.files import write_text
from workflow.code_hash import ROOT

REFERENCE = ROOT / "results" / "reference"
GALLERY, README = ROOT / "docs" / "gallery.md", ROOT / "README.md"
BEGIN, END = "<!-- from here to the end of the table: `make settings` -->\n", "<!-- end of the table -->\n"
NOT_EVIDENCE = "check"
"""Committed results whose numbers mean nothing."""

_INTRODUCTION = """# Gallery

Every committed figure, with the verdicts that were recorded with it and the command that made it.
`make settings` writes this page from `results/reference`.
[The summary](../results/reference/README.md#in-short) says what the claims come to, and its pages what
differs from the paper. A verdict is [read off an interval](claims.md#verdicts); claims that a run could not
test are left out.
"""
_MADE_BY = re.compile(r"^\| (?P<folders>`\w+/`.*?) \| (?P<command>.*?) \| (?P<machine>.*?) \|$", re.MULTILINE)


def gallery() -> str:
    """Return the page: a section for each folder of results, with its figures."""
    return "\n\n".join([_INTRODUCTION.strip(), *(_section(*made) for made in _made())]) + "\n"


def _made() -> Iterator[tuple[Path, str, str]]:
    """Yield each folder that holds figures, the command that made them, and the machine.

    UserError where results/reference/README.md does not say.
    """
    told: dict[str, tuple[str, str]] = {}
    machine = ""
    for row in _MADE_BY.finditer((REFERENCE / "README.md").read_text(encoding="utf-8")):
        machine = machine if row["machine"] == "the same" else row["machine"]
        told |= {name: (row["command"], machine) for name in re.findall(r"`(\w+)/`", row["folders"])}
    drawn = {picture.relative_to(REFERENCE).parts[0] for picture in REFERENCE.glob("**/*.png")}
    if missing := sorted(drawn - set(told)):
        raise UserError(f"results/reference/README.md does not say what made {missing[0]}/: expected a row")
    yield from ((REFERENCE / name, *told[name]) for name in told if name in drawn)


def _section(folder: Path, command: str, machine: str) -> str:
    judged = _judged(folder)
    parts = [f"## {folder.name}", f"Made by {command}; on {machine}."]
    if (words := folder / "verdicts.txt").exists():
        parts.append(f"```\n{words.read_text(encoding='utf-8')}```")
    for picture in sorted(folder.glob("**/*.png")):
        place = f"../{picture.relative_to(ROOT).with_suffix('')}"
        data = [
            f"[{kind}]({place}.{kind})" for kind in ("csv", "pdf") if picture.with_suffix(f".{kind}").exists()
        ]
        parts += [
            f"### {folder.name}: {picture.stem}",
            f"![{picture.stem}]({place}.png)",
            f"{picture.with_suffix('.txt').read_text(encoding='utf-8').strip()} {' '.join(data)}",
            judged.get(
                picture.stem.removeprefix("figure_").lstrip("0"), "No claim is read from this figure."
            ),
        ]
    return "\n\n".join(parts)


def _judged(folder: Path) -> dict[str, str]:
    """Return the verdicts that were recorded as a table, by the figure that their claims are about."""
    recorded = folder / "reproduction.md"
    lines = recorded.read_text(encoding="utf-8").splitlines() if recorded.exists() else []
    headings, *rows = [_cells(line) for line in lines if line.startswith(("| claim", "| **"))] or [[]]
    tables: dict[str, list[str]] = {}
    for row in rows:
        claim = dict(zip(headings, row, strict=True))
        if claim["verdict"] != "not run":
            published = claim["published, this part"] or claim["published"]
            told = [claim["verdict"], claim["claim"], claim["ours"], published, claim["on"]]
            head = ["| verdict | claim | ours | published, this part | on |", "|---" * len(told) + "|"]
            tables.setdefault(claim["figure"], head).append(f"| {' | '.join(told)} |")
    return {figure: "\n".join(table) for figure, table in tables.items()}


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def status() -> str:
    """Return the table of methods, a row a paper, and datasets: whose committed curves there are."""
    found = _committed()
    of_the_paper = found["dataset"].isin(PAPER_DATASETS)
    datasets = sorted(set(found.loc[of_the_paper, "dataset"]), key=panel_order)
    papers: dict[str, list[str]] = {}
    for method in METHODS.values():
        papers.setdefault(method.place.partition(":")[0], []).append(method.name)
    rows, others = [["methods", *datasets, "other data"], ["---"] * (len(datasets) + 2)], []
    for module, names in papers.items():
        title = ", ".join(METHODS[name].label.removesuffix(", offline") for name in names)
        linked = f"[{title}]({page_of(module)})"
        cells = [_cell(found[found["dataset"] == dataset], names) for dataset in datasets]
        cells.append(_elsewhere(found[~of_the_paper], names))
        if any(cells):
            rows.append([linked, *cells])
        else:
            others.append(linked)
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*table, "", f"No committed curves on these yet: {', '.join(others)}."]) + "\n"


def page_of(module: str) -> str:
    """Return the page of a method's module: its own, or one that names its file. UserError: there is none."""
    folder = ROOT / "docs" / "methods"
    for page in sorted(folder.glob("*.md"), key=lambda page: page.stem != module):
        if page.stem == module or re.search(rf"[`/]{module}\.py`", page.read_text(encoding="utf-8")):
            return page.relative_to(ROOT).as_posix()
    raise UserError(f"docs/methods has no page on algorithms/methods/{module}.py: expected {module}.md")


def _committed() -> pd.DataFrame:
    """Tabulate methods and datasets with committed curves: the largest run's seeds, last step and unit."""
    runs: dict[Path, list[Path]] = {}
    for file in sorted(REFERENCE.glob("*/curves/**/*.parquet")):
        runs.setdefault(REFERENCE / file.relative_to(REFERENCE).parts[0], []).append(file)
    runs |= {file: [file] for file in ROOT.glob("releases/*/curve.parquet")}
    parts = []
    for files in (files for place, files in runs.items() if place.name != NOT_EVIDENCE):
        curves = read_curves(files)
        groups = curves[curves["method"].isin(METHODS)].groupby(["method", "dataset", "unit"], as_index=False)
        parts.append(groups.agg(seeds=("seed", "nunique"), step=("step", "max")))
    largest = pd.concat(parts).sort_values(["seeds", "step"])
    return largest.drop_duplicates(["method", "dataset", "unit"], keep="last")


def _cell(found: pd.DataFrame, names: list[str]) -> str:
    """Say whose curves there are among `found`, of the methods `names`."""
    parts = []
    for name in names:
        for _, row in found[found["method"] == name].iterrows():
            counted, unit = "agents" if row["unit"] == "update" else "seeds", UNITS[row["unit"]].split()[-1]
            parts.append(f"{_whose(name, names)}{row['seeds']} {counted}, {row['step']:,} {unit}")
    return "; ".join(parts)


def _elsewhere(found: pd.DataFrame, names: list[str]) -> str:
    """Name each method's datasets among `found` where they are few, and count them where they are many."""
    parts = []
    for name in names:
        if datasets := sorted(set(found.loc[found["method"] == name, "dataset"])):
            told = ", ".join(datasets) if len(datasets) < 3 else f"{len(datasets)} datasets"
            parts.append(f"{_whose(name, names)}{told}")
    return "; ".join(parts)


def _whose(name: str, names: list[str]) -> str:
    """Return what a cell begins with: the method's label, where its row is of several."""
    return f"{METHODS[name].label.removesuffix(', offline')}: " if len(names) > 1 else ""


def readme() -> str:
    """Return README.md with the table that `status` makes. UserError where it has no place for one."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(
            f"README.md lacks {BEGIN.strip()} or, after it, {END.strip()}: expected the table's place"
        )
    return f"{before}{BEGIN}\n{status()}\n{END}{after}"


def main() -> None:
    """Write both."""
    for path, text in ((GALLERY, gallery()), (README, readme())):
        write_text(path, text)


if __name__ == "__main__":
    main()
