"""Figure 15: success without CQL's penalty, by ensemble and replay."""

from __future__ import annotations

from paper_figures.manipulation_results import Successes

FIGURE = Successes(
    number="15",
    methods={
        "sac_single_online_only": "SAC, one agent, online replay",
        "sac_single_balanced": "SAC, one agent, balanced replay",
        "sac_ensemble_online_only": "SAC, ensemble, online replay",
        "off2on": "SAC, ensemble, balanced replay (Off2On)",
    },
    subject="What the ensemble and balanced replay contribute, with SAC's objective.",
    notes=(
        "The printed legend swaps the two curves of online replay: here the published ones are told apart by"
        " where they start, as ensembles and single agents do in Figure 16.",
    ),
)
