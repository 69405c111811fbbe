"""Figure 14: the density ratio that priorities come from, over the offline data or over all data."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="14",
    methods={
        "off2on": "online / offline (Off2On, N = {size})",
        "off2on_alternative_ratio": "online / (offline or online)",
    },
    subject="The ratio of densities that balances the replay.",
    # One of the two matches Ours of Figure 3 exactly, and the legend gives it the other's name. [D]
    notes=(
        "The paper's printed legend is swapped: the curve that it names online / (offline or online) is"
        " identical to Off2On's of Figure 3, which is online / offline; here each has its true name.",
    ),
)
