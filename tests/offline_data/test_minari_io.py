"""A Minari dataset gives back what was recorded, opens in Minari, and is refused when it is not whole."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import wrappers
from hypothesis import given, settings
from hypothesis import strategies as st
from minari.data_collector import EpisodeBuffer

from offline_data.minari_io import (
    _largest_size,
    marked_ends,
    published_root,
    read_transitions,
    write_dataset,
)
from offline_data.transitions import Episode, Transitions, from_episodes
from storage import UserError
from storage.checksums import sha256
from tests.made_up import make_episodes

ROOT = Path(__file__).resolve().parents[2]
ID = "pendulum/test-local-v0"
ENVIRONMENT = "InvertedDoublePendulum-v4"
FIELDS = ("observations", "actions", "rewards", "masks", "next_observations", "episode_ends")


def write(folder: Path, episodes: Any, **metadata: Any) -> Path:
    write_dataset(folder, ID, episodes, ENVIRONMENT, {"recipe": "random", "seeds": [3], **metadata})
    return folder / ID / "data"


def forget_checksum(data: Path, **changes: Any) -> None:
    """Let the metadata say what they would of a dataset that is damaged in a way no checksum catches."""
    metadata = json.loads((data / "metadata.json").read_text())
    del metadata["data_sha256"]
    (data / "metadata.json").write_text(json.dumps({**metadata, **changes}))


def assert_equal(first: Transitions, second: Transitions) -> None:
    for name in FIELDS:
        left, right = getattr(first, name), getattr(second, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12), seed=st.integers(0, 100))
def test_what_is_read_is_what_was_recorded(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("minari")
    episodes = make_episodes(lengths, seed)
    write(folder, episodes)
    transitions = read_transitions(folder, ID)
    assert_equal(transitions, from_episodes(episodes))
    assert all(getattr(transitions, name).flags.c_contiguous for name in FIELDS)


def test_a_relative_folder_is_the_one_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    episodes = make_episodes([3, 5], 0)
    write(Path("minari"), episodes)
    assert_equal(read_transitions(tmp_path / "minari", ID), from_episodes(episodes))
    assert [path.name for path in tmp_path.iterdir()] == ["minari"]


def test_minari_opens_it_with_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = make_episodes([3, 2, 5])
    write(tmp_path, episodes, steps=10, behaviour_policies=["ab" * 32])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert list(minari.list_local_datasets()) == [ID]
    dataset = minari.load_dataset(ID)
    assert (dataset.total_episodes, dataset.total_steps) == (3, 10)
    for ours, theirs in zip(episodes, dataset.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations, ours.observations)
        np.testing.assert_array_equal(theirs.actions, ours.actions)
        np.testing.assert_array_equal(theirs.rewards, ours.rewards)
        assert theirs.terminations.tolist() == [False] * (len(ours) - 1) + [ours.terminated]
        assert theirs.truncations.tolist() == [False] * (len(ours) - 1) + [ours.truncated]

    metadata = dataset.storage.metadata
    assert metadata["recipe"] == "random"
    assert metadata["seeds"] == [3]
    assert metadata["steps"] == 10
    assert metadata["behaviour_policies"] == ["ab" * 32]
    assert metadata["environment"] == ENVIRONMENT
    assert {"mujoco", "gymnasium", "numpy"} <= set(metadata["versions"])
    assert minari.get_normalized_score(dataset, np.array(9359.0)) == pytest.approx(1.0)
    assert minari.get_normalized_score(dataset, np.array(60.0)) == pytest.approx(0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        environment = dataset.recover_environment()
    assert environment.spec is not None and environment.spec.id == ENVIRONMENT
    assert environment.action_space == dataset.action_space
    environment.close()


def test_reading_gives_the_metadata_too(tmp_path: Path) -> None:
    data = write(tmp_path, make_episodes([3]), copies=4)
    metadata = read_transitions(tmp_path, ID).metadata
    assert metadata["dataset_id"] == ID
    assert metadata["copies"] == 4
    assert metadata["data_sha256"] == sha256(data / "main_data.hdf5")


def test_equal_episodes_give_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a", make_episodes([30, 7]))
    second = write(tmp_path / "b", make_episodes([30, 7]))
    for name in ("main_data.hdf5", "metadata.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def write_published(
    dataset_id: str,
    episodes: list[Episode],
    environment: Any,
    width: int = 11,
    actions: int = 1,
    **metadata: Any,
) -> None:
    """Write `episodes` with Minari itself, as what it publishes: float64, no checksum, any id."""
    buffers = [
        EpisodeBuffer(
            observations=episode.observations.astype(np.float64),
            actions=episode.actions,
            rewards=episode.rewards.astype(np.float64).tolist(),
            terminations=[False] * (len(episode) - 1) + [episode.terminated],
            truncations=[False] * (len(episode) - 1) + [episode.truncated],
        )
        for episode in episodes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=environment,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float64),
            action_space=gymnasium.spaces.Box(-1, 1, (actions,), np.float32),
            **metadata,
        )


FOREIGN = "mujoco/pendulum/more/medium-v0"


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("environment", [ENVIRONMENT, None])
@pytest.mark.parametrize("dataset_id", ["mujoco/pendulum/medium-v0", FOREIGN, "plain-v3"])
def test_a_published_dataset_is_read_as_float32(
    minari_root: Path, dataset_id: str, environment: str | None
) -> None:
    episodes = make_episodes([3, 2])
    write_published(dataset_id, episodes, environment)
    assert published_root(dataset_id) == minari_root
    assert_equal(read_transitions(minari_root, dataset_id), from_episodes(episodes))
    assert_equal(read_transitions(minari_root, dataset_id, ENVIRONMENT), from_episodes(episodes))


def test_missing_reference_scores_are_d4rls_and_present_ones_stay(minari_root: Path) -> None:
    def scores(dataset_id: str, *environment: str) -> list[Any]:
        metadata = read_transitions(minari_root, dataset_id, *environment).metadata
        return [metadata.get(key) for key in ("ref_min_score", "ref_max_score")]

    write_published("mine/named-v0", make_episodes([3]), ENVIRONMENT)
    write_published("mine/nameless-v0", make_episodes([3]), None)
    write_published("mine/scored-v0", make_episodes([3]), ENVIRONMENT, ref_min_score=1.0, ref_max_score=2.0)
    assert scores("mine/named-v0") == scores("mine/nameless-v0", ENVIRONMENT) == [60.0, 9359.0]
    assert scores("mine/nameless-v0") == [None, None]
    assert scores("mine/scored-v0") == [1.0, 2.0]


def test_a_dataset_of_another_environment_or_version_is_refused(minari_root: Path) -> None:
    write_published(FOREIGN, make_episodes([3]), ENVIRONMENT)
    for other in ("InvertedDoublePendulum-v5", "Hopper-v4"):
        with pytest.raises(UserError, match=f"'{FOREIGN}' was recorded on {ENVIRONMENT}, .* is {other};"):
            read_transitions(minari_root, FOREIGN, other)


def test_a_dataset_that_names_no_environment_is_judged_by_its_sizes(minari_root: Path) -> None:
    write_published(FOREIGN, make_episodes([3]), None)
    with pytest.raises(
        UserError, match=f"'{FOREIGN}' has observations of size 11, expected 17 of HalfCheetah"
    ):
        read_transitions(minari_root, FOREIGN, "HalfCheetah-v4")
    with pytest.raises(UserError, match=f"'{FOREIGN}' has actions of size 1, expected 3 of Hopper-v4"):
        read_transitions(minari_root, FOREIGN, "Hopper-v4")


@pytest.mark.parametrize("specification", ["{", "[]", "{}", 7])
def test_a_damaged_environment_specification_is_refused(minari_root: Path, specification: Any) -> None:
    write_published(FOREIGN, make_episodes([3]), None)
    file = minari_root / FOREIGN / "data" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "env_spec": specification}))
    with pytest.raises(UserError, match="holds an env_spec that names no environment"):
        read_transitions(minari_root, FOREIGN)


V5 = "InvertedDoublePendulum-v5"
Wrap = Callable[[Any], Any]


def write_made(wrap: Wrap | None, arguments: dict[str, Any]) -> None:
    """Let Minari itself write an episode with the specification of an environment made and wrapped so."""
    [episode] = make_episodes([3])
    made = gymnasium.make(V5, **arguments)
    environment = made if wrap is None else wrap(made)
    write_published(
        FOREIGN, [dataclasses.replace(episode, observations=episode.observations[:, :9])], environment, 9
    )
    environment.close()


class Counter(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that nobody knows."""


class Monitor(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The stand-in of Stable-Baselines3's, which some of Minari's own datasets name (Minari issue 302)."""


Monitor.__module__ = "stable_baselines3.common.monitor"


@pytest.mark.parametrize(
    ("arguments", "wrap", "difference"),
    [
        ({}, wrappers.NormalizeReward, "the wrapper NormalizeReward"),
        ({}, wrappers.NormalizeObservation, "the wrapper NormalizeObservation"),
        ({}, wrappers.TimeAwareObservation, "the wrapper TimeAwareObservation"),
        ({}, lambda environment: wrappers.RescaleAction(environment, -2, 2), "the wrapper RescaleAction"),
        ({}, wrappers.Autoreset, "the wrapper Autoreset"),
        ({}, Counter, "the wrapper Counter"),
        ({"healthy_reward": 1.0}, None, "healthy_reward is 1.0 instead of 10.0"),
        (
            {"frame_skip": 4, "reset_noise_scale": 0.2},
            None,
            "frame_skip is 4 instead of 5, reset_noise_scale",
        ),
        ({"max_episode_steps": 500}, None, "max_episode_steps is 500 instead of 1000"),
        ({"max_episode_steps": -1}, None, "max_episode_steps is None instead of 1000"),
        (
            {},
            lambda environment: wrappers.TimeLimit(environment, 7),
            "max_episode_steps is 7 instead of 1000",
        ),
    ],
)
def test_a_dataset_of_a_changed_environment_is_refused_by_what_changed_it(
    minari_root: Path, arguments: dict[str, Any], wrap: Wrap | None, difference: str
) -> None:
    write_made(wrap, arguments)
    with pytest.raises(
        UserError,
        match=f"^The Minari dataset '{FOREIGN}' was recorded on a changed {V5}: .*{difference}.*; expected",
    ):
        read_transitions(minari_root, FOREIGN, V5)


def recorded_statistics(environment: Any) -> Any:
    return wrappers.RecordEpisodeStatistics(wrappers.OrderEnforcing(wrappers.PassiveEnvChecker(environment)))


@pytest.mark.parametrize(
    ("arguments", "wrap"),
    [
        ({}, recorded_statistics),
        ({}, Monitor),
        ({}, lambda environment: wrappers.TimeLimit(environment, 1000)),
        ({"max_episode_steps": 1000}, None),
        ({"healthy_reward": 10.0, "frame_skip": 5, "xml_file": "inverted_double_pendulum.xml"}, None),
        ({"render_mode": None, "width": 64, "camera_id": 0, "max_geom": 10}, None),
    ],
)
def test_a_dataset_of_an_environment_that_is_watched_or_made_with_its_defaults_is_read(
    minari_root: Path, arguments: dict[str, Any], wrap: Wrap | None
) -> None:
    write_made(wrap, arguments)
    assert len(read_transitions(minari_root, FOREIGN, V5)) == 3


def respecify(minari_root: Path, **changes: Any) -> None:
    file = minari_root / FOREIGN / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    specification = {**json.loads(metadata["env_spec"]), **changes}
    file.write_text(json.dumps({**metadata, "env_spec": json.dumps(specification)}))


@pytest.mark.parametrize(
    ("environment", "keyword", "default", "other"),
    [
        ("Hopper-v4", "healthy_z_range", [0.7, float("inf")], [0.5, float("inf")]),
        ("Walker2d-v5", "healthy_angle_range", [-1.0, 1.0], [-1.0, 2.0]),
        ("HalfCheetah-v4", "exclude_current_positions_from_observation", True, False),
        (ENVIRONMENT, "camera_name", "track", None),
    ],
)
def test_keywords_are_compared_with_the_defaults_of_every_version(
    minari_root: Path, environment: str, keyword: str, default: Any, other: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spaces = gymnasium.make(environment)
    size, actions = spaces.observation_space.shape[0], spaces.action_space.shape[0]
    episode = make_episodes([3])[0]
    fitting = dataclasses.replace(
        episode,
        observations=np.zeros((4, size), np.float32),
        actions=np.zeros((3, actions), np.float32),
    )
    write_published(FOREIGN, [fitting], environment, size, actions)
    respecify(minari_root, kwargs={keyword: default})
    assert len(read_transitions(minari_root, FOREIGN, environment)) == 3
    if other is not None:
        respecify(minari_root, kwargs={keyword: other})
        with pytest.raises(UserError, match=f"a changed {environment}: {keyword} is "):
            read_transitions(minari_root, FOREIGN, environment)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"entry_point": "mine:Pendulum"}, "entry_point is 'mine:Pendulum' instead of 'gymnasium.envs"),
        ({"autoreset": True}, "autoreset is True instead of False"),
        ({"kwargs": {"healthy_reward": 1.0}}, f"healthy_reward is 1.0, which {ENVIRONMENT} does not have"),
        ({"kwargs": {"kwargs": {}}}, r"kwargs is \{\}, which"),
        (
            {"additional_wrappers": [{"name": "RecordVideo", "entry_point": "mine:RecordVideo"}]},
            "the wrapper RecordVideo of mine",
        ),
    ],
)
def test_what_only_a_specification_can_say_is_refused_too(
    minari_root: Path, changes: dict[str, Any], difference: str
) -> None:
    write_published(FOREIGN, make_episodes([3]), ENVIRONMENT)
    respecify(minari_root, **changes)
    with pytest.raises(UserError, match=f"a changed {ENVIRONMENT}: {difference}"):
        read_transitions(minari_root, FOREIGN, ENVIRONMENT)


def test_an_older_gymnasiums_specification_is_read(minari_root: Path) -> None:
    write_published(FOREIGN, make_episodes([3]), ENVIRONMENT)
    respecify(minari_root, autoreset=False, apply_api_compatibility=False, namespace=None)
    assert len(read_transitions(minari_root, FOREIGN, ENVIRONMENT)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"kwargs": 7},
        {"kwargs": None},
        {"additional_wrappers": 7},
        {"additional_wrappers": [7]},
        {"additional_wrappers": [{"name": "RecordVideo"}]},
        {"additional_wrappers": [{"entry_point": 7}]},
    ],
)
def test_a_specification_of_another_layout_is_refused(minari_root: Path, changes: dict[str, Any]) -> None:
    write_published(FOREIGN, make_episodes([3]), ENVIRONMENT)
    respecify(minari_root, **changes)
    with pytest.raises(UserError, match=r"metadata\.json holds an env_spec .*; expected Gymnasium's JSON"):
        read_transitions(minari_root, FOREIGN, ENVIRONMENT)


@pytest.mark.parametrize(
    ("terminations", "truncations", "ends"),
    [
        ([0, 0, 1], [0, 0, 0], [1, 0, 0]),
        ([0, 0, 0], [0, 0, 1], [0, 1, 0]),
        ([0, 0, 0], [0, 0, 0], [0, 0, 1]),
        ([0, 0, 1], [0, 0, 1], [1, 0, 0]),
    ],
)
def test_the_marks_of_the_ends_of_episodes_are_counted(
    tmp_path: Path, terminations: list[int], truncations: list[int], ends: list[int]
) -> None:
    data = write(tmp_path, make_episodes([3]))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        file["episode_0/terminations"][...] = np.array(terminations, np.bool_)
        file["episode_0/truncations"][...] = np.array(truncations, np.bool_)
    forget_checksum(data)
    names = ("marked_terminals", "marked_time_outs", "unmarked_ends")
    assert marked_ends(tmp_path, ID) == {"rule": "minari", **dict(zip(names, ends, strict=True))}


def test_a_time_out_inside_an_episode_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, make_episodes([4, 5]))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        file["episode_1/truncations"][2] = True
    forget_checksum(data)
    with pytest.raises(UserError, match="episode 1 goes on after a time-out at step 2 of its 5"):
        marked_ends(tmp_path, ID)


def test_a_dataset_that_is_not_there_is_downloaded_by_minari(
    minari_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(dataset_id: str) -> None:
        write_published(dataset_id, make_episodes([4]), ENVIRONMENT)

    monkeypatch.setattr(minari, "download_dataset", download)
    root = published_root(FOREIGN)
    assert_equal(read_transitions(root, FOREIGN, ENVIRONMENT), from_episodes(make_episodes([4])))
    monkeypatch.delattr(minari, "download_dataset")
    assert published_root(FOREIGN) == root


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route\nto host"),
        ValueError("no route"),
        ImportError("no route"),
        OSError("no route"),
    ],
)
def test_a_failed_download_is_one_sentence_with_the_id(
    minari_root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def download(dataset_id: str) -> None:
        raise error

    monkeypatch.setattr(minari, "download_dataset", download)
    message = rf"^The Minari dataset '{FOREIGN}' is not under {minari_root} and could .*: no route$"
    with pytest.raises(UserError, match=message):
        published_root(FOREIGN)


def test_an_id_that_is_none_is_refused(minari_root: Path) -> None:
    with pytest.raises(UserError, match=r"'no id' is not under .* could not be .*: Malformed dataset ID"):
        published_root("no id")


@pytest.mark.parametrize(
    "name",
    ["hopper-medium-v0", "D4RL/hopper/medium-v0", "hopper/medium-v0", "hopper/medium-local", "../x-local-v0"],
)
def test_the_id_of_a_published_dataset_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is not the id of a local dataset"):
        write_dataset(tmp_path, name, make_episodes([3]), ENVIRONMENT, {})
    assert list(tmp_path.iterdir()) == []


def test_no_episodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{ID}: no episodes were given"):
        write(tmp_path, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.full(3, np.nan, np.float32)}, "rewards holds a value that is not a finite number"),
        (
            {"actions": np.full((3, 1), 1.5, np.float32)},
            "an action is outside the environment's range",
        ),
        (
            {"actions": np.zeros((3, 2), np.float32)},
            r"actions is float32 \(3, 2\), expected float32",
        ),
        ({"observations": np.zeros((3, 11), np.float32)}, "observations is float32"),
        ({"rewards": np.zeros(3)}, "rewards is float64"),
        ({"rewards": np.zeros(0, np.float32)}, ".*, not empty"),
    ],
)
def test_a_refused_episode_leaves_the_old_dataset_and_nothing_else(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    old = make_episodes([4, 4])
    write(tmp_path, old)
    before = sorted(tmp_path.rglob("*"))
    episodes = make_episodes([3, 3])
    episodes[1] = dataclasses.replace(episodes[1], **change)
    with pytest.raises(UserError, match=f"{ID}: episode 1: {message}"):
        write(tmp_path, episodes)
    assert sorted(tmp_path.rglob("*")) == before
    assert_equal(read_transitions(tmp_path, ID), from_episodes(old))


def test_writing_again_replaces_the_dataset(tmp_path: Path) -> None:
    write(tmp_path, make_episodes([4, 4]))
    write(tmp_path, make_episodes([2]))
    assert len(read_transitions(tmp_path, ID)) == 2
    assert [entry.name for entry in (tmp_path / ID).parent.iterdir() if entry.is_dir()] == ["test-local-v0"]


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_truncated_data_are_refused(tmp_path: Path, kept: float, checksum: bool) -> None:
    data = write(tmp_path, make_episodes([50] * 20))
    content = (data / "main_data.hdf5").read_bytes()
    (data / "main_data.hdf5").write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    if not checksum:
        forget_checksum(data)
    with pytest.raises(UserError, match=r"main_data\.hdf5 is truncated"):
        read_transitions(tmp_path, ID)


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, make_episodes([50] * 20))
    content = bytearray((data / "main_data.hdf5").read_bytes())
    content[len(content) // 2] ^= 1
    (data / "main_data.hdf5").write_bytes(content)
    with pytest.raises(UserError, match=r"main_data\.hdf5 is truncated or damaged: its checksum"):
        read_transitions(tmp_path, ID)


@pytest.mark.parametrize(
    "changes",
    [
        {"total_steps": 6},
        {"total_steps": 8},
        {"total_steps": 0},
        {"total_episodes": 1},
        {"total_episodes": 3},
        {"total_steps": "many"},
    ],
)
def test_data_that_are_not_what_the_metadata_say_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = write(tmp_path, make_episodes([4, 3]))
    forget_checksum(data, **changes)
    with pytest.raises(UserError, match=r"main_data\.hdf5 is truncated, damaged or of another layout"):
        read_transitions(tmp_path, ID)


def test_metadata_without_the_number_of_steps_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path, make_episodes([4]))
    (data / "metadata.json").write_text("{}")
    with pytest.raises(UserError, match="total_episodes"):
        read_transitions(tmp_path, ID)
    (data / "metadata.json").write_text('{"total_')
    with pytest.raises(UserError, match=r"metadata\.json is not a whole JSON file"):
        read_transitions(tmp_path, ID)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("observations", np.full((5, 11), np.nan, np.float32), "observations holds a value"),
        ("observations", np.zeros((4, 11), np.float32), "observations of episode 0 has the shape"),
        (
            "observations",
            np.zeros((5, 11, 1), np.float32),
            r"observations of the shape \(11, 1\): expected vect",
        ),
        ("actions", np.zeros((5, 1), np.float32), "actions of episode 0 has the shape"),
        ("terminations", np.ones(4, np.bool_), "a terminal transition does not end its episode"),
        ("rewards", np.array([b"a"] * 4), "of another layout"),
    ],
)
def test_foreign_arrays_are_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    data = write(tmp_path, make_episodes([4, 3]))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file[f"episode_0/{key}"]
        file[f"episode_0/{key}"] = value
    forget_checksum(data)
    with pytest.raises(UserError, match=message):
        read_transitions(tmp_path, ID)


def test_observations_that_are_dictionaries_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path, make_episodes([4]))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file["episode_0/observations"]
        file["episode_0/observations/camera"] = np.zeros((5, 3))
    forget_checksum(data)
    with pytest.raises(UserError, match=r"observations of several parts \(camera\): expected vectors"):
        read_transitions(tmp_path, ID)


def test_a_missing_dataset_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{ID} holds no Minari dataset"):
        read_transitions(tmp_path, ID)
    (write(tmp_path, make_episodes([4])) / "main_data.hdf5").unlink()
    with pytest.raises(UserError, match="holds no HDF5 data"):
        read_transitions(tmp_path, ID)


def test_a_full_disk_is_one_sentence_before_anything_is_written(tmp_path: Path) -> None:
    code = """
import resource, sys
from offline_data import recipes
from storage import UserError
from storage.checksums import sha256
recording = recipes.random("InvertedDoublePendulum-v4", 2000, seed=0, copies=10, threads=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    recipes.store(sys.argv[1], "pendulum/test-local-v0", recording)
except UserError as error:
    sys.exit(str(error))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"{tmp_path / ID} could not be written: the disk is full (or a quota or file-size limit is reached)"
    )
    assert [entry for entry in tmp_path.rglob("*") if not entry.is_dir()] == []


@pytest.mark.parametrize("length", [1, 2, 7, 20, 130, 500, 999, 1000, 1001, 5000])
def test_the_space_asked_for_is_enough(tmp_path: Path, length: int) -> None:
    episodes = make_episodes([length] * 40)
    size = (write(tmp_path, episodes) / "main_data.hdf5").stat().st_size
    assert size <= _largest_size(episodes) <= 2 * size + 1_000_000


def test_an_error_of_the_disk_leaves_the_old_dataset_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_episodes([4])
    write(tmp_path, old)
    before = sorted(tmp_path.rglob("*"))

    def full(*arguments: object, **options: object) -> None:
        raise OSError("Unable to write (errno = 28, error message = 'No space left on device')")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(UserError, match=f"{ID} could not be written: the disk is full"):
        write(tmp_path, make_episodes([3]))
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == before
    assert_equal(read_transitions(tmp_path, ID), from_episodes(old))
