"""Policies and critics of a whole population of P agents, on perceptrons side by side.

Nothing here mixes agents. Of `perceptrons`' networks a policy has P, and K critics (twins where K is 2) have
K P (agent 0's first).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from algorithms.population import soft_maximum
from algorithms.population.passes import Norm, evaluated
from algorithms.population.perceptrons import PopulationMLP, Read
from algorithms.population.rows import each_times
from algorithms.population.streams import Streams

LOG_STD_RANGE = (-20.0, 2.0)  # [C] TanhGaussianPolicy

Reads = Mapping[nn.Module, Read]
"""What each network has read of the same features."""


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
        """Sample actions tanh(mean + std noise) and their log density, differentiable in mean and log_std.

        `noise [..., action_size]` is standard normal and may carry extra axes that broadcast.
        Returns actions of the broadcast shape and log densities without the last axis.
        """
        sampled: tuple[Tensor, Tensor] = _Sample.apply(  # type: ignore[no-untyped-call]
            self.mean, self.log_std, noise
        )
        return sampled

    def actions(self, noise: Tensor) -> Tensor:
        """Return `sample`'s actions alone."""
        actions: Tensor = _Actions.apply(self.mean, self.log_std, noise)  # type: ignore[no-untyped-call]
        return actions

    def log_density(self, actions: Tensor) -> Tensor:
        """Log density of actions in [-1, 1]; [..., action_size] -> [...]. Edges are moved inside."""
        pre_tanh = _pre_tanh(actions)
        return (self._log_gaussian(pre_tanh) - _log_tanh_slope(pre_tanh)).sum(dim=-1)

    def log_ratio(self, other: TanhGaussian, actions: Tensor) -> Tensor:
        """Log density of actions less that under `other`, from which the squashing cancels. [...]"""
        pre_tanh = _pre_tanh(actions)
        return (self._log_gaussian(pre_tanh) - other._log_gaussian(pre_tanh)).sum(dim=-1)

    def _log_gaussian(self, pre_tanh: Tensor) -> Tensor:
        noise = (pre_tanh - self.mean) * torch.exp(-self.log_std)
        return -0.5 * noise.square() - self.log_std - 0.5 * math.log(2 * math.pi)

    def chunk(self, count: int) -> list[TanhGaussian]:
        """Return `count` equal parts of the rows of [P, count B, A], one after the other."""
        parts = (tensor.chunk(count, dim=1) for tensor in (self.mean, self.log_std))
        return [TanhGaussian(*part) for part in zip(*parts, strict=True)]

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


class _Actions(torch.autograd.Function):
    """`_Sample` without the log density."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
        deviation = log_std.exp() * noise
        actions = torch.tanh(mean + deviation)
        ctx.save_for_backward(deviation, actions)
        ctx.shapes = mean.shape, log_std.shape
        return actions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_actions: Tensor) -> tuple[Tensor, Tensor, None]:
        deviation, actions = ctx.saved_tensors
        to_mean = torch.addcmul(to_actions, actions, to_actions * actions, value=-1)
        mean_shape, log_std_shape = ctx.shapes
        return to_mean.sum_to_size(mean_shape), (to_mean * deviation).sum_to_size(log_std_shape), None


def _pre_tanh(actions: Tensor) -> Tensor:
    edge = 1 - torch.finfo(actions.dtype).eps
    return torch.atanh(actions.clamp(-edge, edge))


def _log_tanh_slope(pre_tanh: Tensor) -> Tensor:
    """log(1 - tanh(x)^2), written so that it neither overflows nor cancels."""
    return 2 * (math.log(2) - pre_tanh - functional.softplus(-2 * pre_tanh))


def squashed(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Squash values by tanh into the range between `bounds`, such as a network's log deviations. [...]"""
    low, high = bounds
    return low + 0.5 * (high - low) * (torch.tanh(values) + 1)


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
        """Initialise with near-zero mean and unit standard deviation. [C] init_w = 1e-3"""
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
        self.first_of_each = slice(None, None, count)  # of the networks: agent 0's come first, then agent 1's
        self.own_features: slice | None = None  # of an observation, those of the critics' own encoders
        self.net = PopulationMLP(count * agents, observation_size + action_size, hidden_widths, 1, norm)

    def forward(self, observations: Tensor | Reads, actions: Tensor, frozen: bool = False) -> Tensor:
        """Q values of all K; `frozen` lets gradients through to the actions only."""
        states = self.state_inputs(observations)
        if frozen:
            states = states.detach()
        inputs = each_times(actions, self.count)
        q: Tensor = (
            self.net(torch.cat([states, inputs], dim=-1), frozen)
            if isinstance(states, Tensor) and states.requires_grad
            else self.net(inputs, frozen, given=states)
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

    def first(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q of each agent's first critic [P, B] of [P, B, ...] each; gradients reach the actions only."""
        inputs = torch.cat([observations, actions], dim=-1)
        parameters = self.net.tensors(frozen=True, networks=self.first_of_each)
        return evaluated(inputs, parameters, self.net.norm).squeeze(-1)

    def first_of_candidates(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q of the first critic [P, B n] of n actions in each state, without gradients: [P, B n, A]."""
        return self.net.of_candidates(observations, actions, self.first_of_each).squeeze(-1)

    def state_inputs(self, observations: Tensor | Reads) -> Tensor | Read:
        """Return what each critic sees of the observations, or has read of them, agent 0's first."""
        return observations[self] if isinstance(observations, Mapping) else self.seen(observations)

    def seen(self, observations: Tensor) -> Tensor:
        """Return what each critic sees of the observations, agent 0's first. [K P, B, observation_size]"""
        if self.own_features is None:
            return observations.repeat_interleave(self.count, dim=0)
        own = observations[..., self.own_features]
        by_critic = own.reshape(*own.shape[:2], self.count, -1)
        return by_critic.transpose(1, 2).flatten(0, 1)

    def initialise(self, streams: Streams) -> None:
        """Initialise with near-zero values. [C] init_w = 3e-3"""
        self.net.initialise(3e-3, streams)

    def soft_maximum(
        self,
        observations: Tensor | Reads,
        actions: Tensor,
        log_density: Tensor,
        gradient_draws: Tensor | None = None,
        reduced_precision: bool = False,
    ) -> Tensor:
        """Average over states of log sum_j exp(Q(s, a_j) - log_density_j), for each agent and critic. [P, K]

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
        observations: Tensor | Reads,
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
                return soft_maximum.plain(q, log_density), q.new_zeros(q.shape[:2])
            below = (q.detach() < bounds.unsqueeze(1)).to(q.dtype).sum(dim=-1).mean(dim=-1)
            return soft_maximum.plain(torch.maximum(q, bounds.unsqueeze(1)), log_density), below
        states, parameters = self.net.partly(self.state_inputs(observations))
        return soft_maximum.of_perceptrons(
            states, actions, log_density, bounds, gradient_draws, reduced_precision, parameters
        )

    def of_candidates(
        self, observations: Tensor | Reads, actions: Tensor, chosen: Tensor | None = None
    ) -> Tensor:
        """Q of the candidates [P, B, n, A] in each state by all critics or those `chosen`. [P, K, B, n]"""
        if isinstance(observations, Mapping):
            values: Tensor = self(
                {self: observations[self].each_row(actions.shape[2])}, actions.flatten(1, 2)
            )
        elif chosen is None and not torch.is_grad_enabled():
            each = actions.flatten(1, 2).repeat_interleave(self.count, dim=0)
            values = self.net.of_candidates(self.seen(observations), each)
        else:
            pairs = observations.repeat_interleave(actions.shape[2], dim=1), actions.flatten(1, 2)
            values = self(*pairs) if chosen is None else self.of_subset(*pairs, chosen)
        return values.reshape(self.agents, -1, *actions.shape[1:3])
