"""Files are whole or absent, and one run at a time holds a folder."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import UserError, files
from storage.files import atomic_path, exclusive, read_json, remove_links, write_json

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_is_written_appears_under_the_final_name_alone(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new folder" / "file.json") as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".json"
        assert not (tmp_path / "new folder" / "file.json").exists()
    assert (tmp_path / "new folder" / "file.json").read_text() == "whole"
    assert names(tmp_path / "new folder") == ["file.json"]


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_failure_to_rename_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="file could not be written: permission denied"):
        write_json(path, 1)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_kill_before_the_rename_keeps_the_old_file_and_the_next_write_cleans_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = """
import os, signal, sys
from storage.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code, path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2

    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_the_temporary_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("mine")
        code = "import sys; from storage.files import write_json; write_json(sys.argv[1], 'other')"
        assert python(code, path).wait() == 0
        assert temporary.read_text() == "mine"
    assert path.read_text() == "mine"


def test_what_another_machine_left_is_removed_after_a_day_and_not_before(tmp_path: Path) -> None:
    path, left = tmp_path / "agent.txt", tmp_path / ".agent.partial-node-7.cluster-123.txt"
    for age, stays in ((3600, True), (25 * 3600, False)):
        left.write_text("half")
        os.utime(left, (time.time() - age, time.time() - age))
        write_json(path, 1)
        assert left.exists() == stays


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_a_file_is_the_umask_to_say_whatever_wrote_it(
    tmp_path: Path, umask: int, mode: int
) -> None:
    code = """
import os, sys, tempfile
os.umask(int(sys.argv[2]))
from storage.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.mkdir()
    number, name = tempfile.mkstemp(dir=temporary)
    os.replace(name, temporary / "agent")
"""
    assert python(code, tmp_path / "folder", umask).wait() == 0
    assert (tmp_path / "folder" / "agent").stat().st_mode & 0o777 == mode


def test_links_below_a_folder_are_removed_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("theirs")
    logs = tmp_path / "logs"
    (logs / "train").mkdir(parents=True)
    (logs / "train" / "real.log").write_text("ours")
    (logs / "train" / "job.log").symlink_to(tmp_path / "elsewhere" / "file")
    (logs / "record").symlink_to(tmp_path / "elsewhere")
    remove_links(logs)
    assert sorted(path.name for path in logs.rglob("*")) == ["real.log", "train"]
    assert (tmp_path / "elsewhere" / "file").read_text() == "theirs"


def test_a_folder_replaces_a_folder_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_path(tmp_path / "folder") as temporary:
            (temporary / "inner").mkdir(parents=True)
            (temporary / "inner" / content).write_text(content)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder" / "inner") == ["new"]


@pytest.mark.parametrize("renames_before_the_kill", [0, 1, 2])
def test_a_kill_between_the_renames_of_a_folder_loses_neither_the_old_nor_the_new(
    tmp_path: Path, renames_before_the_kill: int
) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "content").write_text("old")
    code = """
import os, signal, sys
from storage import files
replace, left = os.replace, int(sys.argv[2])
def counted(*arguments):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    replace(*arguments)
os.replace = counted
with files.atomic_path(sys.argv[1]) as temporary:
    temporary.mkdir()
    (temporary / "content").write_text("new")
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code, path, renames_before_the_kill)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ZeroDivisionError), atomic_path(path):
        raise ZeroDivisionError
    assert names(tmp_path) == ["folder"]
    assert (path / "content").read_text() == ("new" if renames_before_the_kill == 2 else "old")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    code = """
import resource, signal, sys
from storage import UserError, files
from storage.files import atomic_path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_path(sys.argv[1]) as temporary:
        temporary.write_bytes(b"x" * 10_000)
except UserError as error:
    sys.exit(str(error))
"""
    process = python(code, path)
    _, message = process.communicate()
    assert process.returncode == 1
    assert message.strip() == (
        f"{path} could not be written: the disk is full (or a quota or file-size limit is reached)"
    )
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_recognised_where_a_library_hides_its_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="disk is full"), atomic_path(tmp_path / "file"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written: "):
        write_json(tmp_path / "file" / "inner", 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None, derandomize=True)
@given(value=json_values)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_bad_json_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.json could not be read"):
        read_json(tmp_path / "missing.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"half\.json is not a whole JSON file"):
        read_json(tmp_path / "half.json")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"deep\.json is not a whole JSON file"):
        read_json(tmp_path / "deep.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.json is not a whole JSON file"):
        read_json(tmp_path / "binary.json")
    with pytest.raises(UserError, match="not a finite number"):
        write_json(tmp_path / "value.json", {"loss": float("nan")})
    assert not (tmp_path / "value.json").exists()


HOLD = """
import sys
import time
from storage.files import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_while_the_first_lives_and_not_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = python(HOLD, tmp_path)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    message = rf"is already being written by another run \(process {holder.pid}\)"
    monkeypatch.setattr(files, "_PATIENCE", 0.0)
    with pytest.raises(UserError, match=message), exclusive(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    with exclusive(tmp_path):
        pass


def test_a_run_waits_for_one_that_is_about_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = python(HOLD, tmp_path)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"

    def end_the_holder(_: float) -> None:
        holder.kill()
        holder.communicate()

    monkeypatch.setattr(time, "sleep", end_the_holder)
    with exclusive(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_a_full_disk_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    with (
        pytest.raises(UserError, match="could not be locked for writing: No space left"),
        exclusive(tmp_path),
    ):
        pass


def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be written: file name too long"):
        write_json(tmp_path / ("x" * 300), 1)


def test_the_lock_ends_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "new"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "new"):
        pass
