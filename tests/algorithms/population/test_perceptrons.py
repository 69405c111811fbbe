"""Passes written by hand: outputs of slow loops, gradients of finite differences, in all shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from algorithms.methods.bcq import FIRST_TWIN, BCQCritics
from algorithms.population.perceptrons import PopulationMLP, evaluated
from tests.algorithms import slow_reference as slow

COPIES, ROWS, STATE, CANDIDATE, PER_STATE = 4, 3, 3, 2, 5
SHAPES = pytest.mark.parametrize("widths, outputs", [((4, 3), 2), ((4,), 1), ((3, 5, 4), 1)])


def make(widths: tuple[int, ...], outputs: int) -> PopulationMLP:
    net = PopulationMLP(COPIES, STATE + CANDIDATE, widths, outputs)
    slow.randomise(net, seed=0)
    return net.double()


def slowly(net: PopulationMLP, inputs: Tensor) -> Tensor:
    """The outputs, network by network and row by row."""
    parameters = {f"net.{name}": tensor for name, tensor in slow.float64_parameters(net).items()}
    return torch.stack(
        [torch.stack([slow.perceptron(parameters, "", k, row) for row in inputs[k]]) for k in range(COPIES)]
    )


def rows(count: int = ROWS, size: int = STATE + CANDIDATE) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(COPIES, count, size, dtype=torch.float64, generator=generator)


@SHAPES
def test_outputs_equal_slow_loops_with_and_without_gradients(widths: tuple[int, ...], outputs: int) -> None:
    net, inputs = make(widths, outputs), rows()
    expected = slowly(net, inputs)
    torch.testing.assert_close(net(inputs), expected)
    with torch.no_grad():
        torch.testing.assert_close(net(inputs), expected)


@SHAPES
def test_gradients_equal_finite_differences(widths: tuple[int, ...], outputs: int) -> None:
    net = make(widths, outputs)

    def outputs_of(inputs: Tensor, *parameters: Tensor) -> Tensor:
        return evaluated(inputs, parameters)

    assert torch.autograd.gradcheck(outputs_of, (rows().requires_grad_(), *net.tensors()))


@SHAPES
def test_frozen_networks_pass_gradients_to_their_inputs_only(widths: tuple[int, ...], outputs: int) -> None:
    net = make(widths, outputs)
    frozen, plain = rows().requires_grad_(), rows().requires_grad_()
    net(frozen, frozen=True).sum().backward()
    assert all(parameter.grad is None for parameter in net.parameters())
    slowly(net, plain).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(frozen.grad, plain.grad)


@SHAPES
def test_candidates_are_judged_as_pairs_of_state_and_candidate(widths: tuple[int, ...], outputs: int) -> None:
    net, states = make(widths, outputs), rows(size=STATE)
    candidates = rows(ROWS * PER_STATE, CANDIDATE)
    pairs = torch.cat([states.repeat_interleave(PER_STATE, dim=1), candidates], dim=-1)
    found = net.of_candidates(states, candidates)
    assert not found.requires_grad
    torch.testing.assert_close(found, slowly(net, pairs))
    half = net.of_candidates(states[FIRST_TWIN], candidates[FIRST_TWIN], FIRST_TWIN)
    torch.testing.assert_close(half, found[FIRST_TWIN])


def test_the_first_twin_alone_is_the_first_of_both() -> None:
    critics = BCQCritics(COPIES, STATE, CANDIDATE, (4, 3)).double()
    slow.randomise(critics, seed=0)
    states, actions = rows(size=STATE), rows(size=CANDIDATE).requires_grad_()
    torch.testing.assert_close(critics.first(states, actions), critics(states, actions)[:, 0])
    critics.first(states, actions).sum().backward()  # type: ignore[no-untyped-call]
    assert actions.grad is not None and all(parameter.grad is None for parameter in critics.parameters())
    candidates = rows(ROWS * PER_STATE, CANDIDATE)
    both = critics(states.repeat_interleave(PER_STATE, dim=1), candidates)
    torch.testing.assert_close(critics.of_candidates(states, candidates), both)
    torch.testing.assert_close(critics.first_of_candidates(states, candidates), both[:, 0])
