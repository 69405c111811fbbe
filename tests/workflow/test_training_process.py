"""A training step's process is what its settings say, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms.population import checkpoints
from algorithms.training.acceleration import Compute
from storage import UserError
from workflow import training_process
from workflow.steps.pretrain import starting_agents


def test_settings_that_say_nothing_mean_the_cpu() -> None:
    assert training_process.prepare({}) == Compute()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match="PyTorch sees no such device: expected an NVIDIA GPU"):
        training_process.prepare({"compute": {"device": "cuda"}})


def test_a_key_that_compute_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="compute: unknown key 'gpu'"):
        training_process.prepare({"compute": {"gpu": 1}})


@pytest.mark.parametrize("updates", [-1, True, 5.0, "5", None, []])
def test_an_agent_that_is_trained_further_says_how_far_it_is(tmp_path: Path, updates: Any) -> None:
    path = tmp_path / "agent_0.safetensors"
    said = {"configuration": {"method": "cql", "schedule": {"updates": updates}}}
    checkpoints.save(path, {"x": torch.zeros(1)}, said)
    with pytest.raises(UserError) as refusal:
        starting_agents([path], "cql")
    assert (
        str(refusal.value)
        == f"{path}: its manifest says {updates!r} updates: expected a whole number from 0 on"
    )
