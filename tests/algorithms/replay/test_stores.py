"""Replays: what is stored comes back, draws have the stated shares, a resume changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay, initial_priority
from algorithms.replay.batch import Batch, combined, slices
from algorithms.replay.replays import MixedReplay, OnlineReplay, RingReplay, UniformReplay
from algorithms.replay.stores import OfflineData, OnlineBuffer, gather_union
from storage import UserError

OBSERVATION, ACTION = 3, 2


def numbered(start: int, stop: int, runs: int) -> Batch:
    """Transitions whose every number tells the row and the run. [runs, stop - start, ...]"""
    rows = torch.arange(start, stop, dtype=torch.float32).expand(runs, -1)
    rows = rows + 0.1 * torch.arange(runs).unsqueeze(1)

    def wide(size: int, shift: float) -> torch.Tensor:
        return torch.stack([rows + shift + column / 100 for column in range(size)], dim=-1)

    return Batch(wide(OBSERVATION, 0), wide(ACTION, 0.5), rows + 0.7, rows % 2, wide(OBSERVATION, 1))


def offline_data(size: int) -> OfflineData:
    """`size` numbered transitions, negative to differ from all online ones."""
    return OfflineData(*(-tensor[0].numpy() - 1 for tensor in numbered(0, size, 1)[:5]))


def online_buffer(runs: int, capacity: int) -> OnlineBuffer:
    return OnlineBuffer(runs, capacity, OBSERVATION, ACTION)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))


def bare_replay(offline: int, online: int, fraction: float, runs: int = 1) -> BalancedReplay:
    """A replay whose transitions hold nothing but a number: for counting draws."""
    numbers = np.zeros((offline, 1), np.float32)
    data = OfflineData(numbers, numbers, numbers[:, 0], numbers[:, 0], numbers)
    return BalancedReplay(data, OnlineBuffer(runs, online, 1, 1), fraction)


def bare_block(size: int, runs: int = 1) -> Batch:
    column, flat = torch.zeros(runs, size, 1), torch.zeros(runs, size)
    return Batch(column, column, flat, flat, column)


# Storage


def test_offline_data_are_not_copied() -> None:
    arrays = [tensor[0].numpy() for tensor in numbered(0, 5, 1)[:5]]
    data = OfflineData(*arrays)
    arrays[0][2, 0] = 99.0
    assert data.gather(torch.tensor([[2]])).observations[0, 0, 0] == 99.0
    assert len(data) == 5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.lists(st.integers(0, 5), max_size=4), st.data())
def test_the_union_is_offline_then_online_rows(
    runs: int, offline_size: int, blocks: list[int], data: st.DataObject
) -> None:
    offline, online = offline_data(offline_size), online_buffer(runs, sum(blocks) + 2)
    for block in blocks:
        online.add(numbered(online.size, online.size + block, runs))
    rows = offline_size + sum(blocks)
    indices = torch.tensor(
        [data.draw(st.lists(st.integers(0, rows - 1), min_size=4, max_size=4)) for _ in range(runs)]
    )

    whole = numbered(0, sum(blocks), runs)
    old = offline.gather(torch.arange(offline_size).expand(runs, -1))
    run = torch.arange(runs).unsqueeze(1)
    expected = combined([old, whole], lambda o, n: torch.cat([o, n], dim=1)[run, indices])
    assert same(gather_union(offline, online, indices), expected)


def test_an_online_buffer_refuses_more_than_its_capacity() -> None:
    online = online_buffer(2, 5)
    online.add(numbered(0, 4, 2))
    with pytest.raises(UserError, match="holds 5 transitions a run, 6 were collected"):
        online.add(numbered(4, 6, 2))
    assert online.size == 4


def test_blocks_of_other_shapes_are_refused() -> None:
    online = online_buffer(2, 5)
    with pytest.raises(UserError, match="online observations have shape"):
        online.add(numbered(0, 4, 1))


@pytest.mark.parametrize(
    ("field", "array", "message"),
    [
        (0, np.zeros((4, 3)), "observations are float64, expected float32"),
        (1, np.zeros((3, 2), np.float32), "actions have 3 rows beside 4 rewards"),
        (2, np.zeros((4, 1), np.float32), r"rewards have shape \[4, 1\]"),
    ],
)
def test_malformed_offline_data_are_refused(field: int, array: np.ndarray, message: str) -> None:
    arrays = [tensor[0].numpy() for tensor in numbered(0, 4, 1)[:5]]
    arrays[field] = array
    with pytest.raises(UserError, match=message):
        OfflineData(*arrays)


def test_empty_offline_data_are_refused() -> None:
    with pytest.raises(UserError, match="at least one"):
        offline_data(0)


# All replays

KINDS: dict[str, Callable[[int], OnlineReplay]] = {
    "online": lambda runs: OnlineReplay(online_buffer(runs, 30)),
    "uniform": lambda runs: UniformReplay(offline_data(20), online_buffer(runs, 30)),
    "mixed": lambda runs: MixedReplay(offline_data(20), online_buffer(runs, 30), 0.25),
    "balanced": lambda runs: BalancedReplay(offline_data(20), online_buffer(runs, 30), 0.5, block_size=7),
}


def practise(
    replay: OnlineReplay, streams: Streams, start: int, blocks: int
) -> list[tuple[Batch, torch.Tensor]]:
    """Add blocks and draw from them, priorities depending on the rows drawn."""
    drawn = []
    for block in range(start, start + blocks):
        replay.add(numbered(7 * block, 7 * block + 7, len(streams)))
        for _ in range(3):
            batch, indices = replay.sample(8, streams)
            drawn.append((batch, indices))
            if isinstance(replay, BalancedReplay):
                replay.update_priorities(indices, 0.1 + batch.rewards.abs() / 7)
                drawn.append((replay.sample_offline(4, streams), indices))
                drawn.append((replay.sample_online(4, streams), indices))
    return drawn


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_replay_draws_the_same(kind: str) -> None:
    replay, streams = KINDS[kind](2), Streams([1, 2])
    practise(replay, streams, 0, 2)
    replay_state, streams_state = replay.state(), streams.state()
    expected = practise(replay, streams, 2, 2)

    resumed, resumed_streams = KINDS[kind](2), Streams([7, 8])
    resumed.restore(replay_state)
    resumed_streams.restore(streams_state)
    for (batch, indices), (other, others) in zip(
        expected, practise(resumed, resumed_streams, 2, 2), strict=True
    ):
        assert same(batch, other)
        assert torch.equal(indices, others)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_does_not_depend_on_its_neighbours(kind: str) -> None:
    together = practise(KINDS[kind](3), Streams([5, 6, 7]), 0, 3)
    alone = practise(KINDS[kind](1), Streams([5]), 0, 3)
    for (batch, indices), (other, others) in zip(together, alone, strict=True):
        assert same(batch.map(lambda tensor: tensor[:1]), other)
        assert torch.equal(indices[:1], others)


@pytest.mark.parametrize("kind", KINDS)
def test_every_replay_saves_only_what_was_collected(kind: str) -> None:
    replay = KINDS[kind](2)
    replay.add(numbered(0, 7, 2))
    state = replay.state()
    assert all(tensor.is_contiguous() for tensor in state.values())
    assert state["observations"].shape == (2, 7, OBSERVATION)
    assert state.get("priority_units", torch.zeros(2, 27)).shape == (2, 27)


@pytest.mark.parametrize("kind", KINDS)
def test_an_incomplete_state_is_refused(kind: str) -> None:
    replay = KINDS[kind](1)
    replay.add(numbered(0, 7, 1))
    state = replay.state()
    state.popitem()
    with pytest.raises(UserError, match="lacks"):
        KINDS[kind](1).restore(state)


def test_priorities_of_another_dataset_are_refused() -> None:
    replay = KINDS["balanced"](1)
    replay.add(numbered(0, 7, 1))
    other = BalancedReplay(offline_data(10), online_buffer(1, 30), 0.5)
    with pytest.raises(UserError, match="expected 17 a run"):
        other.restore(replay.state())


def test_drawing_online_data_before_any_were_collected_is_refused() -> None:
    streams = Streams([0])
    with pytest.raises(UserError, match="nothing has been collected"):
        OnlineReplay(online_buffer(1, 5)).sample(4, streams)
    with pytest.raises(UserError, match="nothing has been collected"):
        bare_replay(10, 10, 0.5).sample_online(4, streams)
    with pytest.raises(UserError, match="nothing has been collected"):
        MixedReplay(offline_data(6), online_buffer(1, 5), 0.5).sample(4, streams)


# Uniform draws


def test_uniform_replay_covers_both_parts_in_proportion() -> None:
    replay, streams = UniformReplay(offline_data(30), online_buffer(2, 50)), Streams([0, 1])
    _, before = replay.sample(1000, streams)
    assert int(before.max()) < 30  # nothing collected yet: the offline data alone
    replay.add(numbered(0, 10, 2))
    _, indices = replay.sample(40_000, streams)

    for row in indices:  # 40,000 draws over 40 rows: 1,000 each, deviation 31
        counts = torch.bincount(row, minlength=40)
        assert counts.shape == (40,)
        assert bool(torch.all((counts - 1000).abs() < 5 * 31.2))
    assert torch.allclose(replay.offline_share(indices), torch.full((2,), 0.75), atol=0.01)


def test_online_replay_has_no_offline_share() -> None:
    replay, streams = OnlineReplay(online_buffer(2, 50)), Streams([0, 1])
    replay.add(numbered(0, 10, 2))
    batch, indices = replay.sample(500, streams)
    assert sorted(set(indices.flatten().tolist())) == list(range(10))
    assert replay.offline_share(indices).tolist() == [0.0, 0.0]
    assert torch.equal(batch.rewards, numbered(0, 10, 2).rewards.gather(1, indices))


@pytest.mark.parametrize(("share", "rows"), [(0.5, 8), (0.25, 8), (0.1, 10), (0.0, 4), (1.0, 4)])
def test_every_slice_of_a_mixed_batch_has_its_share_of_offline_rows(share: float, rows: int) -> None:
    replay, streams = MixedReplay(offline_data(30), online_buffer(2, 50), share), Streams([0, 1])
    replay.add(numbered(0, 10, 2))
    batch, indices = replay.sample(20 * rows, streams)
    assert same(batch, gather_union(replay.offline, replay.online, indices))
    is_offline = indices < 30
    assert torch.equal(is_offline[0], is_offline[1])  # where they are is no chance
    for part in is_offline.chunk(20, dim=1):
        assert (part.sum(dim=1) == round(share * rows)).all()
    assert bool(is_offline[:, 0].all()) == (share > 0)
    assert torch.equal(replay.offline_share(indices), torch.full((2,), share))


def test_each_part_of_a_mixed_batch_is_drawn_uniformly() -> None:
    replay, streams = MixedReplay(offline_data(30), online_buffer(2, 50), 0.75), Streams([0, 1])
    replay.add(numbered(0, 10, 2))
    _, indices = replay.sample(40_000, streams)
    for row in indices:  # 30,000 draws over 30 rows and 10,000 over 10: 1,000 each, deviation 31
        counts = torch.bincount(row, minlength=40)
        assert counts.shape == (40,)
        assert bool(torch.all((counts - 1000).abs() < 5 * 31.6))


def test_offline_rows_alone_need_nothing_collected() -> None:
    replay = MixedReplay(offline_data(30), online_buffer(1, 50), 1.0)
    _, indices = replay.sample(8, Streams([0]))
    assert int(indices.max()) < 30


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_of_zero_to_one_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"share of offline rows in a batch is .*, expected from 0 to 1"):
        MixedReplay(offline_data(6), online_buffer(1, 5), share)


def test_slices_are_the_batch_in_order_and_equal_in_size() -> None:
    batch = numbered(0, 12, 2)
    parts = slices(batch, 3)
    assert [part.rewards.shape for part in parts] == [(2, 4)] * 3
    joined = combined(parts, lambda *fields: torch.cat(fields, dim=1))
    assert same(joined, batch)
    with pytest.raises(UserError, match="a batch of 12 rows cannot be cut into 5 equal parts"):
        slices(batch, 5)


def test_density_ratio_draws_stay_in_their_part() -> None:
    replay, streams = BalancedReplay(offline_data(6), online_buffer(1, 50), 0.9, 5), Streams([0])
    replay.add(numbered(0, 5, 1))
    offline = replay.sample_offline(3000, streams).observations[..., 0]
    online = replay.sample_online(3000, streams).observations[..., 0]
    # 3,000 draws: 500 (deviation 20.4) of each of 6 offline rows, 600 (21.9) of each of 5 online rows.
    for drawn, expected in ((-offline - 1, [500] * 6), (online, [600] * 5)):
        counts = torch.bincount(drawn[0].round().long(), minlength=len(expected))
        assert bool(torch.all((counts - torch.tensor(expected)).abs() < 5 * 22))


# Balanced replay


@pytest.mark.parametrize(("fraction", "online_draws"), [(0.5, 128), (0.75, 192)])
def test_the_first_draw_holds_the_initial_online_fraction(fraction: float, online_draws: int) -> None:
    replay, streams = bare_replay(100_000, 5000, fraction, runs=3), Streams([0, 1, 2])
    replay.add(bare_block(1000, runs=3))
    # Online rows fill the last `fraction` of the sum, exactly whole strata: no draw is left to chance.
    for _ in range(5):
        _, indices = replay.sample(256, streams)
        assert (indices >= 100_000).sum(dim=1).tolist() == [online_draws] * 3
        assert replay.offline_share(indices).tolist() == [1 - fraction] * 3


def test_initial_priority_is_the_supplements_formula() -> None:
    assert initial_priority(1_000_000, 0.75, 1000) == pytest.approx(3000.0)
    assert initial_priority(1_000_000, 0.5, 1000) == pytest.approx(1000.0)
    assert initial_priority(1_000_000, 0.5, 100) == pytest.approx(10_000.0)


@pytest.mark.parametrize(("fraction", "published"), [(0.5, 0.949), (0.75, 0.925)])
def test_logged_offline_ratio_of_the_first_updates_is_the_published_one(
    fraction: float, published: float
) -> None:
    """Figure 9 at index 0, logged once in 100 updates from the first on, for M = 1,000,000.

    The first draw holds rho online rows. Within 100 updates nearly every new row has been drawn once
    and competes with weight about 1, so the other nine draws hold about 1000 / (M + 1000) = 0.001 of
    them: the mean offline ratio is 1 - (rho + 9 * 0.001) / 10 = 0.949 for 0.5, 0.924 for 0.75.
    """
    replay, streams = bare_replay(1_000_000, 250_000, fraction), Streams([3])
    replay.add(bare_block(1000))
    shares = []
    for _ in range(1000):
        _, indices = replay.sample(256, streams)
        replay.update_priorities(indices, torch.ones(indices.shape))
        shares.append(float(replay.offline_share(indices)))

    logged = float(np.mean(shares[::100]))
    assert logged == pytest.approx(published, abs=1.5e-3)
    assert logged == pytest.approx(1 - (fraction + 9 * 1000 / 1_001_000) / 10, abs=1e-3)
    assert 0.0045 < 1 - float(np.mean(shares)) < 0.0065  # what Figure 9 does not show


def test_the_default_priority_only_rises_and_new_rows_enter_with_it() -> None:
    replay, streams = bare_replay(1000, 100, 0.5, runs=2), Streams([0, 1])
    assert replay.default_priority.tolist() == [1.0, 1.0]
    replay.add(bare_block(10, runs=2))
    generator = torch.Generator().manual_seed(0)
    largest = torch.ones(2, dtype=torch.float64)
    for scale in (0.5, 4.0, 2.0, 0.1, 6.0):
        _, indices = replay.sample(16, streams)
        # The priority of a row is a function of the row: drawn twice, it carries the same one.
        table = scale * torch.rand(2, 1100, generator=generator)
        weights = table.gather(1, indices)
        replay.update_priorities(indices, weights)
        largest = torch.maximum(largest, weights.amax(dim=1).double())
        assert torch.equal(replay.default_priority, largest)
        assert torch.allclose(replay.priorities(indices), weights.double(), atol=2e-6)

        new = 1000 + replay.online.size
        replay.add(bare_block(5, runs=2))
        entered = replay.priorities(torch.arange(new, new + 5).expand(2, -1))
        assert torch.allclose(entered, largest.unsqueeze(1).expand(2, 5), atol=2e-6)
    assert float(largest[0]) > 3.0
    assert largest[0] != largest[1]


def test_every_new_block_enters_with_at_least_the_initial_priority() -> None:
    replay, streams = bare_replay(100_000, 5000, 0.75), Streams([0])
    for block in range(3):
        replay.add(bare_block(1000))
        _, indices = replay.sample(256, streams)
        replay.update_priorities(indices, torch.ones(indices.shape))
        newest = replay.priorities(torch.arange(1000).unsqueeze(0) + 100_000 + 1000 * block)
        assert float(newest.max()) == pytest.approx(300.0)
        assert replay.default_priority.tolist() == [pytest.approx(300.0)]


def test_balanced_draws_follow_the_priorities() -> None:
    replay, streams = bare_replay(6, 10, 0.5), Streams([0])
    replay.add(bare_block(4))
    priorities = torch.tensor([[1.0, 0.0, 2.0, 0.5, 0.0, 1.5, 3.0, 0.25, 4.0, 0.75]])
    replay.update_priorities(torch.arange(10).unsqueeze(0), priorities)
    expected = 26 * 200 * priorities[0] / priorities.sum()
    counts = torch.zeros(10)
    for _ in range(200):
        _, indices = replay.sample(26, streams)
        counts += torch.bincount(indices[0], minlength=10)
    # Of 26 strata 0.5 wide an interval cuts at most two: the count's deviation over 200 draws is below 10.
    assert bool(torch.all((counts - expected).abs() <= 50))
    assert counts[1] == counts[4] == 0


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_an_initial_online_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="initial_online_fraction"):
        bare_replay(10, 10, fraction)


def test_an_initial_priority_beyond_the_tree_is_refused() -> None:
    with pytest.raises(UserError, match="gives new transitions priority"):
        BalancedReplay(offline_data(10), online_buffer(1, 10), 1 - 1e-13, block_size=1)


def test_a_block_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="block size is 0"):
        BalancedReplay(offline_data(10), online_buffer(1, 10), 0.5, block_size=0)


def test_balanced_replay_refuses_a_buffer_in_use() -> None:
    online = online_buffer(1, 10)
    online.add(numbered(0, 3, 1))
    with pytest.raises(UserError, match="starts with an empty online buffer, got 3 rows"):
        BalancedReplay(offline_data(10), online, 0.5)


# A ring of offline data


@pytest.mark.parametrize(("collected", "kept_out"), [(10, 4), (10, 10), (3, 4), (60, 4)])
def test_what_is_collected_takes_the_place_of_offline_rows_in_a_ring(collected: int, kept_out: int) -> None:
    """Of 20 places those collected after the first few have one each, once all are replaced the newest 20."""
    size = 20
    replay = RingReplay(offline_data(size), online_buffer(1, collected), 1.0, kept_out)
    replay.add(numbered(0, collected, 1))
    batch, indices = replay.sample(40_000, Streams([1]))
    entered = max(0, collected - kept_out)
    counts = torch.bincount(indices[0], minlength=size + collected) / indices.shape[1]
    expected = torch.full((size + collected,), 0.0)
    expected[:size] = max(0, size - entered) / size / size
    expected[size + kept_out + max(0, entered - size) :] = 1 / size
    assert torch.allclose(counts, expected, atol=0.005)
    assert same(batch, gather_union(replay.offline, replay.online, indices))
    torch.testing.assert_close(replay.offline_share(indices), counts[:size].sum().reshape(1))
