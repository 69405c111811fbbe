"""Figures 6 and 7, and scripts on the robot's table: pictures of the tasks, as a run rendered them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from envs.tabletop import TASKS as TABLE_TASKS
from paper_figures import style
from paper_figures.panels import TASKS
from paper_figures.results import Results
from storage import UserError


@dataclass(frozen=True)
class Pictures:
    """A figure of PNG files <task>_<kind>.png: beside each other, or one below the other."""

    name: str
    kind: str
    said: str
    stacked: bool = False
    tasks: tuple[str, ...] = TASKS

    def table(self, results: Results) -> pd.DataFrame:
        """Return the pictures, in the order of `tasks`: columns task, file, height, width (pixels).

        Raises:
            UserError: there is none of this kind, or one cannot be read.
        """
        found = {path.name: path for path in results.files}
        rows = []
        for task in self.tasks:
            if (path := found.get(f"{task}_{self.kind}.png")) is not None:
                try:
                    height, width = imread(path).shape[:2]
                except (OSError, ValueError, SyntaxError) as error:
                    raise UserError(f"{path} is not a readable picture: {error}.") from error
                rows.append((task, str(path), height, width))
        if not rows:
            raise UserError(f"{self.name} was given no pictures named <task>_{self.kind}.png.")
        return pd.DataFrame(rows, columns=["task", "file", "height", "width"])

    def draw(self, drawn: pd.DataFrame) -> Figure:
        """Place the pictures of `table`."""
        count = len(drawn)
        with style.look():
            shape = (count, 1) if self.stacked else (1, count)
            size = (7.0, 1.2 * count) if self.stacked else (2.4 * count, 2.6)
            figure = Figure(figsize=size, dpi=style.PRINT_DPI)
            grid = figure.subplots(*shape, squeeze=False).flat
            for axes, row in zip(grid, drawn.itertuples(index=False), strict=True):
                axes.imshow(imread(str(row.file)))
                axes.set_title(str(row.task))
                axes.set_axis_off()
        return figure

    def caption(self, _drawn: pd.DataFrame, _results: Results) -> str:
        """Return the caption of the rows of `table`."""
        return self.said


_OWN = "This suite's own tasks after COG's, drawn by MuJoCo in print quality; the agent sees 48 x 48 pixels."
BEGINNINGS = Pictures(
    "Figure 6", "overview", f"Counterpart of the paper's Figure 6: how each task begins. {_OWN}"
)
FILMS = Pictures(
    "Figure 7",
    "film",
    f"Counterpart of the paper's Figure 7: an episode of each task's script, from left to right. {_OWN}",
    stacked=True,
)
SCRIPTS = Pictures(
    "table_scripts",
    "script",
    "An episode of each task's script on the robot's table, without noise, from left to right: reach for the"
    " red point, slide the cube to it, lift the cube, pick it up and place it at the point, a decimetre up."
    " Drawn by MuJoCo; agents see positions.",
    stacked=True,
    tasks=tuple(task.lower() for task in TABLE_TASKS),
)
