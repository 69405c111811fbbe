"""Figure 5a: success over episodes on the three tasks, the method beside COG's own fine-tuning."""

from __future__ import annotations

from paper_figures.manipulation_results import Successes

FIGURE = Successes(
    number="5a",
    methods={"off2on": "Off2On", "cql_ft": "CQL-ft (online replay)"},
    subject="Success from images: Off2On beside COG's own fine-tuning, which keeps CQL's penalty and replays"
    " online samples alone.",
)
