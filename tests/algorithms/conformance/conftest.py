"""The cases of the conformance suite: the catalogue's methods, or the one that --method names."""

from __future__ import annotations

import json

import pytest

from tests.algorithms.conformance.cases import CASES, Case
from tests.algorithms.meta_device import _draws_without_numbers  # noqa: F401 (a fixture)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--method", help="package.module:Class, instead of the catalogue's methods")
    parser.addoption("--phase", choices=("offline", "online"), default="online", help="its phase")
    parser.addoption("--starts-from", default="cql", help="whose agents it takes over, or nothing")
    parser.addoption("--settings", type=json.loads, default={}, help="fields of its Config, as JSON")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    config, cases = metafunc.config, CASES
    if config.getoption("--method", default=None):
        settings = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.getoption("--settings").items()
        }
        names = (config.getoption(option) for option in ("--method", "--phase", "--starts-from"))
        cases = [Case(*names, settings)]
    metafunc.parametrize("case", cases, ids=str)
