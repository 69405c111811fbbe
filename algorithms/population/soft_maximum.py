"""The soft maximum of critics over candidate actions, and its gradients: the penalty of CQL and its kin.

Nothing here mixes agents. Shapes are those of `networks.Critics`: K critics each of P agents, m candidates in
each of b states. On a CPU the work is done in blocks of states whose activations stay in cache, on a GPU in
few large products; both compute the gradients with the value, in one pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from algorithms.population.passes import zero_where_inactive
from algorithms.population.processor import this_processor

_WEIGHT_UNITS = 2.0**40  # float32 weights times a power of two lose nothing but what lies below a unit
SLOW_BFLOAT16 = (
    "reduced_precision_penalty is true, and this processor has no instructions for bfloat16: an update takes"
    " up to ten times as long as in float32; expected a processor with them (AVX512_BF16 or AMX),"
    " compute.device cuda, or reduced_precision_penalty false, which changes the rounding alone"
)
PENALTY_BLOCK_ROWS = this_processor().penalty_block_rows


def plain(q: Tensor, log_density: Tensor) -> Tensor:
    """Average over states of log sum exp(Q - log_density): [P, K, B, n], [P, B, n] -> [P, K]."""
    return (q - log_density.unsqueeze(1)).logsumexp(dim=-1).mean(dim=-1)


def of_perceptrons(
    state_inputs: Tensor,
    actions: Tensor,
    log_density: Tensor,
    bounds: Tensor | None,
    gradient_draws: Tensor | None,
    reduced_precision: bool,
    parameters: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """`Critics.bounded_soft_maximum` of perceptrons without layer norm, differentiable in their parameters.

    `state_inputs [K P, B, obs]` is what each network sees of the states, `parameters` are weight and bias of
    each layer, or those of a first one that has read the states (`perceptrons.Read`).
    """
    if reduced_precision and state_inputs.is_cpu and not this_processor().bfloat16:
        warnings.warn(SLOW_BFLOAT16, stacklevel=2)
    precision = torch.bfloat16 if reduced_precision else state_inputs.dtype
    function = _SoftMaximum if in_cache_blocks(state_inputs) else _WholeSoftMaximum
    result: tuple[Tensor, Tensor] = function.apply(  # type: ignore[no-untyped-call]
        state_inputs, actions, log_density, bounds, gradient_draws, precision, *parameters
    )
    return result


def in_cache_blocks(tensor: Tensor) -> bool:
    """Tell whether the penalty is made in cache-sized blocks, as on a CPU; a GPU wants few large products."""
    return tensor.is_cpu


class _SoftMaximum(torch.autograd.Function):
    """Value and gradients of `Critics.soft_maximum` in one pass over cache-sized blocks of states.

    The output [P, K] has one number per network, so the gradients of each network's parameters and of its
    states [K P, B, obs] are known up to that number's incoming gradient: they are computed while the
    block's activations are still in cache, and only scaled in `backward`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        state_inputs: Tensor,
        actions: Tensor,
        log_density: Tensor,
        bounds: Tensor | None,
        gradient_draws: Tensor | None,
        precision: torch.dtype,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        agents, states, candidates = actions.shape[:3]
        observation_size, count = state_inputs.shape[-1], len(state_inputs) // agents
        value, below = (state_inputs.new_zeros(agents, count) for _ in range(2))
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        first, middle, last = parameters[:2], parameters[2:-2], parameters[-2:]
        # The first layer's product with a state is shared by all of its candidates.
        from_state = torch.baddbmm(first[1], state_inputs, first[0][:, :observation_size])
        to_state = torch.empty_like(from_state)
        working = [first[0][:, observation_size:], *(tensor.to(precision) for tensor in middle), *last]
        sums = [gradients[0][:, observation_size:], *gradients[2:]]
        block = max(1, PENALTY_BLOCK_ROWS // candidates)
        for agent in (slice(i, i + 1) for i in range(agents)):
            own = slice(count * agent.start, count * agent.stop)
            for start in range(0, states, block):
                rows = slice(start, start + block)
                block_value, block_below = _soft_maximum_block(
                    from_state[own, rows],
                    to_state[own, rows],
                    actions[agent, rows],
                    log_density[agent, rows],
                    None if bounds is None else bounds[agent, rows],
                    None if gradient_draws is None else gradient_draws[agent, :, rows],
                    [parameter[own] for parameter in working],
                    [gradient[own] for gradient in sums],
                )
                value[agent] += block_value
                if block_below is not None:
                    below[agent] += block_below
        gradients[0][:, :observation_size].baddbmm_(state_inputs.transpose(1, 2), to_state)
        gradients[1].add_(to_state.sum_to_size(gradients[1].shape))
        if ctx.needs_input_grad[0]:
            # By the whole weight: a part of it, transposed, would be copied before it is multiplied.
            whole = torch.bmm(to_state, first[0].transpose(1, 2))
            gradients.append(whole[..., :observation_size])
        for tensor in (value, below, *gradients):
            tensor /= states
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(below)
        return value, below

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [upstream.reshape(-1, 1, 1) * gradient for gradient in ctx.saved_tensors]
        to_states = scaled.pop() if ctx.needs_input_grad[0] else None
        return (to_states, None, None, None, None, None, *scaled)


def _soft_maximum_block(
    from_state: Tensor,
    to_state: Tensor,
    actions: Tensor,
    log_density: Tensor,
    bounds: Tensor | None,
    gradient_draws: Tensor | None,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> tuple[Tensor, Tensor | None]:
    """Sum over a block's b states of log sum_j exp(max(Q, bound) - log_density) [P, K], and its gradients.

    The second result is the number of values below their bounds [P, K].

    `from_state [K P, b, width]` is the states' part of the first layer before its activation, `parameters`
    are that layer's weight of the actions, then weight and bias of the others, layer by layer; those
    between first and last may be of lower precision. The gradient of `from_state` is written to
    `to_state`, those of `parameters` are added to `gradients`.
    """
    agents, states, candidates = actions.shape[:3]
    networks = len(from_state)
    action_inputs = actions.repeat_interleave(networks // agents, dim=0)
    q, activations = _forward_block(from_state, action_inputs, parameters)
    weights, value, below = _softmax(q.view(agents, -1, states, candidates), log_density, bounds)
    number = None if below is None else _number(below, value)
    if gradient_draws is not None:
        action_inputs, weights, below = _drawn(action_inputs, weights, below, gradient_draws)
        _, activations = _forward_block(from_state, action_inputs, parameters)
    if below is not None:
        weights = weights.masked_fill(below, 0)
    _backward_block(to_state, action_inputs, activations, weights, parameters, gradients)
    return value, number


def _softmax(
    logits: Tensor, log_density: Tensor, bounds: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Candidates' weights [K P, b, m]; sums of log sum exp [P, K]; which lie below bounds [K P, b, m].

    Of Q `logits [P, K, b, m]`, as `_soft_maximum_block` says.
    """
    below = None
    if bounds is not None:
        below = logits < bounds.unsqueeze(1)
        logits = torch.maximum(logits, bounds.unsqueeze(1))
    logits = logits - log_density.unsqueeze(1)
    # logsumexp and softmax by hand: one exponential serves both.
    largest = logits.amax(dim=-1, keepdim=True)
    weights = (logits - largest).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    weights = weights / total
    value = (largest + total.log()).sum(dim=(2, 3))
    return weights.flatten(0, 1), value, None if below is None else below.flatten(0, 1)


def _drawn(
    actions: Tensor, weights: Tensor, below: Tensor | None, gradient_draws: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Those of `actions [K P, b, m, A]` that the draws [P, K, b, k] fall on, weighted alike; those below."""
    draws = gradient_draws.reshape(*weights.shape[:2], -1).contiguous()
    chosen = drawn_candidates(weights, draws)
    found = actions.gather(2, chosen.unsqueeze(-1).expand(*chosen.shape, actions.shape[-1]))
    return (
        found,
        torch.full_like(draws, 1 / draws.shape[-1]),
        None if below is None else below.gather(2, chosen),
    )


def _number(below: Tensor, like: Tensor) -> Tensor:
    """Count those of `below [K P, b, m]` that are true, as `like`. [P, K]"""
    return below.to(like.dtype).sum(dim=(1, 2)).view_as(like)


class _WholeSoftMaximum(_SoftMaximum):
    """The same for a GPU, which is bound by passes over the activations of all candidates of all networks.

    Each layer is one product: its input has a unit that is always 1, whose weights are the biases, so that
    no pass adds them or sums up their gradient. Widths are padded to what tensor cores read fastest. A lower
    `precision` holds from the inputs to the head's factors; Q itself is summed in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        state_inputs: Tensor,
        actions: Tensor,
        log_density: Tensor,
        bounds: Tensor | None,
        gradient_draws: Tensor | None,
        precision: torch.dtype,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        agents, states, candidates = actions.shape[:3]
        networks = len(state_inputs)
        pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
        hidden = [_with_biases(weight, bias, precision) for weight, bias in pairs[:-1]]
        head, head_bias = pairs[-1]
        last = _with_biases(head, torch.zeros_like(head_bias), precision)[..., :1]  # Q's level stays whole
        chosen = actions.repeat_interleave(networks // agents, dim=0)
        activations = _whole_forward(_joined(state_inputs, chosen, precision), hidden)
        q = _wide_product(activations[-1], last, log_density.dtype) + head_bias
        weights, value, below = _softmax(q.view(agents, -1, states, candidates), log_density, bounds)
        number = torch.zeros_like(value) if below is None else _number(below, value) / states
        if gradient_draws is not None:
            chosen, weights, below = _drawn(chosen, weights, below, gradient_draws)
            activations = _whole_forward(_joined(state_inputs, chosen, precision), hidden)
        if below is not None:
            weights = weights.masked_fill(below, 0)
        sums = (weights / states).reshape(networks, -1, 1).to(precision)
        found, to_first = _whole_backward(sums, activations, [*hidden, last])
        gradients = []
        for (weight, _), joint in zip(pairs, found, strict=True):
            inputs, outputs = weight.shape[1:]
            both = joint[:, : inputs + 1, :outputs].to(weight.dtype)
            gradients += [both[:, :inputs], both[:, inputs:]]
        if ctx.needs_input_grad[0]:
            width, of_states = pairs[0][0].shape[2], slice(state_inputs.shape[-1])
            of_candidates = to_first.view(networks, states, -1, to_first.shape[-1])
            to_state = of_candidates.sum(dim=2, dtype=log_density.dtype)[..., :width]
            gradients.append(torch.bmm(to_state, pairs[0][0][:, of_states].transpose(1, 2)))
        ctx.save_for_backward(*gradients)
        value = value / states
        ctx.mark_non_differentiable(number)
        return value, number


def _padded(width: int) -> int:
    """Return the next multiple of 8 with room for the unit that is always 1."""
    return 8 * (width // 8 + 1)


def _with_biases(weight: Tensor, bias: Tensor, precision: torch.dtype) -> Tensor:
    """Weights [K, in, out] with the biases as a row, padded, handing on the unit that is always 1."""
    networks, inputs, outputs = weight.shape
    joint = torch.zeros(networks, _padded(inputs), _padded(outputs), dtype=precision, device=weight.device)
    joint[:, :inputs, :outputs] = weight
    joint[:, inputs : inputs + 1, :outputs] = bias
    joint[:, inputs, outputs] = 1
    return joint


def _joined(states: Tensor, actions: Tensor, precision: torch.dtype) -> Tensor:
    """Rows (state, action, 1, 0, ...) of [K, b, obs] and [K, b, m, A]. [K, b m, padded]"""
    networks, _, per_state, action_size = actions.shape
    width = states.shape[-1] + action_size
    end = states.new_zeros(_padded(width) - width)
    end[0] = 1
    parts = (states.unsqueeze(2).expand(-1, -1, per_state, -1), actions, end.expand(*actions.shape[:3], -1))
    return torch.cat([part.to(precision) for part in parts], dim=-1).view(networks, -1, _padded(width))


def _wide_product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Multiply without rounding to the factors' precision."""
    if left.dtype == dtype:
        return torch.bmm(left, right)
    if left.is_cuda:
        return torch.bmm(left, right, out_dtype=dtype)
    return torch.bmm(left.to(dtype), right.to(dtype))


def _whole_forward(inputs: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Return the inputs and each layer's activations, [K, rows, width] each."""
    activations = [inputs]
    for layer in layers:
        activations.append(torch.bmm(activations[-1], layer).relu_())
    return activations


def _whole_backward(
    to_outputs: Tensor, activations: Sequence[Tensor], layers: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Gradients of sum(to_outputs Q), `to_outputs [K, rows, 1]`: the layers', and that before the first."""
    found = [torch.bmm(to_outputs.transpose(1, 2), activations[-1]).transpose(1, 2)]
    gradient = to_outputs * layers[-1].transpose(1, 2)
    for index in range(len(layers) - 2, -1, -1):
        zero_where_inactive(gradient, activations[index + 1])
        found.append(torch.bmm(activations[index].transpose(1, 2), gradient))
        if index:
            gradient = torch.bmm(gradient, layers[index].transpose(1, 2))
    return found[::-1], gradient


def drawn_candidates(weights: Tensor, draws: Tensor) -> Tensor:
    """Find which candidate each of `draws [K, b, k]` in [0, 1) hits, by `weights [K, b, m]` of sum 1."""
    if not weights.is_cpu:
        # A GPU adds up floats in an order that varies: there weights are counted in whole units.
        weights, draws = ((part * _WEIGHT_UNITS).to(torch.int64) for part in (weights, draws))
    last = weights.shape[-1] - 1
    return torch.searchsorted(weights.cumsum(dim=-1), draws, right=True).clamp(max=last)


def _forward_block(
    from_state: Tensor, actions: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Q of m actions in each state: [K, b, width], [K, b, m, A] -> [K, b m], and the layers' activations."""
    action_weight, *middle, last_weight, last_bias = parameters
    heads, block, per_state, action_size = actions.shape
    hidden = torch.bmm(actions.view(heads, -1, action_size), action_weight)
    hidden.view(heads, block, per_state, -1).add_(from_state.unsqueeze(2))
    activations = [hidden.relu_().to(middle[0].dtype if middle else hidden.dtype)]
    for weight, bias in zip(middle[::2], middle[1::2], strict=True):
        activations.append(torch.baddbmm(bias, activations[-1], weight).relu_())
    # Scalar products beat a matrix product of one column.
    q = torch.linalg.vecdot(activations[-1].to(last_weight.dtype), last_weight.transpose(1, 2))
    return q + last_bias.squeeze(2), activations


def _backward_block(
    to_state: Tensor,
    actions: Tensor,
    activations: Sequence[Tensor],
    weights: Tensor,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> None:
    """Compute gradients of sum(weights Q), `weights [K, b, m]`, into `to_state` and `gradients`."""
    heads, block, per_state, action_size = actions.shape
    action_inputs = actions.view(heads, -1, action_size)
    q_gradient = weights.reshape(heads, -1, 1)
    last_weight = parameters[-2]
    gradients[-1].add_(q_gradient.sum(dim=1, keepdim=True))
    # The product with one row is three times as fast as its transpose, with one column.
    gradients[-2].transpose(1, 2).baddbmm_(q_gradient.transpose(1, 2), activations[-1].to(last_weight.dtype))
    gradient = (q_gradient * last_weight.transpose(1, 2)).to(activations[-1].dtype)
    for layer in range(len(activations) - 1, 0, -1):
        zero_where_inactive(gradient, activations[layer])
        gradients[2 * layer - 1].add_(torch.bmm(activations[layer - 1].transpose(1, 2), gradient))
        gradients[2 * layer].add_(gradient.sum(dim=1, keepdim=True, dtype=to_state.dtype))
        gradient = torch.bmm(gradient, parameters[2 * layer - 1].transpose(1, 2))
    zero_where_inactive(gradient, activations[0])
    gradient = gradient.to(to_state.dtype)
    torch.sum(gradient.view(heads, block, per_state, -1), dim=2, out=to_state)
    gradients[0].baddbmm_(action_inputs.transpose(1, 2), gradient)
