"""Updates from images stay where the agents are and wait for no number; what would is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.pixels import PixelConfig, PixelFineTuning, PixelFineTuningConfig, PixelPretraining
from algorithms.population.agents import one_agent
from algorithms.replay.image_replay import ImageBuffer, ImageData
from tests.algorithms import pixel_task
from tests.algorithms.meta_device import DEVICE, DrawsWithoutNumbers, EveryTensorOn, _draws_without_numbers  # noqa: F401

pytestmark = pytest.mark.usefixtures("_draws_without_numbers")

SEEDS = [0, 1]
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
