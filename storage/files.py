"""Files that are either whole or absent: atomic writes, JSON, and a lock on a folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from storage import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EIO,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
_ASIDE = ".replaced"
LARGEST_TEXT = 2**28
"""Bytes of the largest JSON or YAML file that is read."""
_PRIVATE = 0o600
"""Mode of files that libraries make under a name of their own and rename."""
_ABANDONED = 24 * 3600.0
"""Seconds after which what another machine left half-written is abandoned: its processes cannot be asked."""
_UMASK = os.umask(0)
os.umask(_UMASK)
_PATIENCE = 5.0
"""Seconds that a held folder is waited for: what a killed workflow leaves at work ends within one or two."""


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there becomes `path` when the block succeeds.

    The temporary name keeps the suffix of `path`, may be used for a file or for a folder, and is removed
    when the block fails, so `path` is the old content or the new one, never half of either. (Replacing an
    existing *folder* takes two renames: a crash just between them leaves the old folder beside `path`, under
    a hidden name, until the next one who writes `path` puts it back.) Missing parent folders are made.
    Who may read a file is the process's umask to say, whatever library wrote it.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{_prefix(path)}{socket.gethostname()}-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        _remove(temporary)
        try:
            yield temporary
            _synchronise(temporary)
            _replace(temporary, path)
            _fsync(path.parent)
        finally:
            _remove(temporary)
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise UserError(f"{path} could not be written: {reason}") from error


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically.

    Raises:
        UserError: a number in `value` is not finite (JSON has no word for it), or `path` cannot be written.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise UserError(f"{path} could not be written: a value in it is not a finite number") from error
    write_text(path, text + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write `text`, atomically. UserError where `path` cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_regular(path: Path | str, largest: int | None = None) -> None:
    """Check that a file has an end, and one within `largest` bytes; a missing one is not looked at.

    Raises:
        UserError: `path` is a pipe, a device or a socket, or larger.
    """
    if not Path(path).exists() or Path(path).is_dir():
        return
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is a pipe or a device: expected a regular file.")
    if largest is not None and found.st_size > largest:
        raise UserError(f"{path} has {found.st_size:,} bytes: expected at most {largest:,}.")


def read_json(path: Path | str) -> Any:
    """Read the JSON file `path`.

    Raises:
        UserError: the file is missing, cannot be read, is not JSON or larger than any of ours.
    """
    check_regular(path, LARGEST_TEXT)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a whole JSON file: {error}") from error


@contextmanager
def exclusive(folder: Path | str) -> Iterator[None]:
    """Hold `folder` for one run: a second one, in any process, is refused while the first is alive.

    The lock is the kernel's (`flock` on `folder/.lock`), so it ends with the process however that ends. The
    second waits a few seconds before it gives up: the first may be about to end.

    Raises:
        UserError: another run holds the folder, or it cannot be written.
    """
    place = Path(folder) / ".lock"
    lock = FileLock(place, timeout=_PATIENCE)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        place.write_text(f"{os.getpid()}\n")
    except Timeout as error:
        holder = place.read_text(errors="replace").strip() or "unknown"
        raise UserError(f"{folder} is already being written by another run (process {holder})") from error
    except OSError as error:
        lock.release()
        raise UserError(f"{folder} could not be locked for writing: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def remove_links(folder: Path | str) -> None:
    """Remove the links below `folder`, so that what is written there lands there and not where they lead."""
    for path in list(Path(folder).rglob("*")):
        if path.is_symlink():
            path.unlink()


def _prefix(path: Path) -> str:
    return f".{path.stem}.partial-"


def _remove_abandoned(path: Path) -> None:
    """Remove what earlier writers of `path` left when they were killed: on this machine, or a day ago.

    What one of them had put aside goes back where nothing has taken its place.
    """
    prefix = _prefix(path)
    for candidate in list(path.parent.iterdir()):
        name = candidate.name.removesuffix(_ASIDE)
        host, _, number = name.removeprefix(prefix).removesuffix(path.suffix).rpartition("-")
        if not name.startswith(prefix) or not number.isdecimal():
            continue
        if is_alive(int(number)) if host == socket.gethostname() else _is_recent(candidate):
            continue
        if name != candidate.name and not path.exists():
            os.replace(candidate, path)
        else:
            _remove(candidate)


def is_alive(process: int) -> bool:
    """Whether a process of this machine, by its number, has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_recent(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime < _ABANDONED
    except FileNotFoundError:  # its writer has just given it its name
        return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    """Force `path`, a file or a folder with all in it, to the disk, files with the mode of fresh ones."""
    if path.is_dir():
        for entry in path.iterdir():
            _synchronise(entry)
    elif stat.S_IMODE(path.stat().st_mode) == _PRIVATE:
        path.chmod(0o666 & ~_UMASK)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    # A folder cannot be renamed over one that is not empty, so the old one steps aside first.
    aside = temporary.with_name(f"{temporary.name}{_ASIDE}")
    os.replace(path, aside)
    os.replace(temporary, path)
    _remove(aside)


def _reason(error: Exception) -> str | None:
    """Why writing failed in a person's words, or None when `error` is not the disk's.

    Libraries that write through their own C or Rust code lose `errno` but keep the system's message.
    """
    text = str(error)
    code = error.errno if isinstance(error, OSError) else None
    if code in _FULL or any(os.strerror(full) in text for full in _FULL):
        return "the disk is full (or a quota or file-size limit is reached)"
    if code in _REFUSED:
        return os.strerror(code).lower()
    return None
