"""The order of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parent / "workflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole workflows, which take minutes each: last, one worker would be left alone with them."""
    items.sort(key=lambda item: not item.path.is_relative_to(WORKFLOW))
