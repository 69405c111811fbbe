"""Multi-layer perceptrons of a whole population: every weight has a leading axis, one `bmm` serves all.

Nothing here mixes networks. Layers are stored as `weight [K, in, out]` and `bias [K, 1, out]`.

Both passes are written by hand, for less memory traffic than autograd's: bias and ReLU are added where the
product lies (`baddbmm` first copies the bias to every row), ReLU's gradient is taken in place, a last layer
of one output is a scalar product forwards and a product with one row backwards, what needs no gradient
keeps no activations, inputs that are given get none, and of several candidates in a state the state is
multiplied once. So are features that several losses read (`Read`).

Hidden layers may be normalised over their width (layer norm, Ba et al. 2016), before or after the activation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from algorithms.population.streams import Streams

EVERY_NETWORK = slice(None)

Norm = Literal["none", "before", "after"]
"""Layer norm of the hidden layers: none, or before or after their activation."""
_LAYER_NORM_EPSILON = (
    1e-6  # added to the variance; flax's, which the methods that ask for a norm are written in
)


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
            _forward(inputs, parameters, activations)
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
        return _forward(by_state.relu_().flatten(1, 2), rest)

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
        *hidden, last = self.affine_maps()
        for layer in hidden:
            layer.initialise(1 / math.sqrt(layer.weight.shape[-1]), streams)  # [C] fanin_init
        last.initialise(last_bound, streams)

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


def of_subsets(values: Tensor, chosen: Tensor) -> Tensor:
    """Take the rows of `values [P K, ...]` that `chosen [P, M]` numbers among each agent's K. [P M, ...]

    Differentiable in a way that a GPU can repeat and capture, as an index's gradient is not.
    """
    agents = len(chosen)
    rows = values.reshape(agents, len(values) // agents, -1)
    if torch.is_grad_enabled() and values.requires_grad:
        taken = torch.bmm(one_hot(chosen, rows.shape[1], values.dtype), rows)
    else:
        taken = rows.gather(1, chosen.unsqueeze(-1).expand(-1, -1, rows.shape[2]))
    return taken.reshape(-1, *values.shape[1:])


def one_hot(chosen: Tensor, of: int, dtype: torch.dtype) -> Tensor:
    """1 where a number is the place's, 0 elsewhere. [...] -> [..., of]"""
    return (chosen.unsqueeze(-1) == torch.arange(of, device=chosen.device)).to(dtype)


def each_times(rows: Tensor, times: int) -> Tensor:
    """Repeat each row of the first axis so often, a single one without a copy. [n, ...] -> [n times, ...]

    For what is joined with other rows: a product takes the view of a single row for another layout than
    copies of several, and may round otherwise.
    """
    return rows.unsqueeze(1).expand(-1, times, *rows.shape[1:]).flatten(0, 1)


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
            _forward(joined, parameters) if norm == "none" else _forward_normalised(joined, parameters, norm)
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


class _Evaluation(torch.autograd.Function):
    """`_forward` and its gradients."""

    @staticmethod
    def forward(ctx: Any, given: Tensor | None, inputs: Tensor, *parameters: Tensor) -> Tensor:
        activations = [_joined(given, inputs)]
        outputs = _forward(activations[0], parameters, activations)
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


def _forward(hidden: Tensor, parameters: Sequence[Tensor], activations: list[Tensor] | None = None) -> Tensor:
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
