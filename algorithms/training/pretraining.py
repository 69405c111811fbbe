"""The offline methods by name."""

from __future__ import annotations

from algorithms.methods.awac import AWACPretraining
from algorithms.methods.bcq import BCQPretraining
from algorithms.methods.cql import CQLPretraining
from algorithms.methods.fqe import FQEPretraining
from algorithms.training.offline import OfflineLearner

OFFLINE_METHODS: dict[str, type[OfflineLearner]] = {
    "cql": CQLPretraining,
    "fqe": FQEPretraining,
    "awac": AWACPretraining,
    "bcq": BCQPretraining,
}
