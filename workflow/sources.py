"""A hash of the code a result depends on: an edit re-runs it, a fresh clone of the same code does not."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def source_hash(*places: str, root: Path = ROOT) -> str:
    """12 hexadecimal digits for the files at `places` (rooms or files), by relative name and content.

    Raises:
        FileNotFoundError: a place does not exist.
    """
    digest = hashlib.sha256()
    for place in sorted(places):
        for path in _files(root / place):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(place)
    # Editors and interpreters leave hidden files and caches beside the sources.
    return sorted(
        path
        for path in place.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts[-2:])
    )
