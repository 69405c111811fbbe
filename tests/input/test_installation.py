"""What is installed: for which Pythons, and that the lock is whole, as pip is told to add nothing to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from workflow.code_hash import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-torch.lock")
UNLOCKED = {"torch", "labmaze"}
VENV_ASKED = 77

OF_ANOTHER_VERSION = """#!{python}
import sys
if sys.argv[1] == "-m":
    sys.exit({venv_asked})
sys.version_info = ({version}, 0, "final", 0)
exec(sys.argv[2])
"""
"""A Python of some version that is asked for `-c CODE`, then for `-m venv`, which it has not."""


FITTING = ("3.11", "3.12", "3.13")


@pytest.mark.parametrize("version", [*FITTING, "3.8", "3.10", "3.14", "3.15"])
def test_a_python_that_the_lock_does_not_fit_is_refused_before_anything_is_installed(
    tmp_path: Path, version: str
) -> None:
    for name in ("Makefile", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(
        OF_ANOTHER_VERSION.format(
            python=sys.executable, venv_asked=VENV_ASKED, version=version.replace(".", ", ")
        )
    )
    python.chmod(0o755)
    # A make that runs the tests would have its own say what folder it enters.
    command = ["make", "--no-print-directory", "setup", f"PYTHON={python}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = "Python 3.11, 3.12 or 3.13"
    assert f"On a machine with {said} and make" in (ROOT / "README.md").read_text()
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(version) == (version in FITTING)
    if version in FITTING:
        assert f"Error {VENV_ASKED}" in result.stderr
    else:
        assert result.stdout == f"{said} is needed, and {python} is none: try make PYTHON=python3.13\n"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("command", [["wheel"], ["install", "--target", "there"], ["install", "--editable"]])
def test_nothing_is_installed_that_would_lack_its_data(tmp_path: Path, command: list[str]) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", ".ci/build.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    process = subprocess.run(
        [sys.executable, "-m", "pip", *command, ".", "--no-deps", "--no-input"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert "expected a clone of it, and in that `make reproduce`" in process.stdout + process.stderr
    assert not [*tmp_path.glob("*.whl"), *tmp_path.glob("there/*")]


def test_every_locked_package_has_its_hashes() -> None:
    packages = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert len(packages) > 50
    assert all(re.match(r"\S+==\S+", package) for package in packages)
    assert not [package.split()[0] for package in packages if "--hash=sha256:" not in package]
    assert "--no-deps --require-hashes --requirement requirements.lock" in (ROOT / "Makefile").read_text()


def locked() -> Iterator[Requirement]:
    """The packages of the lock that this Python installs."""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if "==" in line:
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def wanted(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed package asks for on this machine, with the extras that are asked of it."""
    try:
        asked = [Requirement(text) for text in requires(requirement.name) or ()]
    except PackageNotFoundError:
        raise AssertionError(f"{requirement.name} is locked and not installed") from None
    for entry in asked:
        extras = requirement.extras or {""}
        if entry.marker is None or any(entry.marker.evaluate({"extra": extra}) for extra in extras):
            yield entry


def test_the_lock_holds_all_that_its_packages_ask_for() -> None:
    versions = {canonicalize_name(package.name): str(package.specifier)[2:] for package in locked()}
    project = PROJECT["project"]
    named = project["dependencies"] + project["optional-dependencies"]["checks"]
    waiting = [*locked(), *map(Requirement, named + PROJECT["dependency-groups"]["torch-cpu"])]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in UNLOCKED or str(requirement) in seen:
            continue
        seen.add(str(requirement))
        assert name in versions, f"{requirement} is asked for and not locked"
        assert versions[name] in requirement.specifier, f"{requirement} is locked as {versions[name]}"
        waiting += wanted(requirement)
    assert UNLOCKED.isdisjoint(versions)


def test_nothing_here_imports_what_is_left_out_for_good() -> None:
    code = (
        "import sys; sys.modules['labmaze'] = None; from envs.manipulation import make; make('PickPlace-v0')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
