"""Verdicts in words: `reproduction.json`, a line a claim for the terminal, a Markdown table, an exit status.

`python -m analysis.verdicts --curves FILES` prints a line a claim; `--fail-on contradicted` turns a verdict
into an exit status.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims import CLAIMS, NOT_RUN, UNITS, VERDICTS, Claim, read_claims
from analysis.intervals import Bootstrap
from analysis.judging import Judgement, Outcome, judge
from analysis.success import comparable
from analysis.summary import table_text
from storage import UserError
from storage.curves import COLUMNS, read_curves
from storage.files import read_json, write_json

VERSION = 1
"""Of `reproduction.json`: raised when a key changes its meaning."""
FAILED = 3
"""Exit status where a claim has a verdict of --fail-on."""


def reproduction(
    judgements: Sequence[Judgement],
    errors: pd.DataFrame,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the whole of `reproduction.json`: verdicts, and `errors` (of `analysis.reproduction_error`).

    Keys are sorted, claims are in the order of their ids, and what is missing is null.
    """
    document = {
        "version": VERSION,
        "bootstrap": {
            "repetitions": bootstrap.repetitions,
            "seed": bootstrap.seed,
            "confidence": bootstrap.confidence,
        },
        "provenance": dict(provenance or {}),
        "verdicts": {verdict: sum(j.verdict == verdict for j in judgements) for verdict in VERDICTS},
        "claims": sorted((_as_json(judgement) for judgement in judgements), key=lambda entry: entry["id"]),
        "errors": errors.astype(object).where(errors.notna(), None).to_dict(orient="records"),
    }
    ordered: dict[str, Any] = json.loads(json.dumps(document, sort_keys=True))
    return ordered


def failing(document: Mapping[str, Any], verdicts: Collection[str]) -> list[str]:
    """Ids of the claims of `reproduction`'s result that have one of `verdicts`. UserError: no such result."""
    try:
        found = [str(claim["id"]) for claim in document["claims"] if claim["verdict"] in verdicts]
    except (KeyError, TypeError) as error:
        raise UserError(f"The document holds no claims with verdicts: it lacks {error}.") from error
    if not document["claims"]:
        raise UserError("The document holds no claims with verdicts: expected at least one.")
    return found


def verdict_lines(judgements: Sequence[Judgement]) -> str:
    """One line a claim, for the terminal: verdict, claim, our number and the paper's, what is lacking.

    Claims that could be judged come first, and where there are some, the others share a line.
    """
    judged = [judgement for judgement in judgements if judgement.verdict != NOT_RUN]
    shown = judged or judgements
    width = max((len(judgement.claim.id) for judgement in shown), default=0)
    lines = []
    for judgement in shown:
        here = judgement.published_here or judgement.published
        where = "published, this part" if judgement.restricted else "published"
        parts = (
            numbers(judgement.claim, judgement.ours),
            _extent(judgement),
            f"{where} {numbers(judgement.claim, here)}" if here else "",
            judgement.reason,
        )
        texts = "; ".join(part for part in parts if part)
        lines.append(f"{judgement.verdict:<12}  {judgement.claim.id:<{width}}  {texts}")
    if others := len(judgements) - len(shown):
        lines.append(f"{NOT_RUN:<12}  the other {others}; reproduction.md says what each of them needs")
    counts = [f"{sum(j.verdict == verdict for j in judgements)} {verdict}" for verdict in VERDICTS]
    return "\n".join([*lines, "", f"{len(judgements)} claims: {', '.join(counts)}."]) + "\n"


def verdict_table(judgements: Sequence[Judgement]) -> str:
    """Return the verdicts as a Markdown table, and a note that explains it."""
    headings = ("claim", "figure", "ours", "published", "published, this part", "verdict", "on", "notes")
    rows = []
    for judgement in judgements:
        claim, here = judgement.claim, judgement.published_here
        cells = (
            f"**{claim.id}**: {_plain(claim.says)}",
            claim.figure or "",
            numbers(claim, judgement.ours),
            _with_verdict(claim, judgement.published),
            _with_verdict(claim, here) if judgement.restricted else "",
            judgement.verdict.replace("_", " "),
            _extent(judgement),
            " ".join(
                f"{_plain(text[0].upper() + text[1:].rstrip('.'))}."
                for text in (judgement.reason, claim.note)
                if text
            ),
        )
        rows.append(cells)
    note = (
        "A number is the claim's statistic with its interval over resampled runs; the claim says that it is"
        " above the threshold (or within the margin). Published: the same statistic of the paper's digitised"
        " curves, their runs rebuilt from mean and deviation. Scores are normalised (0 the random policy, 100"
        " the reference expert)."
    )
    return table_text(headings, rows, note, form="github")


def _plain(text: str) -> str:
    """Escape what would be markup in Markdown or end a table's cell: claims are anybody's text."""
    return re.sub(r"([\\|<&`\[\]])", r"\\\1", text)


def numbers(claim: Claim, outcome: Outcome | None) -> str:
    """ "+29.0 [24.1, 33.5] > 0": estimate, interval and what it is held against; empty without an outcome."""
    if outcome is None:
        return ""
    digits = {UNITS["return"]: ".1f", UNITS["critic_loss"]: ".3g"}.get(claim.unit, ".2f")
    sign = "" if claim.statistic == "probability_of_improvement" else "+"
    interval = "no interval"
    if outcome.low is not None and outcome.high is not None:
        interval = f"[{outcome.low:{digits}}, {outcome.high:{digits}}]"
    against = f"> {claim.threshold:g}" if claim.margin is None else f"within ±{claim.margin:g}"
    return f"{outcome.estimate:{sign}{digits}} {interval} {against}"


def _with_verdict(claim: Claim, outcome: Outcome | None) -> str:
    return f"{numbers(claim, outcome)}: {outcome.verdict}" if outcome else ""


def _extent(judgement: Judgement) -> str:
    if judgement.ours is None:
        return ""
    seeds = "1 seed" if judgement.ours.runs == 1 else f"{judgement.ours.runs} seeds"
    return f"{seeds}, {judgement.restricted or 'the whole claim'}"


def _as_json(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    outcomes = {
        name: None if outcome is None else {**vars(outcome), "datasets": list(outcome.datasets)}
        for name, outcome in (
            ("ours", judgement.ours),
            ("published", judgement.published),
            ("published_here", judgement.published_here),
        )
    }
    return {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in vars(claim).items()},
        **outcomes,
        "datasets": list(claim.datasets) or None,
        "metrics": list(claim.metrics),
        "unit": claim.unit,
        "verdict": judgement.verdict,
        "restricted": judgement.restricted,
        "reason": judgement.reason,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the paper's claims on curves, or look at verdicts that were written before."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.verdicts",
        description=f"{main.__doc__} Without either, say what the paper's own curves give.",
        epilog=f"Exit status {FAILED}: a claim has a verdict of --fail-on; 1: something has to be fixed.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--curves", type=Path, nargs="+", help="Parquet files of curves")
    source.add_argument("--reproduction", type=Path, help="a reproduction.json, to look at its verdicts")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="YAML file (default: the paper's)")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file as well")
    parser.add_argument("--repetitions", type=int, default=Bootstrap.repetitions, help="default: %(default)s")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=VERDICTS,
        help=f"exit with {FAILED} where a claim has this verdict (may be given again)",
    )
    options = parser.parse_args(arguments)
    try:
        document = read_json(options.reproduction) if options.reproduction else _judged(options)
        found = failing(document, options.fail_on)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if found:
        print(f"{' or '.join(options.fail_on)}: {', '.join(found)}", file=sys.stderr)
    return FAILED if found else 0


def _judged(options: argparse.Namespace) -> dict[str, Any]:
    read = read_curves(options.curves) if options.curves else pd.DataFrame(columns=list(COLUMNS))
    curves = comparable(read)
    bootstrap = Bootstrap(options.repetitions)
    judgements = judge(read_claims(options.claims, methods=set(curves["method"])), curves, bootstrap)
    print(verdict_lines(judgements), end="")
    document = reproduction(judgements, pd.DataFrame(), bootstrap)
    if options.json:
        write_json(options.json, document)
    return document


if __name__ == "__main__":
    sys.exit(main())
