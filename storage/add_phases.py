"""Give curves of before phases the columns `phase` and `unit`; all else stays, to the bit.

The schedule in their provenance says what their steps count. Files that have the columns stay as they are.

    python -m storage.add_phases results/reference/*/curves/*/*/*.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from storage import UserError
from storage.curves import KIND, read_curves, write_curves
from storage.tables import read_table

_BEFORE = KIND._replace(schema=KIND.schema.remove(5).remove(4))


def phase_and_unit(provenance: Mapping[str, Any]) -> tuple[str, str]:
    """What the steps of a curve count. UserError where its provenance has no schedule."""
    schedule = provenance.get("configuration", {}).get("schedule")
    if not isinstance(schedule, Mapping):
        raise UserError("the provenance names no schedule, expected one that says what its steps count")
    if "updates" in schedule:
        return "offline", "update"
    return "online", "episode" if "updates_per_episode" in schedule else "step"


def add_phases(path: Path) -> None:
    """Rewrite the file `path`, atomically. UserError where it is no file of curves, new or old."""
    try:
        table, provenance = read_table(path, _BEFORE)
    except UserError:
        read_curves(path)
        return
    frame: pd.DataFrame = table.to_pandas()
    phase, unit = phase_and_unit(provenance)
    write_curves(path, frame.assign(phase=phase, unit=unit), provenance)


def main() -> None:
    """The command line: nothing, or one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m storage.add_phases", description=main.__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="Parquet files of curves")
    for path in parser.parse_args().files:
        try:
            add_phases(path)
        except UserError as error:
            parser.exit(2, f"{path}: {error}\n")


if __name__ == "__main__":
    main()
