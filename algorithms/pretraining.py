"""The offline methods by name."""

from __future__ import annotations

from algorithms.cql import CQLPretraining
from algorithms.offline import OfflineLearner

OFFLINE_METHODS: dict[str, type[OfflineLearner]] = {"cql": CQLPretraining}
