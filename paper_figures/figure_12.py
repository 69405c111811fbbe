"""Figures 4d and 12: how many agents the ensemble has. 4d is the panel walker2d-random of 12."""

from dataclasses import replace

from paper_figures.comparison import Comparison

FIGURE = Comparison(
    number="12",
    methods={"off2on_n1": "N = 1", "off2on_n2": "N = 2", "off2on": "N = {size}"},
    subject="Off2On, balanced replay, with ensembles of N agents.",
)
PANEL = replace(FIGURE, number="4d")
