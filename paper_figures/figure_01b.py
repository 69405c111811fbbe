"""Figure 1b: one fine-tuned agent that replays offline and online data alike, or online data alone."""

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="1b",
    methods={"sac_ft": "Uniform (SAC-ft)", "sac_ft_online_only": "Online only"},
    subject=(
        "One CQL agent fine-tuned by SAC: uniform replay of offline and online data together, or of online"
        " data alone."
    ),
    # Exact match of the two digitised curves. [D]
    notes=("The published uniform curve is SAC-ft's of Figure 3.",),
    shown_steps=50_000,
    asymptotes=True,
)
