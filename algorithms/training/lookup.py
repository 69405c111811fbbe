"""The classes of methods by name: the catalogue's, and other people's. Only what is asked for is imported."""

from __future__ import annotations

import importlib
from typing import Any

from algorithms import catalogue
from algorithms.methods.interface import Method
from storage import UserError


def find_method(name: str, phase: catalogue.Phase) -> type[Method]:
    """Find the class of a method that the catalogue has for the phase, or of "package.module:Class".

    UserError where there is none of that name, or it is no `Method`.
    """
    if ":" in name:
        return import_method(name)
    known = catalogue.OFFLINE if phase == "offline" else catalogue.ONLINE
    if name not in known:
        raise UserError(
            f"unknown method {name!r}, expected one of {', '.join(known)}, or package.module:Class"
        )
    return import_method(known[name].path)


def import_method(name: str) -> type[Method]:
    """Import the class "package.module:Class". UserError where there is none, or it is no `Method`."""
    module, _, attribute = name.partition(":")
    try:
        method: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs foreign code
        raise UserError(f"the method {name} could not be imported: {error}") from error
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UserError(f"the method {name} is no subclass of algorithms.methods.interface.Method")
    return method
