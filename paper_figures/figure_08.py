"""Figure 8: whether CQL's penalty is kept online."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="8",
    methods={"cql_ft": "with penalty (CQL-ft)", "off2on": "without (Off2On, N = {size})"},
    subject=(
        "Fine-tuning with CQL's penalty kept, and Off2On, which drops it: confounded, for the one is a single"
        " agent with uniform replay, the other an ensemble with balanced replay."
    ),
    # "CQL Reg" starts at the values of N = 1, "No Reg" matches Ours of Figure 3 exactly. [D]
    notes=(
        "So it is in the paper, which does not say it: its curve with the penalty starts where one agent"
        " (N = 1) does, its curve without is Off2On's of Figure 3.",
    ),
)
