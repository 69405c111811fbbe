"""The density ratio: the bound is Jensen-Shannon's, its optimum d_online / d_offline, not the inverse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from algorithms.methods.density_ratio import DensityRatio, density_ratio_loss, priorities
from algorithms.population.streams import Streams

# two distributions over four points, as how often each point is in a batch
ONLINE, OFFLINE = (1, 2, 6, 7), (8, 4, 3, 1)
ONLINE_ROWS = torch.repeat_interleave(torch.arange(4), torch.tensor(ONLINE))
OFFLINE_ROWS = torch.repeat_interleave(torch.arange(4), torch.tensor(OFFLINE))
RATIO = torch.tensor(ONLINE).double() / torch.tensor(OFFLINE)  # both batches have 16 rows


def table_loss(weights: Tensor) -> Tensor:
    """The loss of a table of weights, one for each point. [S, 4] -> [S]"""
    return density_ratio_loss(weights[:, ONLINE_ROWS], weights[:, OFFLINE_ROWS])


def conjugate(slope: float) -> float:
    """f*(t) = -log(2 - e^t), the Fenchel conjugate of the Jensen-Shannon f."""
    return -math.log(2 - math.exp(slope))


class TestLoss:
    def test_it_is_the_variational_bound_of_the_jensen_shannon_divergence(self) -> None:
        generator = torch.Generator().manual_seed(0)
        online = 4 * torch.rand(2, 5, generator=generator)
        offline = 4 * torch.rand(2, 7, generator=generator)
        found = density_ratio_loss(online, offline)
        for run in range(2):
            slopes = [[math.log(2 * w / (w + 1)) for w in rows[run].tolist()] for rows in (online, offline)]
            bound = sum(slopes[0]) / 5 - sum(map(conjugate, slopes[1])) / 7
            assert float(found[run]) == pytest.approx(-bound, abs=1e-5)

    def test_it_is_stationary_at_online_over_offline(self) -> None:
        weights = RATIO.unsqueeze(0).requires_grad_()
        (gradient,) = torch.autograd.grad(table_loss(weights).sum(), weights)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)

    def test_its_minimum_is_twice_the_divergence(self) -> None:
        p, q = torch.tensor(ONLINE).double() / 16, torch.tensor(OFFLINE).double() / 16
        middle = (p + q) / 2
        divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
        assert float(table_loss(RATIO.unsqueeze(0))[0]) == pytest.approx(-2 * float(divergence), abs=1e-8)
        for factor in (0.5, 0.9, 1.1, 2.0):
            for point in range(4):
                other = RATIO.clone()
                other[point] *= factor
                assert float(table_loss(other.unsqueeze(0))[0]) > -2 * float(divergence)

    @pytest.mark.parametrize("activation", ["relu", "softplus"])
    def test_a_trained_network_recovers_the_ratio_of_two_known_distributions(self, activation: str) -> None:
        network = DensityRatio(2, 3, 1, (16,), "relu" if activation == "relu" else "softplus")
        network.initialise(Streams([0, 1]))
        points = torch.eye(4).expand(2, 4, 4)
        optimiser = torch.optim.Adam(network.parameters(), lr=2e-2)
        for _ in range(400):
            optimiser.zero_grad()
            table_loss(network(points[..., :3], points[..., 3:])).sum().backward()
            optimiser.step()
        found = network(points[..., :3], points[..., 3:]).detach().double()
        torch.testing.assert_close(found, RATIO.expand(2, 4), rtol=0.05, atol=0.02)

    def test_it_is_finite_with_finite_gradients_at_extreme_weights(self) -> None:
        weights = torch.tensor([[0.0, 1e-30, 1e-10, 1.0, 1e6, 1e30]], requires_grad=True)
        loss = density_ratio_loss(weights, weights)
        (gradient,) = torch.autograd.grad(loss.sum(), weights)
        assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()


class TestNetwork:
    def test_a_fresh_network_weighs_everything_about_equally(self) -> None:
        for activation, expected in (("relu", 1.0), ("softplus", math.log(1 + math.e))):
            network = DensityRatio(2, 3, 2, (64, 64), "relu" if activation == "relu" else "softplus")
            network.initialise(Streams([0, 1]))
            weights = network(torch.randn(2, 9, 3), torch.randn(2, 9, 2)).detach()
            torch.testing.assert_close(weights, torch.full((2, 9), expected), rtol=0, atol=0.1)

    def test_weights_are_never_negative(self) -> None:
        for activation in ("relu", "softplus"):
            network = DensityRatio(1, 3, 2, (8,), "relu" if activation == "relu" else "softplus")
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.normal_(generator=torch.Generator().manual_seed(0))
            assert (network(torch.randn(1, 99, 3), torch.randn(1, 99, 2)) >= 0).all()

    def test_a_dead_network_gives_zero_gradients_and_valid_priorities(self) -> None:
        """[C]'s ReLU can die: all weights zero is a state a run may reach, and must survive."""
        network = DensityRatio(1, 3, 2, (8,), "relu")
        network.initialise(Streams([0]))
        with torch.no_grad():
            network.net.affine_maps()[-1].bias.fill_(-1.0)
        online = network(torch.randn(1, 6, 3), torch.randn(1, 6, 2))
        offline = network(torch.randn(1, 6, 3), torch.randn(1, 6, 2))
        assert not online.any() and not offline.any()
        loss = density_ratio_loss(online, offline)
        loss.sum().backward()
        assert float(loss.detach()) == pytest.approx(-math.log(1e-10) - math.log(2), abs=1e-4)
        assert all(p.grad is not None and not p.grad.any() for p in network.parameters())
        found = priorities(online.detach(), offline.detach(), 5.0, (1e-3, 1e3))
        assert torch.equal(found, torch.full((1, 6), 1e-3))


class TestPriorities:
    def test_they_are_self_normalised_powers(self) -> None:
        generator = torch.Generator().manual_seed(0)
        weights = 3 * torch.rand(2, 5, generator=generator)
        offline = 3 * torch.rand(2, 7, generator=generator)
        found = priorities(weights, offline, 2.5, (1e-3, 1e3))
        for run in range(2):
            mean = sum(w ** (1 / 2.5) for w in offline[run].tolist()) / 7
            for row, weight in enumerate(weights[run].tolist()):
                assert float(found[run, row]) == pytest.approx(weight ** (1 / 2.5) / mean, rel=1e-5)

    def test_offline_transitions_have_mean_one(self) -> None:
        offline = torch.rand(2, 50, generator=torch.Generator().manual_seed(0)) + 0.1
        found = priorities(offline, offline, 5.0, (1e-3, 1e3))
        torch.testing.assert_close(found.mean(dim=1), torch.ones(2))

    @pytest.mark.parametrize("temperature", [1.0, 2.5, 5.0])
    def test_temperature_flattens_by_a_power(self, temperature: float) -> None:
        one, other = priorities(
            torch.tensor([[32.0, 1.0]]), torch.ones(1, 3), temperature, (1e-3, 1e3)
        ).flatten()
        assert float(one / other) == pytest.approx(32 ** (1 / temperature), rel=1e-5)

    def test_they_are_clamped(self) -> None:
        found = priorities(torch.tensor([[0.0, 1e-9, 1.0, 1e9]]), torch.ones(1, 3), 1.0, (1e-3, 1e3))
        torch.testing.assert_close(found, torch.tensor([[1e-3, 1e-3, 1.0, 1e3]]))
