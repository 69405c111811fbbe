"""A hash of the code a result depends on: an edit re-runs it, a fresh clone of the same code does not.

Comments, docstrings and layout of Python files are not code: a long run survives their edits.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def source_hash(*places: str, root: Path = ROOT) -> str:
    """12 hexadecimal digits for the files at `places` (rooms or files), by relative name and code.

    Raises:
        FileNotFoundError: a place does not exist.
    """
    digest = hashlib.sha256()
    for place in sorted(places):
        for path in _files(root / place):
            content = _code(path)
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


@cache
def _code(path: Path) -> bytes:
    """What a file does: a Python file's syntax tree without docstrings, any other file as it is."""
    content = path.read_bytes()
    if path.suffix != ".py":
        return content
    tree = ast.parse(content, filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree).encode()


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
