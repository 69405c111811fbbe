"""Policies and critics of a whole population of P agents, on perceptrons side by side.

Nothing here mixes agents. Of `perceptrons`' networks a policy has P, and K critics (twins where K is 2) have
K P (agent 0's first).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from algorithms.population.perceptrons import Norm, PopulationMLP, zero_where_inactive
from algorithms.population.processor import this_processor
from algorithms.population.streams import Streams

LOG_STD_RANGE = (-20.0, 2.0)  # [C] TanhGaussianPolicy
_WEIGHT_UNITS = 2.0**40  # float32 weights times a power of two lose nothing but what lies below a unit
SLOW_BFLOAT16 = (
    "reduced_precision_penalty is true, and this processor has no instructions for bfloat16: an update takes"
    " up to ten times as long as in float32; expected a processor with them (AVX512_BF16 or AMX),"
    " compute.device cuda, or reduced_precision_penalty false, which changes the rounding alone"
)
PENALTY_BLOCK_ROWS = this_processor().penalty_block_rows


class Distribution(Protocol):
    """Actions in each state, as an agent acts by them."""

    def actions(self, noise: Tensor) -> Tensor:
        """Sample actions; `noise [..., action_size]` is standard normal."""

    def mode(self) -> Tensor:
        """Return the deterministic action."""


class TanhGaussian(NamedTuple):
    """A Gaussian over pre-tanh actions, squashed into the box [-1, 1]."""

    mean: Tensor  # [..., action_size], before tanh
    log_std: Tensor  # [..., action_size]

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions tanh(mean + std noise) and their log density, differentiable in mean and log_std.

        `noise [..., action_size]` is standard normal and may carry extra axes that broadcast.
        Returns actions of the broadcast shape and log densities without the last axis.
        """
        sampled: tuple[Tensor, Tensor] = _Sample.apply(  # type: ignore[no-untyped-call]
            self.mean, self.log_std, noise
        )
        return sampled

    def actions(self, noise: Tensor) -> Tensor:
        """Return `sample`'s actions alone."""
        return self.sample(noise)[0]

    def log_density(self, actions: Tensor) -> Tensor:
        """Log density of actions in [-1, 1]; [..., action_size] -> [...]. Edges are moved inside."""
        edge = 1 - torch.finfo(actions.dtype).eps
        pre_tanh = torch.atanh(actions.clamp(-edge, edge))
        noise = (pre_tanh - self.mean) * torch.exp(-self.log_std)
        gaussian = -0.5 * noise.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - _log_tanh_slope(pre_tanh)).sum(dim=-1)

    def per_candidate(self) -> TanhGaussian:
        """Return the same distributions [P, B, 1, A], for several actions in each state."""
        return TanhGaussian(self.mean.unsqueeze(2), self.log_std.unsqueeze(2))

    def mode(self) -> Tensor:
        """Return the deterministic action tanh(mean)."""
        return torch.tanh(self.mean)


class _Sample(torch.autograd.Function):
    """`TanhGaussian.sample` in half of autograd's operations, which cost more than their arithmetic.

    The log density's gradient through the squashing, -log(1 - tanh(x)^2), is 2 tanh(x).
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        deviation = log_std.exp() * noise
        pre_tanh = mean + deviation
        actions = torch.tanh(pre_tanh)
        # Gaussian and slope of tanh (`_log_tanh_slope`), their constants taken together after the sum.
        terms = functional.softplus(-2 * pre_tanh).add_(pre_tanh).mul_(2).sub_(log_std)
        constants = mean.shape[-1] * (0.5 * math.log(2 * math.pi) + 2 * math.log(2))
        log_density = terms.addcmul_(noise, noise, value=-0.5).sum(dim=-1).sub_(constants)
        ctx.save_for_backward(deviation, actions)
        ctx.shapes = mean.shape, log_std.shape
        return actions, log_density

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_actions: Tensor, to_log_density: Tensor) -> tuple[Tensor, Tensor, None]:
        deviation, actions = ctx.saved_tensors
        to_density = to_log_density.unsqueeze(-1)
        to_mean = torch.addcmul(to_actions, actions, 2 * to_density - to_actions * actions)
        to_log_std = to_mean * deviation - to_density
        mean_shape, log_std_shape = ctx.shapes
        return to_mean.sum_to_size(mean_shape), to_log_std.sum_to_size(log_std_shape), None


def _log_tanh_slope(pre_tanh: Tensor) -> Tensor:
    """log(1 - tanh(x)^2), written so that it neither overflows nor cancels."""
    return 2 * (math.log(2) - pre_tanh - functional.softplus(-2 * pre_tanh))


def mixture_policy(member: TanhGaussian, ensemble_size: int) -> TanhGaussian:
    """One Gaussian with the first two moments of the members' mixture, before tanh. [S, B, A]  [P] eq. 5

    mean = E_i[mu_i], variance = E_i[sigma_i^2] + Var_i[mu_i], from `member` of [S N, B, A]. The variance
    is centred: [C] computes E[mu^2 + sigma^2] - mean^2, which cancellation can make negative.
    """
    size = (-1, ensemble_size, *member.mean.shape[1:])
    means = member.mean.reshape(size)
    variances = (2 * member.log_std).exp().expand_as(member.mean).reshape(size)
    mean = means.mean(dim=1)
    variance = variances.mean(dim=1) + (means - mean.unsqueeze(1)).square().mean(dim=1)
    return TanhGaussian(mean, (0.5 * variance.log()).clamp(*LOG_STD_RANGE))


class Policy(nn.Module):
    """P tanh-Gaussian policies: `[P, B, observation_size] -> TanhGaussian [P, B, action_size]`."""

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        log_std_range: tuple[float, float] = LOG_STD_RANGE,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.net = PopulationMLP(agents, observation_size, hidden_widths, 2 * action_size, norm)
        self.log_std_range = log_std_range

    def forward(self, observations: Tensor) -> TanhGaussian:
        """Return the action distribution in each state."""
        mean, log_std = self.net(observations).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(*self.log_std_range))

    def initialise(self, streams: Streams) -> None:
        """Near-zero mean and unit standard deviation. [C] init_w = 1e-3"""
        self.net.initialise(1e-3, streams)


class Critics(nn.Module):
    """K critics of P agents: `[P, B, observation_size]`, `[P, B, action_size]` -> Q(s, a) `[P, K, B]`.

    They are twins, K = 2, unless `count` says otherwise.
    """

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        count: int = 2,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.agents, self.count = agents, count
        self.own_features: slice | None = None  # of an observation, those of the critics' own encoders
        self.net = PopulationMLP(count * agents, observation_size + action_size, hidden_widths, 1, norm)

    def forward(self, observations: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        """Q values of all K; `frozen` lets gradients through to the actions only."""
        states = self.state_inputs(observations.detach() if frozen else observations)
        q: Tensor = self.net(
            torch.cat([states, actions.repeat_interleave(self.count, dim=0)], dim=-1), frozen
        )
        return q.reshape(self.agents, self.count, -1)

    def of_subset(self, observations: Tensor, actions: Tensor, chosen: Tensor) -> Tensor:
        """Q values of the critics `chosen` int64 [P, M] of each agent, the others not evaluated. [P, M, B]"""
        inputs = torch.cat([observations, actions], dim=-1).repeat_interleave(chosen.shape[1], dim=0)
        return self.net.of_subsets(inputs, chosen).reshape(*chosen.shape, -1)

    def action_gradients(self, observations: Tensor, actions: Tensor, chosen: Tensor) -> Tensor:
        """dQ/da of the critics `chosen` int64 [P, M], differentiable in their parameters. [P, M, B, A]

        For critics without layer norm.
        """
        inputs = torch.cat([observations, actions], dim=-1).repeat_interleave(chosen.shape[1], dim=0)
        of_actions = slice(observations.shape[-1], None)
        return self.net.input_gradients(inputs, of_actions, chosen).reshape(*chosen.shape, *actions.shape[1:])

    def state_inputs(self, observations: Tensor) -> Tensor:
        """Return what each critic sees of the observations, agent 0's first. [K P, B, observation_size]"""
        if self.own_features is None:
            return observations.repeat_interleave(self.count, dim=0)
        own = observations[..., self.own_features]
        by_critic = own.reshape(*own.shape[:2], self.count, -1)
        return by_critic.transpose(1, 2).flatten(0, 1)

    def initialise(self, streams: Streams) -> None:
        """Near-zero values. [C] init_w = 3e-3"""
        self.net.initialise(3e-3, streams)

    def soft_maximum(
        self,
        observations: Tensor,
        actions: Tensor,
        log_density: Tensor,
        gradient_draws: Tensor | None = None,
        reduced_precision: bool = False,
    ) -> Tensor:
        """Mean over states of log sum_j exp(Q(s, a_j) - log_density_j), for each agent and critic. [P, K]

        `actions [P, B, n, A]` and `log_density [P, B, n]` are constants: the critics' parameters receive
        gradients, and so do the `observations [P, B, obs]` where they ask for them (an encoder's features).

        The gradient is the softmax-weighted mean of the candidates' gradients. With `gradient_draws
        [P, K, B, k]`, ascending in [0, 1) in each state, it is estimated without bias by the k candidates
        whose cumulative weight the draws fall on: a third of the work for k well below n.
        `reduced_precision` multiplies the hidden layers in bfloat16 (inputs, the last layer and the soft
        maximum itself stay float32), with a warning where the processor cannot.
        """
        return self.bounded_soft_maximum(
            observations, actions, log_density, None, gradient_draws, reduced_precision
        )[0]

    def bounded_soft_maximum(
        self,
        observations: Tensor,
        actions: Tensor,
        log_density: Tensor,
        bounds: Tensor | None,
        gradient_draws: Tensor | None = None,
        reduced_precision: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """`soft_maximum` of max(Q, bound), and how many of a state's candidates lie below theirs. [P, K] each

        `bounds [P, B, n]` are constants, -inf for none; a value that is replaced by its bound gives no
        gradient. The number is a mean over states.
        """
        if self.net.norm != "none":
            q = self.of_candidates(observations, actions)
            if bounds is None:
                return _plain_soft_maximum(q, log_density), q.new_zeros(q.shape[:2])
            below = (q.detach() < bounds.unsqueeze(1)).to(q.dtype).sum(dim=-1).mean(dim=-1)
            return _plain_soft_maximum(torch.maximum(q, bounds.unsqueeze(1)), log_density), below
        if reduced_precision and observations.is_cpu and not this_processor().bfloat16:
            warnings.warn(SLOW_BFLOAT16, stacklevel=2)
        precision = torch.bfloat16 if reduced_precision else observations.dtype
        function = _SoftMaximum if in_cache_blocks(observations) else _WholeSoftMaximum
        result: tuple[Tensor, Tensor] = function.apply(  # type: ignore[no-untyped-call]
            self.state_inputs(observations),
            actions,
            log_density,
            bounds,
            gradient_draws,
            precision,
            *self.net.tensors(),
        )
        return result

    def soft_maximum_of_subset(
        self, observations: Tensor, actions: Tensor, log_density: Tensor, chosen: Tensor | None = None
    ) -> Tensor:
        """`soft_maximum` of the critics `chosen` int64 [P, M] alone (None: all), plainly. [P, M]"""
        return _plain_soft_maximum(self.of_candidates(observations, actions, chosen), log_density)

    def of_candidates(self, observations: Tensor, actions: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Q of the candidates [P, B, n, A] in each state by all critics or those `chosen`. [P, K, B, n]"""
        if chosen is None and not torch.is_grad_enabled():
            each = actions.flatten(1, 2).repeat_interleave(self.count, dim=0)
            values = self.net.of_candidates(self.state_inputs(observations), each)
        else:
            pairs = observations.repeat_interleave(actions.shape[2], dim=1), actions.flatten(1, 2)
            values = self(*pairs) if chosen is None else self.of_subset(*pairs, chosen)
        return values.reshape(self.agents, -1, *actions.shape[1:3])


def _plain_soft_maximum(q: Tensor, log_density: Tensor) -> Tensor:
    """Mean over states of log sum exp(Q - log_density): [P, K, B, n], [P, B, n] -> [P, K]."""
    return (q - log_density.unsqueeze(1)).logsumexp(dim=-1).mean(dim=-1)


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
        gradients[1].add_(to_state.sum(dim=1, keepdim=True))
        if ctx.needs_input_grad[0]:
            gradients.append(torch.bmm(to_state, first[0][:, :observation_size].transpose(1, 2)))
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
    """Gradients of sum(weights Q), `weights [K, b, m]`, into `to_state` and `gradients`."""
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
