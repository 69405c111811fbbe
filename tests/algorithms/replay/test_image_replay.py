"""Image data beside a naive copy of every transition's two images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch, combined
from algorithms.replay.image_replay import ONLINE, RANDOM, ImageBuffer, ImageData, drawn_sources
from algorithms.replay.stores import BalancedReplay, OnlineReplay, UniformReplay
from storage import UserError
from tests.algorithms.pixel_task import ACTION, HORIZON, SHAPE, record

RUNS, EPISODES = 2, 3


def block(episodes: int, seed: int) -> Batch:
    """Whole episodes of random pixels for every run."""
    generator = torch.Generator().manual_seed(seed)
    count = episodes * HORIZON
    frames = torch.randint(
        0, 256, (RUNS, episodes, HORIZON + 1, *SHAPE), dtype=torch.uint8, generator=generator
    )

    def numbers(*shape: int) -> Tensor:
        return torch.randn(RUNS, count, *shape, generator=generator)

    before, after = frames[:, :, :-1].flatten(1, 2), frames[:, :, 1:].flatten(1, 2)
    return Batch(before, numbers(ACTION), numbers(), numbers(), after)


def filled() -> tuple[ImageBuffer, list[Batch]]:
    buffer, blocks = ImageBuffer(RUNS, EPISODES, HORIZON, SHAPE, ACTION), [block(2, 0), block(1, 1)]
    for part in blocks:
        buffer.add(part)
    return buffer, blocks


def assert_equal(one: Batch, other: Batch) -> None:
    for name, ours, theirs in zip(FIELDS, one[:5], other[:5], strict=True):
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype, name


def test_gathered_offline_transitions_are_the_recorded_ones() -> None:
    episodes = record(7)
    data = ImageData(episodes)
    indices = torch.randint(len(data), (2, 9))
    batch = data.gather(indices)
    for run in range(2):
        for row in range(9):
            index = int(indices[run, row])
            frame = index + index // HORIZON  # every episode before it has one frame more than transitions
            assert np.array_equal(batch.observations[run, row], episodes.frames[frame])
            assert np.array_equal(batch.next_observations[run, row], episodes.frames[frame + 1])
            assert np.array_equal(batch.actions[run, row], episodes.actions[index])
            assert float(batch.rewards[run, row]) == episodes.rewards[index]
            assert float(batch.masks[run, row]) == episodes.masks[index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((5, 12, 12, 3), np.float32)}, "frames are float32"),
        ({"actions": np.zeros(12, np.float32)}, r"actions are float32 \[12\]"),
        ({"rewards": np.zeros(3, np.float32)}, "frame_index have 12 rows, expected 3"),
        ({"source": np.zeros(11, np.int8)}, "source have 11 rows, expected 12"),
        ({"frame_index": np.arange(12) + 3}, "frame_index runs from 3 to 14"),
    ],
)
def test_other_arrays_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageData(replace(record(3), **change))


def test_gathered_online_transitions_are_the_collected_ones() -> None:
    buffer, blocks = filled()
    naive = combined(blocks, lambda *parts: torch.cat(parts, dim=1))
    indices = torch.randint(EPISODES * HORIZON, (RUNS, 20))
    run = torch.arange(RUNS).unsqueeze(1)
    assert_equal(buffer.gather(indices), naive.map(lambda field: field[run, indices]))


def test_a_buffer_goes_on_where_its_state_was_taken() -> None:
    buffer, blocks = filled()
    early = ImageBuffer(RUNS, EPISODES, HORIZON, SHAPE, ACTION)
    early.add(blocks[0])
    again = ImageBuffer(RUNS, EPISODES, HORIZON, SHAPE, ACTION)
    again.restore(early.state())
    assert again.size == int(again.count) == 2 * HORIZON
    again.add(blocks[1])
    indices = torch.arange(EPISODES * HORIZON).expand(RUNS, -1)
    assert_equal(again.gather(indices), buffer.gather(indices))


def test_what_is_no_whole_episode_or_does_not_fit_is_refused() -> None:
    buffer, _ = filled()
    with pytest.raises(UserError, match="holds 12 transitions a run, in episodes of 4: 4 were added to 12"):
        buffer.add(block(1, 2))
    buffer = ImageBuffer(RUNS, EPISODES, HORIZON, SHAPE, ACTION)
    part = block(1, 2)
    with pytest.raises(UserError, match="3 were added to 0"):
        buffer.add(part.map(lambda field: field[:, :3]))
    with pytest.raises(UserError, match="not whole episodes"):
        buffer.add(part._replace(next_observations=part.observations))
    with pytest.raises(UserError, match="online actions have shape"):
        buffer.add(part._replace(actions=part.actions[..., :1]))
    with pytest.raises(UserError, match="lacks frames"):
        buffer.restore({"actions": part.actions})


@pytest.mark.parametrize("kind", ["balanced", "uniform", "online_only"])
def test_the_sources_of_draws_are_those_of_the_transitions_drawn(kind: str) -> None:
    episodes = record(6)
    data, buffer = ImageData(episodes), ImageBuffer(RUNS, EPISODES, HORIZON, SHAPE, ACTION)
    replay: OnlineReplay | BalancedReplay = OnlineReplay(buffer)
    if kind == "balanced":
        replay = BalancedReplay(data, buffer, 0.5, 2 * HORIZON)
    elif kind == "uniform":
        replay = UniformReplay(data, buffer)
    replay.add(block(2, 0))
    batch, indices = replay.sample(4000, Streams([1, 2]))
    sources = drawn_sources(replay, indices)
    offline_rows = 0 if kind == "online_only" else len(data)
    for row in range(300):
        index = int(indices[0, row])
        expected = ONLINE if index >= offline_rows else episodes.source[index]
        assert int(sources[0, row]) == expected
        if expected != ONLINE:
            assert np.array_equal(batch.observations[0, row], episodes.frames[episodes.frame_index[index]])
    online_share = (sources == ONLINE).float().mean(dim=1)
    random_share = (sources == RANDOM).float().mean(dim=1)
    # 24 offline rows, a third of them random, and 8 online ones
    expected_online = {"balanced": 0.5, "uniform": 8 / 32, "online_only": 1.0}[kind]
    torch.testing.assert_close(online_share, torch.full((2,), expected_online), rtol=0, atol=0.03)
    torch.testing.assert_close(random_share, torch.full((2,), (1 - expected_online) / 3), rtol=0, atol=0.03)
