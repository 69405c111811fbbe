"""Whatever stands in a file or a configuration, a reader gives data or one sentence: no other exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from algorithms.population import checkpoints
from offline_data import d4rl_hdf5, minari_io
from storage import UserError
from tests.input.test_bad_input import ACTIONS, DATASET_ID, ENVIRONMENT, OBSERVATIONS
from tests.made_up import make_episodes
from workflow.code_hash import ROOT
from workflow.configuration import check

fuzzed = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.none() | st.integers() | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def refused_or_read(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError as refusal:
        assert str(refusal).strip()


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a configuration stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in inner for place in places(item, (*here, key)))]


SMOKE = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())


@fuzzed
@given(place=st.sampled_from(places(SMOKE)[1:]), value=values, key=st.none() | st.text(max_size=4))
def test_a_configuration_with_any_value_and_key_anywhere_is_refused_or_read(
    place: tuple[Any, ...], value: Any, key: Any
) -> None:
    configuration = copy.deepcopy(SMOKE)
    inner = configuration
    for part in place[:-1]:
        inner = inner[part]
    if key is not None and isinstance(inner, dict):
        inner[key] = value
    else:
        inner[place[-1]] = value
    refused_or_read(lambda: check(configuration))


@pytest.fixture(scope="module")
def d4rl_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("d4rl") / "data.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((6, OBSERVATIONS), np.float32)
        file["actions"] = np.zeros((6, ACTIONS), np.float32)
        file["rewards"] = np.zeros(6, np.float32)
        file["terminals"] = np.zeros(6, np.bool_)
        file["timeouts"] = np.zeros(6, np.bool_)
        file["next_observations"] = np.zeros((6, OBSERVATIONS), np.float32)
    return path.read_bytes()


@fuzzed
@given(data=st.data())
def test_a_d4rl_file_with_any_damage_is_refused_or_read(
    d4rl_file: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "data.hdf5"
    path.write_bytes(data.draw(damaged(d4rl_file)))
    refused_or_read(lambda: d4rl_hdf5.recording(path, ENVIRONMENT).episodes)


@fuzzed
@given(
    dtype=st.sampled_from(["f4", "f8", "f2", "i1", "u8", "?", "c8", "S3", "V4", "M8[s]"]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    key=st.sampled_from(["observations", "actions", "rewards", "terminals", "timeouts", "next_observations"]),
)
def test_a_d4rl_file_with_any_array_is_refused_or_read(
    d4rl_file: bytes, tmp_path: Path, dtype: str, shape: list[int], key: str
) -> None:
    path = tmp_path / "data.hdf5"
    path.write_bytes(d4rl_file)
    array = np.zeros(shape, dtype)
    with h5py.File(path, "r+") as file:
        file.pop(key, None)
        file[key] = array.astype(h5py.opaque_dtype(array.dtype)) if array.dtype.kind == "M" else array
    refused_or_read(lambda: d4rl_hdf5.recording(path, ENVIRONMENT).episodes)


@pytest.fixture(scope="module")
def minari_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("minari")
    minari_io.write_dataset(root, DATASET_ID, make_episodes((5, 4)), ENVIRONMENT, {})
    return root


def refused_or_read_with(minari_root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Read the dataset with its metadata changed for that while."""
    path = minari_root / DATASET_ID / "data" / "metadata.json"
    whole = path.read_text()
    path.write_text(json.dumps(change(json.loads(whole))))
    try:
        refused_or_read(lambda: minari_io.read_transitions(minari_root, DATASET_ID, ENVIRONMENT))
    finally:
        path.write_text(whole)


@fuzzed
@given(data=st.data(), value=json_values)
def test_a_minari_dataset_with_any_value_in_its_metadata_is_refused_or_read(
    minari_root: Path, data: st.DataObject, value: Any
) -> None:
    def change(metadata: dict[str, Any]) -> object:
        key = data.draw(st.sampled_from(["", *metadata]))
        return metadata | {key: value} if key else value

    refused_or_read_with(minari_root, change)


@fuzzed
@given(data=st.data(), value=json_values)
def test_a_minari_dataset_with_any_value_in_its_environment_is_refused_or_read(
    minari_root: Path, data: st.DataObject, value: Any
) -> None:
    def change(metadata: dict[str, Any]) -> object:
        specification = json.loads(metadata["env_spec"])
        key = data.draw(st.sampled_from([*specification, "autoreset"]))
        inside = {"kwargs": {"kwargs": value}, "additional_wrappers": [value]}
        content = data.draw(st.sampled_from([value, inside.get(key, value)]))
        return metadata | {"env_spec": json.dumps(specification | {key: content})}

    refused_or_read_with(minari_root, change)


@fuzzed
@given(data=st.data())
def test_a_minari_dataset_without_a_checksum_is_refused_or_read_whatever_its_damage(
    minari_root: Path, data: st.DataObject
) -> None:
    folder = minari_root / DATASET_ID / "data"
    whole = {name: (folder / name).read_bytes() for name in ("main_data.hdf5", "metadata.json")}
    metadata = json.loads(whole["metadata.json"])
    del metadata["data_sha256"]
    content = data.draw(damaged(whole["main_data.hdf5"]))  # may end the example: nothing is written before
    try:
        (folder / "metadata.json").write_text(json.dumps(metadata))
        (folder / "main_data.hdf5").write_bytes(content)
        refused_or_read(lambda: minari_io.read_transitions(minari_root, DATASET_ID, ENVIRONMENT))
    finally:
        for name, content in whole.items():
            (folder / name).write_bytes(content)


@fuzzed
@given(
    content=st.binary(max_size=200)
    | st.builds(
        lambda metadata: save({"x": np.zeros(3, np.float32)}, metadata),
        st.dictionaries(st.sampled_from(["checkpoint", "other"]), st.text(max_size=80), max_size=2),
    )
)
def test_any_file_is_refused_or_read_as_a_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    refused_or_read(lambda: checkpoints.load_for(tmp_path / "checkpoint.safetensors", "0"))


@fuzzed
@given(manifest=st.text(max_size=60) | json_values.map(json.dumps))
def test_any_manifest_with_a_fitting_checksum_is_refused_or_read(tmp_path: Path, manifest: str) -> None:
    header = {"checkpoint": f"{checkpoints._digest([], manifest)} {manifest}"}
    (tmp_path / "checkpoint.safetensors").write_bytes(save({}, header))
    refused_or_read(lambda: checkpoints.load_for(tmp_path / "checkpoint.safetensors", "0"))


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes of `whole` replaced, or its end cut off."""
    places = st.integers(0, len(whole) - 1)
    changes = st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=8)
    return changes.map(lambda c: bytes(c.get(i, b) for i, b in enumerate(whole))) | places.map(
        lambda n: whole[:n]
    )
