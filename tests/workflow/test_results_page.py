"""The gallery and README's table are what the committed results say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from algorithms.catalogue import METHODS
from storage import UserError
from workflow import results_page


def test_the_gallery_and_the_readme_are_up_to_date() -> None:
    """`make settings` writes both."""
    assert results_page.GALLERY.read_text() == results_page.gallery()
    assert results_page.README.read_text() == results_page.readme()


def test_every_committed_figure_is_shown_with_its_caption() -> None:
    page = results_page.gallery()
    pictures = list(results_page.REFERENCE.glob("**/*.png"))
    assert len(pictures) > 10
    for picture in pictures:
        assert f"(../{picture.relative_to(results_page.ROOT)})" in page
        assert picture.with_suffix(".txt").read_text().strip() in page


def test_a_figure_of_the_paper_has_the_verdicts_that_were_recorded_and_no_others() -> None:
    section = (
        results_page.gallery().partition("### authors_agents_alone: figure_01b\n")[2].partition("\n##")[0]
    )
    assert "| reproduced | **online_only_drops_at_first**" in section
    assert "| undecided | **sac_ft_improves_slowly**" in section
    assert section.count("| **") == 3 and "not run" not in section


def test_figures_that_nobody_says_the_command_of_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = results_page.REFERENCE
    shutil.copy(reference / "README.md", tmp_path)
    shutil.copytree(reference / "fall" / "figures", tmp_path / "of_nobody" / "figures")
    monkeypatch.setattr(results_page, "REFERENCE", tmp_path)
    with pytest.raises(UserError, match="does not say what made of_nobody/: expected a row"):
        results_page.gallery()


def test_every_method_has_a_page() -> None:
    for method in METHODS.values():
        assert (results_page.ROOT / results_page.page_of(method.place.partition(":")[0])).is_file()
    assert results_page.page_of("edac") == "docs/methods/so2.md"  # which names both files
    with pytest.raises(UserError, match=r"docs/methods has no page on algorithms/methods/unwritten\.py"):
        results_page.page_of("unwritten")


PAGES = [
    "ARTIFACT.md",
    *(f"docs/methods/{name}.md" for name in ("awac", "bcq", "fqe", "off2on", "sac")),
    *(f"docs/results/{name}.md" for name in ("ablations", "heterogeneous", "images", "locomotion")),
]


def _recorded() -> str:
    """Return all committed verdicts."""
    files = (results_page.REFERENCE.glob(f"*/{name}") for name in ("reproduction.md", "verdicts.txt"))
    return "\n".join(file.read_text() for found in files for file in sorted(found))


@pytest.mark.parametrize("page", PAGES)
def test_intervals_that_a_page_tells_are_those_of_the_committed_verdicts(page: str) -> None:
    recorded = _recorded()
    told = re.findall(r"-?\d+\.\d+ \[[-\d., ]+\]", " ".join((results_page.ROOT / page).read_text().split()))
    assert told and [numbers for numbers in told if numbers not in recorded] == []


def test_the_table_has_every_method_once_and_counts_the_seeds_of_the_largest_run() -> None:
    table = results_page.status()
    rows = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in table.splitlines() if "|" in row}
    columns = [name.strip() for name in rows["methods"]]
    sac = dict(zip(columns, rows["[SAC-ft, SAC](docs/methods/sac.md)"], strict=True))
    # authors_agents_alone has 50,000 steps on this dataset, authors_agents 20,000.
    assert sac["halfcheetah-medium"].strip() == "SAC-ft: 3 seeds, 50,000 steps"
    assert "inverted-double-pendulum-random" not in columns  # config/check.yaml's numbers mean nothing
    brac = dict(zip(columns, rows["[BRAC-v, BRAC-p](docs/methods/brac.md)"], strict=True))
    # BRAC-p has no committed run.
    expected = "BRAC-v: halfcheetah-heterogeneous-1, halfcheetah-heterogeneous-3"
    assert brac["other data"].strip() == expected
    for label in ("RLPD", "Cal-QL", "ReDS", "Off2On"):
        assert sum(label in row for row in table.splitlines()) == 1


def test_every_interval_of_the_summary_is_a_recorded_verdicts() -> None:
    page = (results_page.REFERENCE / "README.md").read_text()
    summary = page.partition("## In short\n")[2].partition("\n## ")[0]
    recorded = _recorded()
    told = re.findall(r"-?[\d.]+ \[[^\]]+, [^\]]+\]", summary)
    assert len(told) > 20
    assert [interval for interval in told if interval not in recorded] == []
