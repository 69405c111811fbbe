"""Convolutional encoders of a whole population, from images to features, and the networks that read them.

Two ways to see. `OwnEncoders` is COG's: every network (each critic, each target, the policy) has an encoder
of its own, trained by that network's loss. `SharedEncoder` is ours, a deviation for small budgets: one
small encoder an agent, trained by its critics' loss alone (and cloning's, if asked); the policy reads its
features as they are, and so do the target critics, without a copy of it. Either way each image is encoded
once an update and everything after works on features, as it would on any other observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.population.networks import Critics, Policy, TanhGaussian
from algorithms.population.perceptrons import fill_uniform
from algorithms.population.streams import Streams

ImageShape = tuple[int, int, int]
"""Height, width, channels."""

EncoderName = Literal["original", "shared"]


class Convolution(NamedTuple):
    """One 3x3 convolution with a border of one zero, and what follows before its ReLU."""

    channels: int
    stride: int = 1
    pooled: bool = False  # whether a 2x2 maximum follows


CONVOLUTIONS: dict[EncoderName, tuple[Convolution, ...]] = {
    "original": (Convolution(16, pooled=True), Convolution(16, pooled=True), Convolution(16)),  # [COG], [S]
    "shared": (Convolution(16, stride=2), Convolution(32, stride=2), Convolution(32, stride=2)),  # ours
}


class Encoders(nn.Module):
    """K encoders side by side: images uint8 `[K, B, H, W, C]` -> features `[K, B, feature_size]`.

    Weights are `[K, out, in, 3, 3]` and biases `[K, out]`. The pixels are scaled to [0, 1] first. With a
    `state_size` the last row of each image is no picture but the bytes of that many numbers (float32), which
    come after the features of the rest as they are.
    """

    def __init__(
        self,
        copies: int,
        image_shape: ImageShape,
        convolutions: Sequence[Convolution],
        state_size: int = 0,
    ) -> None:
        super().__init__()
        height, width, inputs = image_shape
        self.state_size = state_size
        if state_size:
            height -= 1
        self.convolutions = tuple(convolutions)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for convolution in self.convolutions:
            self.weights.append(torch.empty(copies, convolution.channels, inputs, 3, 3))
            self.biases.append(torch.zeros(copies, convolution.channels))
            inputs = convolution.channels
            height, width = ((size - 1) // convolution.stride + 1 for size in (height, width))
            if convolution.pooled:
                height, width = height // 2, width // 2
        self.feature_size = height * width * inputs + state_size

    def forward(self, images: Tensor) -> Tensor:
        """The features, one image's values in rows of pixels, and then the state."""
        pictures = images[:, :, :-1] if self.state_size else images
        # On a CPU one after the other takes little more than half the time.
        encode = self._one_after_the_other if images.is_cpu else self._side_by_side
        features = encode(pictures)
        if not self.state_size:
            return features
        return torch.cat([features, states_of(images, self.state_size)], dim=-1)

    def _one_after_the_other(self, images: Tensor) -> Tensor:
        return torch.stack([self._one_encoder(index, rows) for index, rows in enumerate(images)])

    def _one_encoder(self, index: int, images: Tensor) -> Tensor:
        maps = images.permute(0, 3, 1, 2).float().div_(255)
        for convolution, weight, bias in zip(self.convolutions, self.weights, self.biases, strict=True):
            kernel = weight[index].contiguous(memory_format=torch.channels_last)
            maps = functional.conv2d(maps, kernel, bias[index], convolution.stride, padding=1)
            maps = _activate(maps, convolution)
        return maps.permute(0, 2, 3, 1).flatten(1)

    def _side_by_side(self, images: Tensor) -> Tensor:
        copies, rows = images.shape[:2]
        maps = images.permute(1, 0, 4, 2, 3).flatten(1, 2).float().div_(255)
        for convolution, weight, bias in zip(self.convolutions, self.weights, self.biases, strict=True):
            kernel = weight.flatten(0, 1)
            maps = functional.conv2d(maps, kernel, bias.flatten(), convolution.stride, 1, groups=copies)
            maps = _activate(maps, convolution)
        by_copy = maps.view(rows, copies, -1, *maps.shape[2:])
        return by_copy.permute(1, 0, 3, 4, 2).reshape(copies, rows, -1)

    def initialise(self, streams: Streams) -> None:
        """Xavier's uniform weights, each agent's from its own stream; biases zero. [COG]"""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            outputs, inputs = weight.shape[1:3]
            fill_uniform(weight, math.sqrt(6 / (9 * inputs + 9 * outputs)), streams)
            nn.init.zeros_(bias)


def states_of(images: Tensor, size: int) -> Tensor:
    """The numbers that the last rows of images uint8 [K, B, H, W, C] begin with. float32 [K, B, size]"""
    return images[:, :, -1].flatten(2)[:, :, : 4 * size].contiguous().view(torch.float32)


def _activate(maps: Tensor, convolution: Convolution) -> Tensor:
    return torch.relu(functional.max_pool2d(maps, 2) if convolution.pooled else maps)


class FeaturePolicy(Policy):
    """Policies that read the features of their agent's shared encoder, and teach it nothing unasked."""

    def forward(self, observations: Tensor) -> TanhGaussian:
        """The action distribution, from features `[P, B, F]`."""
        return super().forward(observations.detach())

    def teaching(self, observations: Tensor) -> TanhGaussian:
        """The same, with a gradient down to the encoder."""
        return super().forward(observations)


class OwnPolicy(Policy):
    """Policies with encoders of their own, whose features come first among an observation's."""

    def __init__(
        self,
        agents: int,
        image_shape: ImageShape,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: tuple[float, float],
        state_size: int = 0,
    ) -> None:
        encoder = Encoders(agents, image_shape, CONVOLUTIONS["original"], state_size)
        super().__init__(agents, encoder.feature_size, action_size, hidden_widths, log_std_range)
        self.encoder = encoder

    def forward(self, observations: Tensor) -> TanhGaussian:
        """The action distribution, from observations whose first F values are the policy's features."""
        return super().forward(observations[..., : self.encoder.feature_size])

    def initialise(self, streams: Streams) -> None:
        """Small fully connected layers, a near-zero head. [COG]"""
        self.encoder.initialise(streams)
        _initialise_small(self, streams)


class OwnCritics(Critics):
    """Twin critics with an encoder each: an observation is [policy's features, twin 0's, twin 1's]."""

    def __init__(
        self,
        agents: int,
        image_shape: ImageShape,
        action_size: int,
        hidden_widths: Sequence[int],
        state_size: int = 0,
    ) -> None:
        encoder = Encoders(2 * agents, image_shape, CONVOLUTIONS["original"], state_size)
        super().__init__(agents, encoder.feature_size, action_size, hidden_widths)
        self.encoder = encoder

    def features(self, images: Tensor) -> Tensor:
        """Both twins' features side by side: images [2 P, B, ...] -> [P, B, 2 F]."""
        features: Tensor = self.encoder(images)
        by_twin = features.view(self.agents, 2, *features.shape[1:])
        return by_twin.transpose(1, 2).flatten(2)

    def state_inputs(self, observations: Tensor) -> Tensor:
        """What each twin sees of [P, B, 3 F], its own features. [2 P, B, F]"""
        both = observations[..., self.encoder.feature_size :]
        by_twin = both.reshape(*both.shape[:2], 2, self.encoder.feature_size)
        return by_twin.transpose(1, 2).flatten(0, 1)

    def initialise(self, streams: Streams) -> None:
        """Small fully connected layers. [COG]"""
        self.encoder.initialise(streams)
        _initialise_small(self, streams)


def _initialise_small(networks: Policy | Critics, streams: Streams) -> None:
    """Weights and biases within 1e-4: with zero biases next to no gradient would reach an encoder. [COG]"""
    for layer in networks.net.affine_maps():
        fill_uniform(layer.weight, 1e-4, streams)
        fill_uniform(layer.bias, 1e-4, streams)
