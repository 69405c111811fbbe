"""Updates from images stay where the agents are and wait for no number; what would is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.off2on import Off2On, Off2OnConfig
from algorithms.population.agents import one_agent
from algorithms.population.encoders import EncoderName
from algorithms.population.encoding import EncoderConfig
from algorithms.replay.stores import OfflineData, OnlineBuffer
from tests.algorithms.image_task import ACTION, HORIZON, SHAPES, record
from tests.algorithms.meta_device import DEVICE, DrawsWithoutNumbers, EveryTensorOn, _draws_without_numbers  # noqa: F401

pytestmark = pytest.mark.usefixtures("_draws_without_numbers")

SEEDS = [0, 1]
SIZES: dict[str, Any] = {
    "hidden_widths": (8,), "policy_hidden_widths": (8,), "batch_size": 6, "averaging_rate": 0.01,
}  # fmt: skip


def begun(device: torch.device | str, networks: EncoderName, **numbers: Any) -> Off2On:
    """Fine-tuning from images that has collected two episodes."""
    config = Off2OnConfig(
        encoder=EncoderConfig(networks=networks),
        ensemble_size=2,
        density_hidden_widths=(8,),
        **SIZES,
        **numbers,
    )
    fresh = OfflineStart(range(4), SHAPES, ACTION, [])
    agents = CQL.begin_offline(fresh, CQLConfig(**SIZES, encoder=config.encoder)).agents
    start = Start(
        SEEDS,
        DrawsWithoutNumbers(SEEDS, device),
        SHAPES,
        ACTION,
        OfflineData.from_transitions(record(6), device),
        OnlineBuffer(len(SEEDS), 2 * HORIZON, SHAPES, ACTION, device, horizon=HORIZON),
        [one_agent(agents, index) for index in range(4)],
        2 * HORIZON,
    )
    learner = Off2On.begin(start, config)
    learner.agents.move_to(device)
    start.buffer.size = 2 * HORIZON  # what is collected on "meta" has no content to be compared
    return learner


@pytest.mark.parametrize("networks", ["shared", "own"])
@pytest.mark.parametrize("replay", ["balanced", "uniform", "online_only"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_online_update_from_images_stays_on_its_device(
    networks: EncoderName, replay: str, weight: float
) -> None:
    learner = begun(
        DEVICE,
        networks,
        replay=replay,
        conservative_weight=weight,
        cloning_weight=0.1,
        cloning_data="scripted",
    )
    with EveryTensorOn(DEVICE) as watched:
        learner.learn()
        with torch.no_grad():
            shown = {
                "image": torch.empty(2, 1, *SHAPES["image"], dtype=torch.uint8, device=DEVICE),
                "state": torch.empty(2, 1, *SHAPES["state"], device=DEVICE),
            }
            learner.explore(shown)
            learner.exploit(shown)
    assert watched.operations["convolution"] and watched.operations["_fused_adam_"]


@pytest.mark.parametrize("networks", ["shared", "own"])
def test_an_offline_update_from_images_stays_on_its_device(networks: EncoderName) -> None:
    config = CQLConfig(**SIZES, encoder=EncoderConfig(networks=networks, state=True), cloning_updates=1)
    learner = CQL.begin_offline(OfflineStart(SEEDS, SHAPES, ACTION, []), config)
    learner.agents.move_to(DEVICE)
    data, draws = OfflineData.from_transitions(record(6), DEVICE), DrawsWithoutNumbers(SEEDS, DEVICE)
    for step in (0, 1):  # while cloning, and after
        with EveryTensorOn(DEVICE) as watched:
            batch = data.gather(draws.integers(len(data), 6))
            learner.update(learner.agents.encode(batch), step)
        assert watched.operations["convolution"] and watched.operations["_fused_adam_"]


def test_what_would_not_run_on_a_gpu_is_found() -> None:
    with EveryTensorOn(DEVICE), pytest.raises(AssertionError, match="left meta"):
        torch.zeros(2, device=DEVICE) + torch.zeros(())
    with EveryTensorOn(DEVICE), pytest.raises(AssertionError, match="cannot be captured"):
        torch.zeros(2, device=DEVICE).scatter_(0, torch.zeros(2, dtype=torch.int64, device=DEVICE), 1.0)
    with EveryTensorOn(DEVICE), pytest.raises(RuntimeError, match="meta"):
        torch.zeros(2, device=DEVICE).sum().item()
