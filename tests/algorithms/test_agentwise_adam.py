"""Adam agent by agent: PyTorch's numbers and state, and no agent's bits depend on its neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from algorithms.agentwise_adam import AgentwiseAdam

AGENTS, RATE = 3, 1e-2
SHAPES = [(AGENTS, 7, 5), (2 * AGENTS, 1, 1), (AGENTS, 16, 16)]


def make_parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def set_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter, shape in zip(parameters, SHAPES, strict=True):
        everyone = torch.randn(shape, generator=generator)
        parameter.grad = everyone[: len(parameter)].clone()


def test_steps_and_state_are_those_of_pytorchs_adam() -> None:
    ours, theirs = make_parameters(), make_parameters()
    optimiser, reference = AgentwiseAdam(ours, RATE, AGENTS), torch.optim.Adam(theirs, RATE, foreach=False)
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
    optimiser = AgentwiseAdam(parameters, RATE, AGENTS)
    set_gradients(parameters, 0)
    parameters[0].grad = None
    before = parameters[0].detach().clone()
    optimiser.step()
    assert torch.equal(parameters[0], before) and parameters[0] not in optimiser.state
    assert float(optimiser.state[parameters[1]]["step"]) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_an_agents_bits_do_not_depend_on_how_many_there_are(count: int) -> None:
    def train(agents: int) -> list[Tensor]:
        parameters = [
            nn.Parameter(p.detach()[: len(p) // AGENTS * agents].clone()) for p in make_parameters()
        ]
        optimiser = AgentwiseAdam(parameters, RATE, agents)
        for seed in range(3):
            set_gradients(parameters, seed)
            optimiser.step()
        return [parameter.detach() for parameter in parameters]

    for few, all_of_them in zip(train(count), train(AGENTS), strict=True):
        assert torch.equal(few, all_of_them[: len(few)])
