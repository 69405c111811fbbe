"""Write one self-contained HTML page of a configuration's finished results: Snakemake's report.

It opens on the configuration's first figure.

    python -m workflow.report_page config/figure_03.yaml

Results drawn from committed curves (`curves: recorded`) have no report of their datasets and no films, and
Snakemake refuses a report that lacks a figure of its plan. Hence the curves that are there say which of the
two plans the results are of, whatever the configuration's file says today.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage import UserError
from storage.files import write_text
from workflow.code_hash import ROOT
from workflow.configuration import named, read
from workflow.plan import Plan


def snakemake_arguments(path: Path) -> list[str]:
    """Return Snakemake's arguments, for the folder that holds results/.

    Raises:
        UserError: the configuration is wrong, or its results are not finished.
    """
    configuration = read(path)
    results = Plan(configuration).places.results
    table = Path(results, "reproduction.txt")
    if not table.exists():
        raise UserError(
            f"{table} is missing, which a run writes at its end: expected a finished run"
            f" (make reproduce CONFIG={path})"
        )
    curves = f"curves={_drawn_from(configuration)}"
    return ["--configfile", str(path), "--config", curves, "--report", f"{results}/report.html"]


def _drawn_from(configuration: Mapping[str, Any]) -> str:
    """Return value of `curves` that the results were drawn with: the configuration's own where it fits."""
    own = configuration.get("curves", "fresh")
    missing = []
    for curves in (own, "recorded"):
        wanted = {**configuration, "curves": curves}
        files = Plan(wanted).judging.curves()
        missing = [file for file in files if not Path(file).exists()]
        if not missing:
            return curves
    raise UserError(f"{missing[0]} is missing: expected the curves that the figures were drawn from")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the command line: Snakemake's exit status, or one sentence and 2."""
    parser = argparse.ArgumentParser(prog="python -m workflow.report_page", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", help="such as config/pilot.yaml")
    try:
        asked = snakemake_arguments(named(parser.parse_args(arguments).file))
    except UserError as error:
        print(f"Configuration: {error}", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *asked]
    status = subprocess.call(command)
    if status == 0:
        embed(Path(asked[-1]))
    return status


def embed(report: Path) -> None:
    """Put the picture that the report opens on into the page: Snakemake leaves its address there."""
    text = report.read_text(encoding="utf-8")
    if found := re.search(r'src=\\"(figures/\w+\.png)\\"', text):
        picture = base64.b64encode((report.parent / found[1]).read_bytes()).decode()
        write_text(report, text.replace(found[0], f'src=\\"data:image/png;base64,{picture}\\"'))


if __name__ == "__main__":
    sys.exit(main())
