"""Configurations with something wrong or otherwise in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from storage import UserError
from workflow.configuration import check
from workflow.plan import Plan

DELETE = ...


def spoilt(configuration: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `configuration` with `value` at the dotted `path`, or with nothing there for `DELETE`."""
    result = copy.deepcopy(configuration)
    *parents, last = path.split(".")
    place = result
    for key in parents:
        place = place[key]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return result


def refusal(configuration: dict[str, Any]) -> str:
    """The one sentence that a wrong configuration ends in."""
    with pytest.raises(UserError) as refused:
        check(configuration)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


def change(configuration: dict[str, Any], edit: Callable[[dict[str, Any]], object]) -> Plan:
    """The plan of an edited copy."""
    result = copy.deepcopy(configuration)
    edit(result)
    return Plan(result)
