"""Files of other people are data: nothing in them runs, and nothing in them names a place to write to."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from algorithms.population import checkpoints
from algorithms.population.authors_checkpoints import read_agent
from analysis.claims import read_claims
from analysis.statistics import read_statistics
from offline_data import d4rl_hdf5, minari_io, recipes
from paper_figures.figure_01a import read_likelihoods
from storage import UserError
from storage.curves import read_curves
from storage.files import atomic_path, exclusive, read_json, write_json
from workflow import configuration
from workflow.code_hash import ROOT

PACKAGES = (
    "algorithms",
    "analysis",
    "offline_data",
    "envs",
    "paper_figures",
    "storage",
    "workflow",
    "benchmarks",
)
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN = {"eval", "exec", "os.system", "os.popen", "pandas.read_pickle", "pd.read_pickle"}
FORBIDDEN |= {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load", "torch.jit.load"}
SAFE_ONLY_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def unsafe(source: str) -> Iterator[str]:
    """What in a source could run what a file brings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLERS:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            key, value = SAFE_ONLY_WITH.get(called, ("", None))
            if called in FORBIDDEN or (key and given.get(key) is not value):
                yield called
            if given.get("shell") or given.get("allow_pickle"):
                yield called


def test_no_source_unpickles_or_runs_what_a_file_brings() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = [f"{path.relative_to(ROOT)}: {name}" for path in files for name in unsafe(path.read_text())]
    assert len(files) > 80
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "subprocess.run(command, shell=True)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(unsafe(source))


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def pickled(bomb: Bomb, path: Path) -> None:
    path.write_bytes(pickle.dumps(bomb))


def in_torch(bomb: Bomb, path: Path) -> None:
    torch.save({"fc0.weight": bomb}, path)


def in_torch_before_1_6(bomb: Bomb, path: Path) -> None:
    torch.save({"fc0.weight": bomb}, path, _use_new_zipfile_serialization=False)


def in_numpy(bomb: Bomb, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, observations=np.array([bomb], dtype=object))


def in_hdf5(bomb: Bomb, path: Path) -> None:
    with h5py.File(path, "w") as file:
        content = np.void(pickle.dumps(bomb))
        for key in ("observations", "actions", "rewards", "terminals", "episode_0/rewards"):
            file[key] = content
            file[key].attrs["pickle"] = content


def as_d4rl(path: Path) -> object:
    return d4rl_hdf5.recording(path, "Hopper-v4").episodes


def as_minari(path: Path) -> object:
    data = path.parent / "minari" / "x" / "data"
    data.mkdir(parents=True)
    (data / "metadata.json").write_text('{"total_episodes": 1, "total_steps": 1}')
    (data / "main_data.hdf5").write_bytes(path.read_bytes())
    return minari_io.read_transitions(path.parent / "minari", "x")


def as_authors_agent(path: Path) -> object:
    for name in ("actor", "critic1", "critic2"):
        (path.parent / f"{name}_1000000.pt").write_bytes(path.read_bytes())
    return read_agent(path.parent)


READERS: list[Callable[[Path], object]] = [
    checkpoints.load,
    as_authors_agent,
    as_d4rl,
    as_minari,
    recipes.from_replay_log,
    recipes.resimulate,
    read_curves,
    read_statistics,
    lambda path: read_likelihoods([path]),
    read_claims,
    read_json,
    configuration.read,
]


@pytest.mark.parametrize("write", [pickled, in_torch, in_torch_before_1_6, in_numpy, in_hdf5])
def test_no_reader_runs_what_a_file_brings(tmp_path: Path, write: Callable[[Bomb, Path], None]) -> None:
    mark = tmp_path / "it ran"
    write(Bomb(mark), tmp_path / "file")
    for reader in READERS:
        with pytest.raises(UserError):
            reader(tmp_path / "file")
        assert not mark.exists()


def test_the_bomb_is_one(tmp_path: Path) -> None:
    pickled(Bomb(tmp_path / "it ran"), tmp_path / "file")
    pickle.loads((tmp_path / "file").read_bytes())
    assert (tmp_path / "it ran").exists()


# --- links ------------------------------------------------------------------------------------------------


def test_what_replaces_a_link_replaces_the_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "run"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "file").write_text("theirs")
    inside.mkdir()
    (inside / "value.json").symlink_to(outside / "folder" / "file")
    (inside / "dataset").symlink_to(outside / "folder")
    write_json(inside / "value.json", 1)
    with atomic_path(inside / "dataset") as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("ours")
    assert (outside / "folder" / "file").read_text() == "theirs"
    assert read_json(inside / "value.json") == 1
    assert not (inside / "dataset").is_symlink() and (inside / "dataset" / "file").read_text() == "ours"


def test_what_is_abandoned_is_removed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    with atomic_path(tmp_path / "value.json") as temporary:
        abandoned = temporary.with_name(re.sub(r"-\d+\.json$", "-999999999.json", temporary.name))
        temporary.write_text("1")
    abandoned.symlink_to(tmp_path / "theirs")
    write_json(tmp_path / "value.json", 2)
    assert not abandoned.is_symlink()
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match="could not be locked for writing"), exclusive(tmp_path / "run"):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"
