"""Both passes of K perceptrons side by side, written by hand for less memory traffic than autograd's.

Bias and ReLU are added where the product lies (`baddbmm` first copies the bias to every row), ReLU's gradient
is taken in place, a last layer of one output is a scalar product forwards and a product with one row
backwards, what needs no gradient keeps no activations, and inputs that are given get none.

Parameters are in the order of `perceptrons.PopulationMLP.tensors`. Hidden layers may be normalised over their
width (layer norm, Ba et al. 2016), before or after the activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Norm = Literal["none", "before", "after"]
"""Layer norm of the hidden layers: none, or before or after their activation."""
_LAYER_NORM_EPSILON = (
    1e-6  # added to the variance; flax's, which the methods that ask for a norm are written in
)


def evaluated(
    inputs: Tensor, parameters: Sequence[Tensor], norm: Norm = "none", given: Tensor | None = None
) -> Tensor:
    """K perceptrons, [K, B, in] -> [K, B, out], differentiable once in inputs and parameters.

    `parameters` are in the order of `PopulationMLP.tensors`; `given [K, B, n]` are inputs that come first and
    get no gradient.
    """
    if not torch.is_grad_enabled():
        joined = _joined(given, inputs)
        return (
            forward_pass(joined, parameters)
            if norm == "none"
            else _forward_normalised(joined, parameters, norm)
        )
    if norm == "none":
        outputs: Tensor = _Evaluation.apply(given, inputs, *parameters)  # type: ignore[no-untyped-call]
    else:
        outputs = _NormalisedEvaluation.apply(norm, given, inputs, *parameters)  # type: ignore[no-untyped-call]
    return outputs


def _joined(given: Tensor | None, inputs: Tensor) -> Tensor:
    return inputs if given is None else torch.cat([given, inputs], dim=-1)


def _input_gradient(gradient: Tensor, weight: Tensor, free: int) -> Tensor:
    """Compute the gradient of the last `free` of a layer's inputs."""
    return _product(gradient, weight[:, weight.shape[1] - free :].transpose(1, 2))


class _Evaluation(torch.autograd.Function):
    """`forward_pass` and its gradients."""

    @staticmethod
    def forward(ctx: Any, given: Tensor | None, inputs: Tensor, *parameters: Tensor) -> Tensor:
        activations = [_joined(given, inputs)]
        outputs = forward_pass(activations[0], parameters, activations)
        ctx.free = inputs.shape[-1]
        ctx.save_for_backward(*parameters, *activations)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        layers = len(kept) // 3
        parameters, activations = kept[: 2 * layers], kept[2 * layers :]
        found: list[Tensor | None] = [None] * (2 * layers)
        for layer in reversed(range(layers)):
            weight, below = parameters[2 * layer], activations[layer]
            if needed[1 + 2 * layer]:
                found[2 * layer] = _weight_gradient(below, gradient)
            if needed[2 + 2 * layer]:  # also of constant weights, where inputs have been read
                found[2 * layer + 1] = _bias_gradient(gradient, parameters[2 * layer + 1])
            if layer > 0:
                gradient = _product(gradient, weight.transpose(1, 2))
                zero_where_inactive(gradient, below)
        to_inputs = _input_gradient(gradient, parameters[0], ctx.free) if needed[0] else None
        return (None, to_inputs, *found)


def zero_where_inactive(gradient: Tensor, activation: Tensor) -> None:
    """Compute ReLU's backward pass, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, activation, 0, grad_input=gradient)


def forward_pass(
    hidden: Tensor, parameters: Sequence[Tensor], activations: list[Tensor] | None = None
) -> Tensor:
    """Compute the layers' outputs; the hidden ones' are appended to `activations`, if given."""
    *others, last_weight, last_bias = parameters
    for weight, bias in zip(others[::2], others[1::2], strict=True):
        hidden = _add_bias(torch.bmm(hidden, weight), bias).relu_()
        if activations is not None:
            activations.append(hidden)
    return _last_layer(hidden, last_weight, last_bias, passing=activations is None and len(others) > 0)


def _add_bias(values: Tensor, bias: Tensor) -> Tensor:
    """Add [K, R, width] to every R rows of [K, n R, width], in place: R is 1, or what has been read."""
    if bias.shape[1] == 1:
        return values.add_(bias)
    values.view(len(bias), -1, *bias.shape[1:]).add_(bias.unsqueeze(1))
    return values


def _bias_gradient(gradient: Tensor, bias: Tensor) -> Tensor:
    """Compute the gradient of what `_add_bias` has added."""
    if bias.shape[1] in (1, gradient.shape[1]):
        return gradient.sum_to_size(bias.shape)
    return gradient.view(len(bias), -1, *bias.shape[1:]).sum(dim=1)


def _last_layer(hidden: Tensor, weight: Tensor, bias: Tensor, passing: bool) -> Tensor:
    """Return the outputs from the last hidden layer's activations, which are written over if `passing`."""
    if weight.shape[2] == 1:
        row = weight.transpose(1, 2)
        weighted = hidden.mul_(row) if passing else hidden * row
        return weighted.sum(dim=2, keepdim=True).add_(bias)
    return torch.bmm(hidden, weight).add_(bias)


def _weight_gradient(inputs: Tensor, gradient: Tensor) -> Tensor:
    """Compute inputs' gradient; of few columns, the product with as few rows is faster than its transpose."""
    if gradient.shape[2] < inputs.shape[2]:
        return torch.bmm(gradient.transpose(1, 2), inputs).transpose(1, 2)
    return torch.bmm(inputs.transpose(1, 2), gradient)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left right, an outer product where they share a length of one."""
    return left * right if left.shape[2] == 1 else torch.bmm(left, right)


class _NormalisedEvaluation(torch.autograd.Function):
    """`_forward_normalised` and its gradients."""

    @staticmethod
    def forward(ctx: Any, norm: Norm, given: Tensor | None, inputs: Tensor, *parameters: Tensor) -> Tensor:
        layers: list[tuple[Tensor, ...]] = []
        joined = _joined(given, inputs)
        outputs = _forward_normalised(joined, parameters, norm, layers)
        ctx.norm, ctx.count, ctx.free = norm, len(parameters), inputs.shape[-1]
        ctx.save_for_backward(*parameters, joined, *(tensor for layer in layers for tensor in layer))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parameters: Sequence[Tensor] = ctx.saved_tensors[: ctx.count]
        inputs: Tensor = ctx.saved_tensors[ctx.count]
        kept: Sequence[Tensor] = ctx.saved_tensors[ctx.count + 1 :]
        wanted = ctx.needs_input_grad[3:]
        found: list[Tensor | None] = [None] * len(parameters)
        below = kept[-4] if kept else inputs
        if wanted[-2]:
            found[-2], found[-1] = _weight_gradient(below, gradient), gradient.sum(dim=1, keepdim=True)
        weight = parameters[-2]
        for layer in reversed(range(len(kept) // 4)):
            first = 4 * layer
            outputs, before, mean, deviation = kept[first : first + 4]
            to_outputs = _product(gradient, weight.transpose(1, 2))
            weight, _, gain, shift = parameters[first : first + 4]
            gradient, *to_scale = _normalise_backward(
                to_outputs, outputs, before, mean, deviation, gain, shift, ctx.norm
            )
            if wanted[first]:
                below = kept[first - 4] if layer else inputs
                found[first] = _weight_gradient(below, gradient)
                found[first + 1] = gradient.sum_to_size(parameters[first + 1].shape)
                found[first + 2 : first + 4] = to_scale
        to_inputs = _input_gradient(gradient, weight, ctx.free) if ctx.needs_input_grad[2] else None
        return (None, None, to_inputs, *found)


def _forward_normalised(
    hidden: Tensor, parameters: Sequence[Tensor], norm: Norm, kept: list[tuple[Tensor, ...]] | None = None
) -> Tensor:
    """Compute the outputs of the layers.

    What the hidden ones' gradients need is appended to `kept`, if there is such a list: a layer's outputs,
    the norm's inputs, and their means and 1 / deviations.
    """
    *others, last_weight, last_bias = parameters
    for weight, bias, gain, shift in zip(*(others[start::4] for start in range(4)), strict=True):
        before = torch.bmm(hidden, weight)
        hidden, mean, deviation = _normalise(before, bias, gain, shift, norm)
        if kept is not None:
            kept.append((hidden, before, mean, deviation))
    return _last_layer(hidden, last_weight, last_bias, passing=kept is None and len(others) > 0)


def _normalise(
    values: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, norm: Norm
) -> tuple[Tensor, Tensor, Tensor]:
    """Bias, layer norm and ReLU of products [K, B, width]; the norm's means and 1 / deviations [K, B, 1].

    `values` become the norm's inputs. Network by network a CPU has their numbers in its cache.
    """
    if not values.is_cpu:
        return _normalise_at_once(values, bias, gain, shift, norm)
    outputs = torch.empty_like(values)
    mean, deviation = (values.new_empty(*values.shape[:2], 1) for _ in range(2))
    tensors = (values, bias, gain.squeeze(1), shift.squeeze(1), outputs, mean, deviation)
    for own, own_bias, *scale, output, own_mean, own_deviation in zip(
        *map(torch.unbind, tensors), strict=True
    ):
        own.add_(own_bias)
        if norm == "after":
            own.relu_()
        torch.ops.aten.native_layer_norm.out(
            own,
            values.shape[-1:],
            *scale,
            _LAYER_NORM_EPSILON,
            out0=output,
            out1=own_mean,
            out2=own_deviation,
        )
        if norm == "before":
            output.relu_()
    return outputs, mean, deviation


def _normalise_at_once(
    values: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, norm: Norm
) -> tuple[Tensor, Tensor, Tensor]:
    """`_normalise` in few operations."""
    values.add_(bias)
    if norm == "after":
        values.relu_()
    # The kernel's own gain and shift would be one for all networks.
    normalised, mean, deviation = torch.ops.aten.native_layer_norm(
        values, values.shape[-1:], None, None, _LAYER_NORM_EPSILON
    )
    outputs = torch.addcmul(shift, normalised, gain)
    return torch.relu_(outputs) if norm == "before" else outputs, mean, deviation


def _normalise_backward(
    gradient: Tensor,
    outputs: Tensor,
    values: Tensor,
    mean: Tensor,
    deviation: Tensor,
    gain: Tensor,
    shift: Tensor,
    norm: Norm,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of `_normalise`'s values, gain and shift; that of its outputs is written over."""
    if not values.is_cpu:
        return _normalise_backward_at_once(gradient, outputs, values, mean, deviation, gain, norm)
    to_values, to_gain, to_shift = map(torch.empty_like, (values, gain, shift))
    vectors = (tensor.squeeze(1) for tensor in (gain, shift, to_gain, to_shift))
    tensors = (gradient, outputs, values, to_values, mean, deviation, *vectors)
    for upstream, output, own, to_own, own_mean, own_deviation, *scale, to_own_gain, to_own_shift in zip(
        *map(torch.unbind, tensors), strict=True
    ):
        if norm == "before":
            zero_where_inactive(upstream, output)
        torch.ops.aten.native_layer_norm_backward.out(
            upstream,
            own,
            values.shape[-1:],
            own_mean,
            own_deviation,
            *scale,
            [True, True, True],
            out0=to_own,
            out1=to_own_gain,
            out2=to_own_shift,
        )
        if norm == "after":
            zero_where_inactive(to_own, own)
    return to_values, to_gain, to_shift


def _normalise_backward_at_once(
    gradient: Tensor,
    outputs: Tensor,
    values: Tensor,
    mean: Tensor,
    deviation: Tensor,
    gain: Tensor,
    norm: Norm,
) -> tuple[Tensor, Tensor, Tensor]:
    """`_normalise_backward` in few operations."""
    if norm == "before":
        zero_where_inactive(gradient, outputs)
    to_gain = (gradient * (values - mean).mul_(deviation)).sum(dim=1, keepdim=True)
    to_shift = gradient.sum(dim=1, keepdim=True)
    to_values, _, _ = torch.ops.aten.native_layer_norm_backward(
        gradient.mul_(gain), values, values.shape[-1:], mean, deviation, None, None, [True, False, False]
    )
    if norm == "after":
        zero_where_inactive(to_values, values)
    return to_values, to_gain, to_shift
