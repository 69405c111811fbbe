"""The share of offline samples as the authors logged it ([P] Figures 4a and 9)."""

from __future__ import annotations

from algorithms.methods.interface import Metrics
from algorithms.training.probes import Probe

STRIDE = 100
"""[C] logs the share in one update of so many, the first after new data among them, and [P] Figures 4a and 9
show that ([I], validated by simulation)."""


class OfflineShare(Probe):
    """Records `offline_fraction_logged` beside the `offline_fraction` of all draws."""

    def of_update(self, metrics: Metrics, number: int) -> Metrics:
        """Return the share in one update of `STRIDE`, where the method measures it."""
        if number % STRIDE or "offline_fraction" not in metrics:
            return {}
        return {"offline_fraction_logged": metrics["offline_fraction"]}
