"""What a machine can do to a run: a kill while it writes, a full disk, a read-only one, damage afterwards.

Kills while it trains stand in tests/algorithms/training/test_resume.py, of Snakemake in tests/workflow; the
long set, at random moments over a whole reproduction, is `python -m tests.faults`.
"""

from __future__ import annotations

import ctypes
import io
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms.population import checkpoints
from analysis.statistics import read_statistics
from offline_data import recipes
from offline_data.minari_io import read_transitions
from storage import UserError, checksums
from storage.curves import read_curves, read_provenance, write_curves
from tests.curves import curve_row, frame
from workflow.jobs import Job
from workflow.steps import figure as figure_step
from workflow.steps import statistics as statistics_step

DATASET = "inverted-double-pendulum/random-local-v0"
Stage = Callable[[Path], object]


def record(folder: Path) -> None:
    """The step `record`, without its command line."""
    recipes.store(
        folder / "datasets", DATASET, recipes.random("InvertedDoublePendulum-v4", 60, 1, 2, threads=1)
    )


def checkpoint(folder: Path) -> None:
    """Three checkpoints of a job, each in the place of the one before."""
    for step in range(3):
        tensors = {"x": torch.full((3000,), float(step))}
        checkpoints.save(
            folder / "state" / "checkpoint.safetensors", tensors, {"configuration_hash": "0", "step": step}
        )


def curves(folder: Path) -> None:
    """A fine-tuning job's curve of two seeds."""
    rows = (
        curve_row("sac", "inverted-double-pendulum-random", seed, step, 10.0 * step + seed)
        for seed in (0, 1)
        for step in (0, 100)
    )
    write_curves(folder / "curve.parquet", frame(rows), {"configuration_hash": "0"})


def statistics(folder: Path) -> None:
    """The step `statistics`."""
    curves(folder)
    outputs = {"json": "statistics.json", "table": "statistics.parquet"}
    statistics_step.main(job(folder, {"repetitions": 20}, {"curves": ["curve.parquet"]}, outputs))


def figure(folder: Path) -> None:
    """The step `figure`, after statistics."""
    statistics(folder)
    caption = {"ensemble_size": 1, "members_shared": False, "pretraining_updates": {}}
    settings = {"caption": caption, "schedules": {}, "statistics": {"repetitions": 20}}
    inputs = {"statistics": ["statistics.parquet"], "curves": ["curve.parquet"]}
    figure_step.main(job(folder, settings, inputs, {"pdf": "figures/learning_curves.pdf"}))


def job(folder: Path, settings: dict[str, Any], inputs: dict[str, list[str]], outputs: dict[str, str]) -> Job:
    """A job whose inputs and outputs lie in `folder`."""
    read = {name: [str(folder / file) for file in files] for name, files in inputs.items()}
    left = {name: str(folder / file) for name, file in outputs.items()}
    about = {"figure": "learning_curves"}
    return Job("rule", [], "step", {**settings, "fingerprint": "0"}, str(folder), read, left, about)


STAGES: list[Stage] = [record, checkpoint, statistics, figure]


def child(folder: Path, function: Callable[[], object]) -> tuple[int, str]:
    """Run it in `folder` in a forked process: exit status (2: UserError, negative: a signal) and words."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        status = 0
        signal.alarm(120)  # a child that hangs fails its test instead of stopping all
        try:
            os.chdir(folder)
            # What pytest captures is a file too: it is not what the limits are for.
            sys.stderr = sys.stdout = io.StringIO()
            function()
        except UserError as error:
            status = 2
            os.write(write, str(error).encode())
        except BaseException:
            status = 1
            os.write(write, traceback.format_exc().encode()[-4000:])
        os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


def written(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def with_kill(stage: Stage, moment: int) -> None:
    """The stage, killed at its `moment`-th step of making files whole: before or after a sync or a rename."""
    left = moment

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            for do in (lambda: None, lambda: function(*arguments, **options)):
                nonlocal left
                do()
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        return watched

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)  # type: ignore[assignment]
    stage(Path())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Stage], dict[str, bytes]]:
    """What a stage leaves that nothing happens to."""
    kept: dict[str, dict[str, bytes]] = {}

    def run(stage: Stage) -> dict[str, bytes]:
        if stage.__name__ not in kept:
            folder = tmp_path_factory.mktemp(stage.__name__)
            assert child(folder, lambda: stage(Path())) == (0, "")
            kept[stage.__name__] = written(folder)
        return kept[stage.__name__]

    return run


@pytest.mark.parametrize("stage", STAGES)
def test_a_writer_killed_between_write_and_rename_loses_nothing(
    tmp_path: Path, undisturbed: Callable[[Stage], dict[str, bytes]], stage: Stage
) -> None:
    """Each kill is followed by the next in the same folder, and at last by the same command undisturbed.

    What has its name at any moment is whole: it is what the undisturbed run leaves.
    """
    moments = sorted(random.Random(stage.__name__).sample(range(14), 4))
    for moment in moments:
        status, said = child(tmp_path, partial(with_kill, stage, moment))
        assert status == -signal.SIGKILL, said
        named = {name: content for name, content in written(tmp_path).items() if "partial" not in name}
        if stage is not checkpoint:
            assert named.items() <= undisturbed(stage).items()
    assert child(tmp_path, lambda: stage(Path())) == (0, "")
    assert written(tmp_path) == undisturbed(stage)


def limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 1000])
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path: Path, stage: Stage, size: int) -> None:
    def run() -> None:
        limit_files(size)
        stage(Path())

    status, said = child(tmp_path, run)
    assert status == 2, said
    assert "could not be written: the disk is full" in said
    assert written(tmp_path) == {}


# --- a disk of its own, where the system allows one -------------------------------------------------------

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _PRIVATE, _RECURSIVE = 1, 32, 1 << 18, 1 << 14
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, options: str, flags: int = 0) -> None:
    """Mount a disk in memory on `folder`, for this process alone."""
    if LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", flags, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")


def own_mounts() -> None:
    user = 0 if os.geteuid() == 0 else _NEW_USER
    if LIBC.unshare(_NEW_MOUNTS | user) or LIBC.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None):
        raise OSError(ctypes.get_errno(), "unshare")


@pytest.fixture(scope="module")
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where a process may not have a disk of its own."""

    def attempt() -> None:
        own_mounts()
        mount(tmp_path_factory.mktemp("mount"), "size=64k")

    status, said = child(Path(), attempt)
    if status:
        pytest.skip(f"this system gives a process no disk of its own: {said.strip().splitlines()[-1]}")


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, stage: Stage) -> None:
    def run() -> None:
        own_mounts()
        mount(tmp_path, "size=8k")
        os.chdir(tmp_path)
        try:
            stage(Path())
        finally:
            for name in written(tmp_path):
                assert "partial" not in name, name

    status, said = child(tmp_path, run)
    assert status == 2, said
    assert "could not be written: the disk is full" in said


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_disk_is_one_sentence(tmp_path: Path, stage: Stage) -> None:
    def run() -> None:
        own_mounts()
        mount(tmp_path, "size=1m")
        mount(tmp_path, "size=1m", _REMOUNT | _READ_ONLY)
        os.chdir(tmp_path)
        stage(Path())

    status, said = child(tmp_path, run)
    assert status == 2, said
    assert "could not be written: read-only file system" in said


# --- damage afterwards ------------------------------------------------------------------------------------


def told_by_curve(folder: Path) -> object:
    path = folder / "curve.parquet"
    return read_curves(path).to_csv(), read_provenance(path)


def told_by_statistics(folder: Path) -> object:
    statistics = read_statistics(folder / "statistics.parquet")
    return statistics.table.to_csv(), replace(statistics, table=None)


READERS: dict[str, tuple[Stage, str, Callable[[Path], object]]] = {
    "dataset": (
        record,
        f"datasets/{DATASET}/data/main_data.hdf5",
        lambda folder: read_transitions(folder / "datasets", DATASET),
    ),
    "checkpoint": (
        checkpoint,
        "state/checkpoint.safetensors",
        lambda folder: checkpoints.load(folder / "state" / "checkpoint.safetensors"),
    ),
    "curve": (curves, "curve.parquet", told_by_curve),
    "statistics": (statistics, "statistics.parquet", told_by_statistics),
    "figure": (figure, "figures/learning_curves.pdf", checksums.check),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_truncated_or_has_a_flipped_bit_is_named(tmp_path: Path, kind: str) -> None:
    stage, name, read = READERS[kind]
    stage(tmp_path)
    checksums.write_checksums(tmp_path)
    told = read(tmp_path)
    path = tmp_path / name
    whole, random_ = path.read_bytes(), random.Random(kind)
    damages = [whole[: random_.randrange(len(whole))] for _ in range(3)]
    for place in random_.sample(range(len(whole) // 4, len(whole) // 2), 3):
        damages.append(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    for damaged in damages:
        path.write_bytes(damaged)
        try:
            found = read(tmp_path)
        except UserError as refusal:
            assert str(path) in str(refusal)
        else:  # a bit of Parquet's own statistics, which no reader here looks at
            assert kind in ("curve", "statistics") and len(damaged) == len(whole) and found == told
    path.unlink()
    if stage is not checkpoint:
        shutil.rmtree(tmp_path / "datasets", ignore_errors=True)
    stage(tmp_path)  # the same command again
    assert path.read_bytes() == whole


def test_a_list_of_checksums_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "theirs").write_text("theirs")
    with pytest.raises(UserError, match="a run writes it when it ends well"):
        checksums.check(tmp_path / "run")
    for name in ("../theirs", "/etc/hostname", "gone"):
        (tmp_path / "run" / checksums.NAME).write_text(f"0  {name}\n")
        with pytest.raises(UserError, match="is no file in its folder"):
            checksums.check(tmp_path / "run")
