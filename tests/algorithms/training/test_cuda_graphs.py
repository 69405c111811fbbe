"""Updates made in captured blocks are the updates made one by one.

Where there is no GPU, a block of the host stands in for a captured one: it makes its updates when it is
replayed, all of them by the steps of the one before the first, as a captured block that cannot see the host's
counters would. What a CUDA graph itself does is tested where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.interface import Metrics
from algorithms.population import checkpoints
from algorithms.population.soft_maximum import drawn_candidates
from algorithms.population.streams import Streams
from algorithms.replay.sum_tree import SumTree
from algorithms.training import cuda_graphs
from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.cuda_graphs import WARM_UP, Updates
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.offline import OfflineSchedule, PretrainedAgents, pretrain
from algorithms.training.online import OnlineSchedule
from storage import UserError
from tests.algorithms.by_name import METHODS, OFFLINE_METHODS
from tests.made_up import made_up_transitions

ENVIRONMENT, SEEDS = "InvertedDoublePendulum-v4", [0, 1]
SMALL: dict[str, Any] = {"hidden_widths": (8, 8), "batch_size": 16}
OFFLINE = OfflineSchedule(
    updates=41,
    cloning_warm_start=13,
    monte_carlo_warm_start=9,
    evaluation_interval=17,
    evaluation_episodes=1,
    checkpoint_interval=11,
)
ONLINE = OnlineSchedule(
    steps=50,
    block_size=20,
    first_block_multiplier=2,
    evaluation_interval=20,
    evaluation_episodes=1,
    checkpoint_interval=20,
)
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


class HostBlock:
    """Stands in for a captured block."""

    made: ClassVar[list[int]] = []

    def __init__(self, update: Callable[[], Metrics], count: int, streams: Sequence[Streams]) -> None:
        self._update, self._count = update, count
        self.made.append(count)

    def launch(self) -> None:
        self._made = [self._update() for _ in range(self._count)]

    def metrics(self) -> list[Metrics]:
        return self._made


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of the host; how many updates each that was made has."""
    monkeypatch.setattr(cuda_graphs, "Block", HostBlock)
    monkeypatch.setattr(HostBlock, "made", [])
    return HostBlock.made


@pytest.fixture
def in_blocks_of_5(monkeypatch: pytest.MonkeyPatch, blocks: list[int]) -> list[int]:
    """The loops make their updates five at a time."""

    def updates(update: Callable[[], Metrics], streams: Sequence[Streams], per_graph: int) -> Updates:
        return Updates(update, streams, 5)

    monkeypatch.setattr("algorithms.training.loop.Updates", updates)
    return blocks


@given(
    counts=st.lists(st.integers(0, 40), max_size=8),
    per_graph=st.integers(0, 9),
    anew=st.sets(st.integers(0, 7)),
    period=st.integers(1, 4),
)
def test_so_many_updates_are_made_as_are_asked_for_and_in_order(
    counts: list[int], per_graph: int, anew: set[int], period: int
) -> None:
    made: list[int] = []
    begun: list[int] = []

    class Noting(HostBlock):
        def launch(self) -> None:
            assert not self._count % period
            begun.append(len(made))
            super().launch()

    def update() -> Metrics:
        made.append(len(made))
        return {"td_error": torch.tensor([made[-1]])}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_graphs, "Block", Noting)
        updates = Updates(update, [], per_graph)
        seen = []
        for index, count in enumerate(counts):
            if index in anew:
                updates.begin_anew()
            making = updates.make(count, made=len(made), period=period)
            seen.append([int(metrics["td_error"]) for metrics in making])
    assert [len(numbers) for numbers in seen] == counts
    assert [number for numbers in seen for number in numbers] == list(range(sum(counts)))
    assert not any(number % period for number in begun)


def test_a_block_is_captured_once_after_its_warm_up_and_again_for_another_update(blocks: list[int]) -> None:
    updates = Updates(lambda: {"td_error": torch.zeros(1)}, [], 5)
    list(updates.make(WARM_UP + 4))
    assert blocks == []
    list(updates.make(30))
    assert blocks == [5]
    updates.begin_anew()
    list(updates.make(30))
    assert blocks == [5, 5]


def pretrained(method: str, config: Any, folder: Path, compute: Compute | None = None) -> PretrainedAgents:
    schedule = OFFLINE if method == "cql" else OfflineSchedule(30, 0, 0, 17, 1, 11)
    job = Job("test", method, "made-up", ENVIRONMENT, SEEDS, "hash", folder, compute or Compute())
    return pretrain(OFFLINE_METHODS[method], config, schedule, made_up_transitions([30, 20]), job)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_pre_training_in_blocks_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    config = CQLConfig(**SMALL, sampled_actions=2, cloning_updates=14, frozen_actor_updates=6)
    one_by_one = pretrained("cql", config, tmp_path / "one by one")
    blocks = request.getfixturevalue("in_blocks_of_5")
    in_blocks = pretrained("cql", config, tmp_path / "in blocks")
    assert blocks == [5, 5, 5]  # captured anew where what an update does has changed
    assert in_blocks.curve.equals(one_by_one.curve)
    assert all(same(*pair) for pair in zip(in_blocks.agents, one_by_one.agents, strict=True))


def test_a_custom_methods_updates_are_not_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def updates(update: Callable[[], Metrics], streams: Sequence[Streams], per_graph: int) -> Updates:
        asked.append(per_graph)
        return Updates(update, streams, 0)

    class Custom(METHODS["sac"]):  # type: ignore[misc, name-defined]
        """A method of somebody else."""

    capturing = Compute()
    object.__setattr__(capturing, "updates_per_graph", 5)
    monkeypatch.setattr("algorithms.training.loop.Updates", updates)
    for method in (METHODS["sac"], Custom):
        place = tmp_path / method.__name__
        job = Job("test", "sac", "made-up", ENVIRONMENT, SEEDS, "hash", place, capturing)
        fine_tune(method, method.Config(**SMALL), ONLINE, None, [], job)
    assert asked == [5, 0]


def test_what_only_a_gpu_can_is_refused_for_a_cpu() -> None:
    with pytest.raises(UserError, match="tf32 is True, expected device cuda with it"):
        Compute(tf32=True)
    with pytest.raises(UserError, match="updates_per_graph is 10, expected device cuda"):
        Compute(updates_per_graph=10)


@pytest.fixture
def _gpu_process() -> None:
    prepare_process(Compute("cuda"))


@ON_A_GPU
@pytest.mark.usefixtures("_gpu_process")
def test_captured_pre_training_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, compute = CQLConfig(**SMALL), Compute("cuda", updates_per_graph=5)
    whole = pretrained("cql", config, tmp_path / "whole", compute)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "take", stopping_after(2, TrainingLog.take))
        with pytest.raises(KeyboardInterrupt):
            pretrained("cql", config, tmp_path / "stopped", compute)
    stopped = pretrained("cql", config, tmp_path / "stopped", compute)
    assert stopped.curve.equals(whole.curve)
    assert all(same(*pair) for pair in zip(stopped.agents, whole.agents, strict=True))


def stopping_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, until a person has enough of it."""
    left = iter(range(calls))

    def stopping(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*arguments)

    return stopping


@ON_A_GPU
def test_a_sum_tree_on_a_gpu_draws_what_it_draws_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    trees = [SumTree(2, 1_200_000, device=device) for device in ("cpu", "cuda")]
    for _ in range(20):
        indices = torch.randint(1_200_000, (2, 256), generator=generator)
        indices[:, 1] = indices[:, 0]
        priorities = torch.rand(2, 256, generator=generator)
        priorities[:, 1] = priorities[:, 0]
        fractions = torch.rand(2, 256, generator=generator, dtype=torch.float64)
        drawn = []
        for tree in trees:
            tree.set(indices.to(tree.device), priorities.to(tree.device))
            drawn.append(tree.sample(fractions.to(tree.device)).cpu())
        assert torch.equal(*drawn)


@ON_A_GPU
def test_a_candidate_drawn_on_a_gpu_has_the_weight_that_its_draw_falls_on() -> None:
    weights = torch.rand(4, 50, 30).softmax(dim=-1)
    draws = torch.rand(4, 50, 6).sort(dim=-1).values
    chosen = drawn_candidates(weights.cuda(), draws.cuda()).cpu()
    ends = torch.cat([torch.zeros(4, 50, 1), weights.double().cumsum(dim=-1)], dim=-1)
    low, high = ends.gather(2, chosen), ends.gather(2, chosen + 1)
    assert ((low - 1e-6 <= draws) & (draws <= high + 1e-6)).all()


class DrawnOnTheCPU(Streams):
    """The same numbers on every device."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        super().__init__(seeds)
        self.place = torch.device(device)

    def on(self, device: torch.device | str) -> Streams:
        self.place = torch.device(device)
        return self

    def uniform(self, *shape: int) -> Tensor:
        return super().uniform(*shape).to(self.place)

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).to(self.place)

    def integers(self, high: int, *shape: int) -> Tensor:
        return super().integers(high, *shape).to(self.place)


@ON_A_GPU
@pytest.mark.usefixtures("_gpu_process")
def test_updates_on_a_gpu_are_the_cpus_but_for_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algorithms.population.agents.Streams", DrawnOnTheCPU)
    monkeypatch.setattr("algorithms.training.offline.Streams", DrawnOnTheCPU)
    schedule = OfflineSchedule(3, cloning_warm_start=2, monte_carlo_warm_start=2, evaluation_episodes=1)
    data, moments = made_up_transitions([30, 20]), []
    for device in ("cpu", "cuda"):
        place = tmp_path / device
        compute = Compute(device)  # type: ignore[arg-type]
        job = Job("test", "cql", "made-up", ENVIRONMENT, SEEDS, "hash", place, compute)
        pretrain(CQL, CQLConfig(**SMALL), schedule, data, job)
        tensors, _ = checkpoints.load(place / "checkpoint.safetensors")
        moments.append(
            {name: tensor for name, tensor in tensors.items() if name.startswith("agents.adam.exp_avg.")}
        )
    assert len(moments[0]) > 10
    for name, tensor in moments[0].items():  # Adam's first moments: what the gradients were
        torch.testing.assert_close(moments[1][name], tensor, rtol=1e-3, atol=1e-5)
