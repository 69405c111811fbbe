"""CQL in JAX, restated: blocks of updates jitted as one scan, one agent or several by vmap.

The method, sizes and numbers are those of the suite's defaults past every warm start: twin critics,
deterministic backup, importance sampling of 3 n candidates, Adam. Each update draws its batch from a
dataset on the device. Imported only where JAX is installed; nothing else here needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

Tree = Any
"""Arrays in lists and dictionaries, as JAX maps over them."""

WIDTHS, SAMPLED, BATCH = (256, 256), 10, 256
WEIGHT, DISCOUNT, TARGET_RATE = 5.0, 0.99, 5e-3
RATES = {"policy": 1e-4, "log_alpha": 1e-4, "critics": 3e-4}
LOG_STD_RANGE = (-20.0, 2.0)


def perceptron(key: Any, sizes: Sequence[int], copies: Sequence[int] = ()) -> Tree:
    """Weights uniform within 1 / sqrt(inputs) and zero biases, input first."""
    layers = []
    for inputs, outputs in pairwise(sizes):
        key, own = jax.random.split(key)
        bound = 1 / math.sqrt(inputs)
        weight = jax.random.uniform(own, (*copies, inputs, outputs), minval=-bound, maxval=bound)
        layers.append({"weight": weight, "bias": jnp.zeros((*copies, 1, outputs))})
    return layers


def evaluated(layers: Tree, inputs: Any) -> Any:
    """[..., B, in] -> [..., B, out], with ReLU between layers."""
    for layer in layers[:-1]:
        inputs = jax.nn.relu(inputs @ layer["weight"] + layer["bias"])
    return inputs @ layers[-1]["weight"] + layers[-1]["bias"]


def sampled(policy: Tree, states: Any, key: Any, extra: Sequence[int] = ()) -> tuple[Any, Any]:
    """Actions [*extra, B, A] of the tanh-Gaussian policy in the states [B, obs], and their log densities."""
    mean, log_std = jnp.split(evaluated(policy, states), 2, axis=-1)
    log_std = jnp.clip(log_std, *LOG_STD_RANGE)
    noise = jax.random.normal(key, (*extra, *mean.shape))
    raw = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    slope = 2 * (math.log(2) - raw - jax.nn.softplus(-2 * raw))
    return jnp.tanh(raw), (gaussian - slope).sum(axis=-1)


def q_values(critics: Tree, states: Any, actions: Any) -> Any:
    """Of both critics: [B, obs], [B, A] -> [2, B]."""
    pairs = jnp.concatenate([states, actions], axis=-1)
    return evaluated(critics, jnp.broadcast_to(pairs, (2, *pairs.shape)))[..., 0]


def losses(parameters: Tree, targets: Tree, batch: Sequence[Any], key: Any) -> tuple[Any, dict[str, Any]]:
    """The sum of the losses, each of which reaches its own parameters alone, and what a loop reads."""
    states, actions, rewards, masks, next_states = batch
    keys = jax.random.split(key, 5)
    policy, critics = parameters["policy"], parameters["critics"]
    still = partial(jax.tree.map, jax.lax.stop_gradient)
    next_actions, _ = sampled(still(policy), next_states, keys[0])
    target = rewards + DISCOUNT * masks * q_values(targets, next_states, next_actions).min(axis=0)
    q = q_values(critics, states, actions)
    td_error = ((q - jax.lax.stop_gradient(target)) ** 2).mean(axis=1).sum()

    uniform = jax.random.uniform(keys[1], (SAMPLED, *actions.shape), minval=-1, maxval=1)
    here, here_density = sampled(still(policy), states, keys[2], (SAMPLED,))
    there, there_density = sampled(still(policy), next_states, keys[3], (SAMPLED,))
    densities = [jnp.full_like(here_density, -actions.shape[-1] * math.log(2)), here_density, there_density]
    candidates, density = jnp.concatenate([uniform, here, there]), jnp.concatenate(densities)
    repeated = jnp.broadcast_to(states, (len(candidates), *states.shape)).reshape(-1, states.shape[-1])
    of_candidates = q_values(critics, repeated, candidates.reshape(-1, actions.shape[-1]))
    logits = of_candidates.reshape(2, *density.shape) - density
    penalty = (jax.nn.logsumexp(logits, axis=1) - q).mean(axis=1).sum()

    new, log_pi = sampled(policy, states, keys[4])
    alpha = jnp.exp(parameters["log_alpha"])
    actor = (jax.lax.stop_gradient(alpha) * log_pi - q_values(still(critics), states, new).min(axis=0)).mean()
    excess = jax.lax.stop_gradient(log_pi - actions.shape[-1]).mean()
    temperature = -parameters["log_alpha"] * excess
    metrics = {"td_error": td_error, "penalty": penalty, "actor": actor, "q": q.mean(), "alpha": alpha}
    return td_error + WEIGHT * penalty + actor + temperature, metrics


def adam(parameters: Tree, gradients: Tree, moments: Tree, step: Any) -> tuple[Tree, Tree]:
    """One step of Adam (Kingma and Ba 2015) with each part's rate."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments["first"], gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, moments["second"], gradients)

    def moved(rate: float) -> Callable[[Any, Any, Any], Any]:
        return lambda p, m, v: p - rate * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)

    new = {
        part: jax.tree.map(moved(rate), parameters[part], first[part], second[part])
        for part, rate in RATES.items()
    }
    return new, {"first": first, "second": second}


def fresh(key: Any, observation_size: int, action_size: int) -> Tree:
    """One agent, its targets, its optimiser and its random numbers."""
    policy, critics, own = jax.random.split(key, 3)
    parameters = {
        "policy": perceptron(policy, (observation_size, *WIDTHS, 2 * action_size)),
        "critics": perceptron(critics, (observation_size + action_size, *WIDTHS, 1), (2,)),
        "log_alpha": jnp.zeros(()),
    }
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    moments = {"first": zeros, "second": zeros}
    targets = jax.tree.map(jnp.copy, parameters["critics"])
    return {"now": parameters, "targets": targets, "moments": moments, "key": own, "step": jnp.zeros(())}


def update(data: Sequence[Any], agent: Tree) -> tuple[Tree, dict[str, Any]]:
    """One update of one agent from a batch of its own."""
    key, rows, draws = jax.random.split(agent["key"], 3)
    chosen = jax.random.randint(rows, (BATCH,), 0, len(data[0]))
    batch = [field[chosen] for field in data]
    gradients, metrics = jax.grad(losses, has_aux=True)(agent["now"], agent["targets"], batch, draws)
    step = agent["step"] + 1
    now, moments = adam(agent["now"], gradients, agent["moments"], step)
    targets = jax.tree.map(lambda old, new: old + TARGET_RATE * (new - old), agent["targets"], now["critics"])
    return {"now": now, "targets": targets, "moments": moments, "key": key, "step": step}, metrics


def make_updates(
    fields: Sequence[np.ndarray[Any, Any]], agents: int, per_block: int, tf32: bool
) -> Callable[[int], None]:
    """What makes so many updates, in whole blocks, of `agents` side by side; `fields` as a batch has them."""
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")
    data = [jnp.asarray(field) for field in fields]
    sizes = (data[0].shape[-1], data[1].shape[-1])
    state = jax.vmap(partial(fresh, observation_size=sizes[0], action_size=sizes[1]))(
        jax.random.split(jax.random.key(0), agents)
    )

    @partial(jax.jit, donate_argnums=0)
    def block(state: Tree, data: Sequence[Any]) -> tuple[Tree, Any]:
        return jax.lax.scan(lambda s, _: jax.vmap(partial(update, data))(s), state, length=per_block)

    def run(count: int) -> None:
        nonlocal state
        for _ in range(max(1, count // per_block)):
            state, metrics = block(state, data)
            jax.device_get(metrics)

    return run
