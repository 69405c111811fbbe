"""Figure 1c: which critics fine-tuning starts from, CQL's or those of a fitted Q evaluation of its policy."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="1c",
    methods={"off2on_n1": "CQL-init", "off2on_n1_fqe": "FQE-init"},
    subject=(
        "The critics that fine-tuning starts from: CQL's, which are pessimistic, or those of a fitted Q"
        " evaluation of the same policy, which are not; one agent (N = 1) and balanced replay in both."
    ),
    # Exact match of the two digitised curves. [D]
    notes=("The published CQL-init curve is that of N = 1 in Figure 12.",),
    shown_steps=100_000,
)
