"""The paper's own learning curves, digitised from the vector graphics of its figures.

`analysis/digitised/off2on.parquet` holds them as rows (figure, panel, curve, step, mean, std): the mean over
the paper's runs and one standard deviation, in the unit of the figure's own axis. The error bands of the
paper's plots are vector polygons with an upper and a lower vertex every 1,000 steps; mean and deviation are
half their sum and half their difference, calibrated on the axis ticks (residual at most 0.19 return units).

What is kept: Figure 3 whole (every 1,000 steps), and those of the manipulation tasks (5, 15 to 17: every 10
episodes, `step` counts episodes); the other locomotion figures (1b, 1c, 4, 8 to 14) at every
1,000 steps up to 10,000, then every 5,000, and their last step. Values are stored in single precision
(rounding below 0.001 return units). Curves are named as the digitised source names them:

- 4a and 9 (share of offline samples): the printed axis counts blocks of 1,000 gradient steps, so `step` there
  is gradient steps; it runs ahead of environment steps by the longer first epoch.
- 14: B is the ratio d_on / d_off, identical to "Ours" of Figure 3; A is d_on over the union (the paper's
  legend has the two swapped).
- 5a, 15, 16 (success): each point is the mean of up to ten evaluations up to it, five episodes each.
- 15: curves go by colour. The legend has the two online-only curves swapped: blue, "SAC Online only", starts
  at the ensemble's values and pink, "SAC Ensemble Online only", at the single agents', opposite to Figure 16
  and to the balanced curves beside them. Here blue is the ensemble and pink the single agent.
- 5b, 17: s1 is the share of online samples among the drawn ones, s2 that of random-action data; `step` there
  is the episodes before a block's own ten (`analysis.shares.measured_at`).

`python -m analysis.published --from FILE` makes the table again from the full digitised one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtri

from analysis.shares import TRUE_SHARE, measured_at
from storage import UserError
from storage.curves import COLUMNS as CURVE_COLUMNS
from storage.files import atomic_path

TABLE = Path(__file__).parent / "digitised" / "off2on.parquet"
COLUMNS = ("figure", "panel", "curve", "step", "mean", "std")
FIGURES = (
    *("1b", "1c", "3", "4a", "4b", "4c", "4d", "5a", "5b"),
    *("8", "9", "10", "11", "12", "13", "14", "15", "16", "17"),
)
EPISODE_FIGURES = ("5a", "5b", "15", "16", "17")
"""Those of the manipulation tasks, whose steps are episodes."""
WHOLE_FIGURES = ("3", *EPISODE_FIGURES)
RUNS = 4
"""Runs behind each curve's mean and deviation ("averaged over 4 runs", Figure 3), but for Figure 5."""
SUCCESS = "success_trailing"
"""What 5a, 15 and 16 show: `analysis.success`."""

_REPLAY = {"Uniform": "off2on_uniform", "Online only": "off2on_online_only", "Balanced replay": "off2on"}
_SIZE = {"N=1": "off2on_n1", "N=2": "off2on_n2", "N=5": "off2on"}
_SHARE = {quality: "off2on" for quality in ("random", "medium", "medium-replay", "medium-expert")}
_KINDS = ("ensemble", "individual")
_AUROC = {kind.title(): "off2on" for kind in _KINDS}
_DRAWN = {"s1": "off2on", "s2": "off2on"}
_METHODS: dict[str, dict[str, str]] = {
    # Identical to SAC-ft of Figure 3: one CQL agent, one uniform replay. [D]
    "1b": {"Uniform": "sac_ft", "Online only": "sac_ft_online_only"},
    # CQL-init is identical to N=1 of Figure 12: balanced replay is on in both. [D]
    "1c": {"CQL-init": "off2on_n1", "FQE-init": "off2on_n1_fqe"},
    "3": {"Ours": "off2on", "AWAC": "awac", "BCQ-ft": "bcq_ft", "SAC-ft": "sac_ft", "SAC": "sac"},
    "4a": _SHARE,
    "4b": _AUROC,
    "4c": _REPLAY,
    "4d": _SIZE,
    "5a": {"Ours": "off2on", "CQL-ft Online only": "cql_ft"},
    "5b": _DRAWN,
    # Confounded in the paper: "CQL Reg" starts at one agent's values, "No Reg" is Ours with five. [D]
    "8": {"CQL Reg": "cql_ft", "No Reg": "off2on"},
    "9": _SHARE,
    "10": _AUROC,
    "11": _REPLAY,
    "12": _SIZE,
    # Other runs than Figure 3's, although the start is the same. [D]
    "13": {"Ours": "off2on", "FQE-init": "off2on_fqe"},
    # By their identity with Ours of Figure 3, not by the printed legend, which swaps the two. [D]
    "14": {"B": "off2on", "A": "off2on_alternative_ratio"},
    # By where they start, not by the printed legend, which swaps blue and pink. [D]
    "15": {
        "c-black": "off2on",
        "c-purple": "sac_single_balanced",
        "c-blue": "sac_ensemble_online_only",
        "c-pink": "sac_single_online_only",
    },
    "16": {
        "c-black": "cql_ensemble_balanced",
        "c-purple": "cql_single_balanced",
        "c-blue": "cql_ft",
        "c-pink": "cql_ensemble_online_only",
    },
    "17": _DRAWN,
}
METHOD_OF_CURVE: dict[tuple[str, str], str] = {
    (figure, curve): method for figure, curves in _METHODS.items() for curve, method in curves.items()
}
"""The method's label in our curves, for each (figure, curve) of the table."""

METRIC_OF_CURVE: dict[tuple[str, str], str] = dict.fromkeys(METHOD_OF_CURVE, "return") | {
    **{(figure, curve): "offline_fraction" for figure in ("4a", "9") for curve in _SHARE},
    **{(figure, kind.title()): f"auroc_{kind}" for figure in ("4b", "10") for kind in _KINDS},
    **{key: SUCCESS for key in METHOD_OF_CURVE if key[0] in ("5a", "15", "16")},
    **{(figure, "s1"): "online_share" for figure in ("5b", "17")},
    **{(figure, "s2"): "random_share" for figure in ("5b", "17")},
}
"""What the vertical axis shows, for each (figure, curve), as a metric of our curves and in its unit."""

_CURVE = ["figure", "panel", "curve"]
_SOURCE = b"digitised from the vector graphics of the paper's figures"
_DENSE_UNTIL = 10_000
_SPARSE_STRIDE = 5_000
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _CURVE),
        ("step", pa.int64()),
        ("mean", pa.float32()),
        ("std", pa.float32()),
    ]
)


def runs_behind(figure: str | int) -> int:
    """How many runs a figure's curves are means of: 8 in Figure 5, else 4. [P], [S]"""
    return 8 if str(figure) in ("5a", "5b") else RUNS


def published_dataset(figure: str | int, panel: str, curve: str) -> str:
    """Return the dataset of a curve: its panel, except in 4a and 9, whose panels are environments."""
    return f"{panel}-{curve}" if METRIC_OF_CURVE[str(figure), curve] == TRUE_SHARE else panel


@cache
def published_runs(figure: str | int) -> pd.DataFrame:
    """Stand-ins for the runs behind one figure, as curves (columns of `storage.curves`), seeds from 0.

    The paper prints means and deviations, not runs. As many runs as it averaged are laid at the midpoints of
    as many equal parts of a normal distribution, scaled so that mean and (population) deviation at each step
    are the printed ones. Each run keeps its place for the whole curve, which cannot be known from the figure:
    deviations of averages over steps come out as large as they can be. Steps are environment steps (or
    episodes), also of 4a and 9, and of a share those after its block. Cached, so callers must not write
    into it.

    Raises:
        UserError: the paper has no such figure.
    """
    rows = published_table()
    rows = rows[rows["figure"] == str(figure)]
    if rows.empty:
        raise UserError(f"The paper's curves have no figure {str(figure)!r}: expected {', '.join(FIGURES)}.")
    count = runs_behind(figure)
    places = ndtri((np.arange(count) + 0.5) / count)
    places /= places.std()
    keys = rows[["figure", "panel", "curve"]].itertuples(index=False)
    curves = rows.assign(
        run="published",
        phase="online",
        unit="episode" if str(figure) in EPISODE_FIGURES else "step",
        method=[METHOD_OF_CURVE[str(figure), curve] for curve in rows["curve"]],
        dataset=[published_dataset(*key) for key in keys],
        metric=[METRIC_OF_CURVE[str(figure), curve] for curve in rows["curve"]],
    )
    for metric, printed in curves.groupby("metric")["step"]:
        curves.loc[printed.index, "step"] = measured_at(str(metric), printed.to_numpy())
    runs = [curves.assign(seed=run, value=rows["mean"] + places[run] * rows["std"]) for run in range(count)]
    return pd.concat(runs, ignore_index=True)[list(CURVE_COLUMNS)]


@cache
def published_table() -> pd.DataFrame:
    """Return the whole table, columns `COLUMNS`; cached, so callers must not write into it."""
    # Not `pq.read_table`: it would read columns out of folder names like `seed=1`.
    with pq.ParquetFile(TABLE) as file:
        table: pd.DataFrame = file.read().to_pandas()
    return table.astype({"mean": "float64", "std": "float64"})


def thinned(digitised: pd.DataFrame) -> pd.DataFrame:
    """Return rows the suite keeps of the full digitised table (columns figure, panel, curve, x, mean, std).

    `x` is in thousands of steps, or in episodes; the result has `COLUMNS` with `step` in steps or episodes.
    """
    rows = digitised[digitised["figure"].isin(FIGURES)].copy()
    unit = np.where(rows["figure"].isin(EPISODE_FIGURES), 1, 1000)
    rows["step"] = (rows["x"] * unit).round().astype("int64")
    last = rows.groupby(_CURVE)["step"].transform("max")
    kept = (
        rows["figure"].isin(WHOLE_FIGURES)
        | (rows["step"] <= _DENSE_UNTIL)
        | (rows["step"] % _SPARSE_STRIDE == 0)
        | (rows["step"] == last)
    )
    return rows.loc[kept, list(COLUMNS)].sort_values([*_CURVE, "step"]).reset_index(drop=True)


def build(source: Path, destination: Path = TABLE) -> None:
    """Write the suite's table from the full digitised one (CSV, may be compressed).

    Raises:
        UserError: `source` cannot be read or lacks a column.
    """
    try:
        digitised = pd.read_csv(source, dtype={"figure": str})
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{source} is not a readable CSV file of digitised curves: {error}.") from error
    missing = sorted({*_CURVE, "x", "mean", "std"} - set(digitised.columns))
    if missing:
        expected = ", ".join([*_CURVE, "x", "mean", "std"])
        raise UserError(f"{source} has no column {missing[0]!r}: expected {expected}.")
    table = pa.Table.from_pandas(thinned(digitised), schema=_SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata({b"source": _SOURCE})
    with atomic_path(destination) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=_CURVE,
            column_encoding={
                "step": "DELTA_BINARY_PACKED",
                "mean": "BYTE_STREAM_SPLIT",
                "std": "BYTE_STREAM_SPLIT",
            },
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the suite's table of the paper's curves from the full digitised one."""
    parser = argparse.ArgumentParser(prog="python -m analysis.published", description=main.__doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="full digitised table (CSV)")
    parser.add_argument("--to", dest="destination", type=Path, default=TABLE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        build(options.source, options.destination)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
