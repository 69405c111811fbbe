"""The paper's curves, one by one."""

from __future__ import annotations

import pandas as pd

from analysis.published import published_table


def published_curve(figure: str | int, panel: str, curve: str) -> pd.DataFrame:
    """One curve of the paper: columns step, mean, std, sorted by step."""
    rows = published_table()
    rows = rows[(rows["figure"] == str(figure)) & (rows["panel"] == panel) & (rows["curve"] == curve)]
    assert not rows.empty
    return rows[["step", "mean", "std"]].reset_index(drop=True)


def published_panels(figure: str | int) -> list[str]:
    """Names of the panels of one figure, in the order of the table."""
    rows = published_table()
    return list(dict.fromkeys(rows.loc[rows["figure"] == str(figure), "panel"]))
