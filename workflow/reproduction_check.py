"""Compare a run of config/check.yaml with the committed curves of it, and say what differs.

On the platform that the reference was made on (processor with its model and instructions, the arithmetic
chosen by them, versions, threads, a GPU or none: the provenance says) every row has to be equal to the last
bit. On another, rounding differs and training drifts apart: there the mean return of the last evaluation has
to lie within the bounds that the spread of the seeds gives.

    python -m workflow.reproduction_check results/check/curves results/reference/check/curves
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from storage import UserError
from storage.curves import read_curves, read_provenance

TOLERANCE = 3.0
"""Standard errors of the difference of two means that another platform may differ by. (Ours.)"""
SLACK = 0.25
"""Share of the reference's mean that it may differ by anyhow: three seeds say little of a spread. (Ours.)"""

_HARDWARE = {
    "the processor": "cpu",
    "the processor's model": "cpu_model",
    "the processor's set of instructions": "cpu_instructions",
    "the number of threads": "omp_num_threads",
    "what restricts the instructions": "instructions_restricted",
}


def compare(ours: Path, reference: Path) -> str:
    """Compare two folders of curves; say the outcome in one sentence.

    Raises:
        UserError: a file is missing or damaged, the settings are others, or the curves differ by more than
            the platform allows; the sentence gives the reason.
    """
    files = sorted(path.relative_to(reference) for path in reference.rglob("*.parquet"))
    if not files:
        raise UserError(f"{reference} holds no curves; expected the committed reference")
    reasons = {reason for file in files for reason in _platform_differences(ours / file, reference / file)}
    for file in files:
        found, expected = read_curves(ours / file), read_curves(reference / file)
        if not reasons:
            _check_equal(found, expected, ours / file)
        else:
            _check_bounds(found, expected, ours / file, "; ".join(sorted(reasons)))
    if not reasons:
        return f"{len(files)} curves are equal to {reference} to the last bit, on its platform."
    why = "; ".join(sorted(reasons))
    return f"{len(files)} curves are within the bounds of {reference}, not compared bit by bit: {why}."


def _platform_differences(ours: Path, reference: Path) -> list[str]:
    """In what the two runs' platforms differ. UserError where their settings do."""
    found, expected = (read_provenance(path) for path in (ours, reference))
    settings = [_settings(provenance) for provenance in (found, expected)]
    if settings[0] != settings[1]:
        raise UserError(
            f"{ours} was made with other settings than {reference}; expected the same configuration"
        )
    rows = {
        what: [p.get("hardware", {}).get(key) for p in (found, expected)] for what, key in _HARDWARE.items()
    }
    rows["what training computed on"] = [_computed_on(p) for p in (found, expected)]
    chosen = [p.get("hardware", {}).get("arithmetic", {}) for p in (found, expected)]
    rows |= {
        f"the arithmetic's {key}": [arithmetic.get(key) for arithmetic in chosen]
        for key in sorted({*chosen[0], *chosen[1]})
    }
    names = sorted({*found.get("versions", {}), *expected.get("versions", {})})
    rows |= {
        f"{name}'s version": [p.get("versions", {}).get(name) for p in (found, expected)] for name in names
    }
    return [
        f"{what} is {here or 'not recorded'}, the reference's {there or 'not recorded'}"
        for what, (here, there) in rows.items()
        if here != there
    ]


def _computed_on(provenance: Mapping[str, Any]) -> str:
    return str(provenance.get("configuration", {}).get("compute", {}).get("device", "cpu"))


def _settings(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the fingerprint, which changes with the code, and what is the platform's."""
    configuration = provenance.get("configuration", {})
    return {key: value for key, value in configuration.items() if key not in ("fingerprint", "compute")}


def _check_equal(found: pd.DataFrame, expected: pd.DataFrame, path: Path) -> None:
    if found.equals(expected):
        return
    if len(found) != len(expected):
        raise UserError(f"{path} has {len(found)} rows, the reference {len(expected)}, on the same platform")
    row = int((found != expected).any(axis=1).to_numpy().argmax())
    here, there = found.iloc[row], expected.iloc[row]
    raise UserError(
        f"{path} differs from the reference on the same platform, first at step {here['step']} of seed"
        f" {here['seed']}: {here['metric']} is {here['value']!r}, the reference's {there['metric']} is"
        f" {there['value']!r}; the code computes something else than it did"
    )


def _check_bounds(found: pd.DataFrame, expected: pd.DataFrame, path: Path, reason: str) -> None:
    ours, theirs = (_last_returns(frame) for frame in (found, expected))
    error = math.hypot(*(values.std(ddof=1) / math.sqrt(len(values)) for values in (ours, theirs)))
    bound = TOLERANCE * error + SLACK * abs(theirs.mean())
    if not abs(ours.mean() - theirs.mean()) <= bound:
        raise UserError(
            f"{path} ends at a mean return of {ours.mean():.1f}, expected {theirs.mean():.1f} +- {bound:.1f}"
            f" of the reference on another platform ({reason})"
        )


def _last_returns(frame: pd.DataFrame) -> pd.Series[float]:
    rows = frame[frame["metric"] == "return"]
    returns: pd.Series[float] = rows.loc[rows["step"] == rows["step"].max(), "value"]
    return returns


def main() -> None:
    """Run the command line: print the outcome, or one sentence with exit status 2."""
    parser = argparse.ArgumentParser(description="Compare curves with the committed ones.")
    parser.add_argument("ours", type=Path, help="folder of curves, such as results/check/curves")
    parser.add_argument("reference", type=Path, help="such as results/reference/check/curves")
    options = parser.parse_args()
    try:
        print(compare(options.ours, options.reference))
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
