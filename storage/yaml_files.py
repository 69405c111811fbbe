"""YAML files that have one meaning: each key once, and no word that the versions of YAML read differently.

PyYAML reads YAML 1.1, in which `010` is eight, `1:30` ninety, `on` true and `1e-4` text, and lets the last of
two equal keys win. Most people, and most other tools, expect YAML 1.2. What the two read alike is read; all
else is refused by its line. Merge keys (`<<`), which 1.2 leaves out of its core, are read as everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from storage import UserError
from storage.files import LARGEST_TEXT, check_regular

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_LARGEST = 10**6
_CORE_SCHEMA = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""How YAML 1.2 (10.3.2) reads plain words; all others are text."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses what is ambiguous while the marks of its lines are at hand."""

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        plain = self.peek_event().implicit[0]  # type: ignore[no-untyped-call]
        node: ScalarNode = super().compose_scalar_node(anchor)
        differs = plain and node.tag not in (_MERGE, _tag_in_1_2(node.value))
        if differs or _octal(node):
            raise UserError(
                f"{_place(node)}: {node.value} is one thing in YAML 1.1 and another in YAML 1.2: expected a"
                " decimal number (1.0e-4 with its point and sign), true or false, or text in quotes."
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in seen:
                    raise UserError(f"{_place(key)}: the key '{key.value}' is given twice: expected one.")
                seen.add((key.tag, key.value))
        return node


def read_yaml(path: Path) -> Any:
    """Read the YAML file `path`. No tag builds an object.

    Raises:
        UserError: the file is missing or is not YAML, its aliases stand for too much, a mapping in it has a
            key twice, or a word that is not in quotes would be read otherwise by YAML 1.1 or by YAML 1.2; the
            sentence names the line.
    """
    check_regular(path, LARGEST_TEXT)
    try:
        return yaml_of(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}.") from error
    except UnicodeError as error:
        raise UserError(f"{path} is not YAML: {error}.") from error


def yaml_of(text: str, place: str) -> Any:
    """Read YAML that stands at `place`. UserError as by `read_yaml`."""
    try:
        loader = _Loader(text)
        loader.name = place
        content = loader.get_single_data()
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # ValueError: a number of more digits than Python reads. LookupError and the like: a tag that its
        # value does not fit, as in !!bool maybe, and a key that is a list.
        raise UserError(f"{place} is not YAML: {' '.join(str(error).split())}.") from error
    if _size(content, {}) > _LARGEST:
        raise UserError(f"{place} stands for more than {_LARGEST:,} values by its aliases: expected fewer.")
    return content


def _size(value: Any, known: dict[int, int]) -> int:
    """Count the values of nested lists and mappings, each as often as aliases name it; in itself, once."""
    if not isinstance(value, (list, dict)):
        return 1
    if id(value) not in known:
        known[id(value)] = 0
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


def _tag_in_1_2(word: str) -> str:
    for kind, pattern in _CORE_SCHEMA.items():
        if re.fullmatch(pattern, word):
            return _TAG + kind
    return f"{_TAG}str"


def _octal(node: ScalarNode) -> bool:
    """Whether a number begins with a zero that makes it octal in YAML 1.1 and nothing in YAML 1.2."""
    return node.tag == f"{_TAG}int" and re.match(r"[-+]?0[0-9]", node.value) is not None


def _place(node: Node) -> str:
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"
