"""Write docs/settings.md and docs/configuration.schema.json from the dataclasses and sections they describe.

    python -m workflow.settings_page

The page has each setting's type, default and the comment beside it; the JSON schema is for editors.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

from algorithms.catalogue import METHODS
from algorithms.training.lookup import import_method
from storage.files import write_text
from storage.settings import FieldsOf, model_of
from workflow.code_hash import ROOT
from workflow.sections import SETTINGS, Configuration

PAGE, SCHEMA = ROOT / "docs" / "settings.md", ROOT / "docs" / "configuration.schema.json"

_INTRODUCTION = """# Settings

Each setting of a method or a schedule: what it may be, its default and where that comes from ([P] is the
paper, [S] its supplement, [C] the authors' code; a method's file names the others).
[config/README.md](../config/README.md) explains where they stand in a configuration.
`make settings` writes this page from the code, and
[configuration.schema.json](configuration.schema.json) for editors that check YAML: begin a configuration
with `# yaml-language-server: $schema=../docs/configuration.schema.json`.
"""
_FIELD = re.compile(r"    (\w+): [^=#]+(?:= (?:[^#]|\"#)*)?(?:#(.*))?$")


def page() -> str:
    """Return the whole page."""
    kinds: dict[Any, list[str]] = {}
    for row in METHODS.values():
        kinds.setdefault(import_method(row.path).Config, []).append(f"`{row.name}`")
    parts = [_table(kind, f"{', '.join(labels)}") for kind, labels in kinds.items()]
    for title, annotated in SETTINGS.items():
        [place] = [part for part in get_args(annotated) if isinstance(part, FieldsOf)]
        module, _, name = place.place.partition(":")
        parts.append(_table(getattr(importlib.import_module(module), name), title))
    return "\n".join([_INTRODUCTION, *parts])


def _table(kind: Any, title: str) -> str:
    """One dataclass: a row for each of its fields."""
    found, said = model_of(kind).model_json_schema(), dict(comments(kind))
    lines = [f"## {title}", "", f"`{kind.__module__}.{kind.__name__}`", ""]
    lines += ["| setting | values | default | |", "|---|---|---|---|"]
    for field in fields(kind):
        rule = found["properties"][field.name]
        default = f"`{json.dumps(rule['default'])}`" if "default" in rule else ""
        if isinstance(rule.get("default"), dict):
            default = "its own"
        lines.append(f"| `{field.name}` | {_values(rule, found)} | {default} | {said.get(field.name, '')} |")
    return "\n".join(lines) + "\n"


def _values(rule: dict[str, Any], whole: dict[str, Any]) -> str:
    """Describe a setting's possible values in a few words."""
    if "anyOf" in rule:
        return " or ".join(_values(part, whole) for part in rule["anyOf"])
    if "enum" in rule:
        return ", ".join(f"`{json.dumps(value)}`" for value in rule["enum"])
    if "$ref" in rule:
        keys = whole["$defs"][rule["$ref"].rpartition("/")[2]]["properties"]
        return "keys: " + ", ".join(f"`{key}`" for key in keys)
    if rule.get("type") == "array":
        items = rule.get("items") or rule["prefixItems"][0]
        return f"list, each {_values(items, whole)}"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = [f"{word} {rule[key]:,.12g}" for key, word in words.items() if key in rule]
    return " ".join([{"null": "none"}.get(rule["type"], rule["type"]), *bounds])


def comments(kind: Any) -> Iterator[tuple[str, str]]:
    """Yield the comment of each field, beside it or above; a subclass' follow its bases'."""
    for base in reversed(kind.__mro__[:-1]):
        above: list[str] = []
        for line in inspect.getsource(base).splitlines():
            if line.startswith("    # "):
                above.append(line.strip("# "))
                continue
            if (match := _FIELD.match(line)) and match[1] in base.__annotations__:
                yield match[1], " ".join([*above, (match[2] or "").strip()]).strip().replace("|", "\\|")
            above = []


def schema() -> str:
    """Return the JSON schema of a configuration, a line a definition."""
    found = _without_titles(Configuration.model_json_schema())
    definitions = found.pop("$defs")
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in definitions.items()]
    return json.dumps(found)[:-1] + ', "$defs": {\n' + ",\n".join(lines) + "\n}}\n"


def _without_titles(part: Any) -> Any:
    if isinstance(part, dict):
        kept = {key: value for key, value in part.items() if key != "title" or not isinstance(value, str)}
        return {key: _without_titles(value) for key, value in kept.items()}
    return [_without_titles(item) for item in part] if isinstance(part, list) else part


def main() -> None:
    """Write both."""
    for path, text in ((PAGE, page()), (SCHEMA, schema())):
        write_text(path, text)


if __name__ == "__main__":
    main()
