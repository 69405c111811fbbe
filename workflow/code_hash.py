"""Hashes of the code that a result depends on: an edit re-runs it, a fresh clone of the same code does not.

A job's is that of what it imports: its step with the loop that the step drives, and its method. Comments,
docstrings and layout of Python files are not code: a long run survives their edits.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import grimp

from storage import UserError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("algorithms", "analysis", "envs", "offline_data", "paper_figures", "storage", "workflow")
"""The packages that a job's code is in."""
_NOT_OF_A_RESULT = (
    "algorithms.catalogue",
    "storage.constraints",
    "workflow.cli",
    "workflow.configuration",
    "workflow.jobs",
    "workflow.sections",
    "workflow.watching",
    "storage.settings",
)
"""What a job imports to be told its settings, which its fingerprint has already, and to show its curve."""


def shipped(place: str) -> str:
    """Where a run finds what the repository ships: in the working directory, or by the whole path."""
    return place if Path.cwd() == ROOT or Path(place).exists() else str(ROOT / place)


@cache
def source_hash(*places: str, root: Path = ROOT) -> str:
    """12 hexadecimal digits for the files at `places` (packages or files), by relative name and code.

    Raises:
        FileNotFoundError: a place does not exist.
    """
    return _hash((path, root) for place in sorted(places) for path in _files(root / place))


@cache
def job_hash(step: str, method: str = "") -> str:
    """12 hexadecimal digits for the code that a job runs: its step in `workflow.steps`, its method.

    `method` is package.module:Class, of this project or a user's own; what an own one imports from beside it
    is its code too. UserError where it is in no file.
    """
    modules, own = {f"workflow.steps.{step}"}, set[tuple[Path, Path]]()
    if method:
        module = method.partition(":")[0]
        if module.partition(".")[0] not in PACKAGES:
            own, imported = _own_code(method, module)
            modules |= imported
        elif module in _graph().modules:
            modules.add(module)
        else:
            raise UserError(f"The method {method} could not be found: there is no module {module}.")
    closure = modules.union(*(_graph().find_upstream_modules(module) for module in modules))
    files = {(_file(module, ROOT), ROOT) for module in _with_packages(closure)}
    return _hash([*sorted(files), *sorted(own)], method)


@cache
def _graph() -> grimp.ImportGraph:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for module in _NOT_OF_A_RESULT:
        graph.remove_module(module)
    return graph


def _with_packages(modules: Iterable[str]) -> set[str]:
    """Return the modules and the packages that they lie in, whose code importing them runs."""
    parts = (module.split(".") for module in modules)
    return {".".join(names[:count]) for names in parts for count in range(1, len(names) + 1)}


def _file(module: str, folder: Path) -> Path:
    """Where a module is that lies in a folder, whether it does or not."""
    place = folder.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _own_code(method: str, module: str) -> tuple[set[tuple[Path, Path]], set[str]]:
    """Return files of a user's method, each with the folder of all, and what they import from the project."""
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # importing a foreign package's parents runs foreign code
        raise UserError(f"The method {method} could not be found: {error}.") from error
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise UserError(f"The method {method} could not be found: there is no module {module} in a file.")
    path = Path(found.origin)
    depth = module.count(".") + (path.name == "__init__.py")
    folder = path.resolve().parents[depth]
    files, imported, left = set[tuple[Path, Path]](), set[str](), [module]
    while left:
        name = left.pop()
        if name.partition(".")[0] in PACKAGES:
            imported |= {name} & _graph().modules
        elif (file := _file(name, folder)).is_file() and (file, folder) not in files:
            files.add((file, folder))
            try:
                left += [*_with_packages([name]), *_imports(file, name)]
            except (SyntaxError, ImportError) as error:
                raise UserError(f"The method {method} could not be read: {file.name}: {error}.") from error
    return files, imported


def _imports(file: Path, module: str) -> Iterator[str]:
    """Yield the names that a file imports; of `from a import b` both a and a.b, as b may be a module.

    SyntaxError where it is no Python, ImportError where it imports from above its package.
    """
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes(), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _hash(files: Iterable[tuple[Path, Path]], label: str = "") -> str:
    """12 hexadecimal digits for files, by name relative to the folder beside each and by code."""
    digest = hashlib.sha256(label.encode())
    for path, root in files:
        content = _code(path)
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


@cache
def _code(path: Path) -> bytes:
    """Normalise a file's text: a Python file's syntax tree without docstrings, any other file as it is."""
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
