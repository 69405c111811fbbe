"""The classes of the catalogue's methods, by name."""

from __future__ import annotations

from algorithms import catalogue
from algorithms.methods.interface import Method
from algorithms.training.lookup import find_method

METHODS: dict[str, type[Method]] = {name: find_method(name, "online") for name in catalogue.ONLINE}
OFFLINE_METHODS: dict[str, type[Method]] = {name: find_method(name, "offline") for name in catalogue.OFFLINE}
