"""Tables: a fixed point is where each state's loss is least, checked by its gradient from the loss alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.discrete import networks, tabular
from envs.gridworld import Gridworld
from offline_data.gridworld import heteroskedastic_weights, sampled

WORLD = Gridworld.named("maze3")
ALPHA, HEAT = 0.3, 0.7


def weights(seeds: tuple[int, ...] = (0, 3), samples: int = 0) -> Any:
    exact = [heteroskedastic_weights(WORLD, seed) for seed in seeds]
    return np.stack([sampled(each, samples, 1) if samples else each for each in exact])


def solved(kind: Any, data: Any, alpha: float = ALPHA, heat: float = HEAT) -> tabular.Tables:
    rows = np.ones(len(data))
    return tabular.solve(WORLD, data, kind, alpha * rows, heat * rows, 3000)


def slow_loss(kind: str, q: Tensor, fixed: Tensor, data: Tensor, alpha: float) -> Tensor:
    """The loss of one table, one state after the other; `fixed` is the table that constants are of."""
    total = torch.zeros((), dtype=torch.float64)
    values = [
        fixed[s][data[s] > 0].max() if bool((data[s] > 0).any()) else torch.tensor(0.0) for s in range(len(q))
    ]
    for state in range(len(q)):
        known = data[state] > 0
        if not bool(known.any()):
            continue
        beta = data[state][known] / data[state].sum()
        row, constant = q[state][known], fixed[state][known]
        following = [values[int(there)] for there in WORLD.next_states[state][known.numpy()]]
        target = WORLD.rewards[state] + WORLD.maze.discount * torch.stack(following)
        down, up = row.exp().sum().log(), (beta * row).sum()
        if kind == "reds":
            rho = beta * (-(constant - constant.max()) / HEAT).exp()
            down = 0.5 * down + 0.5 * (rho / rho.sum() * row).sum()
        elif kind == "reweighted":
            up = (beta * 5 * (constant / HEAT).softmax(dim=0) * row).sum()
        total = total + (beta * (row - target) ** 2).sum() + alpha * (down - up)
    return total


@pytest.mark.parametrize("kind", ["cql", "reds", "reweighted"])
@pytest.mark.parametrize("samples", [0, 64])
def test_at_a_fixed_point_no_state_has_a_gradient(kind: str, samples: int) -> None:
    data = weights(samples=samples)
    found = solved(kind, data)
    assert bool((found.residual < tabular.TOLERANCE).all())
    for table, own in zip(found.q, data, strict=True):
        assert np.array_equal(np.isfinite(table), own > 0)
        q = torch.from_numpy(np.where(own > 0, table, 0.0)).requires_grad_()
        loss = slow_loss(kind, q, q.detach(), torch.from_numpy(own), ALPHA)
        assert float(torch.autograd.grad(loss, q)[0].abs().max()) < 1e-4


def test_a_small_weight_leaves_the_optimal_values() -> None:
    found = solved("cql", weights(), alpha=1e-9)
    np.testing.assert_allclose(found.q, np.broadcast_to(WORLD.optimal_q, found.q.shape), atol=1e-3)


def test_reds_that_ranks_nothing_is_cql_at_half_of_the_weight() -> None:
    data = weights()
    found, control = solved("reds", data, heat=1e9), solved("cql", data, alpha=ALPHA / 2)
    np.testing.assert_allclose(found.q, control.q, atol=1e-4)


def test_a_table_is_the_same_beside_any_neighbour() -> None:
    alone, beside = solved("reds", weights((3,))), solved("reds", weights((0, 3)))
    np.testing.assert_allclose(alone.q[0], beside.q[1], atol=1e-4)


def test_with_little_heat_a_table_is_solved_without_overflow() -> None:
    data = weights(samples=64)
    with np.errstate(over="raise"):
        found = solved("reds", data, heat=1e-3)
    assert np.array_equal(np.isfinite(found.q), data > 0)


def test_awr_takes_no_action_that_the_data_lack_and_with_little_heat_the_best_of_the_others() -> None:
    data = weights(samples=64)
    preferences = tabular.advantage_weighted(WORLD, data, np.full(len(data), 1e-3))
    for table, own in zip(preferences, data, strict=True):
        seen = own.sum(axis=1) > 0
        best = np.where(own > 0, WORLD.optimal_q, -np.inf).max(axis=1)
        chosen = WORLD.optimal_q[np.arange(len(own)), table.argmax(axis=1)]
        np.testing.assert_allclose(chosen[seen], best[seen], atol=0.03)


@pytest.mark.parametrize("kind", ["cql", "reds", "reweighted"])
def test_networks_descend_the_tables_loss(kind: networks.Kind) -> None:
    data = weights()
    q = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    alpha, heat = (torch.full((len(data),), each) for each in (ALPHA, HEAT))
    loss = networks._loss(WORLD, kind, torch.from_numpy(data).float(), alpha, heat)
    targets = WORLD.backup(q.detach().double().numpy().max(axis=2))
    ours = loss(q, torch.from_numpy(targets).float())
    (gradient,) = torch.autograd.grad(ours.sum(), q)
    for index, own in enumerate(torch.from_numpy(data)):
        exact = q.detach()[index].double().requires_grad_()
        expected = slow_loss(kind, exact, exact.detach(), own, ALPHA)
        (whole,) = torch.autograd.grad(expected, exact)
        # the networks' loss is over all data, the tables' over each state's own
        torch.testing.assert_close(
            gradient[index].double(), whole * own.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-6
        )


def test_awrs_networks_raise_the_datas_actions_by_the_exponential_of_their_known_advantage() -> None:
    """With w = data exp((A - max A) / heat), the gradient in a state is sum(w) softmax(q) - w."""
    data = weights(samples=64)
    q = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    heat = torch.tensor([0.1, 0.3])
    loss = networks._loss(WORLD, "awr", torch.from_numpy(data).float(), torch.zeros(len(data)), heat)
    (gradient,) = torch.autograd.grad(loss(q, torch.zeros(data.shape)).sum(), q)
    advantage = np.array([row - sum(row) / len(row) for row in WORLD.optimal_q])
    for index, own in enumerate(data):
        w = own * np.exp((advantage - advantage.max()) / float(heat[index]))
        exponential = np.exp(q[index].detach().double().numpy())
        shares = exponential / exponential.sum(axis=1, keepdims=True)
        expected = w.sum(axis=1, keepdims=True) * shares - w
        np.testing.assert_allclose(gradient[index].numpy(), expected, rtol=1e-4, atol=1e-7)
        assert np.abs(expected).max() > 1e-3


def test_with_hardly_any_heat_rho_is_all_on_the_worst_action_however_large_the_values() -> None:
    q, shares = np.array([[[20.0, 19.0, 18.0]]]), np.array([[[0.5, 0.3, 0.2]]])
    pushed = tabular._push("reds", q, shares, shares > 0, np.full((1, 1, 1), 1e-2))
    np.testing.assert_allclose(pushed[0, 0], [1.0, 1.0, 1 - 0.5 / 0.2])


def test_a_network_is_of_its_own_seed_and_learns_at_the_rate_that_is_set() -> None:
    data, few = weights(), networks.NetworkConfig(hidden_widths=(4,), iterations=1, steps=1)

    def trained(seeds: list[int], rate: float) -> Any:
        own, numbers = np.ones(len(seeds)), networks.NetworkConfig((4,), rate, few.iterations, few.steps)
        return networks.train(WORLD, data[: len(seeds)], "cql", own, own, seeds, numbers)

    both = trained([5, 8], 1e-3)
    np.testing.assert_allclose(trained([5], 1e-3)[0], both[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(trained([8], 1e-3)[0], both[0], atol=1e-3)
    # Adam's first step moves every parameter by the rate, and outputs by as much, times what they hang on.
    fresh = trained([5], 1e-12)
    small, large = (np.abs(trained([5], rate) - fresh).max() for rate in (1e-4, 1e-3))
    assert large / small == pytest.approx(10, rel=0.05)


def test_networks_with_exact_data_and_hardly_a_penalty_reach_the_goal() -> None:
    world = Gridworld.named("maze3")
    data, few = weights((0,)), networks.NetworkConfig(hidden_widths=(64,), iterations=100, steps=50)
    q = networks.train(world, data, "cql", np.array([1e-3]), np.ones(1), [0], few)
    assert q.shape == data.shape
    again = networks.train(world, data, "cql", np.array([1e-3]), np.ones(1), [0], few)
    assert np.array_equal(q, again)
    assert float(world.returns(q)[0]) > 500
