"""The offline methods by name."""

from __future__ import annotations

from algorithms.methods.awac import AWAC
from algorithms.methods.bcq import BCQ
from algorithms.methods.cql import CQL
from algorithms.methods.fqe import FQE
from algorithms.methods.interface import Method

OFFLINE_METHODS: dict[str, type[Method]] = {
    "cql": CQL,
    "fqe": FQE,
    "awac": AWAC,
    "bcq": BCQ,
}
