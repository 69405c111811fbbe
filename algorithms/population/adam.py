"""Adam in one fused kernel for every parameter, where an agent's bits do not depend on its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class AgentwiseAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015) of a population's parameters; PyTorch's numbers and state.

    A parameter's first axis is a multiple of the number of agents P or, of what the members of a run
    share, divides it. Each group has a learning rate "lr" and may have a "weight_decay", Adam's L2 term.

    The fused kernel works in vectors of up to 16 numbers and rounds a tensor's remainder differently.
    Where the rows leave one, each agent's part is given to it as a tensor of its own, so that all agents
    are rounded alike; PyTorch's other kernels take three times as long. A GPU's kernel rounds every number
    alike.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], agents: int) -> None:
        super().__init__(groups, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0})
        self.agents = agents

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """PyTorch's, without its decorator, which imports PyTorch's compiler: ten seconds, to no end here."""
        torch.optim.Optimizer.add_param_group.__wrapped__(self, param_group)  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, whatever `set_to_none`; PyTorch's own takes as long as a small product."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step of every parameter that has a gradient."""
        every_learned = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        every_state = [[self._state(parameter) for parameter in learned] for learned in every_learned]
        if counts := [state["step"] for states in every_state for state in states]:
            torch._foreach_add_(counts, 1)
        for group, learned, states in zip(self.param_groups, every_learned, every_state, strict=True):
            if not learned:
                continue
            torch._fused_adam_(
                self._parts(learned),
                self._parts(parameter.grad for parameter in learned),
                self._parts(state["exp_avg"] for state in states),
                self._parts(state["exp_avg_sq"] for state in states),
                [],
                [
                    state["step"]
                    for parameter, state in zip(learned, states, strict=True)
                    for _ in range(self._number_of_parts(parameter))
                ],
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    step.hooked = True  # type: ignore[attr-defined]  # so that PyTorch does not wrap it for its profiler

    def _state(self, parameter: nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state

    def _parts(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Split the tensors into agents' rows where the kernel would round them by their place."""
        parts: list[Tensor] = []
        for tensor in tensors:
            number = self._number_of_parts(tensor)
            parts.extend(tensor.chunk(number) if number > 1 else [tensor])
        return parts

    def _number_of_parts(self, tensor: Tensor) -> int:
        row_size = tensor.numel() // len(tensor)
        return 1 if not tensor.is_cpu or row_size % 16 == 0 else math.gcd(len(tensor), self.agents)
