"""Films of one ensemble at work, before and after fine-tuning, below the task's script. Not in the paper."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from paper_figures import style
from paper_figures.panels import TASKS
from paper_figures.results import Results
from storage import UserError

PLAYERS = {
    "script": "the task's script",
    "before": "the offline agents",
    "after": "the same after fine-tuning",
}
COLUMNS = ("task", "player", "file", "height", "width", "success", "successes", "episodes")
_WIDTH, _TITLE = 7.0, 0.25
"""Inches of a strip, and of the title above it."""


def table(results: Results) -> pd.DataFrame:
    """List the film strips: `success` of the episode shown, `successes` of all `episodes` played.

    Raises:
        UserError: there is none, or its outcomes cannot be read.
    """
    found = {path.name: path for path in results.files}
    rows = []
    for task in TASKS:
        for player in PLAYERS:
            if (path := found.get(f"{task}_{player}.png")) is not None:
                try:
                    played = pd.read_csv(path.with_name(f"{task}_outcomes.csv")).query("player == @player")
                    height, width = imread(path).shape[:2]
                except (OSError, ValueError, SyntaxError) as error:
                    raise UserError(f"{path} is not a film strip with its outcomes: {error}.") from error
                shown = bool(played.loc[played["shown"], "success"].any())
                counts = (int(played["success"].sum()), len(played))
                rows.append((task, player, str(path), height, width, shown, *counts))
    if not rows:
        raise UserError("The figure of films was given no pictures named <task>_<player>.png.")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw(drawn: pd.DataFrame) -> Figure:
    """Place the strips of `table`, one below the other."""
    with style.look():
        ratios = (_WIDTH * drawn["height"] / drawn["width"] + _TITLE).tolist()
        figure = Figure(figsize=(_WIDTH, sum(ratios)), dpi=style.PRINT_DPI)
        grid = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=ratios).flat
        for axes, row in zip(grid, drawn.itertuples(index=False), strict=True):
            axes.imshow(imread(str(row.file)))
            outcome = "a success" if row.success else "no success"
            axes.set_title(
                f"{PLAYERS[str(row.player)]}: {outcome} here, {row.successes} of {row.episodes} starts",
                loc="left",
            )
            axes.set_axis_off()
    return figure


def caption(drawn: pd.DataFrame, _results: Results) -> str:
    """Return the caption of the rows of `table`."""
    return (
        f"Episodes on {style.listed(drawn['task'])} from one start, evenly spread moments from left to right:"
        " the script without noise, one seed's agents as they came from offline training, and what they are"
        " after fine-tuning, both acting deterministically from 48 x 48 pixels."
        " The start is the first of those played in which the fine-tuned agents succeed."
    )
