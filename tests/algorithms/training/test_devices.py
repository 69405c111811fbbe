"""What an update computes stays where the agents are, and never waits for a number: a GPU needs both.

Without a GPU, agents, data and draws lie on PyTorch's "meta" device, whose tensors have shapes and no
content: reading a number from one is an error, and each operation is watched for tensors that lie elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms.methods.interface import Method, OfflineStart, Start
from algorithms.methods.pixels import PixelConfig, PixelFineTuning, PixelFineTuningConfig, PixelPretraining
from algorithms.population.agents import Population, one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.image_replay import ImageBuffer, ImageData
from algorithms.replay.stores import OfflineData
from algorithms.training.fine_tuning import make_learner
from algorithms.training.online import OnlineSchedule
from tests.algorithms import pixel_task
from tests.algorithms.by_name import METHODS, OFFLINE_METHODS
from tests.algorithms.made_up import made_up_transitions

DEVICE = torch.device("meta")
ENVIRONMENT, OBSERVATIONS, ACTIONS, SEEDS = "InvertedDoublePendulum-v4", 11, 1, [0, 1]
SMALL: dict[str, Any] = {"hidden_widths": (8, 8), "batch_size": 16}
BCQ: dict[str, Any] = {**SMALL, "generator_hidden_widths": (8, 8), "acting_candidates": 4}
OFF2ON: dict[str, Any] = {
    **SMALL, "ensemble_size": 2, "density_hidden_widths": (8,), "density_batch_size": 16,
}  # fmt: skip
ONLINE_CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("off2on", "cql", OFF2ON),
    ("off2on", "cql", {**OFF2ON, "density_reference": "union", "critic_regression": "mean"}),
    ("off2on", "cql", {**OFF2ON, "replay": "uniform"}),
    ("off2on", "cql", {**OFF2ON, "replay": "online_only"}),
    ("sac_ft", "cql", SMALL),
    ("cql_ft", "cql", SMALL),
    ("sac", None, SMALL),
    ("awac", "awac", {**SMALL, "ensemble_size": 2}),
    ("bcq_ft", "bcq", {**BCQ, "ensemble_size": 2}),
]
"""Method, the offline method whose agents it takes over, and its numbers."""
ONLINE = OnlineSchedule(steps=60, block_size=20, evaluation_interval=20, checkpoint_interval=20)


class DrawsWithoutNumbers(Streams):
    """Streams on the meta device, for which there are no generators."""

    def __init__(self, seeds: Any, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds)
        self.device = torch.device(device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.empty(len(self), *shape, device=self.device)

    normal = uniform

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.empty(len(self), *shape, dtype=torch.int64, device=self.device)


NOT_CAPTURED = {
    "scatter", "scatter_", "scatter_add_", "index_put", "index_put_", "_index_put_impl_", "index_add_",
    "index_copy_", "put_", "sort", "nonzero", "masked_select", "_unique2",
}  # fmt: skip
"""What waits for the host or, in deterministic mode, copies from it or sorts: no CUDA graph captures that."""


class EveryTensorOn(TorchDispatchMode):
    """Fails at an operation that has a tensor on another device or cannot be captured; counts the others."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.operations = device, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, Tensor)]
        assert all(tensor.device == self.device for tensor in tensors), f"{func} left {self.device}"
        name = func.overloadpacket.__name__
        assert name not in NOT_CAPTURED, f"{func} cannot be captured"
        assert name != "cumsum" or not found.is_floating_point(), "a GPU refuses cumsum of floats"
        self.operations[name] += 1
        return found


@pytest.fixture(autouse=True)
def _draws_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "on", lambda self, device: DrawsWithoutNumbers(range(len(self)), device))
    monkeypatch.setattr("algorithms.training.fine_tuning.Streams", DrawsWithoutNumbers)
    plain = Population.move_to

    def moved(agents: Population, device: torch.device | str) -> None:
        """Moved to a GPU, parameters stay the same objects; of those on "meta" the optimiser is told."""
        names = {id(parameter): name for name, parameter in agents.named_parameters()}
        plain(agents, device)
        now = dict(agents.named_parameters())
        for group in agents.optimiser.param_groups:
            group["params"] = [now[names[id(parameter)]] for parameter in group["params"]]

    monkeypatch.setattr(Population, "move_to", moved)


def begun(name: str, config: Any) -> Method:
    """An offline method on the CPU, where agents are made before they move."""
    method = OFFLINE_METHODS[name]
    start = OfflineStart(SEEDS, OBSERVATIONS, ACTIONS, [])
    if name == "fqe":
        start = start._replace(agents=exported(begun("cql", OFFLINE_METHODS["cql"].Config(**SMALL))))
    return method.begin_offline(start, config)


def exported(learner: Method) -> list[dict[str, Tensor]]:
    """The agents as another method takes them over."""
    return [one_agent(learner.agents, index) for index in range(len(SEEDS))]


def begun_online(
    name: str, source: str | None, numbers: dict[str, Any], device: torch.device | str
) -> Method:
    """An online method that has collected its first block."""
    members: list[dict[str, Tensor]] = []
    if source is not None:
        offline = begun(source, OFFLINE_METHODS[source].Config(**(BCQ if source == "bcq" else SMALL)))
        members = exported(offline) * numbers.get("ensemble_size", 1)
    data = made_up_transitions([30, 20]) if source else None
    config = METHODS[name].Config(**numbers)
    learner = make_learner(
        name, METHODS[name], config, ONLINE, data, members, SEEDS, ENVIRONMENT, str(device)
    )
    shapes = [(OBSERVATIONS,), (ACTIONS,), (), (), (OBSERVATIONS,)]
    block = Batch(*(torch.full((2, 20, *shape), 0.5, device=device) for shape in shapes))
    learner.replay.add(block)
    return learner


def tensors_in(thing: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that is reached from `thing` by attributes and items."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield name, thing
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from tensors_in(value, f"{name}.{key}", seen)
    elif isinstance(thing, list | tuple):
        for index, value in enumerate(thing):
            yield from tensors_in(value, f"{name}.{index}", seen)
    elif type(thing).__module__.startswith("algorithms."):
        yield from tensors_in(vars(thing), name, seen)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("cql", SMALL),
        ("cql", {**SMALL, "penalty_gradient_actions": 3, "reduced_precision_penalty": True}),
        ("cql", {**SMALL, "deterministic_backup": False}),
        ("fqe", SMALL),
        ("awac", SMALL),
        ("bcq", BCQ),
    ],
)
def test_an_offline_update_stays_on_its_device(name: str, numbers: dict[str, Any]) -> None:
    learner = begun(name, OFFLINE_METHODS[name].Config(**numbers))
    learner.agents.move_to(DEVICE)
    data = OfflineData.from_transitions(made_up_transitions([30, 20]), DEVICE)
    draws = DrawsWithoutNumbers(SEEDS, DEVICE)
    with EveryTensorOn(DEVICE) as watched:
        learner.update(data.gather(draws.integers(len(data), 16)), 1)
        with torch.no_grad():
            learner.exploit(torch.empty(2, 5, OBSERVATIONS, device=DEVICE))
    assert watched.operations.total() > 50 and watched.operations["_fused_adam_"]


@pytest.mark.parametrize(("name", "source", "numbers"), ONLINE_CASES)
def test_an_online_update_stays_on_its_device(name: str, source: str | None, numbers: dict[str, Any]) -> None:
    learner = begun_online(name, source, numbers, DEVICE)
    with EveryTensorOn(DEVICE) as watched:
        learner.learn()
        with torch.no_grad():
            states = torch.empty(2, 5, OBSERVATIONS, device=DEVICE)
            learner.explore(states)
            learner.exploit(states)
    assert watched.operations.total() > 50 and watched.operations["_fused_adam_"]


PIXELS: dict[str, Any] = {
    "hidden_widths": (8,), "policy_hidden_widths": (8,), "batch_size": 6, "averaging_rate": 0.01,
}  # fmt: skip


def begun_pixels(device: torch.device | str, **numbers: Any) -> PixelFineTuning:
    """Fine-tuning from images that has collected two episodes."""
    config = PixelFineTuningConfig(**PIXELS, ensemble_size=2, density_hidden_widths=(8,), **numbers)
    fresh = OfflineStart(range(4), 0, pixel_task.ACTION, [], pixel_task.SHAPE)
    agents = PixelPretraining.begin_offline(fresh, PixelConfig(**PIXELS, encoder=config.encoder)).agents
    sizes = (pixel_task.HORIZON, pixel_task.SHAPE, pixel_task.ACTION, device)
    start = Start(
        seeds=SEEDS,
        draws=DrawsWithoutNumbers(SEEDS, device),
        observation_size=0,
        action_size=pixel_task.ACTION,
        offline=ImageData(pixel_task.record(6), device),
        buffer=ImageBuffer(len(SEEDS), 2, *sizes),
        members=[one_agent(agents, index) for index in range(4)],
        block_size=2 * pixel_task.HORIZON,
        image_shape=pixel_task.SHAPE,
    )
    learner = PixelFineTuning.begin(start, config)
    learner.agents.move_to(device)
    start.buffer.size = 2 * pixel_task.HORIZON  # what is collected on "meta" has no content to be compared
    return learner


@pytest.mark.parametrize("encoder", ["shared", "original"])
@pytest.mark.parametrize("replay", ["balanced", "uniform", "online_only"])
@pytest.mark.parametrize("objective", ["cql", "sac"])
def test_an_online_update_from_images_stays_on_its_device(encoder: str, replay: str, objective: str) -> None:
    learner = begun_pixels(
        DEVICE,
        encoder=encoder,
        replay=replay,
        objective=objective,
        cloning_weight=0.1,
        cloning_data="scripted",
    )
    with EveryTensorOn(DEVICE) as watched:
        learner.learn()
        with torch.no_grad():
            images = torch.empty(2, 1, *pixel_task.SHAPE, dtype=torch.uint8, device=DEVICE)
            learner.explore(images)
            learner.exploit(images)
    assert watched.operations["convolution"] and watched.operations["_fused_adam_"]


@pytest.mark.parametrize("encoder", ["shared", "original"])
def test_an_offline_update_from_images_stays_on_its_device(encoder: Any) -> None:
    start = OfflineStart(SEEDS, 0, pixel_task.ACTION, [], pixel_task.SHAPE)
    learner = PixelPretraining.begin_offline(start, PixelConfig(**PIXELS, encoder=encoder))
    learner.agents.move_to(DEVICE)
    data, draws = ImageData(pixel_task.record(6), DEVICE), DrawsWithoutNumbers(SEEDS, DEVICE)
    for step in (0, 20_000):  # while cloning, and after
        with EveryTensorOn(DEVICE) as watched:
            indices = draws.integers(len(data), 6)
            learner.update_images(data.gather(indices), data.source[indices], step)
        assert watched.operations["convolution"] and watched.operations["_fused_adam_"]


def test_what_would_not_run_on_a_gpu_is_found() -> None:
    with EveryTensorOn(DEVICE), pytest.raises(AssertionError, match="left meta"):
        torch.zeros(2, device=DEVICE) + torch.zeros(())
    with EveryTensorOn(DEVICE), pytest.raises(AssertionError, match="cannot be captured"):
        torch.zeros(2, device=DEVICE).scatter_(0, torch.zeros(2, dtype=torch.int64, device=DEVICE), 1.0)
    with EveryTensorOn(DEVICE), pytest.raises(RuntimeError, match="meta"):
        torch.zeros(2, device=DEVICE).sum().item()


@pytest.mark.parametrize(("name", "source", "numbers"), ONLINE_CASES)
def test_nothing_of_an_updates_autograd_graph_survives_it(
    name: str, source: str | None, numbers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node that survived would tie the next update, captured, to the stream of this one.
    monkeypatch.undo()
    learner = begun_online(name, source, numbers, "cpu")
    parameters = [p for group in learner.agents.optimiser.param_groups for p in group["params"]]

    def notes() -> list[dict[str, Any]]:
        """What is noted at the node that gathers each parameter's gradient; a new node has no notes."""
        views: list[Any] = [parameter.view_as(parameter) for parameter in parameters]
        return [view.grad_fn.next_functions[0][0].metadata for view in views]

    step = learner.agents.step

    def noting(*losses: Tensor) -> None:
        for note in notes():
            note["update"] = 1
        assert any(notes())  # while the losses' graph lives, so do its nodes
        step(*losses)

    monkeypatch.setattr(learner.agents, "step", noting)
    metrics = learner.learn()
    assert not any(notes())
    assert all(value.grad_fn is None for value in metrics.values())


@pytest.mark.parametrize(("name", "source", "numbers"), ONLINE_CASES)
def test_an_update_leaves_every_tensor_where_it_was(
    name: str, source: str | None, numbers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a captured CUDA graph reads and writes is named by its address.
    monkeypatch.undo()
    learner = begun_online(name, source, numbers, "cpu")

    def addresses() -> dict[str, int]:
        agents = {"agents": dict(learner.agents.named_parameters())}
        moments = {"moments": [learner.agents.optimiser.state[p] for p in learner.agents.parameters()]}
        found = tensors_in({**agents, **moments, "replay": learner.replay}, "learner", set())
        return {path: tensor.data_ptr() for path, tensor in found}

    learner.learn()
    before = addresses()
    learner.learn()
    assert addresses() == before
    assert len(before) > 20
