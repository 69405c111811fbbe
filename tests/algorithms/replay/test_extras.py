"""Extras: each says what its episodes say, whoever draws it; nobody draws what nobody declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay
from algorithms.replay.batch import Batch, combined
from algorithms.replay.extras import EPISODE_ENDS, Needed
from algorithms.replay.replays import MixedReplay, OnlineReplay, UniformReplay
from algorithms.replay.stores import OfflineData, OnlineBuffer
from offline_data.transitions import Transitions
from storage import UserError
from tests.made_up import made_up_transitions

LENGTHS, DISCOUNT, RUNS = (4, 1, 6), 0.9, 2
OBSERVATION, ACTION = 11, 1
EVERYTHING = Needed(("returns_to_go", "next_actions", "continues", "trajectory"), DISCOUNT)
RETURNS = Needed(("returns_to_go",), DISCOUNT)


def made_up() -> Transitions:
    return made_up_transitions(LENGTHS)


def gathered(data: OfflineData) -> Batch:
    return data.gather(torch.arange(len(data)).unsqueeze(0)).map(lambda rows: rows[0])


def naive_returns(rewards: list[float], ends: list[bool]) -> list[float]:
    """The discounted sum from each step to its episode's end, or as far as it has gone."""
    returns = []
    for step in range(len(rewards)):
        total, factor = 0.0, 1.0
        for later in range(step, len(rewards)):
            total += factor * rewards[later]
            factor *= DISCOUNT
            if ends[later]:
                break
        returns.append(total)
    return returns


def block(size: int, seed: int, ends: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(RUNS, size, *shape, generator=generator)

    fields = (normal(OBSERVATION), normal(ACTION), normal(), torch.ones(RUNS, size), normal(OBSERVATION))
    return Batch(*fields) if ends is None else Batch(*fields, {EPISODE_ENDS: ends})


def buffer(capacity: int, needed: Needed = RETURNS) -> OnlineBuffer:
    return OnlineBuffer(RUNS, capacity, OBSERVATION, ACTION, needed=needed)


def everything_in(online: OnlineBuffer) -> Batch:
    return online.gather(torch.arange(online.size).expand(RUNS, -1))


def test_a_datasets_extras_are_its_episodes() -> None:
    transitions = made_up()
    extras = gathered(OfflineData.from_transitions(transitions, needed=EVERYTHING)).extras
    ends = transitions.episode_ends.tolist()
    expected = torch.tensor(naive_returns(transitions.rewards.tolist(), ends))
    torch.testing.assert_close(extras["returns_to_go"], expected)
    assert extras["trajectory"].tolist() == [0] * 4 + [1] + [2] * 6
    assert extras["trajectory"].dtype == torch.int64
    assert extras["continues"].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0]
    inside = ~transitions.episode_ends
    assert np.array_equal(
        extras["next_actions"].numpy()[inside], transitions.actions[np.flatnonzero(inside) + 1]
    )


def test_what_nobody_declares_nobody_draws() -> None:
    assert gathered(OfflineData.from_transitions(made_up())).extras == {}
    online = buffer(3, Needed())
    online.add(block(3, 0, torch.ones(RUNS, 3, dtype=torch.bool)))
    assert everything_in(online).extras == {} and EPISODE_ENDS not in online.state()


@pytest.mark.parametrize("kind", ["uniform", "mixed", "balanced"])
def test_extras_of_either_part_are_drawn_with_their_rows_and_move_no_draw(kind: str) -> None:
    drawn = []
    for needed in (RETURNS, Needed()):
        transitions, online = made_up(), buffer(8, needed)
        offline = OfflineData.from_transitions(transitions, needed=needed)
        ends = (torch.arange(8) == 7).expand(RUNS, -1)
        makers = {
            "uniform": lambda offline=offline, online=online: UniformReplay(offline, online),
            "mixed": lambda offline=offline, online=online: MixedReplay(offline, online, 0.5),
            "balanced": lambda offline=offline, online=online: BalancedReplay(offline, online, 0.5, 8),
        }
        replay = makers[kind]()
        replay.add(block(8, 3, ends))
        drawn.append(replay.sample(40, Streams([1, 2])))
    (with_returns, indices), (without, same_indices) = drawn
    assert torch.equal(indices, same_indices) and without.extras == {}
    assert all(torch.equal(one, other) for one, other in zip(with_returns[:5], without[:5], strict=True))
    offline_returns = torch.from_numpy(made_up().discounted_returns(DISCOUNT)).expand(RUNS, -1)
    collected = [naive_returns(rewards, [False] * 7 + [True]) for rewards in block(8, 3).rewards.tolist()]
    expected = torch.cat([offline_returns, torch.tensor(collected)], dim=1).gather(1, indices)
    torch.testing.assert_close(with_returns.extras["returns_to_go"], expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_returns_to_go_grow_with_what_is_collected_until_the_episode_ends(
    sizes: list[int], data: st.DataObject
) -> None:
    total = sum(sizes)
    mark = st.lists(st.booleans(), min_size=total, max_size=total)
    ends = torch.tensor([data.draw(mark) for _ in range(RUNS)])
    whole, online, start = block(total, 7, ends), buffer(total), 0
    for size in sizes:
        online.add(whole.map(lambda rows, at=start, size=size: rows[:, at : at + size]))
        start += size
        expected = [
            naive_returns(whole.rewards[run, :start].tolist(), ends[run, :start].tolist())
            for run in range(RUNS)
        ]
        found = everything_in(online).extras["returns_to_go"]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_a_restored_buffer_goes_on_with_its_episodes() -> None:
    ends = torch.tensor([[False, True, False], [False, False, False]])
    one, other = buffer(6), buffer(6)
    one.add(block(3, 0, ends))
    other.restore(one.state())
    for online in (one, other):
        online.add(block(3, 1, ends))
    state = other.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.state().items())
    incomplete = {name: tensor for name, tensor in one.state().items() if name != "returns_to_go"}
    with pytest.raises(UserError, match="returns_to_go"):
        buffer(6).restore(incomplete)


def test_data_that_cannot_say_are_refused() -> None:
    with pytest.raises(UserError, match="what was collected does not say where episodes end"):
        buffer(3).add(block(3, 0))
    with pytest.raises(UserError, match="collected online has no next_actions"):
        buffer(3, EVERYTHING)
    with pytest.raises(UserError, match="made-up does not say source of its episodes"):
        OfflineData.from_transitions(made_up(), needed=Needed(("source",)))
    ends = {"dataset_id": "unmarked", "episode_ends": {"longer_than_time_limit": 3}}
    with pytest.raises(UserError, match=r"unmarked does not mark where its episodes end \(3 of them longer"):
        OfflineData.from_transitions(replace(made_up(), metadata=ends), needed=RETURNS)
    with pytest.raises(
        UserError, match=r"longer than the time limit\): .* which the method's trajectory needs"
    ):
        OfflineData.from_transitions(replace(made_up(), metadata=ends), needed=Needed(("trajectory",)))
    ends["episode_ends"] = {"rule": "authors", "unmarked_ends": 2, "longer_than_time_limit": 0}
    for needed in (RETURNS, Needed(("trajectory",))):
        with pytest.raises(UserError, match=r"\(2 of them end without a mark and are joined to the next\)"):
            OfflineData.from_transitions(replace(made_up(), metadata=ends), needed=needed)
    replay = UniformReplay(OfflineData.from_transitions(made_up()), buffer(2))
    replay.add(block(2, 0, torch.ones(RUNS, 2, dtype=torch.bool)))
    with pytest.raises(UserError, match="a batch has the extras none, expected returns_to_go"):
        replay.sample(4, Streams([1, 2]))
    online = OnlineReplay(buffer(2))
    with pytest.raises(UserError, match="nothing has been collected"):
        online.sample(2, Streams([1, 2]))


def test_batches_are_combined_by_name() -> None:
    rows = block(2, 0, torch.ones(RUNS, 2, dtype=torch.bool))
    joined = combined([rows, rows], lambda *both: torch.cat(both, dim=1))
    assert joined.rewards.shape == (RUNS, 4) and joined.extras[EPISODE_ENDS].shape == (RUNS, 4)
