"""A job of the DAG: what it reads and leaves, and the settings that its result depends on.

A job's settings are a file, `results/<name>/jobs/<rule>/<wildcards>.json`, which Snakemake writes when it
starts. With it a job runs alone:

    python -m workflow.train results/pilot/jobs/train/halfcheetah-random/cql/agents_0-3.json
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from envs.reference_scores import register, register_dataset
from storage import UserError
from storage.files import read_json, write_json

Json = Mapping[str, Any]

SIDE_BY_SIDE = "workflow.steps.pretrain"
"""The step whose jobs can share a process."""
LONGEST = 60
"""Characters of joined numbers in a file's name, beyond which their ends and a hash stand for them."""


@dataclass(frozen=True)
class Job:
    """A row of the plan's table. Paths are relative to where Snakemake runs.

    `names` are the wildcards of the rule, `step` the module that does the work. `settings` are what the
    result depends on, with `fingerprint`, a hash of them and of the jobs before; `about` is what rows of
    curves are called: run, dataset, label, seeds.
    """

    rule: str
    names: Sequence[str]
    step: str
    settings: Json
    results: str
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    about: Json = field(default_factory=dict)
    threads: int = 1

    @property
    def name(self) -> str:
        """The rule and its wildcards, as in train/halfcheetah-random/cql/agents_0-3."""
        return "/".join([self.rule, *self.names])

    @property
    def file(self) -> str:
        """Where its settings lie."""
        return f"{self.results}/jobs/{self.name}.json"

    @property
    def fingerprint(self) -> str:
        """The hash of its settings and of the jobs before it."""
        return str(self.settings["fingerprint"])

    @property
    def state(self) -> Path:
        """Where it keeps what it resumes from; outside its outputs, which Snakemake deletes first."""
        return Path(self.results, "state", self.name)

    @property
    def cache(self) -> Path:
        """The folder that keeps intervals by content, whichever job draws them."""
        return Path(self.results, "statistics", "cache")

    @property
    def needs(self) -> list[str]:
        """What has to be there before: inputs, those that jobs leave in a folder by the folder."""
        made = f"{self.results}/agents/"
        files = (file for several in self.inputs.values() for file in several)
        return list(dict.fromkeys(f.rpartition("/")[0] if f.startswith(made) else f for f in files))

    def paths(self, name: str) -> list[Path]:
        """Return the inputs of one name."""
        return [Path(path) for path in self.inputs.get(name, ())]

    def path(self, name: str) -> Path | None:
        """Return the one input of a name, None where there is none."""
        return next(iter(self.paths(name)), None)

    def required(self, name: str) -> Path:
        """Return the one input of a name. UserError where there is none."""
        if (path := self.path(name)) is None:
            raise UserError(f"{self.name} has no input '{name}': expected one.")
        return path

    def output(self, name: str) -> Path:
        """Where it leaves one of its outputs. UserError where it has none of that name."""
        if name not in self.outputs:
            raise UserError(f"{self.name} has no output '{name}': expected one.")
        return Path(self.outputs[name])

    def write(self, file: Path | None = None) -> None:
        """Write its file, or the same as another, unless it is there as it would be."""
        content = {**{f.name: getattr(self, f.name) for f in fields(self)}, "names": list(self.names)}
        path = file or Path(self.file)
        if not path.exists() or read_json(path) != content:
            write_json(path, content)


def read(path: Path) -> Job:
    """Return the job of a file that `Job.write` wrote. UserError where it is missing or none such."""
    content = read_json(path)
    known = {f.name for f in fields(Job)}
    if not isinstance(content, dict) or set(content) != known:
        raise UserError(f"{path} is no job's file: expected an object with {', '.join(sorted(known))}.")
    for key in ("settings", "inputs", "outputs", "about"):
        if not isinstance(content[key], dict):
            raise UserError(f"{path}: {key} is {content[key]!r}: expected keys with values.")
    for key in ("settings", "about"):
        content[key] = _checked(content[key])
    return Job(**content)


class _Settings(dict[str, Any]):
    """Settings of which a key that is asked for and missing is a UserError."""

    def __missing__(self, key: str) -> Any:
        raise UserError(f"The job's settings lack the key '{key}'.")


def _checked(value: Any) -> Any:
    return _Settings({key: _checked(v) for key, v in value.items()}) if isinstance(value, dict) else value


def with_scores(registered: Json) -> None:
    """Let this process know a configuration's own environments and dataset names (`Data.registered`)."""
    for family, scores in registered.get("environments", {}).items():
        register(family, scores["random"], scores["expert"])
    for dataset, environment in registered.get("datasets", {}).items():
        register_dataset(dataset, environment)


def numbered(kind: str, numbers: Sequence[int]) -> str:
    """Return the name of a job of several numbers, such as seeds_0-1-2; short, however many they are."""
    joined = "-".join(map(str, numbers))
    if len(joined) > LONGEST:
        joined = f"{numbers[0]}-to-{numbers[-1]}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"
    return f"{kind}_{joined}"


def agents_name(agents: Sequence[int]) -> str:
    """Return the name of a job of agents, which follow each other: "agents_0-4"."""
    return f"agents_{agents[0]}-{agents[-1]}"


def chunks(numbers: Iterable[int], size: int) -> list[list[int]]:
    """Return the agents or seeds of each job: in order, `size` at a time."""
    items = list(numbers)
    return [items[start : start + size] for start in range(0, len(items), size)]
