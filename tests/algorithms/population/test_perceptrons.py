"""Passes written by hand: outputs of slow loops, gradients of finite differences, in all shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from algorithms.population import passes
from algorithms.population.networks import Critics
from algorithms.population.passes import Norm, evaluated
from algorithms.population.perceptrons import PopulationMLP
from tests.algorithms import slow_reference as slow

COPIES, ROWS, STATE, CANDIDATE, PER_STATE = 4, 3, 3, 2, 5
NETWORKS = [((4, 3), 2, "none"), ((4,), 1, "none"), ((3, 5, 4), 1, "none")]
NETWORKS += [((4, 3), 2, "before"), ((3, 5, 4), 1, "before"), ((4, 3), 2, "after"), ((3, 5, 4), 1, "after")]
SHAPES = pytest.mark.parametrize("widths, outputs, norm", NETWORKS)
EXACTLY = {"rtol": 1e-9, "atol": 1e-9}


def make(widths: tuple[int, ...], outputs: int, norm: Norm) -> PopulationMLP:
    net = PopulationMLP(COPIES, STATE + CANDIDATE, widths, outputs, norm)
    slow.randomise(net, seed=0)
    return net.double()


def slowly(net: PopulationMLP, inputs: Tensor) -> Tensor:
    """The outputs, network by network and row by row."""
    parameters = {f"net.{name}": tensor for name, tensor in slow.float64_parameters(net).items()}
    return torch.stack(
        [
            torch.stack([slow.perceptron(parameters, "", k, row, net.norm) for row in inputs[k]])
            for k in range(COPIES)
        ]
    )


def rows(count: int = ROWS, size: int = STATE + CANDIDATE) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(COPIES, count, size, dtype=torch.float64, generator=generator)


@SHAPES
def test_outputs_equal_slow_loops_with_and_without_gradients(
    widths: tuple[int, ...], outputs: int, norm: Norm
) -> None:
    net, inputs = make(widths, outputs, norm), rows()
    expected = slowly(net, inputs)
    torch.testing.assert_close(net(inputs), expected, **EXACTLY)
    with torch.no_grad():
        torch.testing.assert_close(net(inputs), expected, **EXACTLY)


@SHAPES
def test_gradients_equal_finite_differences(widths: tuple[int, ...], outputs: int, norm: Norm) -> None:
    net = make(widths, outputs, norm)

    def outputs_of(inputs: Tensor, *parameters: Tensor) -> Tensor:
        return evaluated(inputs, parameters, norm)

    assert torch.autograd.gradcheck(outputs_of, (rows().requires_grad_(), *net.tensors()))


@SHAPES
def test_gradients_equal_autograd_s_of_slow_loops(widths: tuple[int, ...], outputs: int, norm: Norm) -> None:
    net, inputs = make(widths, outputs, norm), rows()
    weights = torch.randn(COPIES, ROWS, outputs, dtype=torch.float64)
    (weights * net(inputs)).sum().backward()
    exact = slow.float64_parameters(net)
    of_loops = {f"net.{name}": tensor for name, tensor in exact.items()}
    total = torch.zeros((), dtype=torch.float64)
    for k in range(COPIES):
        for weight, row in zip(weights[k], inputs[k], strict=True):
            total = total + (weight * slow.perceptron(of_loops, "", k, row, norm)).sum()
    expected = torch.autograd.grad(total, list(exact.values()))
    for (name, parameter), gradient in zip(net.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, **EXACTLY, msg=name)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_norm_in_few_operations_is_that_network_by_network(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(1)
    products, gradient = torch.randn(2, COPIES, 6, 5, dtype=torch.float64, generator=generator)
    bias, gain, shift = torch.randn(3, COPIES, 1, 5, dtype=torch.float64, generator=generator)
    found = []
    for forward, backward, scale in (
        (passes._normalise, passes._normalise_backward, (gain, shift)),
        (passes._normalise_at_once, passes._normalise_backward_at_once, (gain,)),
    ):
        values = products.clone()
        outputs, *moments = forward(values, bias, gain, shift, norm)
        gradients = backward(gradient.clone(), outputs, values, *moments, *scale, norm)
        found.append((values, outputs, *moments, *gradients))
    for one_by_one, at_once in zip(*found, strict=True):
        torch.testing.assert_close(at_once, one_by_one, **EXACTLY)


@SHAPES
def test_networks_evaluated_alone_are_those_of_all(widths: tuple[int, ...], outputs: int, norm: Norm) -> None:
    net, inputs = make(widths, outputs, norm), rows()
    chosen = torch.tensor([[1, 0, 1], [0, 0, 1]])  # of two agents with two networks each
    every = torch.tensor([1, 0, 1, 2, 2, 3])
    expected = slowly(net, inputs)[every]
    torch.testing.assert_close(net.of_subsets(inputs[every], chosen), expected, **EXACTLY)
    with torch.no_grad():
        torch.testing.assert_close(net.of_subsets(inputs[every], chosen), expected, **EXACTLY)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    parameters = list(net.parameters())
    found = torch.autograd.grad((weights * net.of_subsets(inputs[every], chosen)).sum(), parameters)
    of_all = torch.autograd.grad((weights * net(inputs)[every]).sum(), parameters)
    for gradient, exact in zip(found, of_all, strict=True):
        torch.testing.assert_close(gradient, exact, **EXACTLY)


@SHAPES
@pytest.mark.parametrize("frozen", [False, True])
def test_inputs_that_are_given_change_nothing_but_their_gradient(
    widths: tuple[int, ...], outputs: int, norm: Norm, frozen: bool
) -> None:
    net, inputs = make(widths, outputs, norm), rows()
    given, free = inputs[..., :STATE].clone(), inputs[..., STATE:].clone().requires_grad_()
    whole = inputs.clone().requires_grad_()
    found, expected = net(free, frozen, given), net(whole, frozen)
    assert torch.equal(found, expected)
    wanted = [] if frozen else list(net.parameters())
    gradients = torch.autograd.grad(found.square().sum(), [free, *wanted])
    of_whole, *of_parameters = torch.autograd.grad(expected.square().sum(), [whole, *wanted])
    for gradient, exact in zip(gradients, (of_whole[..., STATE:], *of_parameters), strict=True):
        torch.testing.assert_close(gradient, exact, **EXACTLY)
    with torch.no_grad():
        assert torch.equal(net(free, frozen, given), expected)
    assert torch.equal(torch.cat([given, free], dim=-1), inputs)


@SHAPES
def test_frozen_networks_pass_gradients_to_their_inputs_only(
    widths: tuple[int, ...], outputs: int, norm: Norm
) -> None:
    net = make(widths, outputs, norm)
    frozen, plain = rows().requires_grad_(), rows().requires_grad_()
    net(frozen, frozen=True).sum().backward()
    assert all(parameter.grad is None for parameter in net.parameters())
    slowly(net, plain).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(frozen.grad, plain.grad, **EXACTLY)


@SHAPES
def test_what_was_read_once_is_evaluated_and_learned_as_if_read_each_time(
    widths: tuple[int, ...], outputs: int, norm: Norm
) -> None:
    once, each = (make(widths, outputs, norm) for _ in range(2))
    states, states_again = (rows(size=STATE).requires_grad_() for _ in range(2))
    first, second, frozen = (0.5 * k * rows(size=CANDIDATE) for k in (1, 2, 3))
    read = once.read(states)
    apart = once(second, given=read.taken_apart())
    joined = [torch.cat([states_again, first], dim=-1), torch.cat([states_again.detach(), second], dim=-1)]
    torch.testing.assert_close(apart, slowly(each, joined[1]), **EXACTLY)
    assert not once(frozen, given=read.detach(), frozen=True).requires_grad
    (once(first, given=read).square().sum() + apart.square().sum()).backward()
    sum(each(pairs).square().sum() for pairs in joined).backward()
    torch.testing.assert_close(states.grad, states_again.grad, **EXACTLY)
    for own, expected in zip(once.parameters(), each.parameters(), strict=True):
        torch.testing.assert_close(own.grad, expected.grad, **EXACTLY)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_read_once_serves_several_inputs_of_each_row(frozen: bool) -> None:
    net, each = (make((4, 3), 2, "none") for _ in range(2))
    states, states_again = (rows(size=STATE).requires_grad_() for _ in range(2))
    free = rows(3 * ROWS, CANDIDATE)
    found = net(free, frozen, given=net.read(states, frozen))
    expected = slowly(each, torch.cat([states_again.repeat(1, 3, 1), free], dim=-1))
    torch.testing.assert_close(found, expected, **EXACTLY)
    found.square().sum().backward()
    each(torch.cat([states_again.repeat(1, 3, 1), free], dim=-1)).square().sum().backward()
    torch.testing.assert_close(states.grad, states_again.grad, **EXACTLY)
    for own, exact in zip(net.parameters(), each.parameters(), strict=True):
        if frozen:
            assert own.grad is None
        else:
            torch.testing.assert_close(own.grad, exact.grad, **EXACTLY)


def test_a_layer_that_has_read_all_its_inputs_is_asked_without_any() -> None:
    net = make((4, 3), 2, "none")
    inputs = rows().requires_grad_()
    net(net.read(inputs).taken_apart()).sum().backward()
    assert inputs.grad is None
    found = [parameter.grad for parameter in net.parameters()]
    net.zero_grad()
    net(rows()).sum().backward()
    for own, parameter in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(own, parameter.grad, **EXACTLY)


@SHAPES
def test_candidates_are_judged_as_pairs_of_state_and_candidate(
    widths: tuple[int, ...], outputs: int, norm: Norm
) -> None:
    net, states = make(widths, outputs, norm), rows(size=STATE)
    candidates = rows(ROWS * PER_STATE, CANDIDATE)
    pairs = torch.cat([states.repeat_interleave(PER_STATE, dim=1), candidates], dim=-1)
    found = net.of_candidates(states, candidates)
    assert not found.requires_grad
    torch.testing.assert_close(found, slowly(net, pairs))
    first = slice(None, None, 2)
    half = net.of_candidates(states[first], candidates[first], first)
    torch.testing.assert_close(half, found[first])
    common = candidates[:, :PER_STATE]
    found = net.of_candidates(states, common, everywhere=True)
    torch.testing.assert_close(found, net.of_candidates(states, common.repeat(1, ROWS, 1)), **EXACTLY)


def test_the_first_twin_alone_is_the_first_of_both() -> None:
    critics = Critics(COPIES, STATE, CANDIDATE, (4, 3)).double()
    slow.randomise(critics, seed=0)
    states, actions = rows(size=STATE), rows(size=CANDIDATE).requires_grad_()
    torch.testing.assert_close(critics.first(states, actions), critics(states, actions)[:, 0])
    critics.first(states, actions).sum().backward()  # type: ignore[no-untyped-call]
    assert actions.grad is not None and all(parameter.grad is None for parameter in critics.parameters())
    candidates = rows(ROWS * PER_STATE, CANDIDATE)
    both = critics(states.repeat_interleave(PER_STATE, dim=1), candidates)
    each = candidates.unflatten(1, (ROWS, PER_STATE))
    for found in (critics.of_candidates(states, each), torch.no_grad()(critics.of_candidates)(states, each)):
        torch.testing.assert_close(found.flatten(2), both)
    torch.testing.assert_close(critics.first_of_candidates(states, candidates), both[:, 0])


@pytest.mark.parametrize("widths", [(4,), (4, 3), (3, 5, 4)])
@pytest.mark.parametrize("subset", [False, True])
def test_gradients_in_the_inputs_and_theirs_in_the_parameters_equal_autograd_s(
    widths: tuple[int, ...], subset: bool
) -> None:
    net, inputs = make(widths, 1, "none"), rows()
    chosen = torch.tensor([[1], [0]])  # of two agents' two networks
    inputs = inputs[:2] if subset else inputs
    found = net.input_gradients(inputs, slice(STATE, None), chosen if subset else None)
    parameters = {f"net.{name}": p.double() for name, p in net.named_parameters()}
    expected = []
    for number, copy in enumerate([1, 2] if subset else range(COPIES)):
        own = inputs[number].clone().requires_grad_()
        outputs = torch.stack([slow.perceptron(parameters, "", copy, row)[0] for row in own])
        slopes = torch.autograd.grad(outputs.sum(), own, create_graph=True)[0]
        expected.append(slopes[:, STATE:])
    torch.testing.assert_close(found, torch.stack(expected), **EXACTLY)
    weights = [layer.weight for layer in net.affine_maps()]
    ours, theirs = (
        torch.autograd.grad(each.pow(3).sum(), weights) for each in (found, torch.stack(expected))
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACTLY)
