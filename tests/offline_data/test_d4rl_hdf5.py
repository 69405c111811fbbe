"""D4RL's files become the transitions of the authors' rule, and anything else is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offline_data.d4rl_hdf5 import AUTHORS, CHECKED, recording
from offline_data.minari_io import read_transitions as read_minari
from offline_data.recipes import store
from offline_data.transitions import Episode, Transitions, from_episodes
from storage import UserError
from storage.checksums import sha256

PENDULUM = "InvertedDoublePendulum-v4"
LIMIT = 1000
FIELDS = ("observations", "actions", "rewards", "masks", "next_observations", "episode_ends")
Arrays = dict[str, NDArray[Any]]

TERMINAL, TIME_OUT, BOTH, UNMARKED = "terminal", "time-out", "both", "unmarked"
ends = st.sampled_from([TERMINAL, TIME_OUT, BOTH])


def read_episodes(path: Path, environment: str, rule: str = CHECKED) -> list[Episode]:
    return recording(path, environment, rule).episodes


def read_transitions(path: Path, environment: str, rule: str = CHECKED) -> Transitions:
    recorded = recording(path, environment, rule)
    return from_episodes(recorded.episodes, {**recorded.metadata, "dataset_id": str(path)})


def made_up(episodes: list[tuple[int, str]], cut: int = 0, seed: int = 0) -> Arrays:
    """Rows of InvertedDoublePendulum's sizes: `episodes` (length, end), then `cut` rows of a running one.

    `next_observations` are the next row's observation but for the last row of each, whose own stand nowhere
    else, as in D4RL's files.
    """
    generator = np.random.default_rng(seed)
    rows = sum(length for length, _ in episodes) + cut
    flags: Arrays = {"terminals": np.zeros(rows, np.bool_), "timeouts": np.zeros(rows, np.bool_)}
    observations = generator.normal(size=(rows, 11)).astype(np.float32)
    following = np.append(observations[1:], observations[-1:] + 1, axis=0)
    last = -1
    for length, end in episodes:
        last += length
        flags["terminals"][last] = end in (TERMINAL, BOTH)
        flags["timeouts"][last] = end in (TIME_OUT, BOTH)
        following[last] = observations[last] + 1
    return {
        "observations": observations,
        "actions": generator.uniform(-1, 1, size=(rows, 1)).astype(np.float32),
        "rewards": generator.normal(size=rows).astype(np.float32),
        "next_observations": following,
        **flags,
    }


def write(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
        file["infos/qpos"] = np.zeros((3, 6))
        file["metadata/algorithm"] = "SAC"
    return path


def without(arrays: Arrays, *keys: str) -> Arrays:
    return {key: array for key, array in arrays.items() if key not in keys}


def by_the_rule(data: Arrays) -> list[tuple[Any, ...]]:
    """The authors' rule, a row at a time: observation, action, reward, mask, next observation, episode."""
    rows: list[tuple[Any, ...]] = []
    count = len(data["rewards"])
    episode = step = 0
    for i in range(count):
        terminal = bool(data["terminals"][i])
        timed_out = bool(data["timeouts"][i]) if "timeouts" in data else step == LIMIT - 1
        if timed_out or (i == count - 1 and not terminal):
            episode, step = episode + 1, 0
            continue
        following = data["observations"][i] if terminal else data["observations"][i + 1]
        if terminal and "next_observations" in data:
            following = data["next_observations"][i]
        row = (data["observations"][i], data["actions"][i], data["rewards"][i], 1 - terminal, following)
        rows.append((*row, episode))
        episode, step = (episode + 1, 0) if terminal else (episode, step + 1)
    return rows


def assert_follows_the_rule(found: Transitions, data: Arrays) -> None:
    columns = list(zip(*by_the_rule(data), strict=True))
    for name, column in zip(FIELDS[:-1], columns[:-1], strict=True):
        np.testing.assert_array_equal(getattr(found, name), np.array(column, np.float32))
    np.testing.assert_array_equal(found.episode_ends, np.diff(columns[-1], append=-1) != 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    episodes=st.lists(st.tuples(st.integers(1, 7), ends), max_size=8),
    cut=st.integers(0, 4),
    left_out=st.sets(st.sampled_from(["timeouts", "next_observations"])),
)
def test_rows_become_transitions_by_the_authors_rule(
    tmp_path_factory: pytest.TempPathFactory,
    episodes: list[tuple[int, str]],
    cut: int,
    left_out: set[str],
) -> None:
    # Two sure transitions, so that there is one to compare.
    data = without(made_up([(3, TERMINAL), *episodes], cut), *left_out)
    path = write(tmp_path_factory.mktemp("d4rl") / "file.hdf5", data)
    assert_follows_the_rule(read_transitions(path, PENDULUM, AUTHORS), data)
    if not left_out:  # every end is marked: nothing is left to be found
        assert_follows_the_rule(read_transitions(path, PENDULUM), data)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    lengths=st.lists(
        st.sampled_from([1, 2, 999, 1000, 1001, 1999, 2000, 2001, 2500]), min_size=1, max_size=4
    ),
    cut=st.sampled_from([0, 1, 999, 1000, 1001]),
)
def test_where_time_outs_are_not_marked_episodes_end_at_the_time_limit(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], cut: int
) -> None:
    data = without(made_up([(2, TERMINAL), *((length, TERMINAL) for length in lengths)], cut), "timeouts")
    path = write(tmp_path_factory.mktemp("d4rl") / "file.hdf5", data)
    found = read_transitions(path, PENDULUM)
    assert_follows_the_rule(found, data)
    assert max(rows.stop - rows.start for rows in found.episodes()) <= LIMIT


@settings(max_examples=20, deadline=None, derandomize=True)
@given(episodes=st.lists(st.tuples(st.integers(2, 7), ends), min_size=1, max_size=6), cut=st.integers(0, 3))
def test_converted_it_is_the_same_dataset(
    tmp_path_factory: pytest.TempPathFactory, episodes: list[tuple[int, str]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("d4rl")
    path = write(folder / "file.hdf5", made_up(episodes, cut))
    summary = store(folder / "minari", "pendulum/medium-local-v0", recording(path, PENDULUM))
    converted = read_minari(folder / "minari", "pendulum/medium-local-v0", PENDULUM)
    direct = read_transitions(path, PENDULUM)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(converted, name), getattr(direct, name))
    assert summary["steps"] == converted.metadata["steps"] == len(direct)
    assert converted.metadata["recipe"] == "d4rl"
    assert converted.metadata["source"] == "file.hdf5"
    assert converted.metadata["source_sha256"] == sha256(path)
    assert converted.metadata["ref_max_score"] == 9359.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    episodes=st.lists(
        st.tuples(st.integers(3, 7), st.sampled_from([TERMINAL, TIME_OUT, BOTH, UNMARKED])),
        min_size=1,
        max_size=8,
    ),
    cut=st.integers(0, 4),
    time_outs=st.booleans(),
    noise=st.sampled_from([0.0, 1e-6]),
)
def test_no_transition_leads_from_one_episode_into_the_next(
    tmp_path_factory: pytest.TempPathFactory,
    episodes: list[tuple[int, str]],
    cut: int,
    time_outs: bool,
    noise: float,
) -> None:
    data = made_up(episodes, cut)
    data["next_observations"] = data["next_observations"] + np.float32(noise)  # another rounding's
    if not time_outs:
        data = without(data, "timeouts")
    path = write(tmp_path_factory.mktemp("d4rl") / "file.hdf5", data)
    found = read_transitions(path, PENDULUM)

    last = np.cumsum([length for length, _ in episodes]) - 1
    ends = {row: end for row, (_, end) in zip(last.tolist(), episodes, strict=True)}
    rows = len(data["rewards"])
    kept = [
        row
        for row in range(rows)
        # A marked time-out is left out, as is the last row: both as by the authors' rule.
        if not (time_outs and ends.get(row) in (TIME_OUT, BOTH))
        and not (row == rows - 1 and not data["terminals"][row])
    ]
    np.testing.assert_array_equal(found.observations, data["observations"][kept])
    np.testing.assert_allclose(found.next_observations, data["next_observations"][kept], atol=1e-5)
    np.testing.assert_array_equal(found.masks, 1 - data["terminals"][kept])
    unmarked = [
        row
        for row, end in ends.items()
        if row < rows - 1 and (end == UNMARKED or (end == TIME_OUT and not time_outs))
    ]
    decided = found.metadata["episode_ends"]
    assert (decided["unmarked_ends"], decided["first_unmarked_rows"]) == (len(unmarked), unmarked)
    assert decided["rows_left_out"] == rows - len(kept)


@pytest.mark.parametrize("left_out", [(), ("timeouts",)])
def test_six_rows_of_two_episodes_without_a_mark(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    data = without(made_up([(3, UNMARKED)], cut=3), *left_out)
    path = write(tmp_path / "file", data)
    found = read_transitions(path, PENDULUM)
    assert np.flatnonzero(found.episode_ends).tolist() == [2, 4]
    np.testing.assert_array_equal(found.next_observations[2], data["next_observations"][2])
    assert found.masks.tolist() == [1] * 5
    assert found.metadata["episode_ends"] == {
        "rule": "checked",
        "marked_terminals": 0,
        "marked_time_outs": 0,
        "at_time_limit": 0,
        "unmarked_ends": 1,
        "first_unmarked_rows": [2],
        "longer_than_time_limit": 0,
        "rows_left_out": 1,
    }
    theirs = read_transitions(path, PENDULUM, AUTHORS)
    np.testing.assert_array_equal(theirs.next_observations, data["observations"][1:])
    assert np.flatnonzero(theirs.episode_ends).tolist() == [4]
    assert theirs.metadata["episode_ends"] == {
        **found.metadata["episode_ends"],
        "rule": "authors",
    }


def test_the_time_limit_counts_from_an_end_that_no_mark_shows(tmp_path: Path) -> None:
    data = without(made_up([(500, UNMARKED), (LIMIT, UNMARKED), (5, TERMINAL)]), "timeouts")
    found = read_transitions(write(tmp_path / "file", data), PENDULUM)
    assert [rows.stop - rows.start for rows in found.episodes()] == [500, LIMIT, 5]
    decided = found.metadata["episode_ends"]
    assert (decided["unmarked_ends"], decided["at_time_limit"], decided["rows_left_out"]) == (2, 0, 0)


def test_without_next_observations_the_summary_says_that_nothing_is_known_of_unmarked_ends(
    tmp_path: Path,
) -> None:
    data = without(made_up([(3, TERMINAL), (LIMIT, TIME_OUT), (4, TERMINAL)]), "next_observations")
    marked = read_transitions(write(tmp_path / "marked", data), PENDULUM).metadata["episode_ends"]
    limited = read_transitions(write(tmp_path / "limited", without(data, "timeouts")), PENDULUM)
    assert marked == {
        "rule": "checked",
        "marked_terminals": 2,
        "marked_time_outs": 1,
        "at_time_limit": 0,
        "unmarked_ends": None,
        "first_unmarked_rows": [],
        "longer_than_time_limit": 0,
        "rows_left_out": 1,
    }
    assert limited.metadata["episode_ends"] == marked | {"marked_time_outs": 0, "at_time_limit": 1}


def test_an_episode_longer_than_the_time_limit_is_refused_by_its_rows(tmp_path: Path) -> None:
    data = made_up([(5, TERMINAL), (LIMIT, TIME_OUT), (LIMIT + 1, TIME_OUT), (5, TERMINAL)])
    for left_out in ((), ("next_observations",)):
        path = write(tmp_path / "file", without(data, *left_out))
        with pytest.raises(
            UserError,
            match="file: rows 1005 to 2005 are one episode of 1001 steps, longer than the 1000 of"
            f" {PENDULUM}: .* or episode_ends: authors",
        ):
            read_transitions(path, PENDULUM)
        theirs = read_transitions(path, PENDULUM, AUTHORS)
        assert_follows_the_rule(theirs, without(data, *left_out))
        assert theirs.metadata["episode_ends"]["longer_than_time_limit"] == 1


def test_next_observations_that_are_no_next_rows_are_refused(tmp_path: Path) -> None:
    data = made_up([(9, TERMINAL), (9, TIME_OUT)])
    order = np.random.default_rng(1).permutation(18)
    shuffled = {key: array[order] for key, array in data.items()}
    scaled = {**data, "next_observations": 2 * data["next_observations"]}
    for other in (shuffled, scaled):
        path = write(tmp_path / "file", other)
        with pytest.raises(
            UserError,
            match=r"file: next_observations contradict the next row's observation at \d+ of the 1[56] rows"
            r" without a mark, row 0 the first; expected rows in order of time, or episode_ends: authors",
        ):
            read_episodes(path, PENDULUM)
    read_episodes(path, PENDULUM, AUTHORS)


@pytest.mark.parametrize("ends", [[(4, UNMARKED), (6, TERMINAL)], [(LIMIT + 1, TIME_OUT), (6, TERMINAL)]])
def test_the_returns_of_joined_episodes_are_no_range_to_scale_rewards_by(
    tmp_path: Path, ends: list[tuple[int, str]]
) -> None:
    data = {**made_up([*ends, (5, TERMINAL)]), "rewards": np.ones(sum(n for n, _ in ends) + 5, np.float32)}
    path = write(tmp_path / "file", data)
    with pytest.raises(UserError, match=r"file does not mark .* which reward_scale return_range needs"):
        read_transitions(path, PENDULUM, AUTHORS).scaled("return_range")
    if ends[0][0] <= LIMIT:  # where the ends are found, the longest episode earns 6 and the shortest 4
        assert read_transitions(path, PENDULUM).scaled("return_range").metadata["reward_scale"] == 500


def test_a_rule_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "file", made_up([(4, TERMINAL)]))
    with pytest.raises(UserError, match="episode_ends is 'guessed': expected one of checked, authors"):
        read_episodes(path, PENDULUM, "guessed")


@pytest.mark.parametrize("rule", [CHECKED, AUTHORS])
def test_the_summary_of_a_dataset_says_what_was_decided_about_its_episodes(tmp_path: Path, rule: str) -> None:
    path = write(tmp_path / "file", made_up([(4, UNMARKED), (4, TERMINAL)]))
    summary = store(tmp_path / "minari", "pendulum/medium-local-v0", recording(path, PENDULUM, rule))
    assert summary["episode_ends"] == read_transitions(path, PENDULUM, rule).metadata["episode_ends"]
    assert (summary["episode_ends"]["rule"], summary["episode_ends"]["unmarked_ends"]) == (rule, 1)
    assert summary["episodes"] == (2 if rule == CHECKED else 1)


def test_time_outs_are_no_terminals_and_cross_no_episode(tmp_path: Path) -> None:
    data = made_up([(4, TIME_OUT), (3, TERMINAL), (1, TIME_OUT), (5, TIME_OUT)])
    found = read_transitions(write(tmp_path / "file", data), PENDULUM)
    assert found.masks.tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 1, 1]
    assert np.flatnonzero(found.episode_ends).tolist() == [2, 5, 9]
    np.testing.assert_array_equal(found.next_observations[:5], data["observations"][[1, 2, 3, 5, 6]])


def test_a_terminal_at_the_time_limit_is_left_out_as_the_authors_leave_it_out(tmp_path: Path) -> None:
    found = read_transitions(write(tmp_path / "file", made_up([(4, BOTH)])), PENDULUM)
    assert found.masks.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
def test_flags_of_any_type_and_columns_are_read(tmp_path: Path, kind: type) -> None:
    data = made_up([(4, TIME_OUT), (3, TERMINAL)])
    other = {key: data[key].astype(kind)[:, None] for key in ("terminals", "timeouts")}
    other["rewards"] = data["rewards"][:, None]
    found = read_transitions(write(tmp_path / "other", {**data, **other}), PENDULUM)
    assert_follows_the_rule(found, data)


@pytest.mark.parametrize(
    "kinds", [["<f8"], [">f4"], ["<f4", ">f8"]], ids=["float64", "big-endian", "of mixed precision"]
)
def test_floats_of_any_size_and_byte_order_are_read_as_float32(tmp_path: Path, kinds: list[str]) -> None:
    data = made_up([(4, TIME_OUT), (3, TERMINAL)])
    doubles = {
        key: array.astype(kinds[place % len(kinds)]) for place, (key, array) in enumerate(data.items())
    }
    assert_follows_the_rule(read_transitions(write(tmp_path / "file", doubles), PENDULUM), data)


def changed(key: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], Arrays]:
    return lambda data: {**data, key: change(data[key])}


def holding(array: NDArray[Any], value: float) -> NDArray[Any]:
    array = array.copy()
    array[1] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (lambda data, key=key: without(data, key), f"file lacks '{key}'; expected D4RL's layout")
            for key in ("observations", "actions", "rewards", "terminals")
        ),
        *(
            (changed(key, lambda array: holding(array, np.nan)), f"{key} holds a value that is not a finite")
            for key in ("observations", "actions", "rewards", "next_observations")
        ),
        *(
            (
                changed(key, lambda array: array[:-1]),
                f"{key} has the shape .* expected one row a step in both",
            )
            for key in ("actions", "rewards", "terminals", "timeouts", "next_observations")
        ),
        (changed("rewards", lambda array: holding(array, np.inf)), "rewards holds a value"),
        (changed("rewards", lambda array: array.astype(np.int64)), "rewards is int64, expected float32"),
        (changed("rewards", lambda array: array[0]), r"rewards has the shape \(\)"),
        (changed("rewards", lambda array: np.stack([array] * 2, 1)), r"rewards has rows of \(2,\)"),
        (changed("observations", lambda array: array[:, :-1]), r"observations has rows of \(10,\), expected"),
        (changed("actions", lambda array: array[:, 0]), r"actions has rows of \(\), expected \(1,\)"),
        (changed("terminals", lambda array: array + 1), "terminals holds a value other than 0 and 1"),
        (changed("timeouts", lambda array: holding(array.astype(np.float32), np.nan)), "timeouts holds"),
        (changed("terminals", lambda array: array.astype("S1")), r"terminals is \|S1, expected truth values"),
        (lambda data: {key: array[:0] for key, array in data.items()}, "expected one row a step"),
        (lambda data: {key: array[:1] for key, array in data.items()}, "holds no whole transition"),
    ],
)
def test_another_layout_is_refused_by_key(
    tmp_path: Path, change: Callable[[Arrays], Arrays], message: str
) -> None:
    path = write(tmp_path / "file", change(made_up([(4, TIME_OUT), (3, TERMINAL)])))
    with pytest.raises(UserError, match=message):
        read_episodes(path, PENDULUM)


def test_another_environments_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "file", made_up([(4, TERMINAL)]))
    with pytest.raises(UserError, match=r"actions has rows of \(1,\), expected \(3,\) of Hopper-v4"):
        read_episodes(path, "Hopper-v4")  # whose observations have the same size


def test_actions_out_of_range_are_refused(tmp_path: Path) -> None:
    data = made_up([(4, TERMINAL)])
    path = write(tmp_path / "file", {**data, "actions": data["actions"] + 2})
    with pytest.raises(UserError, match="an action is outside the environment's range"):
        store(tmp_path / "minari", "pendulum/medium-local-v0", recording(path, PENDULUM))


@pytest.mark.parametrize("kept", [0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path / "file", made_up([(50, TERMINAL)] * 20))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="file is truncated, damaged or not an HDF5 file"):
        read_episodes(path, PENDULUM)


def test_what_is_no_hdf5_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("observations")
    with pytest.raises(UserError, match="text is truncated, damaged or not an HDF5 file"):
        read_episodes(tmp_path / "text", PENDULUM)
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UserError, match="does not exist; expected an HDF5 file"):
            read_episodes(place, PENDULUM)


def objects(file: h5py.File) -> None:
    file.create_dataset("rewards", (7,), dtype=h5py.vlen_dtype(np.float32))


def soft_link(file: h5py.File) -> None:
    file["rewards"] = h5py.SoftLink("/infos/rewards")


def external_link(file: h5py.File) -> None:
    file["rewards"] = h5py.ExternalLink("other.hdf5", "rewards")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("rewards", (7,), np.float32, external=[("other.raw", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((7,), np.float32)
    layout[:] = h5py.VirtualSource("other.hdf5", "rewards", (7,))
    file.create_virtual_dataset("rewards", layout)


def group(file: h5py.File) -> None:
    file.create_group("rewards")


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (objects, "rewards is object, expected float32"),
        *(
            (store, "rewards is not an array in the file itself")
            for store in (soft_link, external_link, external_storage, virtual, group)
        ),
    ],
)
def test_objects_and_data_of_other_files_are_never_read(
    tmp_path: Path, store: Callable[[h5py.File], None], message: str
) -> None:
    data = made_up([(4, TIME_OUT), (3, TERMINAL)])
    write(tmp_path / "other.hdf5", data)
    (tmp_path / "other.raw").write_bytes(data["rewards"].tobytes())
    path = write(tmp_path / "file", without(data, "rewards"))
    with h5py.File(path, "a") as file:
        store(file)
    with pytest.raises(UserError, match=message):
        read_episodes(path, PENDULUM)
