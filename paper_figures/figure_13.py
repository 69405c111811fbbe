"""Figure 13: CQL's critics or those of fitted Q evaluation at the start of a long run, with ensembles."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="13",
    methods={"off2on": "CQL-init (Off2On, N = {size})", "off2on_fqe": "FQE-init (N = {size})"},
    subject=(
        "Long runs (1,000,000 steps in the paper) from CQL's critics, or from those of a fitted Q evaluation"
        " of the same policies; ensembles and balanced replay in both."
    ),
    # The digitised curves start alike, then differ by 100 to 380 on average. [D]
    notes=("The published Off2On curve is of other runs than Figure 3's.",),
)
