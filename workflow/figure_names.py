"""Names of the figures that a configuration may ask for, and of those that follow from what it has."""

from __future__ import annotations

OFFLINE_FIGURE = "_offline"
"""Ends the name of a general figure that is drawn of the offline phase, where it is not the one judged."""
BY_REGIME = "success_by_regime"
"""The general figure that is of tasks on the robot's table alone."""
TABLE_SCRIPTS = "table_scripts"
"""The figure of episodes of the scripts on the robot's table."""
LIKELIHOODS = "figure_01a"
"""The figure of densities."""
CONTROLS = "image_controls"
"""The figure that has the curves of all offline labels too."""
FILM = "film"
"""The figure that is made of films of agents."""
DATASETS, BEHAVIOURS = "datasets", "behaviours"
"""The figures of every run's datasets of vectors, and of its estimated behaviours: none asks for them."""
SWEEP_FIGURE = "policy_learning_rate"
"""The figure of the sweep, which has a rule of its own."""

GENERAL_FIGURES = (
    "learning_curves", "sample_efficiency", "performance_profiles", "interval_estimates",
    "probability_of_improvement", "critic_loss", BY_REGIME,
)  # fmt: skip
"""Those that any phase has; the others are the paper's, of fine-tuning."""
VECTOR_FIGURES = (
    *GENERAL_FIGURES, *(f"{figure}{OFFLINE_FIGURE}" for figure in GENERAL_FIGURES),
    LIKELIHOODS, "figure_01b", "figure_01c", "figure_03", "figure_04a", "figure_04b",
    "figure_04c", "figure_04d", "figure_08", "figure_09", "figure_10",
    "figure_11", "figure_12", "figure_13", "figure_14", TABLE_SCRIPTS,
)  # fmt: skip
IMAGE_FIGURES = (
    "figure_05a", "figure_05b", "figure_06", "figure_07", "figure_15",
    "figure_16", "figure_17", CONTROLS, FILM,
)  # fmt: skip
PICTURED = ("figure_06", "figure_07", TABLE_SCRIPTS)
"""The figures that are made of pictures of the tasks."""
OF_FILES = (DATASETS, BEHAVIOURS)
"""The figures that draw no curves."""
