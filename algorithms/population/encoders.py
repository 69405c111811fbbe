"""Convolutional encoders of a whole population, from named observations to features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.population.perceptrons import fill_uniform
from algorithms.population.streams import Streams

IMAGE, STATE = "image", "state"
Shapes = Mapping[str, tuple[int, ...]]
"""What named observations are: an `IMAGE` of height, width and channels, uint8, and numbers beside it."""

EncoderName = Literal["own", "shared"]


class Convolution(NamedTuple):
    """One 3x3 convolution with a border of one zero, and what follows before its ReLU."""

    channels: int
    stride: int = 1
    pooled: bool = False  # whether a 2x2 maximum follows


CONVOLUTIONS: dict[EncoderName, tuple[Convolution, ...]] = {
    "own": (Convolution(16, pooled=True), Convolution(16, pooled=True), Convolution(16)),  # [COG], [S]
    "shared": (Convolution(16, stride=2), Convolution(32, stride=2), Convolution(32, stride=2)),  # ours
}


class Encoders(nn.Module):
    """K encoders side by side: images uint8 `[K, B, H, W, C]` -> features `[K, B, feature_size]`.

    Weights are `[K, out, in, 3, 3]` and biases `[K, out]`. The pixels are scaled to [0, 1] first. Where
    they read the `state`, its numbers come after the image's features as they are.
    """

    def __init__(
        self, copies: int, shapes: Shapes, convolutions: Sequence[Convolution], state: bool = False
    ) -> None:
        super().__init__()
        height, width, inputs = shapes[IMAGE]
        self.copies, self.state = copies, state
        self.convolutions = tuple(convolutions)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for convolution in self.convolutions:
            self.weights.append(torch.empty(copies, convolution.channels, inputs, 3, 3))
            self.biases.append(torch.zeros(copies, convolution.channels))
            inputs = convolution.channels
            height, width = ((size - 1) // convolution.stride + 1 for size in (height, width))
            if convolution.pooled:
                height, width = height // 2, width // 2
        self.feature_size = height * width * inputs + (shapes[STATE][0] if state else 0)

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Encode observations: one image's values in rows of pixels, and then the state."""
        images = observations[IMAGE]
        # On a CPU one after the other takes little more than half the time.
        encode = self._one_after_the_other if images.is_cpu else self._side_by_side
        features = encode(images)
        return torch.cat([features, observations[STATE]], dim=-1) if self.state else features

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
        """Initialise with Xavier's uniform weights, each agent's from its own stream; biases zero. [COG]"""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            outputs, inputs = weight.shape[1:3]
            fill_uniform(weight, math.sqrt(6 / (9 * inputs + 9 * outputs)), streams)
            nn.init.zeros_(bias)


def _activate(maps: Tensor, convolution: Convolution) -> Tensor:
    return torch.relu(functional.max_pool2d(maps, 2) if convolution.pooled else maps)
