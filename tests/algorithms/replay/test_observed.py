"""Stores of frames beside a naive copy of every transition's two observations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay
from algorithms.replay.batch import FIELDS, Batch, combined
from algorithms.replay.extras import NO_EXTRAS, ONLINE, Needed
from algorithms.replay.observed import RecordedFrames
from algorithms.replay.replays import OnlineReplay, UniformReplay
from algorithms.replay.stores import OfflineData, OnlineBuffer
from offline_data.image_episodes import PRIOR, RANDOM, TASK
from storage import UserError
from tests.algorithms.image_task import ACTION, HORIZON, SHAPES, record

RUNS, EPISODES = 2, 3


def block(episodes: int, seed: int) -> Batch:
    """Whole episodes of random pixels and states for every run."""
    generator = torch.Generator().manual_seed(seed)
    count = episodes * HORIZON

    def numbers(*shape: int) -> Tensor:
        return torch.randn(RUNS, count, *shape, generator=generator)

    shape = (RUNS, episodes, HORIZON + 1)
    frames = {
        "image": torch.randint(0, 256, (*shape, *SHAPES["image"]), dtype=torch.uint8, generator=generator),
        "state": torch.randn(*shape, *SHAPES["state"], generator=generator),
    }
    before, after = (
        {name: rows[:, :, part].flatten(1, 2) for name, rows in frames.items()}
        for part in (slice(-1), slice(1, None))
    )
    return Batch(before, numbers(ACTION), numbers(), numbers(), after)


def empty(needed: Needed = NO_EXTRAS) -> OnlineBuffer:
    return OnlineBuffer(RUNS, EPISODES * HORIZON, SHAPES, ACTION, needed=needed, horizon=HORIZON)


def filled() -> tuple[OnlineBuffer, list[Batch]]:
    buffer, blocks = empty(), [block(2, 0), block(1, 1)]
    for part in blocks:
        buffer.add(part)
    return buffer, blocks


def assert_equal(one: Batch, other: Batch) -> None:
    for name in FIELDS:
        ours, theirs = (getattr(batch, name) for batch in (one, other))
        if isinstance(ours, dict):
            for key, rows in ours.items():
                assert torch.equal(rows, theirs[key]) and rows.dtype == theirs[key].dtype, key
        else:
            assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype, name


def test_gathered_offline_transitions_are_the_recorded_ones() -> None:
    episodes = record(7)
    data = OfflineData.from_transitions(episodes)
    indices = torch.randint(len(data), (2, 9))
    batch = data.gather(indices)
    for run in range(2):
        for row in range(9):
            index = int(indices[run, row])
            frame = index + index // HORIZON  # every episode before it has one frame more than transitions
            for name, rows in episodes.observations.items():
                assert np.array_equal(batch.observations[name][run, row], rows[frame])
                assert np.array_equal(batch.next_observations[name][run, row], rows[frame + 1])
            assert int(batch.extras["source"][run, row]) == episodes.source[index]
            assert np.array_equal(batch.actions[run, row], episodes.actions[index])
            assert float(batch.rewards[run, row]) == episodes.rewards[index]
            assert float(batch.masks[run, row]) == episodes.masks[index]


def test_a_frame_without_next_is_refused() -> None:
    episodes = record(3)
    with pytest.raises(UserError, match="frame_index runs from 3 to 16, expected frames and their next ones"):
        RecordedFrames(episodes.observations, episodes.frame_index + 3, torch.device("cpu"))


def test_images_have_returns_too_and_no_extra_that_is_made_of_nothing() -> None:
    data = OfflineData.from_transitions(record(3), needed=Needed(("returns_to_go",), 0.5))
    batch = data.gather(torch.arange(HORIZON).unsqueeze(0))
    rewards, expected = batch.rewards[0].tolist(), 0.0
    for step in reversed(range(HORIZON)):
        expected = rewards[step] + 0.5 * expected
        assert float(batch.extras["returns_to_go"][0, step]) == pytest.approx(expected)
    with pytest.raises(UserError, match="what is collected online has no trajectory"):
        empty(Needed(("trajectory",)))


def test_gathered_online_transitions_are_the_collected_ones() -> None:
    buffer, blocks = filled()
    naive = combined(blocks, lambda *parts: torch.cat(parts, dim=1))
    indices = torch.randint(EPISODES * HORIZON, (RUNS, 20))
    run = torch.arange(RUNS).unsqueeze(1)
    assert_equal(buffer.gather(indices), naive.map(lambda field: field[run, indices]))


def test_a_buffer_goes_on_where_its_state_was_taken() -> None:
    buffer, blocks = filled()
    early = empty()
    early.add(blocks[0])
    again = empty()
    again.restore(early.state())
    assert again.size == int(again.count) == 2 * HORIZON
    again.add(blocks[1])
    indices = torch.arange(EPISODES * HORIZON).expand(RUNS, -1)
    assert_equal(again.gather(indices), buffer.gather(indices))


def test_what_is_no_whole_episode_or_does_not_fit_is_refused() -> None:
    buffer, _ = filled()
    with pytest.raises(UserError, match="holds 12 transitions a run, 16 were collected"):
        buffer.add(block(1, 2))
    buffer = empty()
    part = block(1, 2)
    with pytest.raises(UserError, match="3 transitions were collected, expected whole episodes of 4"):
        buffer.add(part.map(lambda field: field[:, :3]))
    with pytest.raises(UserError, match="online image are not whole episodes"):
        buffer.add(part._replace(next_observations=part.observations))
    with pytest.raises(UserError, match="online actions have shape"):
        buffer.add(part._replace(actions=part.actions[..., :1]))
    with pytest.raises(UserError, match=r"lacks rewards, masks, frames\.image, frames\.state"):
        buffer.restore({"actions": part.actions})


@pytest.mark.parametrize("kind", ["balanced", "uniform", "online_only"])
def test_the_sources_of_draws_are_those_of_the_transitions_drawn(kind: str) -> None:
    episodes = record(6)
    data, buffer = OfflineData.from_transitions(episodes), empty()
    replay: OnlineReplay | BalancedReplay = OnlineReplay(buffer)
    if kind == "balanced":
        replay = BalancedReplay(data, buffer, 0.5, 2 * HORIZON)
    elif kind == "uniform":
        replay = UniformReplay(data, buffer)
    replay.add(block(2, 0))
    batch, indices = replay.sample(4000, Streams([1, 2]))
    sources = batch.extras["source"]
    offline_rows = 0 if kind == "online_only" else len(data)
    for row in range(300):
        index = int(indices[0, row])
        expected = ONLINE if index >= offline_rows else episodes.source[index]
        assert int(sources[0, row]) == expected
        if expected != ONLINE:
            frame = episodes.frames[episodes.frame_index[index]]
            assert np.array_equal(batch.observations["image"][0, row], frame)
    online_share = (sources == ONLINE).float().mean(dim=1)
    random_share = (sources == RANDOM).float().mean(dim=1)
    # 24 offline rows, a third of them random, and 8 online ones
    expected_online = {"balanced": 0.5, "uniform": 8 / 32, "online_only": 1.0}[kind]
    torch.testing.assert_close(online_share, torch.full((2,), expected_online), rtol=0, atol=0.03)
    torch.testing.assert_close(random_share, torch.full((2,), (1 - expected_online) / 3), rtol=0, atol=0.03)


def test_data_without_what_is_to_be_imitated_are_refused() -> None:
    episodes = record(6)
    scripted = Needed(("source",), imitated=(PRIOR, TASK))
    assert len(OfflineData.from_transitions(episodes, needed=scripted)) == 6 * HORIZON
    random_alone = replace(episodes, source=np.full_like(episodes.source, RANDOM))
    assert OfflineData.from_transitions(random_alone, needed=Needed(("source",)))
    with pytest.raises(UserError) as refusal:
        OfflineData.from_transitions(random_alone, needed=scripted)
    assert str(refusal.value) == (
        "made-up has random episodes alone, expected prior or task ones, to be imitated"
    )
