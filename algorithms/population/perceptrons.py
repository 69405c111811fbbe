"""Multi-layer perceptrons of a whole population: every weight has a leading axis, one `bmm` serves all.

Nothing here mixes networks. Layers are stored as `weight [K, in, out]` and `bias [K, 1, out]`. Of several
candidates in a state the state is multiplied once, and so are features that several losses read (`Read`);
`passes` has the two passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from algorithms.population.passes import Norm, evaluated, forward_pass
from algorithms.population.rows import of_subsets
from algorithms.population.streams import Streams

EVERY_NETWORK = slice(None)


class Read(NamedTuple):
    """A first layer that has read some of its inputs: an affine map of those left, with a bias for each row.

    Its gradients go through the layer's weights, whose own are then one product however often it is used.
    """

    weight: Tensor  # [K, left, width]
    bias: Tensor  # [K, B, width], its gradient reaches what was read
    apart: Tensor  # the same, its gradient does not

    def detach(self) -> Read:
        """Return the same as constants."""
        return Read(*(tensor.detach() for tensor in self))

    def taken_apart(self) -> Read:
        """Return the same, none of whose gradients reach what was read."""
        return Read(self.weight, self.apart, self.apart)

    def each_row(self, times: int) -> Read:
        """Repeat each row so often, a row's in a row. [K, B, ...] -> [K, B times, ...]"""
        return Read(self.weight, *(rows.repeat_interleave(times, dim=1) for rows in self[1:]))


class PopulationLinear(nn.Module):
    """The parameters of K affine maps side by side, `[K, B, in] -> [K, B, out]`."""

    def __init__(self, copies: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(copies, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(copies, 1, outputs))

    def initialise(self, bound: float, streams: Streams) -> None:
        """Initialise weights uniformly in [-bound, bound], each agent's from its own stream; biases zero."""
        fill_uniform(self.weight, bound, streams)
        nn.init.zeros_(self.bias)

    def initialise_default(self, streams: Streams) -> None:
        """Initialise as PyTorch does: weights and biases uniform within 1 / sqrt(inputs)."""
        bound = self.weight.shape[1] ** -0.5
        fill_uniform(self.weight, bound, streams)
        fill_uniform(self.bias, bound, streams)


@torch.no_grad()
def fill_uniform(parameter: Tensor, bound: float, streams: Streams) -> None:
    """Uniform in [-bound, bound], each agent's share of the first axis from its own stream."""
    rows = len(parameter) // len(streams)
    draws = streams.uniform(rows, *parameter.shape[1:]).reshape(parameter.shape)
    parameter.copy_((2 * draws - 1) * bound)


def initialise_as_rlkit(layers: Sequence[PopulationLinear], last_bound: float, streams: Streams) -> None:
    """Hidden weights within 1/sqrt(width), the last layer's within `last_bound`, biases zero."""
    for layer in layers[:-1]:
        layer.initialise(1 / math.sqrt(layer.weight.shape[-1]), streams)  # [C] fanin_init
    for layer in layers[-1:]:
        layer.initialise(last_bound, streams)


class PopulationScale(nn.Module):
    """The scale and shift of a normalised hidden layer of K networks, `[K, B, width] -> [K, B, width]`."""

    def __init__(self, copies: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(copies, 1, width))
        self.shift = nn.Parameter(torch.zeros(copies, 1, width))


@torch.no_grad()
def fill_orthogonal(parameter: Tensor, gain: float, streams: Streams, heads: int = 1) -> None:
    """`heads` uniformly drawn orthogonal matrices times `gain` side by side in each weight [in, out].

    Each agent's share of the first axis is from its own stream.
    """
    rows, (inputs, outputs) = len(parameter) // len(streams), parameter.shape[1:]
    shape = (inputs, outputs // heads)
    normal = streams.normal(rows, heads, max(shape), min(shape)).flatten(0, 1)
    q, r = torch.linalg.qr(normal)
    q *= r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    matrices = q if shape[0] >= shape[1] else q.transpose(-2, -1)
    parameter.copy_(gain * matrices.movedim(1, 2).reshape(parameter.shape))


class PopulationMLP(nn.Module):
    """K multi-layer perceptrons with ReLU between layers: `[K, B, in] -> [K, B, out]`."""

    def __init__(
        self,
        copies: int,
        inputs: int,
        hidden_widths: Sequence[int],
        outputs: int,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        sizes = [inputs, *hidden_widths, outputs]
        self.norm = norm
        self.layers = nn.ModuleList(PopulationLinear(copies, i, o) for i, o in pairwise(sizes))
        if norm != "none":
            self.scales = nn.ModuleList(PopulationScale(copies, width) for width in hidden_widths)

    def affine_maps(self) -> list[PopulationLinear]:
        """Return the layers, input first."""
        return [cast(PopulationLinear, layer) for layer in self.layers]

    def forward(
        self, inputs: Tensor | Read, frozen: bool = False, given: Tensor | Read | None = None
    ) -> Tensor:
        """Return the networks' outputs; `frozen` lets gradients through to the inputs only.

        `given [K, B, n]` are n inputs more, which come first and get no gradient, or have been `read`. What
        networks without a norm have read serves several times as many rows: inputs for all its rows, then
        others for all its rows.
        """
        if isinstance(inputs, Read):
            return evaluated(*self.partly(inputs, frozen), self.norm)
        if isinstance(given, Read):
            return evaluated(inputs.contiguous(), self.partly(given, frozen)[1], self.norm)
        return evaluated(inputs, self.tensors(frozen), self.norm, given)

    def read(self, inputs: Tensor, frozen: bool = False) -> Read:
        """Let the first layer read the first of its inputs, [K, B, n]; `frozen` as in `forward`."""
        return Read(*_Reading.apply(inputs, *self.tensors(frozen)[:2]))  # type: ignore[no-untyped-call]

    def partly(self, inputs: Tensor | Read, frozen: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return what is left of inputs that may have been read, and the `tensors` that then evaluate."""
        tensors = self.tensors(frozen)
        if isinstance(inputs, Tensor):
            return inputs, tensors
        return inputs.bias.new_empty(*inputs.bias.shape[:2], 0), [inputs.weight, inputs.bias, *tensors[2:]]

    def of_subsets(self, inputs: Tensor, chosen: Tensor) -> Tensor:
        """Evaluate only `chosen [P, M]` among each agent's networks, numbered from 0 for each agent.

        [P M, B, in] -> [P M, B, out]
        """
        return evaluated(inputs, [of_subsets(tensor, chosen) for tensor in self.tensors()], self.norm)

    def input_gradients(self, inputs: Tensor, of: slice, chosen: Tensor | None = None) -> Tensor:
        """Gradients of networks' one output in the inputs `of`, differentiable once in the parameters.

        [K, B, in] -> [K, B, number of `of`]; of `chosen [P, M]` networks (`of_subsets`) K = P M. Networks
        without a norm are linear where no unit's activity changes: their gradient is a product of weights.
        """
        tensors = self.tensors()
        parameters = tensors if chosen is None else [of_subsets(tensor, chosen) for tensor in tensors]
        activations: list[Tensor] = []
        with torch.no_grad():
            forward_pass(inputs, parameters, activations)
        first, *middle, last = parameters[::2]
        gradient = last.transpose(1, 2)
        for weight, activation in zip([*reversed(middle), first[:, of]], reversed(activations), strict=True):
            gradient = torch.bmm(gradient * (activation > 0), weight.transpose(1, 2))
        return gradient

    @torch.no_grad()
    def of_candidates(
        self,
        states: Tensor,
        candidates: Tensor,
        networks: slice = EVERY_NETWORK,
        everywhere: bool = False,
    ) -> Tensor:
        """Evaluate, without gradients, n candidates in each state, a state's candidates in a row.

        [K, B, state_size], [K, B n, candidate_size] -> [K, B n, out], the inputs being (state, candidate).
        Candidates that are the same `everywhere`, in all states, are [K, n, candidate_size].
        """
        if self.norm != "none":
            own = candidates.repeat(1, states.shape[1], 1) if everywhere else candidates
            repeated = states.repeat_interleave(own.shape[1] // states.shape[1], dim=1)
            pairs = torch.cat([repeated, own], dim=-1)
            return evaluated(pairs, self.tensors(networks=networks), self.norm)
        weight, bias, *rest = self.tensors(networks=networks)
        state_size = states.shape[-1]
        from_state = torch.bmm(states, weight[:, :state_size]).add_(bias).unsqueeze(2)
        hidden = torch.bmm(candidates, weight[:, state_size:])
        if everywhere:
            by_state = hidden.unsqueeze(1) + from_state
        else:
            by_state = hidden.view(*states.shape[:2], -1, hidden.shape[-1]).add_(from_state)
        return forward_pass(by_state.relu_().flatten(1, 2), rest)

    def tensors(self, frozen: bool = False, networks: slice = EVERY_NETWORK) -> list[Tensor]:
        """Return weight and bias of each layer, input first; of some of the networks, or as constants.

        A normalised layer's are followed by the norm's gain and shift.
        """
        parameters: list[Tensor] = []
        for index, layer in enumerate(self.affine_maps()):
            parameters += [layer.weight, layer.bias]
            if self.norm != "none" and index < len(self.scales):
                scale = cast(PopulationScale, self.scales[index])
                parameters += [scale.gain, scale.shift]
        chosen = parameters if networks == EVERY_NETWORK else [tensor[networks] for tensor in parameters]
        return [tensor.detach() for tensor in chosen] if frozen else list(chosen)

    def initialise(self, last_bound: float, streams: Streams) -> None:
        """rlkit's start, which the authors build on: hidden weights within 1/sqrt(width), a small head."""
        initialise_as_rlkit(self.affine_maps(), last_bound, streams)

    def initialise_default(self, streams: Streams) -> None:
        """Initialise every layer as PyTorch does."""
        for layer in self.affine_maps():
            layer.initialise_default(streams)

    def initialise_orthogonal(self, gains: Sequence[float], streams: Streams, heads: int = 1) -> None:
        """Orthogonal weights (Saxe et al. 2014) of a gain a layer, input first, and biases zero.

        The last layer is made of `heads` such layers of equal size side by side.
        """
        maps = self.affine_maps()
        for layer, gain in zip(maps, gains, strict=True):
            fill_orthogonal(layer.weight, gain, streams, heads if layer is maps[-1] else 1)
            nn.init.zeros_(layer.bias)

    def initialise_fan_in(self, last_bound: float, streams: Streams, hidden_bias: float) -> None:
        """Hidden weights uniform within 1 / sqrt(inputs), their biases constant; the last layer's small.

        The last layer's weights and biases are uniform within `last_bound`.
        """
        *hidden, last = self.affine_maps()
        for layer in hidden:
            layer.initialise(1 / math.sqrt(layer.weight.shape[1]), streams)
            nn.init.constant_(layer.bias, hidden_bias)
        last.initialise(last_bound, streams)
        fill_uniform(last.bias, last_bound, streams)

    def initialise_xavier(self, streams: Streams, heads: int = 1) -> None:
        """Glorot and Bengio's uniform weights, within sqrt(6 / (in + out)), and biases zero, in every layer.

        The last layer counts as `heads` layers side by side.
        """
        *hidden, last = self.affine_maps()
        for layer, parts in (*((layer, 1) for layer in hidden), (last, heads)):
            inputs, outputs = layer.weight.shape[1:]
            layer.initialise(math.sqrt(6 / (inputs + outputs / parts)), streams)


class _Reading(torch.autograd.Function):
    """`PopulationMLP.read` and its gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.size = inputs.shape[-1]
        left = weight.shape[1] - ctx.size
        # Zeros for what is left: a part of the weights, transposed, would be copied before it is multiplied.
        rows = torch.cat([inputs, inputs.new_zeros(1).expand(*inputs.shape[:2], left)], dim=-1)
        read = torch.bmm(rows, weight).add_(bias)
        ctx.save_for_backward(rows, weight)
        ctx.set_materialize_grads(False)
        return weight[:, ctx.size :].clone(), read, read.view_as(read)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_left: Tensor | None, to_read: Tensor | None, to_apart: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        parts = [part for part in (to_read, to_apart) if part is not None]
        to_inputs = to_weight = to_bias = None
        if parts and ctx.needs_input_grad[1]:
            gradient = parts[0] if len(parts) == 1 else parts[0] + parts[1]
            to_weight, to_bias = torch.bmm(rows.transpose(1, 2), gradient), gradient.sum(dim=1, keepdim=True)
            if to_left is not None:
                to_weight[:, ctx.size :] = to_left
        if to_read is not None and ctx.needs_input_grad[0]:
            to_inputs = torch.bmm(to_read, weight.transpose(1, 2))[..., : ctx.size]
        return to_inputs, to_weight, to_bias
