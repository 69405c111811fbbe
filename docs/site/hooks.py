"""MkDocs hooks: the site's pages are the repository's, at their places, so that a link holds in both.

`docs_dir` holds the style alone. A page's relative link to a file that is no page, such as a figure or a
configuration, brings that file along; one to nothing fails the strict build. A notebook is executed and
becomes a page of what it shows; each package has a page of its API.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "*.md",
    "docs/**/*.md",
    "config/README.md",
    "releases/README.md",
    "benchmarks/README.md",
    "results/leaderboard.md",
    "results/reference/README.md",
)
PACKAGES = ("envs", "offline_data", "algorithms", "analysis", "paper_figures", "storage")
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, what they link to, executed notebooks, and the API; expand the navigation's folders."""
    pages = sorted(path for pattern in PAGES for path in ROOT.glob(pattern))
    linked = {Path(os.path.normpath(page.parent / name)) for page in pages for name in _links(page)}
    for path in [*pages, *sorted(linked - set(pages))]:
        if path.is_file() and path.is_relative_to(ROOT):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    for notebook in ROOT.glob("docs/*.ipynb"):
        for path, content in _executed(notebook).items():
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), content=content))
    for package, modules in _packages().items():
        text = "\n".join([f"# {package}", *(f"\n::: {module}\n" for module in modules)])
        files.append(File.generated(config, f"api/{package}.md", content=text))
    uris = [file.src_uri for file in files.documentation_pages()]
    config.nav = _expanded(config.nav, uris, _named(config.nav))
    return files


def _links(page: Path) -> list[str]:
    return _LINK.findall(page.read_text(encoding="utf-8"))


def _executed(notebook: Path) -> dict[Path, str | bytes]:
    """Run a notebook in its folder; return its page and its figures. An exception in it ends the build."""
    cells = nbformat.read(notebook, as_version=4)
    quiet = ["--log-level=ERROR"]  # that the kernel listens on this machine is no warning
    run = ExecutePreprocessor(startup_timeout=300, timeout=300, extra_arguments=quiet)  # seconds
    run.preprocess(cells, {"metadata": {"path": str(notebook.parent)}})
    text, extracted = MarkdownExporter().from_notebook_node(cells)
    made: dict[Path, str | bytes] = {
        notebook.parent / name: data for name, data in extracted["outputs"].items()
    }
    return {notebook.with_suffix(".md"): text} | made


def _packages() -> dict[str, list[str]]:
    """Return the packages and subpackages with their public modules, in the order of `PACKAGES`."""
    found: dict[str, list[str]] = {}
    for path in (path for package in PACKAGES for path in sorted(ROOT.glob(f"{package}/**/[a-z]*.py"))):
        *package, module = path.relative_to(ROOT).with_suffix("").parts
        found.setdefault(".".join(package), []).append(".".join([*package, module]))
    return found


def _expanded(nav: Any, uris: list[str], named: set[str]) -> Any:
    """Put in the place of each folder in `nav` its pages that `nav` does not name."""
    if isinstance(nav, dict):
        return {title: _expanded(part, uris, named) for title, part in nav.items()}
    if not isinstance(nav, list):
        return nav
    expanded: list[Any] = []
    for part in nav:
        if isinstance(part, str) and part.endswith("/"):
            expanded += [uri for uri in uris if f"{uri.rpartition('/')[0]}/" == part and uri not in named]
        else:
            expanded.append(_expanded(part, uris, named))
    return expanded


def _named(nav: Any) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    return set().union(*map(_named, nav.values() if isinstance(nav, dict) else nav))
