"""The offline methods by name."""

from __future__ import annotations

from algorithms.awac import AWACPretraining
from algorithms.bcq import BCQPretraining
from algorithms.cql import CQLPretraining
from algorithms.fqe import FQEPretraining
from algorithms.offline import OfflineLearner

OFFLINE_METHODS: dict[str, type[OfflineLearner]] = {
    "cql": CQLPretraining,
    "fqe": FQEPretraining,
    "awac": AWACPretraining,
    "bcq": BCQPretraining,
}
