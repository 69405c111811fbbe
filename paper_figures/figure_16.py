"""Figure 16: success with CQL's penalty, by ensemble and replay."""

from __future__ import annotations

from paper_figures.manipulation_results import Successes

FIGURE = Successes(
    number="16",
    methods={
        "cql_ft": "CQL-ft, one agent, online replay",
        "cql_single_balanced": "CQL-ft, one agent, balanced replay",
        "cql_ensemble_online_only": "CQL-ft, ensemble, online replay",
        "cql_ensemble_balanced": "CQL-ft, ensemble, balanced replay",
    },
    subject="What the ensemble and balanced replay contribute, with CQL's objective kept.",
)
