"""Encoders side by side beside one convolutional network after the other, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms.methods.density_ratio import ImageDensityRatio
from algorithms.population.encoders import CONVOLUTIONS, EncoderName, Encoders, OwnCritics, OwnPolicy
from algorithms.population.streams import Streams
from tests.algorithms import slow_reference as slow

KINDS: list[EncoderName] = ["original", "shared"]
SHAPE = (13, 10, 3)  # odd: no size divides evenly


def images(copies: int, rows: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (copies, rows, *shape), dtype=torch.uint8, generator=generator)


def reference(kind: EncoderName) -> nn.Sequential:
    """One encoder in words of layers: [COG] pools after its first two convolutions, ours has strides."""
    if kind == "original":
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1), nn.MaxPool2d(2, 2), nn.ReLU()]
        layers += [nn.Conv2d(16, 16, 3, 1, 1), nn.MaxPool2d(2, 2), nn.ReLU()]
        layers += [nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()]
    else:
        layers = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers).double()


def one_by_one(encoders: Encoders, kind: EncoderName, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Features of every copy, and the gradients of their squared sum by layer: weights, then biases."""
    features, gradients = [], []
    for copy, rows in enumerate(pictures):
        net = reference(kind)
        convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
        with torch.no_grad():
            for layer, weight, bias in zip(convolutions, encoders.weights, encoders.biases, strict=True):
                assert layer.bias is not None
                layer.weight.copy_(weight[copy])
                layer.bias.copy_(bias[copy])
        maps = net(rows.permute(0, 3, 1, 2).double() / 255)
        features.append(maps.permute(0, 2, 3, 1).reshape(len(rows), -1))
        parameters = [p for layer in convolutions for p in (layer.weight, layer.bias)]
        gradients.append(torch.autograd.grad(features[-1].square().sum(), parameters))
    stacked = [torch.stack(part) for part in zip(*gradients, strict=True)]
    return torch.stack(features), stacked[::2] + stacked[1::2]


def make(kind: EncoderName, copies: int = 3, shape: tuple[int, int, int] = SHAPE) -> Encoders:
    encoders = Encoders(copies, shape, CONVOLUTIONS[kind])
    slow.randomise(encoders, seed=1, scale=0.3)
    return encoders


@pytest.mark.parametrize("way", ["_one_after_the_other", "_side_by_side"])
@pytest.mark.parametrize("kind", KINDS)
def test_features_and_gradients_are_each_encoders_own(kind: EncoderName, way: str) -> None:
    encoders, pictures = make(kind), images(3, 4)
    found = getattr(encoders, way)(pictures)
    assert found.shape == (3, 4, encoders.feature_size)
    expected, expected_gradients = one_by_one(encoders, kind, pictures)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found.square().sum(), [*encoders.weights, *encoders.biases])
    for gradient, exact in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-3)


def test_at_48_pixels_cogs_encoder_has_its_papers_2304_features() -> None:
    assert Encoders(1, (48, 48, 3), CONVOLUTIONS["original"]).feature_size == 2304


def carrying(pictures: Tensor, states: Tensor) -> Tensor:
    """Images with one row more that begins with the bytes of states [K, B, numbers]."""
    framed = torch.full(
        (*pictures.shape[:2], pictures.shape[2] + 1, *pictures.shape[3:]), 77, dtype=torch.uint8
    )
    framed[:, :, :-1] = pictures
    for copy, rows in enumerate(states.numpy()):
        for row, numbers in enumerate(rows):
            raw = np.frombuffer(numbers.tobytes(), np.uint8)
            framed[copy, row, -1].view(-1)[: len(raw)] = torch.from_numpy(raw.copy())
    return framed


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_comes_to_the_bit_after_the_features_of_the_picture_above_it(kind: EncoderName) -> None:
    pictures, states = images(3, 4), torch.randn(3, 4, 5)
    alone = make(kind)
    both = Encoders(3, (SHAPE[0] + 1, *SHAPE[1:]), CONVOLUTIONS[kind], state_size=5)
    both.load_state_dict(alone.state_dict())
    found = both(carrying(pictures, states))
    assert both.feature_size == alone.feature_size + 5
    assert torch.equal(found[..., :-5], alone(pictures))
    assert torch.equal(found[..., -5:], states)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_the_same_bits_alone_and_whatever_its_neighbours_see(kind: EncoderName) -> None:
    together, alone = make(kind, 3), make(kind, 1)
    with torch.no_grad():
        for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
            ours.copy_(theirs[1:2])
    pictures, others = images(3, 5), images(3, 5, seed=7)
    others[1] = pictures[1]
    features = together(pictures)
    assert torch.equal(together(others)[1], features[1])
    assert torch.equal(alone(pictures[1:2])[0], features[1])
    assert not torch.equal(together(others)[0], features[0])


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_weights_have_xaviers_range_from_each_agents_own_stream(kind: EncoderName) -> None:
    together, alone = (Encoders(2 * len(seeds), SHAPE, CONVOLUTIONS[kind]) for seeds in ([5, 6], [6]))
    together.initialise(Streams([5, 6]))
    alone.initialise(Streams([6]))
    for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
        assert torch.equal(ours, theirs[2:])
    for weight, bias in zip(together.weights, together.biases, strict=True):
        bound = math.sqrt(6 / (9 * sum(weight.shape[1:3])))
        assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
        assert not bias.any()


def test_a_critic_reads_its_own_columns_alone() -> None:
    critics, pictures = OwnCritics(2, SHAPE, 2, (5,)), images(4, 3)
    slow.randomise(critics, seed=2)
    own = critics.encoder(pictures)
    size = critics.encoder.feature_size
    columns = torch.cat([torch.full((2, 3, size), torch.nan), critics.features(pictures)], dim=-1)
    assert torch.equal(critics.state_inputs(columns), own)


def test_a_policy_reads_the_first_columns_alone() -> None:
    policy, pictures = OwnPolicy(2, SHAPE, 2, (5,), (-5.0, 2.0)), images(2, 3)
    slow.randomise(policy, seed=2)
    features = policy.encoder(pictures)
    padded = torch.cat([features, torch.full_like(features, torch.nan)], dim=-1)
    assert torch.equal(policy(padded).mean, policy(features).mean)


def test_a_fresh_density_ratio_of_images_is_near_one() -> None:
    density = ImageDensityRatio(2, SHAPE, 2, (6, 5), "relu", "shared")
    density.initialise(Streams([0, 1]))
    weights = density(images(2, 40), torch.rand(2, 40, 2)).detach()
    assert weights.shape == (2, 40) and (weights - 1).abs().max() < 0.1
