"""Adam agent by agent: PyTorch's numbers and state, and no agent's bits depend on its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from algorithms.population.adam import AgentwiseAdam

RUNS, MEMBERS = 3, 2
AGENTS = RUNS * MEMBERS
SHAPES = [(AGENTS, 7, 5), (2 * AGENTS, 1, 1), (AGENTS, 16, 16), (RUNS,), (RUNS, 1, 3)]
RATES, DECAYS = (1e-2, 3e-3), (0.0, 0.1)


def make_parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def set_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter, shape in zip(parameters, SHAPES, strict=True):
        everyone = torch.randn(shape, generator=generator)
        parameter.grad = everyone[: len(parameter)].clone()


def groups(parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups of other rates, the second with weight decay."""
    return [
        {"params": part, "lr": rate, "weight_decay": decay}
        for part, rate, decay in zip((parameters[:2], parameters[2:]), RATES, DECAYS, strict=True)
    ]


def test_steps_and_state_are_those_of_pytorchs_adam() -> None:
    ours, theirs = make_parameters(), make_parameters()
    optimiser = AgentwiseAdam(groups(ours), AGENTS)
    reference = torch.optim.Adam(groups(theirs), foreach=False)
    for seed in range(5):
        set_gradients(ours, seed)
        set_gradients(theirs, seed)
        optimiser.step()
        reference.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-6)
        assert optimiser.state[own].keys() == reference.state[other].keys()
        for key, expected in reference.state[other].items():
            torch.testing.assert_close(optimiser.state[own][key], expected, rtol=1e-6, atol=1e-7)


def test_parameters_without_a_gradient_stay_and_count_no_step() -> None:
    parameters = make_parameters()
    optimiser = AgentwiseAdam(groups(parameters), AGENTS)
    set_gradients(parameters, 0)
    resting = [parameters[0], *parameters[2:]]  # one of the first group, the whole second
    for parameter in resting:
        parameter.grad = None
    before = [parameter.detach().clone() for parameter in resting]
    optimiser.step()
    for parameter, old in zip(resting, before, strict=True):
        assert torch.equal(parameter, old) and parameter not in optimiser.state
    assert float(optimiser.state[parameters[1]]["step"]) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_an_agents_bits_do_not_depend_on_how_many_runs_there_are(count: int) -> None:
    def train(runs: int) -> list[Tensor]:
        parameters = [nn.Parameter(p.detach()[: len(p) // RUNS * runs].clone()) for p in make_parameters()]
        optimiser = AgentwiseAdam(groups(parameters), runs * MEMBERS)
        for seed in range(3):
            set_gradients(parameters, seed)
            optimiser.step()
        return [parameter.detach() for parameter in parameters]

    for few, all_of_them in zip(train(count), train(RUNS), strict=True):
        assert torch.equal(few, all_of_them[: len(few)])
