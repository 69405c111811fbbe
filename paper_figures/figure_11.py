"""Figures 4c and 11: which replay fine-tuning learns from. 4c is the panel walker2d-random of 11."""

from dataclasses import replace

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="11",
    methods={"off2on_uniform": "Uniform", "off2on_online_only": "Online only", "off2on": "Balanced replay"},
    subject=(
        "Ensembles fine-tuned alike but for their replay: uniform over offline and online data, online data"
        " alone, or balanced by the density ratio (Off2On)."
    ),
)
PANEL = replace(FIGURE, number="4c")
