"""What a list of checksums does not vouch for is not taken for what a run left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage import UserError, checksums


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of three files."""
    for name in ("figures/figure_03.pdf", "statistics/statistics.json", "reproduction.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    checksums.write_checksums(tmp_path)
    return tmp_path


def test_what_a_run_left_is_as_it_left_it_whatever_is_made_beside_it_later(run: Path) -> None:
    assert checksums.check(run) == 3
    (run / "report.html").write_text("made from it")
    (run / "logs").mkdir()
    (run / "logs" / "figure.log").write_text("said on the way")
    assert checksums.check(run) == 3
    checksums.write_checksums(run)  # a second run, and the report once more
    (run / "report.html").write_text("made again")
    assert checksums.check(run) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: [], "names no file, or one twice"),
        (lambda lines: [""], "is not listed"),
        (lambda lines: lines[:-1], "is not listed"),
        (lambda lines: lines[1:], "figure_03.pdf is not listed"),
        (lambda lines: [*lines, lines[0]], "names no file, or one twice"),
        (lambda lines: ["0" * 64 + lines[0][64:], *lines[1:]], "is not as its run left it"),
        (lambda lines: [line[66:] for line in lines], "names no file, or one twice"),
    ],
)
def test_a_list_that_is_emptied_or_cut_is_refused(
    run: Path, change: Callable[[list[str]], list[str]], sentence: str
) -> None:
    listing = run / checksums.NAME
    listing.write_text("".join(f"{line}\n" for line in change(listing.read_text().splitlines())))
    with pytest.raises(UserError, match=sentence):
        checksums.check(run)
