"""Convolutional encoders of a whole population, from named observations to features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from algorithms.population.passes import zero_where_inactive
from algorithms.population.perceptrons import fill_uniform
from algorithms.population.streams import Streams

IMAGE, STATE = "image", "state"
WHITE = 255  # a pixel's largest number
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
        parameters = (*self.weights, *self.biases)
        if not torch.is_grad_enabled():
            return _encode_in_turn(images, self.convolutions, parameters)
        features: Tensor = _InTurn.apply(  # type: ignore[no-untyped-call]
            images, self.convolutions, *parameters
        )
        return features

    def _side_by_side(self, images: Tensor) -> Tensor:
        copies, rows = images.shape[:2]
        maps = images.permute(1, 0, 4, 2, 3).flatten(1, 2).float().div_(WHITE)
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


class _InTurn(torch.autograd.Function):
    """Encoders one after the other and their gradients, in fewer passes over memory than autograd's.

    ReLU and its gradient are taken in place, every encoder's gradients are written where they belong, and
    those of maps and of weights are asked for apart, which oneDNN is faster at.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, convolutions: Sequence[Convolution], *parameters: Tensor) -> Tensor:
        ctx.convolutions, ctx.layers = convolutions, []
        ctx.save_for_backward(*parameters)
        ctx.set_materialize_grads(False)
        return _encode_in_turn(images, convolutions, parameters, ctx.layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        parameters: Sequence[Tensor] = ctx.saved_tensors
        if gradient is None:  # of features that nothing learns from
            return (None, None, *(None for _ in parameters))
        depth = len(ctx.convolutions)
        found = [torch.empty_like(parameter) for parameter in parameters]
        for index, layers in enumerate(ctx.layers):
            to_maps = gradient[index].view(layers[-1].activations.permute(0, 2, 3, 1).shape)
            to_maps = to_maps.permute(0, 3, 1, 2).clone()  # the layers write over it
            for layer in reversed(range(depth)):
                convolution, kept = ctx.convolutions[layer], layers[layer]
                zero_where_inactive(to_maps, kept.activations)
                if kept.pooled is not None:
                    to_maps = _unpooled(to_maps, *kept.pooled)
                found[layer][index], found[depth + layer][index] = _convolution_gradients(
                    to_maps, kept, convolution, (False, True, True)
                )[1:]
                if layer:
                    with _outputs_in_cache():
                        to_maps = _convolution_gradients(to_maps, kept, convolution, (True, False, False))[0]
        found[0] /= WHITE
        return (None, None, *found)


class _Layer(NamedTuple):
    """What a convolution's gradients need: of maps [B, C, H, W], channels last."""

    below: Tensor  # its input
    kernel: Tensor
    pooled: tuple[Tensor, Tensor] | None  # the maps before the maximum, and where it lay
    activations: Tensor  # after ReLU


def _encode_in_turn(
    images: Tensor,
    convolutions: Sequence[Convolution],
    parameters: Sequence[Tensor],
    kept: list[list[_Layer]] | None = None,
) -> Tensor:
    """Encode images [K, B, H, W, C] by weights, then biases, of each layer; appends each encoder's layers."""
    depth, features = len(convolutions), []
    for index, pixels in enumerate(images):
        maps, layers = pixels.permute(0, 3, 1, 2).float(), []
        for layer, convolution in enumerate(convolutions):
            below, pooled = maps, None
            kernel = parameters[layer][index].contiguous(memory_format=torch.channels_last)
            if not layer:
                kernel = kernel / WHITE  # in place of the pixels
            with _outputs_in_cache():
                maps = functional.conv2d(
                    below, kernel, parameters[depth + layer][index], convolution.stride, padding=1
                )
            if convolution.pooled:
                before = maps
                maps, places = torch.ops.aten.max_pool2d_with_indices(before, [2, 2], [2, 2])
                pooled = before, places
            maps.relu_()
            if kept is not None:
                layers.append(_Layer(below, kernel, pooled, maps))
        if kept is not None:
            kept.append(layers)
        features.append(maps.permute(0, 2, 3, 1).flatten(1))
    return torch.stack(features)


@contextmanager
def _outputs_in_cache() -> Iterator[None]:
    """Let what is made inside be filled before it is written, where a training process is deterministic.

    A convolution writes a row here and a row there, slowly where they are in no cache; a fill, which is fast
    anywhere, brings them there (Off2On's update of two agents takes a twelfth less time).
    """
    fill: Any = torch.utils.deterministic
    usual, fill.fill_uninitialized_memory = fill.fill_uninitialized_memory, True
    try:
        yield
    finally:
        fill.fill_uninitialized_memory = usual


def _unpooled(gradient: Tensor, before: Tensor, places: Tensor) -> Tensor:
    """Return the gradient of the maps `before` 2x2 maxima."""
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    found: Tensor = backward(gradient, before, [2, 2], [2, 2], [0, 0], [1, 1], False, places)
    return found


def _convolution_gradients(
    gradient: Tensor, layer: _Layer, convolution: Convolution, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a convolution's input, kernel and bias, those that are wanted."""
    strides = [convolution.stride] * 2
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient,
        layer.below,
        layer.kernel,
        [convolution.channels],
        strides,
        [1, 1],
        [1, 1],
        False,
        [0, 0],
        1,
        wanted,
    )
    return found


def _activate(maps: Tensor, convolution: Convolution) -> Tensor:
    return torch.relu(functional.max_pool2d(maps, 2) if convolution.pooled else maps)
