"""A job's settings: how they are merged, and the fingerprint of them and of all that came before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.provenance import configuration_hash
from workflow.code_hash import ROOT, source_hash
from workflow.jobs import Json


def merged(key: str, *sections: Json) -> dict[str, Any]:
    """Merge the sections' values under `key`; a later one overrides an earlier one."""
    return {name: value for section in sections for name, value in section.get(key, {}).items()}


def with_fingerprint(settings: Json, *before: str) -> Json:
    """Return the settings and, as `fingerprint`, a hash of them and of what came before."""
    return {**settings, "fingerprint": configuration_hash({"settings": settings, "before": before})}


def existing_hash(files: Sequence[str]) -> str:
    """Return a hash of those shipped files that exist; Snakemake reports the missing ones."""
    own = {file for file in files if not Path(file).is_absolute()}  # of the working directory (`shipped`)
    parts = ((Path.cwd(), own), (ROOT, set(files) - own))
    hashes = (
        source_hash(*(file for file in sorted(group) if (root / file).exists()), root=root)
        for root, group in parts
        if group
    )
    return " ".join(hashes)
