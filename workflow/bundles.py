"""Files packed into few archives of limited size, each whole whenever it can be seen."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from storage import UserError
from storage.files import atomic_path

HEADER, END = 512, tarfile.RECORDSIZE
"""Bytes before each member of an archive, and at most those after the last."""


def check_room(limit: int, largest: int) -> None:
    """UserError where a file of `largest` bytes fits into no archive of `limit` bytes."""
    if limit < _packed(largest) + END:
        raise UserError(
            f"bundles of {limit:,} bytes hold no agent: expected room for one file of {largest:,} bytes"
        )


def write(folder: Path, files: Sequence[Path], count: int, limit: int) -> list[Path]:
    """Pack `files`, the first ones first, into at most `count` archives bundle_0.tar, … of `limit` bytes.

    Returns those that found no room. An archive is replaced as a whole, and removed where none of the files
    is in it; unpacked where its members' relative names belong, it puts them where they were.
    """
    contents: list[list[Path]] = [[] for _ in range(count)]
    room = [limit - END] * count
    left_out = []
    for file in files:
        size = _packed(file.stat().st_size)
        place = next((number for number, free in enumerate(room) if size <= free), None)
        if place is None:
            left_out.append(file)
            continue
        contents[place].append(file)
        room[place] -= size
    for number, members in enumerate(contents):
        bundle = folder / f"bundle_{number}.tar"
        if members:
            with atomic_path(bundle) as path, tarfile.open(path, "w") as archive:
                for member in members:
                    # Opened first: a job may replace its checkpoint by one of another size at any moment.
                    with member.open("rb") as content:
                        archive.addfile(archive.gettarinfo(str(member), fileobj=content), content)
        else:  # what an earlier one has would be unpacked over what is newer
            bundle.unlink(missing_ok=True)
    return left_out


def _packed(size: int) -> int:
    """Bytes that a file takes in an archive; a long name takes two headers and a block more."""
    return 4 * HEADER + -(-size // HEADER) * HEADER
