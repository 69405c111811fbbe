"""Image episodes: compact in memory, the same after Minari, and refused when they are not whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.manipulation.gymnasium_environment import spaces
from offline_data.image_episodes import (
    PRIOR,
    RANDOM,
    TASK,
    ImageEpisode,
    ImageEpisodes,
    from_image_episodes,
)
from offline_data.image_io import read_image_dataset, write_image_dataset
from storage import UserError

ID = "manipulation/test-local-v0"
ARRAYS = ("frames", "states", "frame_index", "actions", "rewards", "masks", "source", "episode_ends")


def made_up(lengths: list[int], seed: int = 0) -> list[ImageEpisode]:
    random = np.random.default_rng(seed)
    return [
        ImageEpisode(
            images=random.integers(0, 256, size=(length + 1, 48, 48, 3), dtype=np.uint8),
            states=random.normal(size=(length + 1, 10)).astype(np.float32),
            actions=random.uniform(-1, 1, size=(length, 8)).astype(np.float32),
            rewards=random.integers(0, 2, size=length).astype(np.float32),
            source=(PRIOR, TASK, RANDOM)[number % 3],
        )
        for number, length in enumerate(lengths)
    ]


def write(folder: Path, episodes: list[ImageEpisode]) -> Path:
    options, metadata = {"action_form": "full"}, {"recipe": "made up"}
    shown = spaces((48, 48, 3), 8)
    write_image_dataset(folder, ID, episodes, "PickPlace-v0", options, metadata, shown)
    return folder / ID / "data"


def assert_equal(first: ImageEpisodes, second: ImageEpisodes) -> None:
    for name in ARRAYS:
        left, right = getattr(first, name), getattr(second, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_every_transition_finds_its_two_frames(lengths: list[int]) -> None:
    episodes = made_up(lengths)
    joined = from_image_episodes(episodes)
    row = 0
    for episode in episodes:
        for time in range(len(episode)):
            before, after = joined.frames[joined.frame_index[row] :][:2]
            np.testing.assert_array_equal(before, episode.images[time])
            np.testing.assert_array_equal(after, episode.images[time + 1])
            np.testing.assert_array_equal(joined.actions[row], episode.actions[time])
            assert joined.rewards[row] == episode.rewards[time]
            assert joined.source[row] == episode.source
            assert joined.episode_ends[row] == (time == len(episode) - 1)
            row += 1
    assert row == len(joined)
    assert [part.stop - part.start for part in joined.episodes()] == lengths
    assert (joined.masks == 1).all()


def test_every_image_is_held_once() -> None:
    joined = from_image_episodes(made_up([50, 50]))
    assert joined.frames.shape == (102, 48, 48, 3)
    others = sum(getattr(joined, name).nbytes for name in ARRAYS[1:])
    assert joined.frames.nbytes == 102 * 48 * 48 * 3
    assert others < 0.02 * joined.frames.nbytes


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    episodes = made_up([3, 1, 7, 4])
    write(tmp_path, episodes)
    read = read_image_dataset(tmp_path, ID)
    assert_equal(read, from_image_episodes(episodes))
    assert read.metadata["recipe"] == "made up"
    assert read.metadata["environment"] == "PickPlace-v0"


def test_minari_opens_it_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = made_up([3, 5])
    write(tmp_path, episodes)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset(ID)
    for ours, theirs in zip(episodes, dataset.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations["image"], ours.images)
        np.testing.assert_array_equal(theirs.observations["state"], ours.states)
        np.testing.assert_array_equal(theirs.actions, ours.actions)
        np.testing.assert_array_equal(theirs.rewards, ours.rewards)
        assert not theirs.terminations.any()
        assert theirs.truncations.tolist() == [False] * (len(ours) - 1) + [True]
    assert dataset.env_spec.id == "manipulation/PickPlace-v0"
    assert dataset.env_spec.kwargs["action_form"] == "full"


def test_equal_episodes_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, made_up([4, 2])) for name in "ab")
    assert (first / "main_data.hdf5").read_bytes() == (second / "main_data.hdf5").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, made_up([4, 2])) / "main_data.hdf5"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match="truncated or damaged: its checksum"):
        read_image_dataset(tmp_path, ID)
    data.unlink()
    with pytest.raises(UserError, match="holds no HDF5 data"):
        read_image_dataset(tmp_path, ID)
    with pytest.raises(UserError, match="holds no Minari dataset"):
        read_image_dataset(tmp_path, "manipulation/other-local-v0")


@pytest.mark.parametrize(
    ("key", "message"),
    [(key, "another layout") for key in ("infos/source", "rewards", "actions", "observations/state")],
)
def test_a_file_of_another_layout_is_refused(tmp_path: Path, key: str, message: str) -> None:
    data = write(tmp_path, made_up([4, 2]))
    with h5py.File(data / "main_data.hdf5", "a") as file:
        del file[f"episode_1/{key}"]
    metadata = json.loads((data / "metadata.json").read_text())
    del metadata["data_sha256"]
    (data / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=message):
        read_image_dataset(tmp_path, ID)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((4, 7), np.float32)}, r"episode 1: actions is float32 \(4, 7\), expected"),
        ({"images": np.zeros((4, 48, 48, 3), np.uint8)}, "episode 1: images is"),
        ({"rewards": np.full(4, np.nan, np.float32)}, "episode 1: rewards holds a value that is not"),
    ],
)
def test_episodes_that_fit_nothing_are_refused_and_nothing_is_left(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    first, second = made_up([3, 4])
    with pytest.raises(UserError, match=message):
        write(tmp_path, [first, dataclasses.replace(second, **change)])
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_arrays_that_contradict_each_other_are_refused() -> None:
    whole = from_image_episodes(made_up([3, 2]))
    for name, value, message in (
        ("frames", whole.frames[:-1], "frames is uint8"),
        ("rewards", whole.rewards.astype(np.float64), "rewards is float64"),
        ("frame_index", whole.frame_index + 1, "frame_index does not count"),
        ("source", np.full(5, 3, np.int8), "source holds a value other"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(whole, **{name: value})
    with pytest.raises(UserError, match="expected at least one"):
        from_image_episodes([])
