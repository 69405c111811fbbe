"""Networks of a population: batched equals one by one, densities are densities, fast gradients are exact."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from algorithms.population import soft_maximum
from algorithms.population.networks import Critics, Policy, TanhGaussian
from algorithms.population.passes import Norm
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.processor import this_processor
from algorithms.population.streams import Streams
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION = 3, 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def make_critics(agents: int, hidden: tuple[int, ...], seed: int = 0, scale: float = 0.7) -> Critics:
    critics = Critics(agents, OBSERVATION, ACTION, hidden)
    slow.randomise(critics, seed, scale)
    return critics


class _Holder(nn.Module):
    """Gives a perceptron the parameter names it has inside a policy."""

    def __init__(self, net: PopulationMLP) -> None:
        super().__init__()
        self.net = net


class TestPopulation:
    def test_a_linear_layer_is_each_agents_own_affine_map(self) -> None:
        mlp = PopulationMLP(4, 5, (), 3)
        slow.randomise(mlp, seed=1)
        (layer,) = mlp.affine_maps()
        inputs = normal(4, 6, 5)
        outputs = mlp(inputs).tolist()
        weight, bias, rows = layer.weight.tolist(), layer.bias.tolist(), inputs.tolist()
        for copy in range(4):
            for row in range(6):
                for unit in range(3):
                    products = (rows[copy][row][i] * weight[copy][i][unit] for i in range(5))
                    expected = bias[copy][0][unit] + sum(products)
                    assert outputs[copy][row][unit] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("hidden", [(4,), (6, 5), (6, 5, 4)])
    def test_a_perceptron_is_each_agents_own_network(self, hidden: tuple[int, ...]) -> None:
        mlp = PopulationMLP(3, 4, hidden, 2)
        slow.randomise(mlp, seed=2)
        inputs = normal(3, 7, 4)
        parameters = slow.float64_parameters(_Holder(mlp))
        expected = slow.table(
            (slow.perceptron(parameters, "", copy, row.double()) for row in inputs[copy]) for copy in range(3)
        )
        torch.testing.assert_close(mlp(inputs).double(), expected, rtol=1e-5, atol=1e-6)

    def test_a_policys_outputs_are_mean_and_clamped_log_std(self) -> None:
        policy = Policy(2, OBSERVATION, ACTION, (8,))
        slow.randomise(policy, seed=3, scale=3.0)
        observations = 5 * normal(2, 40, OBSERVATION)
        distribution = policy(observations)
        parameters = {f"policy.{k}": v for k, v in slow.float64_parameters(policy).items()}
        for agent in range(2):
            for row in range(40):
                mean, std = slow.gaussian(parameters, agent, observations[agent, row])
                torch.testing.assert_close(distribution.mean[agent, row].double(), mean, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(
                    distribution.log_std[agent, row].double(), std.log(), rtol=1e-4, atol=1e-4
                )
        assert float(distribution.log_std.detach().max()) == 2.0
        assert float(distribution.log_std.detach().min()) == -20.0

    def test_critics_answer_agent_by_agent_and_twin_by_twin(self) -> None:
        critics = make_critics(3, (6, 5))
        observations, actions = normal(3, 4, OBSERVATION), normal(3, 4, ACTION, seed=1)
        q = critics(observations, actions).detach()
        parameters = {f"q.{k}": v for k, v in slow.float64_parameters(critics).items()}
        assert q.shape == (3, 2, 4)
        for agent in range(3):
            rows = observations[agent].double(), actions[agent].double()
            expected = torch.stack(slow.critics(parameters, "q", agent, *rows)).detach()
            torch.testing.assert_close(q[agent].double(), expected, rtol=1e-5, atol=1e-6)

    def test_critics_that_were_drawn_answer_alone(self) -> None:
        agents, count = 2, 4
        critics = Critics(agents, OBSERVATION, ACTION, (7, 6), count, "before")
        slow.randomise(critics, seed=4)
        observations, actions = normal(agents, 5, OBSERVATION), uniform(agents, 5, ACTION)
        chosen = torch.tensor([[3, 0], [1, 1]])
        found = critics.of_subset(observations, actions, chosen).detach()
        everything = critics(observations, actions).detach()
        expected = torch.stack([everything[agent, chosen[agent]] for agent in range(agents)])
        assert torch.equal(found, expected)

    def test_a_fresh_agent_depends_on_its_own_seed_alone(self) -> None:
        def fresh(seeds: list[int]) -> Critics:
            critics = Critics(len(seeds), OBSERVATION, ACTION, (8, 8))
            critics.initialise(Streams(seeds))
            return critics

        together, alone = fresh([5, 6, 7]), fresh([6])
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name][2:4], tensor, rtol=0, atol=0)

    def test_initial_weights_have_rlkits_ranges(self) -> None:
        policy, critics = Policy(2, 17, 6, (64, 48)), Critics(2, 17, 6, (64, 48))
        for module, head in ((policy, 1e-3), (critics, 3e-3)):
            module.initialise(Streams([0, 1]))
            bounds = [1 / math.sqrt(64), 1 / math.sqrt(48), head]
            for layer, bound in zip(module.net.affine_maps(), bounds, strict=True):
                # the largest of n uniform draws stands within a few 1/n of the bound
                for copy in layer.weight:
                    assert bound * (1 - 20 / copy.numel()) < float(copy.detach().abs().max()) <= bound
                assert not layer.bias.any()

    def test_frozen_critics_pass_gradients_to_the_actions_only(self) -> None:
        critics = make_critics(2, (6, 5))
        observations = normal(2, 4, OBSERVATION)
        actions = normal(2, 4, ACTION, seed=1).requires_grad_()
        frozen = critics(observations, actions, frozen=True)
        assert torch.equal(frozen, critics(observations, actions))
        frozen.square().sum().backward()
        assert all(parameter.grad is None for parameter in critics.parameters())

        exact = slow.float64_parameters(critics)
        named = {f"q.{name}": tensor for name, tensor in exact.items()}
        inputs = actions.detach().double().requires_grad_()
        terms = [
            slow.q_value(named, "q.", agent, twin, observations[agent, row], inputs[agent, row]) ** 2
            for agent in range(2)
            for twin in range(2)
            for row in range(4)
        ]
        (expected,) = torch.autograd.grad(torch.stack(terms).sum(), inputs)
        assert actions.grad is not None
        torch.testing.assert_close(actions.grad.double(), expected, rtol=1e-4, atol=1e-5)


MEANS, STDS = (-1.2, 0.0, 0.9), (0.05, 0.4, 1.0)


def one_dimensional(mean: float, std: float) -> TanhGaussian:
    return TanhGaussian(
        torch.tensor([mean], dtype=torch.float64), torch.tensor([std], dtype=torch.float64).log()
    )


def distribution_function(action: Tensor, mean: float, std: float) -> Tensor:
    """P(tanh(mean + std z) <= action): the Gaussian's, since tanh is increasing."""
    probability: Tensor = torch.special.ndtr((torch.atanh(action) - mean) / std)
    return probability


class TestTanhGaussian:
    @pytest.mark.parametrize("mean", MEANS)
    @pytest.mark.parametrize("std", STDS)
    def test_the_density_is_the_slope_of_the_distribution_function(self, mean: float, std: float) -> None:
        actions = torch.linspace(-0.98, 0.98, 197, dtype=torch.float64)
        step = 1e-5
        above, below = (distribution_function(actions + d, mean, std) for d in (step, -step))
        density = one_dimensional(mean, std).log_density(actions.unsqueeze(-1)).exp()
        torch.testing.assert_close(density, (above - below) / (2 * step), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("mean", MEANS)
    @pytest.mark.parametrize("std", STDS)
    def test_the_density_integrates_to_one(self, mean: float, std: float) -> None:
        cells = 400_000
        grid = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1
        density = one_dimensional(mean, std).log_density(grid.unsqueeze(-1)).exp()
        assert float(density.sum() * 2 / cells) == pytest.approx(1.0, abs=1e-5)

    def test_a_samples_density_is_the_density_of_its_action(self) -> None:
        mean, log_std = normal(50, ACTION).double(), (0.5 * normal(50, ACTION, seed=1) - 1).double()
        distribution = TanhGaussian(mean, log_std)
        noise = normal(50, ACTION, seed=2).double()
        actions, log_density = distribution.sample(noise)
        torch.testing.assert_close(actions, torch.tanh(mean + log_std.exp() * noise))
        torch.testing.assert_close(distribution.log_density(actions), log_density, rtol=1e-8, atol=1e-8)

    def test_a_log_ratio_is_the_difference_of_two_log_densities(self) -> None:
        ours, theirs = (
            TanhGaussian(
                normal(4, 1, ACTION, seed=k).double(), 0.5 * normal(4, 1, ACTION, seed=k + 1).double()
            )
            for k in (0, 2)
        )
        actions = torch.tanh(normal(4, 7, ACTION, seed=4).double())
        actions[0, 0, 0] = 1.0  # at the edge, which is moved inside
        difference = ours.log_density(actions) - theirs.log_density(actions)
        torch.testing.assert_close(ours.log_ratio(theirs, actions), difference, rtol=1e-9, atol=1e-9)

    def test_parts_are_those_of_the_rows(self) -> None:
        whole = TanhGaussian(normal(2, 6, ACTION), normal(2, 6, ACTION, seed=1))
        for index, part in enumerate(whole.chunk(3)):
            rows = slice(2 * index, 2 * index + 2)
            assert torch.equal(part.mean, whole.mean[:, rows])
            assert torch.equal(part.log_std, whole.log_std[:, rows])

    def test_several_components_multiply_their_densities(self) -> None:
        mean, log_std = normal(9, 3).double(), normal(9, 3, seed=1).double()
        actions = torch.tanh(normal(9, 3, seed=2).double())
        joint = TanhGaussian(mean, log_std).log_density(actions)
        single = sum(
            TanhGaussian(mean[:, [k]], log_std[:, [k]]).log_density(actions[:, [k]]) for k in range(3)
        )
        torch.testing.assert_close(joint, single)

    def test_noise_may_carry_extra_axes(self) -> None:
        mean, log_std, noise = normal(4, ACTION), normal(4, ACTION, seed=1), normal(5, 4, ACTION, seed=2)
        actions, log_density = TanhGaussian(mean, log_std).sample(noise)
        for draw in range(5):
            one_action, one_density = TanhGaussian(mean, log_std).sample(noise[draw])
            torch.testing.assert_close(actions[draw], one_action)
            torch.testing.assert_close(log_density[draw], one_density)

    def test_the_log_density_stays_exact_where_tanh_saturates(self) -> None:
        # log(1 - tanh(u)^2) -> log 4 - 2 |u|, long after float32's tanh(u) is 1
        pre_tanh = torch.tensor([[-60.0], [-20.0], [-9.5], [9.5], [20.0], [60.0]])
        _, log_density = TanhGaussian(pre_tanh, torch.zeros_like(pre_tanh)).sample(torch.zeros_like(pre_tanh))
        expected = -0.5 * math.log(2 * math.pi) - (math.log(4) - 2 * pre_tanh.abs().squeeze(-1))
        torch.testing.assert_close(log_density, expected, rtol=1e-6, atol=1e-6)

    def test_recorded_actions_at_the_edge_have_a_finite_density_and_gradient(self) -> None:
        mean = torch.zeros(2, 1, requires_grad=True)
        log_std = torch.zeros(2, 1, requires_grad=True)
        log_density = TanhGaussian(mean, log_std).log_density(torch.tensor([[-1.0], [1.0]]))
        log_density.sum().backward()
        assert mean.grad is not None and log_std.grad is not None
        assert torch.isfinite(torch.cat([log_density.detach(), mean.grad[:, 0], log_std.grad[:, 0]])).all()

    @pytest.mark.parametrize("extra_axes", [(), (3,)])
    def test_gradients_of_a_sample_and_its_density_equal_finite_differences(
        self, extra_axes: tuple[int, ...]
    ) -> None:
        noise = normal(*extra_axes, 6, ACTION, seed=2).double()

        def both(mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
            return TanhGaussian(mean, log_std).sample(noise)

        mean = normal(6, ACTION).double().requires_grad_()
        log_std = (0.3 * normal(6, ACTION, seed=1)).double().requires_grad_()
        assert torch.autograd.gradcheck(both, (mean, log_std))


Candidates = tuple[Tensor, Tensor, Tensor]


def candidates(agents: int, states: int, count: int, seed: int = 0) -> Candidates:
    """States, candidate actions of each, and log densities they might have been drawn with."""
    observations = normal(agents, states, OBSERVATION, seed=seed)
    actions = 2 * uniform(agents, states, count, ACTION, seed=seed + 1) - 1
    return observations, actions, normal(agents, states, count, seed=seed + 2)


def naive_soft_maximum(critics: Critics, inputs: Candidates) -> tuple[Tensor, list[Tensor], Tensor]:
    """Value [P, 2], its gradients through random upstream numbers, and the softmax weights, in float64."""
    observations, actions, log_density = (tensor.double() for tensor in inputs)
    parameters = {f"q.{k}": v for k, v in slow.float64_parameters(critics).items()}
    agents, states, count = actions.shape[:3]
    rows, weights = [], []
    for agent in range(agents):
        for twin in range(2):
            values = []
            for state in range(states):
                seen = observations[agent, state].expand(count, -1)
                q = slow.critics(parameters, "q", agent, seen, actions[agent, state])[twin]
                terms = (q - log_density[agent, state]).exp()
                values.append(terms.sum().log())
                weights.append((terms / terms.sum()).detach())
            rows.append(torch.stack(values).mean())
    value = torch.stack(rows).reshape(agents, 2)
    found = torch.autograd.grad((value * upstream(agents)).sum(), list(parameters.values()))
    return value.detach(), list(found), torch.stack(weights).reshape(agents, 2, states, count)


def upstream(agents: int) -> Tensor:
    """The gradient that arrives at each of the [P, 2] outputs: all different."""
    return torch.arange(1, 2 * agents + 1, dtype=torch.float64).reshape(agents, 2) - 2.5


def value_and_gradients(critics: Critics, soft_maximum: Tensor) -> tuple[Tensor, list[Tensor]]:
    total = (soft_maximum * upstream(len(soft_maximum)).float()).sum()
    return soft_maximum.detach(), list(torch.autograd.grad(total, list(critics.parameters())))


def assert_same_gradients(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Each parameter's gradient within `tolerance` of the expected one's size, network by network."""
    for ours, exact in zip(found, expected, strict=True):
        for copy in range(len(exact)):
            assert float((ours[copy].double() - exact[copy]).norm()) <= tolerance * float(exact[copy].norm())


class TestSoftMaximum:
    @pytest.mark.parametrize("hidden", [(7,), (7, 6), (7, 6, 5)])
    @pytest.mark.parametrize("agents", [1, 3])
    @pytest.mark.parametrize("states_in_a_block", [1, 2, 5, 100])  # 2 does not divide the 5 states
    def test_value_and_gradient_equal_autograd_of_the_formula(
        self, hidden: tuple[int, ...], agents: int, states_in_a_block: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = 4
        monkeypatch.setattr(soft_maximum, "PENALTY_BLOCK_ROWS", states_in_a_block * count + count - 1)
        critics, inputs = make_critics(agents, hidden), candidates(agents, 5, count)
        expected_value, expected_gradients, _ = naive_soft_maximum(critics, inputs)
        value, found = value_and_gradients(critics, critics.soft_maximum(*inputs))
        torch.testing.assert_close(value.double(), expected_value, rtol=1e-5, atol=1e-5)
        assert_same_gradients(found, expected_gradients, 1e-5)

    @pytest.mark.parametrize("norm", ["none", "before", "after"])
    def test_any_number_of_critics_with_or_without_norm_has_the_formulas_value_and_gradient(
        self, norm: Norm
    ) -> None:
        agents, count = 2, 3
        critics = Critics(agents, OBSERVATION, ACTION, (7, 6), count, norm)
        slow.randomise(critics, seed=4)
        observations, actions, log_density = candidates(agents, 5, 4)
        exact = slow.float64_parameters(critics)
        named = {f"q.{name}": tensor for name, tensor in exact.items()}

        def soft_maximum(agent: int, critic: int, state: int) -> Tensor:
            seen = observations[agent, state].double()
            pairs = [torch.cat([seen, action.double()]) for action in actions[agent, state]]
            q = [slow.perceptron(named, "q.", count * agent + critic, pair, norm)[0] for pair in pairs]
            return (torch.stack(q) - log_density[agent, state].double()).exp().sum().log()

        expected = torch.stack(
            [
                torch.stack([soft_maximum(agent, critic, state) for state in range(5)]).mean()
                for agent in range(agents)
                for critic in range(count)
            ]
        )
        upstream = torch.arange(1.0, 7.0)
        gradients = torch.autograd.grad((expected * upstream).sum(), list(exact.values()))
        value = critics.soft_maximum(observations, actions, log_density).flatten()
        found = torch.autograd.grad((value * upstream).sum(), list(critics.parameters()))
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
        assert_same_gradients(list(found), list(gradients), 1e-5)

    def test_large_values_neither_overflow_nor_vanish(self) -> None:
        critics, inputs = make_critics(2, (8, 8)), candidates(2, 4, 3)
        with torch.no_grad():
            critics.net.affine_maps()[-1].bias.copy_(
                torch.tensor([-500.0, 500.0, 2000.0, -2000.0]).view(4, 1, 1)
            )
        expected_value, expected_gradients, _ = naive_in_log_space(critics, inputs)
        value, found = value_and_gradients(critics, critics.soft_maximum(*inputs))
        torch.testing.assert_close(value.double(), expected_value, rtol=1e-6, atol=1e-3)
        assert_same_gradients(found, expected_gradients, 1e-3)

    def test_the_candidates_receive_no_gradient(self) -> None:
        critics = make_critics(1, (6,))
        observations, actions, log_density = (tensor.requires_grad_() for tensor in candidates(1, 3, 4))
        critics.soft_maximum(observations, actions, log_density).sum().backward()
        assert actions.grad is None and log_density.grad is None

    @pytest.mark.parametrize("draws", [None, 3])
    def test_the_states_receive_the_gradient_of_float64_autograd(self, draws: int | None) -> None:
        critics = make_critics(3, (7, 6))
        inputs = candidates(3, 5, 4)
        observations = inputs[0].clone().requires_grad_()
        fractions = None if draws is None else (torch.arange(draws) + uniform(3, 2, 5, 1, seed=9)) / draws
        value = critics.soft_maximum(observations, *inputs[1:], fractions)
        weights = torch.tensor([[1.0, -0.5], [0.3, 2.0], [-1.0, 0.7]])  # of agents and twins
        (found,) = torch.autograd.grad((value * weights).sum(), observations)

        exact = observations.detach().double().requires_grad_()
        net = Critics(3, OBSERVATION, ACTION, (7, 6)).double()
        net.load_state_dict({name: tensor.double() for name, tensor in critics.state_dict().items()})
        rows = exact.unsqueeze(2).expand(-1, -1, 4, -1).flatten(1, 2)
        logits = net(rows, inputs[1].double().flatten(1, 2)).reshape(3, 2, 5, 4)
        logits = logits - inputs[2].double().unsqueeze(1)
        if fractions is None:
            expected_value = torch.logsumexp(logits, dim=-1).mean(dim=-1)
        else:
            cumulative = torch.softmax(logits.detach(), dim=-1).cumsum(dim=-1)
            chosen = (fractions.unsqueeze(-1) >= cumulative.unsqueeze(3)).sum(dim=-1).clamp(max=3)
            expected_value = logits.gather(3, chosen).mean(dim=(2, 3))
        (expected,) = torch.autograd.grad((expected_value * weights.double()).sum(), exact)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("draws", [1, 3])
    def test_drawn_gradients_have_the_full_gradient_as_their_mean(
        self, draws: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The integral over the offset u is exact: between two breakpoints the gradient is constant."""
        agents, states, count = 2, 3, 4
        monkeypatch.setattr(soft_maximum, "PENALTY_BLOCK_ROWS", 2 * count)
        critics, inputs = make_critics(agents, (6, 5)), candidates(agents, states, count)
        _, expected, weights = naive_soft_maximum(critics, inputs)
        full_value = critics.soft_maximum(*inputs).detach()

        # draw i lies on candidate j where c_(j-1) <= (i + u) / k < c_j: it changes where k c_j - i = u
        breakpoints = (weights.cumsum(dim=-1) * draws).remainder(1.0).flatten()
        edges = sorted({0.0, 1.0, *breakpoints.tolist()})
        mean = [torch.zeros_like(gradient) for gradient in expected]
        for low, high in pairwise(edges):
            u = (low + high) / 2
            fractions = ((torch.arange(draws) + u) / draws).float().expand(agents, 2, states, draws)
            value, found = value_and_gradients(critics, critics.soft_maximum(*inputs, fractions))
            assert torch.equal(value, full_value)
            for total, gradient in zip(mean, found, strict=True):
                total += (high - low) * gradient.double()
        assert_same_gradients(mean, expected, 2e-5)

    def test_drawn_gradients_of_bounded_values_have_the_full_gradient_as_their_mean(self) -> None:
        """As above; a drawn candidate that its bound replaced gives none."""
        agents, states, count, draws = 2, 3, 4, 3
        critics, inputs = make_critics(agents, (6, 5)), candidates(agents, states, count)
        q = critics.of_candidates(*inputs[:2]).detach()
        bounds = torch.full_like(inputs[2], -math.inf)
        bounds[..., 1:] = q.mean()
        _, expected = value_and_gradients(critics, critics.bounded_soft_maximum(*inputs, bounds)[0])
        assert 0 < int((q < bounds.unsqueeze(1)).sum()) < q.numel()
        logits = torch.maximum(q, bounds.unsqueeze(1)) - inputs[2].unsqueeze(1)
        breakpoints = (logits.double().softmax(dim=-1).cumsum(dim=-1) * draws).remainder(1.0).flatten()
        edges = sorted({0.0, 1.0, *breakpoints.tolist()})
        mean = [torch.zeros_like(gradient.double()) for gradient in expected]
        for low, high in pairwise(edges):
            u = (low + high) / 2
            fractions = ((torch.arange(draws) + u) / draws).float().expand(agents, 2, states, draws)
            value = critics.bounded_soft_maximum(*inputs, bounds, fractions)[0]
            _, found = value_and_gradients(critics, value)
            for total, gradient in zip(mean, found, strict=True):
                total += (high - low) * gradient.double()
        assert_same_gradients(mean, [gradient.double() for gradient in expected], 2e-5)

    def test_each_state_and_twin_follows_its_own_draws(self) -> None:
        """One draw a state is one candidate: the gradient of that candidate's Q alone."""
        agents, states, count = 2, 3, 4
        critics, inputs = make_critics(agents, (6, 5)), candidates(agents, states, count)
        _, _, weights = naive_soft_maximum(critics, inputs)
        fractions = uniform(agents, 2, states, 1, seed=9)
        _, found = value_and_gradients(critics, critics.soft_maximum(*inputs, fractions))
        chosen = (weights.cumsum(dim=-1) <= fractions).sum(dim=-1)
        parameters = {f"q.{k}": v for k, v in slow.float64_parameters(critics).items()}
        total = torch.zeros((), dtype=torch.float64)
        for agent in range(agents):
            for twin in range(2):
                for state in range(states):
                    action = inputs[1][agent, state, chosen[agent, twin, state]]
                    q = slow.q_value(parameters, "q.", agent, twin, inputs[0][agent, state], action)
                    total = total + upstream(agents)[agent, twin] * q / states
        expected = torch.autograd.grad(total, list(parameters.values()))
        assert_same_gradients(found, list(expected), 1e-5)

    def test_draws_at_the_very_ends_stay_within_the_candidates(self) -> None:
        critics, inputs = make_critics(1, (6,)), candidates(1, 50, 7)
        ends = torch.tensor([0.0, 1 - 2.0**-24]).expand(1, 2, 50, 2).contiguous()
        _, found = value_and_gradients(critics, critics.soft_maximum(*inputs, ends))
        assert all(torch.isfinite(gradient).all() for gradient in found)

    def test_reduced_precision_stays_close_at_the_scale_of_trained_critics(self) -> None:
        """Gradients to 2 %, values to 1 % of their spread: Q is about -200 and spreads by 10 in a state."""
        states, count = 128, 30
        critics = Critics(1, OBSERVATION, ACTION, (256, 256))
        for index, layer in enumerate(critics.net.affine_maps()):
            slow.randomise(layer, seed=index, scale=math.sqrt(2 / layer.weight.shape[1]))
        observations, actions, _ = candidates(1, states, count)
        with torch.no_grad():
            last = critics.net.affine_maps()[-1]
            spread = _all_q(critics, observations, actions).std(dim=-1).mean(dim=-1)
            last.weight.mul_(10 / spread.reshape(2, 1, 1))
            last.bias.sub_(200 + _all_q(critics, observations, actions).mean(dim=(2, 3)).reshape(2, 1, 1))
        log_density = torch.full((1, states, count), -ACTION * math.log(2))
        exact_value, exact = value_and_gradients(
            critics, critics.soft_maximum(observations, actions, log_density)
        )
        value, found = value_and_gradients(
            critics, critics.soft_maximum(observations, actions, log_density, reduced_precision=True)
        )
        assert not torch.equal(value, exact_value)
        torch.testing.assert_close(value, exact_value, rtol=0, atol=0.01 * 10)
        assert_same_gradients(found, exact, 2e-2)

    @pytest.mark.parametrize(
        ("bfloat16", "reduced", "warned"), [(False, True, 1), (False, False, 0), (True, True, 0)]
    )
    def test_bfloat16_on_a_processor_without_it_is_said_in_one_sentence(
        self, bfloat16: bool, reduced: bool, warned: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        processor = replace(this_processor(), bfloat16=bfloat16)
        monkeypatch.setattr(soft_maximum, "this_processor", lambda: processor)
        critics, inputs = make_critics(1, (6, 5)), candidates(1, 3, 4)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("default")
            for _ in range(3):  # not at every update
                critics.soft_maximum(*inputs, reduced_precision=reduced)
        assert [str(warning.message) for warning in said] == [soft_maximum.SLOW_BFLOAT16] * warned


def _all_q(critics: Critics, observations: Tensor, actions: Tensor) -> Tensor:
    """Q of every candidate, [P, 2, B, n]."""
    return torch.stack([critics(observations, action) for action in actions.unbind(dim=2)], dim=-1)


def naive_in_log_space(critics: Critics, inputs: Candidates) -> tuple[Tensor, list[Tensor], None]:
    """`naive_soft_maximum` with the heads' biases taken out first: they shift the value and nothing else."""
    last = critics.net.affine_maps()[-1]
    shift = last.bias.detach().clone()
    with torch.no_grad():
        last.bias.zero_()
    value, found, _ = naive_soft_maximum(critics, inputs)
    with torch.no_grad():
        last.bias.copy_(shift)
    return value + shift.double().reshape(value.shape), found, None


class TestOnAGpu:
    """The soft maximum as a GPU makes it, tried on the CPU."""

    @pytest.fixture(autouse=True)
    def _whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(soft_maximum, "in_cache_blocks", lambda tensor: False)

    @pytest.mark.parametrize("hidden", [(7,), (7, 6), (8, 16, 5)])
    @pytest.mark.parametrize("agents", [1, 3])
    def test_value_and_gradient_equal_autograd_of_the_formula(
        self, hidden: tuple[int, ...], agents: int
    ) -> None:
        critics, inputs = make_critics(agents, hidden), candidates(agents, 5, 4)
        expected_value, expected_gradients, _ = naive_soft_maximum(critics, inputs)
        value, found = value_and_gradients(critics, critics.soft_maximum(*inputs))
        torch.testing.assert_close(value.double(), expected_value, rtol=1e-5, atol=1e-5)
        assert_same_gradients(found, expected_gradients, 1e-5)

    @pytest.mark.parametrize("bounded", [False, True])
    @pytest.mark.parametrize("drawn", [False, True])
    def test_it_equals_the_cpus_in_float64(
        self, bounded: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        critics = make_critics(3, (7, 6)).double()
        observations, actions, log_density = (tensor.double() for tensor in candidates(3, 5, 4))
        observations.requires_grad_()
        bounds = normal(3, 5, 4, seed=8).double() if bounded else None
        draws = (torch.arange(2) + uniform(3, 2, 5, 1, seed=9)).double() / 2 if drawn else None
        found = []
        for blocks in (False, True):
            monkeypatch.setattr(soft_maximum, "in_cache_blocks", lambda tensor, blocks=blocks: blocks)
            value, below = critics.bounded_soft_maximum(observations, actions, log_density, bounds, draws)
            total = (value * upstream(3)).sum()
            found.append([value, below, *torch.autograd.grad(total, [observations, *critics.parameters()])])
        for ours, cpus in zip(*found, strict=True):
            torch.testing.assert_close(ours, cpus, rtol=1e-12, atol=1e-13)

    def test_bfloat16_from_end_to_end_has_the_gradient_to_a_hundredth(self) -> None:
        states, count = 128, 30
        critics = Critics(1, OBSERVATION, ACTION, (256, 256))
        for index, layer in enumerate(critics.net.affine_maps()):
            slow.randomise(layer, seed=index, scale=math.sqrt(2 / layer.weight.shape[1]))
        inputs = candidates(1, states, count)
        with torch.no_grad():
            critics.net.affine_maps()[-1].bias.sub_(200)
        value, found = value_and_gradients(critics, critics.soft_maximum(*inputs, reduced_precision=True))
        exact = critics.double()
        exact_value, expected = value_and_gradients(
            exact, exact.soft_maximum(*(tensor.double() for tensor in inputs))
        )
        torch.testing.assert_close(value.double(), exact_value, rtol=0, atol=0.01)
        assert_same_gradients(found, expected, 1e-2)

    def test_so_many_passes_are_made_over_the_candidates_activations(self) -> None:
        """With its gradient: 21, where biases and sums of their own took 29."""
        critics = Critics(2, OBSERVATION, ACTION, (64, 64)).to("meta")
        inputs = [tensor.to("meta") for tensor in candidates(2, 16, 30)]
        with Passes(4 * 16 * 30 * 72) as passes:
            critics.soft_maximum(*inputs).sum().backward()
        assert passes.made == 21


class Passes(TorchDispatchMode):
    """Counts readings and writings of tensors with `size` numbers; what only looks at one makes none."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.made = size, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in ("detach", "empty"):
            written = [found, (kwargs or {}).get("grad_input"), (kwargs or {}).get("out")]
            written = list({id(leaf): leaf for leaf in written if isinstance(leaf, Tensor)}.values())
            read = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            self.made += sum(leaf.numel() == self.size for leaf in (*written, *read))
        return found


def test_actions_alone_and_their_gradients_are_those_that_are_sampled_with_a_density() -> None:
    generator = torch.Generator().manual_seed(3)
    mean, log_std = torch.randn(2, 2, 4, 1, ACTION, dtype=torch.float64, generator=generator)
    noise, weights = torch.randn(2, 2, 4, 5, ACTION, dtype=torch.float64, generator=generator)
    parameters = mean.requires_grad_(), log_std.requires_grad_()
    policy = TanhGaussian(*parameters)
    alone, sampled = policy.actions(noise), policy.sample(noise)[0]
    assert torch.equal(alone, sampled)
    for found, expected in zip(
        torch.autograd.grad((weights * alone).sum(), parameters),
        torch.autograd.grad((weights * sampled).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
