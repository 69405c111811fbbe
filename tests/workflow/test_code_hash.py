"""The hash of the code: an edit changes it, what is not code does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow import code_hash
from workflow.code_hash import ROOT, source_hash


@pytest.fixture
def project(tmp_path: Path) -> Callable[[], str]:
    """A small project with two packages; calling it gives the hash of one of them as it is now."""
    for package in ("kitchen", "hall"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("x = 1\n")

    def hashed() -> str:
        source_hash.cache_clear()
        code_hash._code.cache_clear()
        return source_hash("kitchen", root=tmp_path)

    hashed.root = tmp_path  # type: ignore[attr-defined]
    return hashed


def test_an_edit_changes_it(project: Callable[[], str]) -> None:
    before = project()
    (project.root / "kitchen" / "code.py").write_text("x = 2\n")  # type: ignore[attr-defined]
    assert project() != before


def test_comments_docstrings_and_layout_do_not(project: Callable[[], str]) -> None:
    code = project.root / "kitchen" / "code.py"  # type: ignore[attr-defined]
    code.write_text('def f(x):\n    """Of x."""\n    return "a", 1\n')
    before = project()
    code.write_text('"""A module."""\n\ndef f(x):  # of x\n    return (\n        "a",\n        1,\n    )\n')
    assert project() == before
    code.write_text('def f(x):\n    return "b", 1\n')
    assert project() != before


def test_a_new_file_and_a_renamed_file_change_it(project: Callable[[], str]) -> None:
    kitchen = project.root / "kitchen"  # type: ignore[attr-defined]
    hashes = [project()]
    (kitchen / "more.py").write_text("")
    hashes.append(project())
    (kitchen / "more.py").rename(kitchen / "other.py")
    hashes.append(project())
    assert len(set(hashes)) == 3


def test_other_packages_caches_and_times_do_not(project: Callable[[], str]) -> None:
    root = project.root  # type: ignore[attr-defined]
    before = project()
    (root / "hall" / "code.py").write_text("y = 1\n")
    (root / "kitchen" / "__pycache__").mkdir()
    (root / "kitchen" / "__pycache__" / "code.pyc").write_bytes(b"1")
    (root / "kitchen" / ".code.py.swp").write_bytes(b"1")
    (root / "kitchen" / "code.py").touch()
    assert project() == before


def test_a_fresh_clone_of_the_same_code_has_the_same_hash(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "storage", tmp_path / "storage", ignore=shutil.ignore_patterns("__pycache__"))
    assert source_hash("storage", root=tmp_path) == source_hash("storage")


def test_a_place_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        source_hash("cellar", root=tmp_path)
