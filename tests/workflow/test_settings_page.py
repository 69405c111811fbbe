"""The documentation of settings is what the code says."""

from __future__ import annotations

import json
import re
import tokenize
from dataclasses import fields
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from storage.yaml_files import read_yaml
from tests.algorithms.by_name import METHODS, OFFLINE_METHODS
from workflow import settings_page
from workflow.code_hash import PACKAGES, ROOT


def test_the_page_and_the_schema_are_up_to_date() -> None:
    """`make settings` writes both."""
    assert settings_page.PAGE.read_text() == settings_page.page()
    assert settings_page.SCHEMA.read_text() == settings_page.schema()


@pytest.mark.parametrize(
    "kind", dict.fromkeys(method.Config for method in (METHODS | OFFLINE_METHODS).values())
)
def test_every_setting_of_a_method_has_its_source(kind: type) -> None:
    comments = dict(settings_page.comments(kind))
    assert [field.name for field in fields(kind) if not comments.get(field.name)] == []


def test_every_tag_has_its_source_in_the_legend() -> None:
    """A tag stands alone in brackets in comments and docstrings; [P, B] is a shape, [P] is both."""
    tag = re.compile(r"\[([A-Z][A-Z0-9]+(?: code)?|[CD]|rlkit)\]")
    legend = set(tag.findall((ROOT / "docs" / "sources.md").read_text()))
    used = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        with tokenize.open(path) as file:
            tokens = list(tokenize.generate_tokens(file.readline))
        said = (each.string for each in tokens if each.type in (tokenize.COMMENT, tokenize.STRING))
        used |= set(tag.findall(" ".join(said)))
    assert len(used) > 20 and used <= legend


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_fit_the_schema_that_editors_read(path: Path) -> None:
    configuration = read_yaml(path)
    if "extends" not in configuration:
        Draft202012Validator(json.loads(settings_page.SCHEMA.read_text())).validate(configuration)
