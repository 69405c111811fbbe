"""Floating-point operations of one update of each method, counted by hand from its file in `algorithms`.

A multiplication and an addition are two. Only matrix products count; what else an update does is in the
coefficients of `workflow.cost`. All counts are of one run: its N members together where it has any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

LATENTS_PER_ACTION = 2  # algorithms.methods.bcq's
PERTURBED = "bcq", "bcq_ft"


def _products(sizes: Sequence[int]) -> list[int]:
    return [2 * inputs * outputs for inputs, outputs in pairwise(sizes)]


def forward(rows: int, sizes: Sequence[int]) -> int:
    """A perceptron of the layer sizes `sizes`, inputs first, on so many rows."""
    return rows * sum(_products(sizes))


def backward(rows: int, sizes: Sequence[int], weights: bool = True, inputs: bool = False) -> int:
    """Its gradients: of the weights, of what lies between the layers, and of the inputs, if asked for."""
    layers = _products(sizes)
    return rows * (weights * sum(layers) + sum(layers[1:]) + inputs * layers[0])


def learning(rows: int, sizes: Sequence[int]) -> int:
    """Forwards and backwards to the weights."""
    return forward(rows, sizes) + backward(rows, sizes)


def on_candidates(rows: int, candidates: int, state: int, sizes: Sequence[int]) -> int:
    """Forwards where the first layer multiplies a state once for all of its candidates."""
    return forward(rows, (state, sizes[1])) + forward(rows * candidates, (sizes[0] - state, *sizes[1:]))


def actor_critic(state: int, action: int, config: Any, members: int = 1) -> int:
    """SAC's three losses (`algorithms.methods.sac`, and those of Off2On's ensembles)."""
    rows = config.batch_size
    policy, q = _actor_critic_sizes(state, action, config)
    target = forward(rows, policy) + 2 * forward(rows, q)
    climb = forward(rows, q) + backward(rows, q, weights=False, inputs=True)
    return members * (target + 2 * learning(rows, q) + learning(rows, policy) + 2 * climb)


def cql(state: int, action: int, config: Any) -> int:
    """SAC's and the penalty's (`algorithms.methods.cql`)."""
    rows, candidates = config.batch_size, 3 * config.sampled_actions
    policy, q = _actor_critic_sizes(state, action, config)
    drawn, chosen = candidates, config.penalty_gradient_actions
    by_state, by_action = (state, q[1]), (action, *q[1:])
    penalty = 2 * forward(rows, by_state) + forward(rows * drawn, by_action)
    if chosen is not None:
        penalty += forward(rows * chosen, by_action)
    penalty += backward(rows * (drawn if chosen is None else chosen), by_action)
    return actor_critic(state, action, config) + forward(rows, policy) + 2 * penalty


def off2on(state: int, action: int, config: Any) -> int:
    """The ensemble's losses and, if balanced, the density networks' (`algorithms.methods.off2on`)."""
    total = actor_critic(state, action, config, config.ensemble_size)
    if config.replay != "balanced":
        return total
    density = (state + action, *config.density_hidden_widths, 1)
    return total + forward(config.batch_size, density) + 2 * learning(config.density_batch_size, density)


def awac(state: int, action: int, config: Any, members: int = 1) -> int:
    """`algorithms.methods.awac`."""
    rows = config.batch_size
    policy, q = (state, *config.policy_hidden_widths, action), (state + action, *config.hidden_widths, 1)
    judged = forward(rows, policy) + 4 * forward(rows, q)
    return members * (judged + 2 * learning(rows, q) + learning(rows, policy))


def bcq(state: int, action: int, config: Any, members: int = 1) -> int:
    """`algorithms.methods.bcq`: the VAE, the target's candidates, the critics, the perturbation."""
    rows, candidates = config.batch_size, config.target_candidates
    encoder, decoder, moved, q = _bcq_sizes(state, action, config)
    vae = learning(rows, encoder) + learning(rows, decoder)
    vae += forward(rows, (decoder[0], decoder[1]))  # back to the latents, the decoder's inputs
    target = on_candidates(rows, candidates, state, decoder) + on_candidates(rows, candidates, state, moved)
    target += 2 * on_candidates(rows, candidates, state, q)
    climb = on_candidates(rows, 1, state, decoder) + learning(rows, moved)
    climb += forward(rows, q) + backward(rows, q, weights=False, inputs=True)
    return members * (vae + target + 2 * learning(rows, q) + climb)


def fqe(state: int, action: int, config: Any) -> int:
    """`algorithms.methods.fqe`: critics alone."""
    rows = config.batch_size
    policy, q = _actor_critic_sizes(state, action, config)
    return forward(rows, policy) + 2 * forward(rows, q) + 2 * learning(rows, q)


def warm_start(state: int, action: int, config: Any) -> tuple[int, int]:
    """An update that clones, and one that fits returns (`algorithms.methods.warm_start`)."""
    rows = config.batch_size
    policy, q = _actor_critic_sizes(state, action, config)
    return learning(rows, policy), 2 * learning(rows, q)


OFFLINE: dict[str, Callable[[int, int, Any], int]] = {"cql": cql, "awac": awac, "bcq": bcq, "fqe": fqe}
"""Operations of one offline update of one agent: (state size, action size, config)."""
ONLINE: dict[str, Callable[[int, int, Any], int]] = {
    "off2on": off2on,
    "sac_ft": actor_critic,
    "cql_ft": cql,
    "awac": lambda state, action, config: awac(state, action, config, config.ensemble_size),
    "bcq_ft": lambda state, action, config: bcq(state, action, config, config.ensemble_size),
    "sac": actor_critic,
}
"""Operations of one online update of one run."""


def acting(method: str, state: int, action: int, config: Any, members: int) -> int:
    """One action of a run: a policy's of each member, or BCQ's choice among all members' candidates."""
    if method not in PERTURBED:
        widths = getattr(config, "policy_hidden_widths", config.hidden_widths)
        return members * forward(1, (state, *widths, 2 * action))
    _, decoder, moved, q = _bcq_sizes(state, action, config)
    everyone = config.acting_candidates
    judged = members * on_candidates(1, everyone, state, q)
    return judged + on_candidates(1, everyone, state, decoder) + on_candidates(1, everyone, state, moved)


def parameters(method: str, state: int, action: int, config: Any) -> int:
    """Numbers that one agent learns."""
    if method in PERTURBED:
        encoder, decoder, moved, q = _bcq_sizes(state, action, config)
        networks = [encoder, decoder, moved, q, q]
    else:
        policy, q = _actor_critic_sizes(state, action, config)
        networks = [policy, q, q]
    return sum(inputs * outputs + outputs for sizes in networks for inputs, outputs in pairwise(sizes))


def _actor_critic_sizes(state: int, action: int, config: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    widths = getattr(config, "policy_hidden_widths", config.hidden_widths)
    return (state, *widths, 2 * action), (state + action, *config.hidden_widths, 1)


def _bcq_sizes(state: int, action: int, config: Any) -> tuple[tuple[int, ...], ...]:
    latents, generator = LATENTS_PER_ACTION * action, config.generator_hidden_widths
    encoder, decoder = (state + action, *generator, 2 * latents), (state + latents, *generator, action)
    return (
        encoder,
        decoder,
        (state + action, *config.hidden_widths, action),
        (state + action, *config.hidden_widths, 1),
    )
