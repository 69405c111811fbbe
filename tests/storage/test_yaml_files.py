"""A YAML file has one meaning, whoever reads it, or is refused by its line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage import UserError
from storage.yaml_files import read_yaml
from workflow.code_hash import ROOT


def written(folder: Path, content: str) -> Path:
    (folder / "file.yaml").write_text(content)
    return folder / "file.yaml"


@pytest.mark.parametrize(
    "word",
    [
        *("010", "-010", "0777", "00", "089", "0b11", "0o17", "1_000", "1_0.5"),  # eight, or ten, or text
        *("1:30", "1:30.5", "190:20:30"),  # ninety, or text
        *("yes", "No", "on", "OFF"),  # true and false, or text
        *("1e-4", "1E5", "1.5e3", "+.5", "-0x1F"),  # text, or numbers
        *("2021-07-01", "2021-13-45", "2021-07-01 10:00:00"),  # a day, none, or text
    ],
)
@pytest.mark.parametrize("form", ["name: fine\nkey: {}\n", "name: fine\n? {}\n: value\n", "- fine\n- {}\n"])
def test_a_word_that_versions_of_yaml_read_differently_is_refused_by_its_line(
    tmp_path: Path, word: str, form: str
) -> None:
    path = written(tmp_path, form.format(word))
    with pytest.raises(UserError) as refusal:
        read_yaml(path)
    assert str(refusal.value).startswith(f"{path}, line 2: {word} is one thing in YAML 1.1 and another in")
    assert word in str(read_yaml(written(tmp_path, form.format(f"'{word}'"))))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("0.5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("y", "y"),
        ("halfcheetah-random", "halfcheetah-random"),
        ("on-line", "on-line"),
        ("1.0.0", "1.0.0"),
    ],
)
def test_a_word_that_they_read_alike_is_what_they_read(tmp_path: Path, word: str, value: Any) -> None:
    found = read_yaml(written(tmp_path, f"key: {word}\n"))["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "content",
    [
        "steps: 1\nsteps: 2\n",
        "a:\n  steps: 1\n  other: 2\n  'steps': 1\n",
        "- {steps: 1, steps: 1}\n",
        '{"steps": 1,\n"other": 2,\n"steps": 3}',
        "base: &base {steps: 1, steps: 2}\nown: {<<: *base}\n",
    ],
)
def test_a_key_given_twice_is_refused_by_its_line(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    line = 1 + content[: content.rindex("steps")].count("\n")
    if "base" in content:
        line = 1
    with pytest.raises(UserError) as refusal:
        read_yaml(path)
    assert str(refusal.value) == f"{path}, line {line}: the key 'steps' is given twice: expected one."


def test_what_a_mapping_merges_may_be_said_otherwise_in_it(tmp_path: Path) -> None:
    content = "base: &base {steps: 1, seed: 3}\nown: {<<: *base, steps: 2}\nagain: {<<: *base}\n"
    found = read_yaml(written(tmp_path, content))
    assert found["own"] == {"steps": 2, "seed": 3} and found["again"] == found["base"]
    with pytest.raises(UserError, match=r"line 2: the key '<<' is given twice"):
        read_yaml(written(tmp_path, "base: &base {steps: 1}\nown: {<<: *base, <<: *base}\n"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"key: \xff", "is not YAML: 'utf-8' codec"),
        (b"a: 1\n---\na: 2\n", "is not YAML: expected a single document"),
        (b"key: " + b"9" * 5000, "is not YAML: Exceeds the limit"),
        (b"key: !!python/name:os.abort", "is not YAML: could not determine a constructor"),
    ],
)
def test_what_is_not_yaml_or_builds_something_is_one_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "file.yaml").write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_yaml(tmp_path / "file.yaml")
    assert str(refusal.value).startswith(f"{tmp_path / 'file.yaml'} {reason}")
    assert "\n" not in str(refusal.value)


def test_the_files_of_the_project_have_one_meaning() -> None:
    paths = [*ROOT.glob("config/**/*.yaml"), *ROOT.glob("analysis/*.yaml")]
    assert len(paths) > 10
    for path in paths:
        assert read_yaml(path) == yaml.safe_load(path.read_text())
