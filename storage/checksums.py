"""Checksums of what a run left, for what no reader looks at again: figures and tables.

`SHA256SUMS` lies in a run's folder, in the form that `sha256sum --check` reads. Datasets, checkpoints and
curves carry checksums of their own; state, logs and caches are no results. None of them are listed.

    python -m storage.checksums results/pilot
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from storage import UserError
from storage.files import write_text

NAME = "SHA256SUMS"
_FOLDERS = ("figures", "statistics")
_SKIPPED = "cache"
_LATER = (NAME, "report.html")
"""Files that are made when a run has ended."""


def write_checksums(folder: Path | str) -> None:
    """Write the checksums of a run's figures, statistics and tables. UserError where the disk refuses."""
    folder = Path(folder)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _listed(folder)]
    write_text(folder / NAME, "".join(lines))


def check(folder: Path | str) -> int:
    """How many files are as the run left them.

    UserError: there is no list, a file is not as listed, or one is there that is not listed.
    """
    listing = Path(folder) / NAME
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{listing} could not be read: a run writes it when it ends well") from error
    named = [line.partition("  ")[2] for line in lines]
    if not named or len(set(named)) < len(named):
        raise UserError(f"{listing} names no file, or one twice; run the same again")
    for path in _listed(listing.parent):
        if path.relative_to(listing.parent).as_posix() not in named:
            raise UserError(f"{path} is not listed in {listing}; remove it or run the same again")
    for line, name in zip(lines, named, strict=True):
        expected, path = line.partition("  ")[0], listing.parent / name
        if not path.resolve().is_relative_to(listing.parent.resolve()) or not path.is_file():
            raise UserError(f"{listing} names {name!r}, which is no file in its folder; run the same again")
        if sha256(path) != expected:
            raise UserError(f"{path} is not as its run left it; remove it and run the same again")
    return len(lines)


def _listed(folder: Path) -> list[Path]:
    inner = [path for name in _FOLDERS for path in (folder / name).rglob("*")]
    files = [path for path in (*folder.iterdir(), *inner) if path.is_file() and path.name not in _LATER]
    return sorted(p for p in files if not p.name.startswith(".") and p.parent.name != _SKIPPED)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of all of a file, a second for two gigabytes.

    UserError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error


def main() -> None:
    """Run the command line: print how many files are whole, or one sentence with exit status 2."""
    parser = argparse.ArgumentParser(description="Check a finished run's figures, statistics and tables.")
    parser.add_argument("folder", type=Path, help="such as results/pilot")
    options = parser.parse_args()
    try:
        print(f"{check(options.folder)} files of {options.folder} are as the run left them")
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
