"""Read and check a configuration: what is wrong is refused in one sentence with its name.

`python -m workflow.configuration FILE` prints the folder of its results, or what is wrong. It evaluates
nothing in the file, unlike Snakemake, which may (`load`): ask it first about a file that somebody else wrote.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage import UserError
from storage.settings import validated
from storage.yaml_files import read_yaml
from workflow import checks
from workflow.plan import Plan
from workflow.sections import Configuration

CONFIGURATIONS = Path(__file__).parent.parent / "config"
TEMPLATE = "__use_yte__"
"""The key for which Snakemake takes a configuration file for a template, Python expressions and all."""

WITHOUT_FINE_TUNING: dict[str, Any] = {
    "seeds": [0],
    "seeds_per_job": 1,
    "ensemble_size": 1,
    "members_shared": False,
    "methods": {},
}
"""The section of a configuration that has none: no method, so no such job."""


def check(configuration: Mapping[str, Any], folder: Path = CONFIGURATIONS) -> dict[str, Any]:
    """Return the configuration, completed and checked, section by section and against itself.

    Where it `extends` another file, named from `folder` or from config/, it says only what differs, and null
    leaves a key out.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type or out of range, a missing file, or
            two settings that contradict each other; the sentence names the first one.
    """
    validated(Configuration, extended(configuration, folder))
    configuration = completed(configuration, folder)
    checks.check(Plan(configuration))
    return configuration


def completed(configuration: Mapping[str, Any], folder: Path = CONFIGURATIONS) -> dict[str, Any]:
    """Complete a configuration without checking it again: in a second, and without torch."""
    return {"fine_tuning": copy.deepcopy(WITHOUT_FINE_TUNING), **extended(configuration, folder)}


def read(path: Path) -> dict[str, Any]:
    """Read and check one configuration file. UserError where it is missing, not YAML or wrong."""
    return check(load(path), path.parent)


def merged_by_snakemake(
    configuration: Mapping[str, Any], files: Iterable[str], checked: bool = True
) -> dict[str, Any]:
    """Check what Snakemake has merged from `files`, a later one over an earlier one, or only complete it.

    What a file says twice or in two senses shows in the file alone, so each is read once more (`load`).
    UserError also where two files extend another, of which merging kept one.
    """
    said = {Path(file): load(Path(file)) for file in files}
    configuration = _typed(configuration, list(said.values()))
    extending = [file for file, content in said.items() if "extends" in content]
    if len(extending) > 1:
        raise UserError(f"{extending[1]} extends another file beside {extending[0]}: expected one that does.")
    folder = extending[0].parent if extending else CONFIGURATIONS
    return (check if checked else completed)(configuration, folder)


def _typed(value: Mapping[str, Any], said: Sequence[Any]) -> dict[str, Any]:
    """Keys with the types of their values: what --config gives within one comes as text (Snakemake #2374).

    Text that none of the files (`said`) has there becomes the number, true, false or null that it names.
    """
    typed: dict[str, Any] = {}
    for key, own in value.items():
        there = [each[key] for each in said if isinstance(each, Mapping) and key in each]
        if isinstance(own, Mapping):
            typed[key] = _typed(own, there)
        elif isinstance(own, list) and own not in there:
            typed[key] = [_read(each) for each in own]
        else:
            typed[key] = own if own in there else _read(own)
    return typed


def _read(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def load(path: Path) -> dict[str, Any]:
    """Read one configuration file, unchecked but for its form.

    Snakemake's own reading lets the last of two keys win and, where a file says `__use_yte__`, evaluates the
    expressions in it: each file that it has read is read once more here.

    Raises:
        UserError: the file is missing, ambiguous or not YAML (`storage.yaml_files`), holds no keys, or is a
            template to be evaluated.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a configuration: expected keys with values.")
    if TEMPLATE in content:
        raise UserError(
            f"{path} has the key '{TEMPLATE}', for which Snakemake evaluates the Python expressions in it:"
            " expected a configuration that says plainly what is to be run."
        )
    return content


def extended(configuration: Mapping[str, Any], folder: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Merge a configuration into the one that it `extends`, from `folder`; `before` led here."""
    if "extends" not in configuration:
        return dict(configuration)
    own, named = (
        {key: value for key, value in configuration.items() if key != "extends"},
        configuration["extends"],
    )
    places = [(place / str(named)).resolve() for place in (folder, CONFIGURATIONS)]
    base = next((place for place in places if place.is_file()), None)
    if base is None:
        raise UserError(
            f"extends is {named!r}: expected a file, by its path from the extending file or from config/."
        )
    if base in before:
        names = ", ".join(path.name for path in (*before, base))
        raise UserError(f"extends goes round ({names}): expected files of which the last extends none.")
    return _merged(extended(load(base), base.parent, (*before, base)), own, str(named))


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], source: str, where: str = "") -> dict[str, Any]:
    """Return `base`, of the file `source`, with what `own` says, key by key at every depth.

    Lists and values are replaced whole; what is null in `own` is left out (RFC 7396).
    """
    merged = dict(base)
    for key, value in own.items():
        if value is None:
            if key not in merged:
                raise UserError(f"{where}{key} is null, which leaves it out: {source} has no such key.")
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merged(merged[key], value, source, f"{where}{key}.")
        else:
            merged[key] = value
    return merged


def named(file: str) -> Path:
    """Return the configuration's file as a command line names it. UserError where it names none."""
    if not file:
        raise UserError("its file is not named: expected one such as config/pilot.yaml.")
    return Path(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder of a configuration's results; where the configuration is wrong, one sentence."""
    parser = argparse.ArgumentParser(prog="python -m workflow.configuration", description=main.__doc__)
    parser.add_argument("file", help="such as config/pilot.yaml")
    options = parser.parse_args(arguments)
    try:
        print(Plan(read(named(options.file))).places.results)
    except UserError as error:
        print(f"Configuration: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
