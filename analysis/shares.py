"""Shares of the drawn samples (Figures 4a, 5b, 9 and 17): ours over steps, and the paper's axis.

The paper logged every 100th batch, always with the first one after new samples came in, which have the
highest priority: its printed curves overstate the online share by up to ten times early on [D]. Our
`offline_fraction` is the share of all draws; `offline_fraction_logged`, where a run recorded it, is thinned
like the paper's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.intervals import Bootstrap, interval_estimate
from analysis.scores import mean_over_runs
from storage import UserError

TRUE_SHARE = "offline_fraction"
LOGGED_SHARE = "offline_fraction_logged"
DRAWN_SHARES = ("online_share", "random_share")
"""Of the manipulation tasks, over episodes."""

_BLOCK = 1_000  # [C] gradient steps that one value of the paper's index stands for
_FIRST_EPOCH = 5  # [S] D.1: blocks of gradient steps after the first block of environment steps
_EPISODES = 10  # [COG] collected before each block of updates


def share_curve(
    curves: pd.DataFrame, method: str, dataset: str, bootstrap: Bootstrap, metric: str = TRUE_SHARE
) -> pd.DataFrame:
    """Mean over seeds of the share at each evaluation: columns step, estimate, low, high, runs.

    `curves` has the columns of `storage.curves`. A row at some environment step is the share among the draws
    since the evaluation before. The interval of one seed alone is NaN.

    Raises:
        UserError: there are no such rows, or the seeds have not all the same steps.
    """
    rows = curves[
        (curves["method"] == method) & (curves["dataset"] == dataset) & (curves["metric"] == metric)
    ]
    if rows.empty:
        raise UserError(f"The curves hold no {metric} of method {method} on dataset {dataset}.")
    shares = rows.pivot(index="seed", columns="step", values="value").sort_index().sort_index(axis=1)
    if shares.isna().any(axis=None):
        run, time = np.argwhere(shares.isna().to_numpy())[0]
        seed, step = shares.index[run], shares.columns[time]
        raise UserError(
            f"The curves lack the {metric} of method {method} on dataset {dataset}, seed {seed}, step {step}:"
            " expected every seed at the same steps."
        )
    estimate, interval = interval_estimate(
        mean_over_runs, shares.to_numpy()[:, None, :], bootstrap, "mean over runs"
    )
    return pd.DataFrame(
        {
            "step": shares.columns.to_numpy(dtype=np.int64),
            "estimate": estimate,
            "low": interval[0],
            "high": interval[1],
            "runs": len(shares),
        }
    )


def measured_at(metric: str, printed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the steps or episodes at which our curves have what the paper's have at `printed` ones.

    A share is of a block of updates, and ours stands at the evaluation after it. The paper's stands at what
    came before: online samples are drawn at its episode 0 already, which are those of the first ten. [D]
    """
    if metric == TRUE_SHARE:
        return environment_steps(printed)
    return printed + _EPISODES if metric in DRAWN_SHARES else printed


def environment_steps(gradient_steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Environment steps at which a block of the paper's index ends, from the gradient steps it begins at.

    The paper's axis counts blocks of 1,000 gradient steps, and five of them followed the first 1,000
    environment steps: from there on the index runs ahead by four. Those first five are spread evenly over the
    1,000 environment steps they learned from; each later block lies where an evaluation after it does. [D]
    """
    blocks = gradient_steps // _BLOCK
    first = (blocks + 1) * _BLOCK // _FIRST_EPOCH
    return np.where(blocks < _FIRST_EPOCH, first, (blocks + 2 - _FIRST_EPOCH) * _BLOCK)
