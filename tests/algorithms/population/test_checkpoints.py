"""Checkpoints come back bit for bit or are refused by name; a failed write leaves the last one whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from algorithms.population import checkpoints
from storage import UserError

MANIFEST: dict[str, Any] = {
    "configuration_hash": "0123456789ab",
    "step": 5000,
    "log": {"rows": [[0, 100, "return", 0.1 + 0.2], [0, 200, "return", 1e-300]], "names": []},
}


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "networks.weight": torch.randn(2, 3, 4, generator=generator),
        "transposed": torch.randn(3, 5, generator=generator).T,
        "halves": torch.randn(7, generator=generator).bfloat16(),
        "doubles": torch.tensor([0.1, -0.0, torch.nan, torch.inf], dtype=torch.float64),
        "counts": torch.tensor([[2**62, -1]]),
        "flags": torch.tensor([True, False, True]),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "number": torch.tensor(3.5),
        "empty": torch.zeros(2, 0, 3),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole checkpoint."""
    checkpoints.save(tmp_path / "checkpoint.safetensors", tensors(), MANIFEST)
    return tmp_path / "checkpoint.safetensors"


def bits(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def test_tensors_and_manifest_come_back_bit_for_bit(path: Path) -> None:
    found, manifest = checkpoints.load(path)
    assert found.keys() == tensors().keys()
    assert all(bits(found[name]) == bits(tensor) for name, tensor in tensors().items())
    assert manifest == MANIFEST


def test_equal_checkpoints_are_equal_files(path: Path, tmp_path: Path) -> None:
    for attempt in range(8):  # a random order would be met again by luck once or twice
        other = tmp_path / f"other_{attempt}.safetensors"
        backwards = dict(reversed(tensors().items()))
        checkpoints.save(other, backwards, dict(reversed(MANIFEST.items())))
        assert other.read_bytes() == path.read_bytes()


def test_loaded_tensors_are_not_the_file(path: Path) -> None:
    before = path.read_bytes()
    found, _ = checkpoints.load(path)
    for tensor in found.values():
        tensor.zero_()
    assert path.read_bytes() == before


def test_a_truncated_checkpoint_is_refused_by_name(path: Path) -> None:
    whole = path.read_bytes()
    for length in (*range(0, len(whole) - 1, 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: .*damaged"):
            checkpoints.load(path)


def test_a_flipped_bit_anywhere_is_refused_by_name(path: Path) -> None:
    whole = path.read_bytes()
    for position in range(0, 8 * len(whole), 29):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: .*damaged"):
            checkpoints.load(path)


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: no such checkpoint"):
        checkpoints.load(path)
    path.mkdir()
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: no such checkpoint"):
        checkpoints.load(path)
    path.rmdir()
    path.write_text("not a checkpoint")
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: not a readable checkpoint"):
        checkpoints.load(path)
    for metadata in (None, {"checkpoint": "no checksum"}):
        save_file({"weight": torch.ones(2)}, path, metadata=metadata)
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: .*damaged or foreign"):
            checkpoints.load(path)


def test_a_checkpoint_of_another_configuration_is_refused(path: Path) -> None:
    assert checkpoints.load_for(path, "0123456789ab")[1]["step"] == 5000
    with pytest.raises(UserError, match="belongs to configuration 0123456789ab, expected ba9876543210"):
        checkpoints.load_for(path, "ba9876543210")


def test_a_full_disk_leaves_the_last_checkpoint_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fill_the_disk(_: Any, temporary: Path, **__: Any) -> None:
        temporary.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))

    monkeypatch.setattr(checkpoints, "save_file", fill_the_disk)
    with pytest.raises(UserError, match=r"checkpoint\.safetensors could not be written: the disk is full"):
        checkpoints.save(path, tensors(), MANIFEST)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def save_step(path: Path, step: int) -> bytes:
    checkpoints.save(path, tensors(), {**MANIFEST, "step": step})
    return path.read_bytes()


def truncate(content: bytes) -> bytes:
    return content[:-9]


def flip(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def test_two_checkpoints_are_kept_however_many_are_written(path: Path) -> None:
    written = [save_step(path, step) for step in range(5001, 5005)]
    assert path.read_bytes() == written[-1]
    assert checkpoints.previous(path).read_bytes() == written[-2]
    assert names(path) == ["checkpoint.previous.safetensors", "checkpoint.safetensors"]


def test_at_most_three_are_on_the_disk_while_one_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_step(path, 5001)
    inodes: list[int] = []
    replace = os.replace

    def counted(source: Path, target: Path) -> None:
        inodes.append(len({file.stat().st_ino for file in path.parent.iterdir()}))
        replace(source, target)

    monkeypatch.setattr(os, "replace", counted)
    save_step(path, 5002)
    assert max(inodes) == 3


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_checkpoint_falls_back_to_the_previous_with_a_warning(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    before = path.read_bytes()
    path.write_bytes(damage(save_step(path, 5001)))
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors: .*damaged.*; going on from the previous"):
        found, manifest = checkpoints.load_for(path, "0123456789ab")
    assert manifest["step"] == 5000
    assert all(bits(found[name]) == bits(tensor) for name, tensor in tensors().items())
    # The damaged one is gone: the next save keeps the whole one.
    assert path.read_bytes() == before
    save_step(path, 5001)
    assert checkpoints.previous(path).read_bytes() == before


def test_where_both_are_damaged_a_person_is_told_what_to_remove(path: Path) -> None:
    save_step(path, 5001)
    for file in (path, checkpoints.previous(path)):
        file.write_bytes(truncate(file.read_bytes()))
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(UserError, match=r"damaged.*; the previous one too: .*; remove both to begin anew"):
        checkpoints.load_for(path, "0123456789ab")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_missing_checkpoint_falls_back_to_the_previous_with_a_warning(path: Path) -> None:
    before = path.read_bytes()
    save_step(path, 5001)
    path.unlink()
    assert checkpoints.to_resume(path)
    with pytest.warns(UserWarning, match=r"no such checkpoint; going on from the previous checkpoint"):
        assert checkpoints.load_for(path, "0123456789ab")[1]["step"] == 5000
    assert path.read_bytes() == before


def test_where_one_is_missing_and_one_damaged_a_person_is_told_what_to_remove(path: Path) -> None:
    save_step(path, 5001)
    path.unlink()
    checkpoints.previous(path).write_bytes(b"")
    expected = r"no such checkpoint; the previous one too: .*previous.*damaged.*; remove it to begin anew"
    with pytest.raises(UserError, match=expected):
        checkpoints.load_for(path, "0123456789ab")


def test_without_a_file_there_is_nothing_to_resume(path: Path) -> None:
    assert checkpoints.to_resume(path)
    path.unlink()
    assert not checkpoints.to_resume(path)


def test_a_plain_load_never_gives_another_checkpoint_than_the_one_asked_for(path: Path) -> None:
    path.write_bytes(flip(save_step(path, 5001)))
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("damage", [truncate, flip])
def test_what_does_not_read_back_replaces_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    before = path.read_bytes()
    save = checkpoints.save_file

    def written_badly(content: Any, temporary: Path, **options: Any) -> None:
        save(content, temporary, **options)
        temporary.write_bytes(damage(temporary.read_bytes()))

    monkeypatch.setattr(checkpoints, "save_file", written_badly)
    with pytest.raises(UserError, match="was not replaced: what was written does not read back"):
        save_step(path, 5001)
    assert path.read_bytes() == before
    assert names(path) == ["checkpoint.safetensors"]


def test_the_previous_is_kept_without_hard_links_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    before = path.read_bytes()
    monkeypatch.setattr(os, "link", refuse)
    save_step(path, 5001)
    assert checkpoints.previous(path).read_bytes() == before


@pytest.mark.parametrize("manifest", ["", "{", "[1]", "5", "[" * 100_000])
def test_a_foreign_manifest_with_a_fitting_checksum_is_refused(tmp_path: Path, manifest: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    digest = checkpoints._digest([], manifest)
    save_file({}, path, metadata={"checkpoint": f"{digest} {manifest}"})
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: its manifest is .*foreign"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"a": None}, "it lacks a"),
        ({"a": torch.zeros(3)}, r"a is torch.float32 of shape \[3\], expected torch.float32 of shape \[2\]"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "a is torch.int64 of shape"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file(
    path: Path, change: dict[str, Tensor | None], expected: str
) -> None:
    found = {"a": torch.zeros(2), "b": torch.zeros(1)} | change
    whole = {name: tensor for name, tensor in found.items() if tensor is not None}
    with (
        pytest.raises(UserError, match=rf"checkpoint\.safetensors does not fit this run: {expected}"),
        checkpoints.restoring(path),
    ):
        checkpoints.fit(whole, {"a": torch.zeros(2)})
