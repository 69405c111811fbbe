"""Population networks whose passes are written by hand: `networks`' functions, less memory traffic.

Against autograd's passes: bias and ReLU are added where the product lies (`baddbmm` first copies the bias
to every row), ReLU's gradient is taken in place, a last layer of one output is a scalar product forwards
and a product with one row backwards, what needs no gradient keeps no activations, and of several
candidates in a state the state is multiplied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from algorithms.networks import Critics, PopulationMLP

FIRST_TWIN = slice(None, None, 2)  # agent 0's twins first, then agent 1's
EVERY_NETWORK = slice(None)


class Perceptrons(PopulationMLP):
    """`PopulationMLP`, with the same parameters by the same names."""

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


class TwinCritics(Critics):
    """`Critics` on `Perceptrons`; they also judge candidates, and by the first twin alone."""

    net: Perceptrons

    def __init__(
        self, agents: int, observation_size: int, action_size: int, hidden_widths: Sequence[int]
    ) -> None:
        super().__init__(agents, observation_size, action_size, hidden_widths)
        self.net = Perceptrons(2 * agents, observation_size + action_size, hidden_widths, 1)

    def first(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q1 [P, B] of [P, B, ...] each; gradients reach the actions only."""
        inputs = torch.cat([observations, actions], dim=-1)
        return evaluated(inputs, self.net.tensors(frozen=True, networks=FIRST_TWIN)).squeeze(-1)

    def of_candidates(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Both twins' values [P, 2, B n] of n actions in each state, without gradients: [P, B n, A]."""
        states, candidates = (part.repeat_interleave(2, dim=0) for part in (observations, actions))
        return self.net.of_candidates(states, candidates).reshape(self.agents, 2, -1)

    def first_of_candidates(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q1 [P, B n] alone, otherwise as `of_candidates`."""
        return self.net.of_candidates(observations, actions, FIRST_TWIN).squeeze(-1)


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
                torch.ops.aten.threshold_backward.grad_input(gradient, below, 0, grad_input=gradient)
        return (gradient, *found)


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
