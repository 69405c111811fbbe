"""The catalogue: every row has its class, is drawn like no other, and names agents that some method makes."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from algorithms import catalogue
from algorithms.catalogue import LABELS, METHODS, NOTHING, OFFLINE
from algorithms.methods.interface import Method
from algorithms.training.lookup import find_method
from storage import UserError


@pytest.mark.parametrize(("name", "row"), METHODS.items())
def test_every_row_has_its_class_and_starts_from_agents_that_a_method_makes(
    name: str, row: catalogue.Method
) -> None:
    for phase, source in row.starts_from.items():
        method = find_method(name, phase)
        assert issubclass(method, Method) and f"{method.__module__}:{method.__name__}" == row.path
        assert source == NOTHING or source in OFFLINE
    assert row.ensemble == hasattr(find_method(name, phase).Config, "ensemble_size") or phase == "offline"


def test_a_row_without_its_class_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"bcq_ft": replace(METHODS["bcq_ft"], place="bcq:Missing")}
    monkeypatch.setattr(catalogue, "ONLINE", missing)
    with pytest.raises(UserError, match=r"the method algorithms\.methods\.bcq:Missing could not be imported"):
        find_method("bcq_ft", "online")


def test_no_two_names_are_drawn_alike() -> None:
    looks = [(row.label, row.colour, row.marker) for row in LABELS.values()]
    for values in (looks, [label for label, *_ in looks], [colour for _, colour, _ in looks]):
        assert len(set(values)) == len(values)


def test_only_the_method_that_is_asked_for_is_imported() -> None:
    program = (
        "import sys; from algorithms.training.lookup import find_method; find_method('bcq_ft', 'online');"
        "print([name for name in sys.modules if name.startswith('algorithms.methods.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = {name.removeprefix("algorithms.methods.") for name in ast.literal_eval(done.stdout)}
    assert found == {"bcq", "interface", "losses"}


def test_the_catalogue_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(catalogue.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules <= {"__future__", *sys.stdlib_module_names, "collections.abc"}
