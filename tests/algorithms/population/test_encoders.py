"""Encoders side by side beside one convolutional network after the other, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from algorithms.population.encoders import CONVOLUTIONS, EncoderName, Encoders
from algorithms.population.streams import Streams
from tests.algorithms import slow_reference as slow

KINDS: list[EncoderName] = ["own", "shared"]
SHAPE = (13, 10, 3)  # odd: no size divides evenly


def images(copies: int, rows: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (copies, rows, *shape), dtype=torch.uint8, generator=generator)


def reference(kind: EncoderName) -> nn.Sequential:
    """One encoder in words of layers: [COG] pools after its first two convolutions, ours has strides."""
    if kind == "own":
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
    encoders = Encoders(copies, {"image": shape}, CONVOLUTIONS[kind])
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
    assert Encoders(1, {"image": (48, 48, 3)}, CONVOLUTIONS["own"]).feature_size == 2304


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_comes_to_the_bit_after_the_features_of_its_image(kind: EncoderName) -> None:
    shown = {"image": images(3, 4), "state": torch.randn(3, 4, 5)}
    alone = make(kind)
    both = Encoders(3, {"image": SHAPE, "state": (5,)}, CONVOLUTIONS[kind], state=True)
    both.load_state_dict(alone.state_dict())
    found = both(shown)
    assert both.feature_size == alone.feature_size + 5
    assert torch.equal(found[..., :-5], alone(shown))
    assert torch.equal(found[..., -5:], shown["state"])


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_the_same_bits_alone_and_whatever_its_neighbours_see(kind: EncoderName) -> None:
    together, alone = make(kind, 3), make(kind, 1)
    with torch.no_grad():
        for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
            ours.copy_(theirs[1:2])
    pictures, others = images(3, 5), images(3, 5, seed=7)
    others[1] = pictures[1]
    features = together({"image": pictures})
    beside = together({"image": others})
    assert torch.equal(beside[1], features[1])
    assert torch.equal(alone({"image": pictures[1:2]})[0], features[1])
    assert not torch.equal(beside[0], features[0])


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_weights_have_xaviers_range_from_each_agents_own_stream(kind: EncoderName) -> None:
    together, alone = (
        Encoders(2 * len(seeds), {"image": SHAPE}, CONVOLUTIONS[kind]) for seeds in ([5, 6], [6])
    )
    together.initialise(Streams([5, 6]))
    alone.initialise(Streams([6]))
    for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
        assert torch.equal(ours, theirs[2:])
    for weight, bias in zip(together.weights, together.biases, strict=True):
        bound = math.sqrt(6 / (9 * sum(weight.shape[1:3])))
        assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
        assert not bias.any()
