"""Checkpoints: named tensors in safetensors with a JSON manifest in the file's header. Nothing is unpickled.

One file holds both, so that one rename makes a checkpoint whole: after a kill at any moment the name
holds the last complete one. The header's metadata has one entry, `checkpoint`: the SHA-256 of tensors and
manifest, a space, the manifest. (safetensors writes several entries in a random order, and equal
checkpoints are to be equal files.)

A checkpoint is read back before it takes its name. Where its manifest has the hash that `load_for` asks
for, the one that it replaces is kept beside it under the name of `previous`, for the job to go on from where
the newest is damaged or missing later. So a job takes the disk space of two checkpoints, of three while one
is written, however long it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from storage import UserError
from storage.files import atomic_path

_ENTRY = "checkpoint"


def previous(path: Path) -> Path:
    """Return the path of the checkpoint that `path` held before its present one."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def to_resume(path: Path) -> bool:
    """Tell whether there is something for `load_for` to go on from."""
    return path.exists() or previous(path).exists()


def save(path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write tensors and manifest under `path` in one atomic step; equal ones make byte-identical files.

    Where the manifest has a `configuration_hash`, what `path` held before is kept as `previous(path)`.
    UserError where the disk refuses, or gives back something else than was written; `path` then holds what
    it held before.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(manifest, sort_keys=True)
    digest = _digest(sorted(contiguous.items()), text)
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata={_ENTRY: f"{digest} {text}"})
        if _verified(temporary) != digest:
            raise UserError(f"{path} was not replaced: what was written does not read back as it was")
        if "configuration_hash" in manifest and path.exists():
            _keep(path)


def save_numbered(
    place: Path,
    kind: str,
    numbers: Sequence[int],
    contents: Sequence[Mapping[str, Tensor]],
    provenance: Mapping[str, Any],
) -> None:
    """Write the folder `place` with <kind>_<number>.safetensors for each of `contents`, in one atomic step.

    Each has the provenance of all, but `seeds` names its own alone. UserError where the place cannot be
    written.
    """
    with atomic_path(place) as folder:
        for number, tensors in zip(numbers, contents, strict=True):
            save(folder / f"{kind}_{number}.safetensors", tensors, {**provenance, "seeds": [number]})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and manifest; UserError where the file is missing, damaged or not a checkpoint of ours."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable checkpoint, it is damaged or foreign ({error})") from error
    digest, _, text = header.get(_ENTRY, "").partition(" ")
    if digest != _digest(sorted(tensors.items()), text):
        raise UserError(
            f"{path}: its content does not match the checksum of a checkpoint, it is damaged or foreign"
        )
    # Anybody can write a fitting checksum: the manifest may still be foreign.
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its manifest is not JSON, it is foreign") from error
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: its manifest is no JSON object, it is foreign")
    return tensors, manifest


def load_for(path: Path, expected_hash: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`load`, and UserError where the checkpoint was written by a run of another configuration.

    A damaged or missing checkpoint is replaced by the previous one, where there is one, with a warning. For
    the process that alone writes `path`.
    """
    try:
        tensors, manifest = load(path)
    except UserError as damage:
        tensors, manifest = _fall_back(path, damage)
    found = manifest.get("configuration_hash")
    if found != expected_hash:
        raise UserError(
            f"{path}: this checkpoint belongs to configuration {found}, expected {expected_hash}; "
            f"remove its folder or restore the configuration"
        )
    return tensors, manifest


def section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def whole_number(manifest: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """Return a manifest's entry `name`. UserError unless it is a whole number from `least` to `most`."""
    found = manifest[name]
    if type(found) is not int or not least <= found <= most:
        raise UserError(f"its {name} is {found!r}, expected a whole number from {least} to {most}")
    return found


def fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise UserError where an `expected` tensor is missing, of other shape or type, or not finite."""
    for name, like in expected.items():
        if name not in tensors:
            raise UserError(f"it lacks {name}")
        found = tensors[name]
        if found.shape != like.shape or found.dtype != like.dtype:
            raise UserError(
                f"{name} is {found.dtype} of shape {list(found.shape)}, expected {like.dtype} of shape"
                f" {list(like.shape)}"
            )
        if not found.isfinite().all():
            raise UserError(f"{name} is not finite")


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turn what of the checkpoint `path` does not fit the run that takes it over into one sentence.

    A checkpoint of the run's own configuration can only be such a one where a person, or another version of
    a package, made it.
    """
    try:
        yield
    except (KeyError, UserError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        reason = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise UserError(f"{path} does not fit this run: {reason}; remove its folder to begin anew") from error


def _keep(path: Path) -> None:
    """Give the file at `path` its second name; `path` holds a whole checkpoint at every moment."""
    with atomic_path(previous(path)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def _fall_back(path: Path, damage: UserError) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Put the previous checkpoint in the place of a lost one, so that it is not replaced by that one."""
    kept = previous(path)
    if not kept.exists():
        raise UserError(f"{damage}; remove it to begin anew, there is no previous one") from damage
    try:
        found = load(kept)
    except UserError as error:
        remedy = "remove both to begin anew" if path.exists() else "remove it to begin anew"
        raise UserError(f"{damage}; the previous one too: {error}; {remedy}") from damage
    os.replace(kept, path)
    warnings.warn(f"{damage}; going on from the previous checkpoint", stacklevel=3)
    return found


def _verified(path: Path) -> str:
    """Hash what `path` holds now, read a tensor at a time; empty where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata()[_ENTRY].partition(" ")[2]
            return _digest(((name, file.get_tensor(name)) for name in sorted(file.keys())), text)
    except SafetensorError:
        return ""


def _digest(tensors: Iterable[tuple[str, Tensor]], manifest: str) -> str:
    """Hash tensors, in the order of their names, and manifest by SHA-256."""
    digest = hashlib.sha256(manifest.encode())
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
