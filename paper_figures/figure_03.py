"""Figure 3: Off2On beside the baselines; a method of somebody else's is drawn with them."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="3",
    methods={
        "off2on": "Off2On (N = {size})",
        "awac": "AWAC",
        "bcq_ft": "BCQ-ft",
        "sac_ft": "SAC-ft",
        "sac": "SAC",
    },
    subject="Off2On and the baselines.",
    open=True,
)
