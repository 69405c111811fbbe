"""Checkpoints: named tensors in safetensors with a JSON manifest in the file's header. Nothing is unpickled.

One file holds both, so that one rename makes a checkpoint whole: after a kill at any moment the name
holds the last complete one. The header's metadata has one entry, `checkpoint`: the SHA-256 of tensors and
manifest, a space, the manifest. (safetensors writes several entries in a random order, and equal
checkpoints are to be equal files.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from records import UserError
from records.files import atomic_path

_ENTRY = "checkpoint"


def save(path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write tensors and manifest under `path` in one atomic step; equal ones make byte-identical files.

    UserError where the disk refuses.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(manifest, sort_keys=True)
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata={_ENTRY: f"{_digest(contiguous, text)} {text}"})


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
    if digest != _digest(tensors, text):
        raise UserError(
            f"{path}: its content does not match the checksum of a checkpoint, it is damaged or foreign"
        )
    manifest: dict[str, Any] = json.loads(text)
    return tensors, manifest


def load_for(path: Path, expected_hash: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`load`, and UserError where the checkpoint was written by a run of another configuration."""
    tensors, manifest = load(path)
    found = manifest.get("configuration_hash")
    if found != expected_hash:
        raise UserError(
            f"{path}: this checkpoint belongs to configuration {found}, expected {expected_hash}; "
            f"remove its folder or restore the configuration"
        )
    return tensors, manifest


def section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor], manifest: str) -> str:
    digest = hashlib.sha256(manifest.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
