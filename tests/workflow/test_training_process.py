"""A training step's process is what its settings say, or a sentence."""

from __future__ import annotations

import pytest
import torch

from algorithms.acceleration import Compute
from records import UserError
from workflow import training_process


def test_settings_that_say_nothing_mean_the_cpu() -> None:
    assert training_process.prepare({}) == Compute()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match="PyTorch sees no such device: expected an NVIDIA GPU"):
        training_process.prepare({"compute": {"device": "cuda"}})


def test_a_key_that_compute_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="compute: unknown key 'gpu'"):
        training_process.prepare({"compute": {"gpu": 1}})
