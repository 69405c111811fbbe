"""Every test here runs as training does: one thread, deterministic, training's matrix products."""

from __future__ import annotations

import pytest
import torch

from algorithms.training.acceleration import prepare_process


@pytest.fixture(scope="session", autouse=True)
def _training_process() -> None:
    prepare_process()


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
