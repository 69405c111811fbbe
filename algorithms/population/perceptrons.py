"""Multi-layer perceptrons of a whole population: every weight has a leading axis, one `bmm` serves all.

Nothing here mixes networks. Layers are stored as `weight [K, in, out]` and `bias [K, 1, out]`.

Both passes are written by hand, for less memory traffic than autograd's: bias and ReLU are added where the
product lies (`baddbmm` first copies the bias to every row), ReLU's gradient is taken in place, a last layer
of one output is a scalar product forwards and a product with one row backwards, what needs no gradient
keeps no activations, and of several candidates in a state the state is multiplied once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from algorithms.population.streams import Streams

EVERY_NETWORK = slice(None)


class PopulationLinear(nn.Module):
    """The parameters of K affine maps side by side, `[K, B, in] -> [K, B, out]`."""

    def __init__(self, copies: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(copies, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(copies, 1, outputs))

    def initialise(self, bound: float, streams: Streams) -> None:
        """Weights uniform in [-bound, bound], each agent's from its own stream; biases zero."""
        fill_uniform(self.weight, bound, streams)
        nn.init.zeros_(self.bias)


@torch.no_grad()
def fill_uniform(parameter: Tensor, bound: float, streams: Streams) -> None:
    """Uniform in [-bound, bound], each agent's share of the first axis from its own stream."""
    rows = len(parameter) // len(streams)
    draws = streams.uniform(rows, *parameter.shape[1:]).reshape(parameter.shape)
    parameter.copy_((2 * draws - 1) * bound)


class PopulationMLP(nn.Module):
    """K multi-layer perceptrons with ReLU between layers: `[K, B, in] -> [K, B, out]`."""

    def __init__(self, copies: int, inputs: int, hidden_widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        sizes = [inputs, *hidden_widths, outputs]
        self.layers = nn.ModuleList(PopulationLinear(copies, i, o) for i, o in pairwise(sizes))

    def affine_maps(self) -> list[PopulationLinear]:
        """The layers, input first."""
        return [cast(PopulationLinear, layer) for layer in self.layers]

    def forward(self, inputs: Tensor, frozen: bool = False) -> Tensor:
        """The networks' outputs; `frozen` lets gradients through to the inputs only."""
        return evaluated(inputs, self.tensors(frozen))

    @torch.no_grad()
    def of_candidates(self, states: Tensor, candidates: Tensor, networks: slice = EVERY_NETWORK) -> Tensor:
        """Outputs, without gradients, for n candidates in each state, a state's candidates in a row.

        [K, B, state_size], [K, B n, candidate_size] -> [K, B n, out], the inputs being (state, candidate).
        """
        weight, bias, *rest = self.tensors(networks=networks)
        state_size = states.shape[-1]
        from_state = torch.bmm(states, weight[:, :state_size]).add_(bias)
        hidden = torch.bmm(candidates, weight[:, state_size:])
        by_state = hidden.view(*states.shape[:2], -1, hidden.shape[-1])
        by_state.add_(from_state.unsqueeze(2)).relu_()
        return _forward(hidden, rest)

    def tensors(self, frozen: bool = False, networks: slice = EVERY_NETWORK) -> list[Tensor]:
        """Weight and bias of each layer, input first; of some of the networks, or as constants."""
        parameters = [tensor for layer in self.affine_maps() for tensor in (layer.weight, layer.bias)]
        chosen = parameters if networks == EVERY_NETWORK else [tensor[networks] for tensor in parameters]
        return [tensor.detach() for tensor in chosen] if frozen else list(chosen)

    def initialise(self, last_bound: float, streams: Streams) -> None:
        """rlkit's start, which the authors build on: hidden weights within 1/sqrt(width), a small head."""
        *hidden, last = self.affine_maps()
        for layer in hidden:
            layer.initialise(1 / math.sqrt(layer.weight.shape[-1]), streams)  # [C] fanin_init
        last.initialise(last_bound, streams)


def evaluated(inputs: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """K perceptrons, [K, B, in] -> [K, B, out], differentiable once in inputs and parameters."""
    if not torch.is_grad_enabled():
        return _forward(inputs, parameters)
    outputs: Tensor = _Evaluation.apply(inputs, *parameters)  # type: ignore[no-untyped-call]
    return outputs


class _Evaluation(torch.autograd.Function):
    """`_forward` and its gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *parameters: Tensor) -> Tensor:
        activations = [inputs]
        outputs = _forward(inputs, parameters, activations)
        ctx.save_for_backward(*parameters, *activations)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 3
        parameters, activations = ctx.saved_tensors[: 2 * layers], ctx.saved_tensors[2 * layers :]
        found: list[Tensor | None] = [None] * (2 * layers)
        for layer in reversed(range(layers)):
            weight, below = parameters[2 * layer], activations[layer]
            if ctx.needs_input_grad[1 + 2 * layer]:
                found[2 * layer] = _weight_gradient(below, gradient)
                found[2 * layer + 1] = gradient.sum(dim=1, keepdim=True)
            if layer == 0 and not ctx.needs_input_grad[0]:
                return (None, *found)
            gradient = _product(gradient, weight.transpose(1, 2))
            if layer > 0:
                zero_where_inactive(gradient, below)
        return (gradient, *found)


def zero_where_inactive(gradient: Tensor, activation: Tensor) -> None:
    """ReLU's backward pass, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, activation, 0, grad_input=gradient)


def _forward(hidden: Tensor, parameters: Sequence[Tensor], activations: list[Tensor] | None = None) -> Tensor:
    """Outputs of the layers; the hidden ones' are appended to `activations`, if there is such a list."""
    *others, last_weight, last_bias = parameters
    for weight, bias in zip(others[::2], others[1::2], strict=True):
        hidden = torch.bmm(hidden, weight).add_(bias).relu_()
        if activations is not None:
            activations.append(hidden)
    if last_weight.shape[2] == 1:
        scalars: Tensor = torch.linalg.vecdot(hidden, last_weight.transpose(1, 2))
        return scalars.unsqueeze(2).add_(last_bias)
    return torch.bmm(hidden, last_weight).add_(last_bias)


def _weight_gradient(inputs: Tensor, gradient: Tensor) -> Tensor:
    """inputs' gradient; of one column, the product with one row is faster than its transpose."""
    if gradient.shape[2] == 1:
        return torch.bmm(gradient.transpose(1, 2), inputs).transpose(1, 2)
    return torch.bmm(inputs.transpose(1, 2), gradient)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left right, an outer product where they share a length of one."""
    return left * right if left.shape[2] == 1 else torch.bmm(left, right)
