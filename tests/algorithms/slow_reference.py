"""The losses once more, slowly: one agent, one sample at a time, in float64, straight from the equations.

An independent statement to test against: it reads parameters by name, takes the noise as an argument,
and shares no code with `algorithms`. Gradients are float64 autograd of these loops. The same for whole
batches of one agent, in rows [B, ...], where a paper's code is written so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from algorithms.population.agents import Population
from algorithms.population.streams import Streams
from algorithms.replay.batch import FIELDS, Batch
from algorithms.replay.extras import NO_EXTRAS, Needed
from algorithms.replay.stores import OfflineData
from offline_data.transitions import Transitions

Parameters = Mapping[str, Tensor]
AnyModule = TypeVar("AnyModule", bound=nn.Module)
SMALL: dict[str, Any] = {
    "hidden_widths": (7, 5),
    "discount": 0.9,
    "target_update_rate": 0.05,
    "policy_learning_rate": 2e-3,
    "value_learning_rate": 5e-3,
}
"""Settings at which a few updates of tiny networks show every term, rates that differ from each other."""


def float64_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter by name, as a float64 leaf of its own."""
    return {
        name: parameter.detach().double().clone().requires_grad_()
        for name, parameter in module.named_parameters()
    }


def alpha(parameters: Parameters) -> Tensor:
    """Each agent's entropy coefficient, a constant. [P, ...]"""
    return parameters["log_entropy_coefficient"].detach().exp()


def constant(parameters: Parameters) -> dict[str, Tensor]:
    """The same numbers, through which no gradient flows."""
    return {name: parameter.detach() for name, parameter in parameters.items()}


def constant_critics(parameters: Parameters) -> dict[str, Tensor]:
    """The same numbers, gradients through all but the critics."""
    return {name: p.detach() if name.startswith("q.") else p for name, p in parameters.items()}


def perceptron(parameters: Parameters, prefix: str, copy: int, inputs: Tensor, norm: str = "none") -> Tensor:
    """Network number `copy` applied to one input vector."""
    depth = sum(name.startswith(prefix + "net.layers.") and "weight" in name for name in parameters)
    for layer in range(depth):
        weight = parameters[f"{prefix}net.layers.{layer}.weight"][copy]
        bias = parameters[f"{prefix}net.layers.{layer}.bias"][copy, 0]
        inputs = (inputs.unsqueeze(1) * weight).sum(dim=0) + bias
        if layer < depth - 1 and norm == "before":
            inputs = _normalised(parameters, f"{prefix}net.scales.{layer}.", copy, inputs)
        if layer < depth - 1:
            inputs = torch.where(inputs > 0, inputs, torch.zeros_like(inputs))
        if layer < depth - 1 and norm == "after":
            inputs = _normalised(parameters, f"{prefix}net.scales.{layer}.", copy, inputs)
    return inputs


def _normalised(parameters: Parameters, prefix: str, copy: int, inputs: Tensor) -> Tensor:
    """Layer norm of one vector."""
    centred = inputs - inputs.sum() / len(inputs)
    variance = (centred**2).sum() / len(inputs)
    scaled = centred / torch.sqrt(variance + 1e-6)
    return scaled * parameters[prefix + "gain"][copy, 0] + parameters[prefix + "shift"][copy, 0]


def q_value(
    parameters: Parameters, prefix: str, agent: int, twin: int, observation: Tensor, action: Tensor
) -> Tensor:
    """Q of one critic for one state and action: a number."""
    joined = torch.cat([observation.double(), action.double()])
    return perceptron(parameters, prefix, 2 * agent + twin, joined)[0]


def smaller_q(parameters: Parameters, prefix: str, agent: int, observation: Tensor, action: Tensor) -> Tensor:
    """The smaller of an agent's twins."""
    first, second = (q_value(parameters, prefix, agent, twin, observation, action) for twin in (0, 1))
    return torch.minimum(first, second)


def gaussian(parameters: Parameters, agent: int, observation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of one policy's pre-tanh actions in one state."""
    outputs = perceptron(parameters, "policy.", agent, observation.double())
    half = len(outputs) // 2
    return outputs[:half], outputs[half:].clamp(-20.0, 2.0).exp()


def normal_log_density(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(value; mean, std^2), summed over the components."""
    return (-0.5 * ((value - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)).sum()


def squash(mean: Tensor, std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Action and log density by the change of variables a = tanh(u), |da/du| = 1 - a^2."""
    pre_tanh = mean + std * noise.double()
    action = torch.tanh(pre_tanh)
    return action, normal_log_density(pre_tanh, mean, std) - (1 - action**2).log().sum()


def squashed_log_density(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """Log density of an action inside the box."""
    action = action.double()
    return normal_log_density(torch.atanh(action), mean, std) - (1 - action**2).log().sum()


def network(parameters: Parameters, prefix: str, copy: int, rows: Tensor) -> Tensor:
    """Network number `copy` on rows [B, in], layer norm before the ReLU where there is one."""
    depth = sum(name.startswith(f"{prefix}.net.layers.") and "weight" in name for name in parameters)
    for layer in range(depth):
        at = f"{prefix}.net.layers.{layer}."
        rows = rows @ parameters[at + "weight"][copy] + parameters[at + "bias"][copy]
        if layer == depth - 1:
            return rows
        gain = parameters.get(f"{prefix}.net.scales.{layer}.gain")
        if gain is not None:
            centred = rows - rows.mean(dim=1, keepdim=True)
            rows = centred / ((centred**2).mean(dim=1, keepdim=True) + 1e-6).sqrt()
            rows = rows * gain[copy] + parameters[f"{prefix}.net.scales.{layer}.shift"][copy]
        rows = rows * (rows > 0)
    raise AssertionError("a network without layers")


def critics(
    parameters: Parameters, prefix: str, agent: int, states: Tensor, actions: Tensor, count: int = 2
) -> list[Tensor]:
    """Q of each of an agent's `count` critics. [B] each"""
    rows = torch.cat([states, actions], dim=1)
    return [network(parameters, prefix, count * agent + k, rows)[:, 0] for k in range(count)]


def smaller_critic(
    parameters: Parameters, prefix: str, agent: int, states: Tensor, actions: Tensor
) -> Tensor:
    """The smaller of an agent's twins. [B]"""
    return torch.minimum(*critics(parameters, prefix, agent, states, actions))


def q_mean(parameters: Parameters, batch: Batch, count: int = 2) -> Tensor:
    """Q of the data's actions, averaged over an agent's critics and its batch. [P]"""
    rows = enumerate(zip(batch.observations.double(), batch.actions.double(), strict=True))
    each = [torch.stack(critics(parameters, "q", agent, *pairs, count)) for agent, pairs in rows]
    return torch.stack([q.sum() / q.numel() for q in each]).detach()


def squash_rows(mean: Tensor, std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions [B, A] and log densities [B], row by row."""
    drawn = [squash(*each) for each in zip(mean, std, noise, strict=True)]
    return torch.stack([action for action, _ in drawn]), torch.stack([density for _, density in drawn])


def sample(
    parameters: Parameters,
    agent: int,
    states: Tensor,
    noise: Tensor,
    limits: tuple[float, float] = (-20.0, 2.0),
    policy: str = "policy",
) -> tuple[Tensor, Tensor]:
    """Actions [B, A] and log densities [B] of one policy, `limits` those of its log deviation."""
    mean, log_std = network(parameters, policy, agent, states).chunk(2, dim=1)
    return squash_rows(mean, log_std.clamp(*limits).exp(), noise)


def table(rows: Iterable[Iterable[Tensor]]) -> Tensor:
    """Numbers in rows and columns as one tensor."""
    return torch.stack([torch.stack(list(row)) for row in rows])


def td_target(
    parameters: Parameters, batch: Batch, noise: Tensor, discount: float, alpha: Tensor, agents: int
) -> Tensor:
    """r + discount mask (min Q_target(s', a') - alpha log pi(a'|s')). [P, B]"""

    def one(agent: int, row: int) -> Tensor:
        state = batch.next_observations[agent, row]
        action, log_density = squash(*gaussian(parameters, agent, state), noise[agent, row])
        value = smaller_q(parameters, "target_q.", agent, state, action) - alpha[agent] * log_density
        return batch.rewards[agent, row].double() + discount * batch.masks[agent, row].double() * value

    fixed = range(batch.rewards.shape[1])
    return table((one(agent, row) for row in fixed) for agent in range(agents)).detach()


def critic_loss(parameters: Parameters, batch: Batch, target: Tensor) -> Tensor:
    """Squared TD error of each agent, twins added, averaged over its batch. [P]"""
    agents, size = target.shape
    losses = []
    for agent in range(agents):
        total = torch.zeros((), dtype=torch.float64)
        for row in range(size):
            for twin in (0, 1):
                q = q_value(
                    parameters, "q.", agent, twin, batch.observations[agent, row], batch.actions[agent, row]
                )
                total = total + (q - target[agent, row]) ** 2
        losses.append(total / size)
    return torch.stack(losses)


def actor_loss(
    parameters: Parameters, observations: Tensor, noise: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """E[alpha log pi(a|s) - min Q(s, a)] [P], and log pi(a|s) [P, B]; the critics are constants."""
    agents, size = observations.shape[:2]
    critics = constant(parameters)
    losses, densities = [], []
    for agent in range(agents):
        total = torch.zeros((), dtype=torch.float64)
        for row in range(size):
            state = observations[agent, row]
            action, log_density = squash(*gaussian(parameters, agent, state), noise[agent, row])
            total = total + alpha[agent] * log_density - smaller_q(critics, "q.", agent, state, action)
            densities.append(log_density)
        losses.append(total / size)
    return torch.stack(losses), torch.stack(densities).reshape(agents, size).detach()


def entropy_gradient(log_density: Tensor, action_size: int) -> Tensor:
    """d/d log alpha of -log alpha E[log pi + target entropy], target entropy -|A|. [P]"""
    return -(log_density - action_size).mean(dim=1)


@dataclass
class Adam:
    """Adam as its paper writes it, on float64 parameters by name."""

    parameters: dict[str, Tensor]
    steps: dict[str, int] = field(default_factory=dict)
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)

    def step(self, gradients: Mapping[str, Tensor], rate: float) -> None:
        """Move the parameters that `gradients` names, at the given rate."""
        for name, gradient in gradients.items():
            step = self.steps[name] = self.steps.get(name, 0) + 1
            zero = torch.zeros_like(gradient)
            first = self.first[name] = 0.9 * self.first.get(name, zero) + 0.1 * gradient
            second = self.second[name] = 0.999 * self.second.get(name, zero) + 0.001 * gradient**2
            move = rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            self.parameters[name] = (self.parameters[name].detach() - move).requires_grad_()

    def move_targets(self, rate: float, prefix: str = "target_q.") -> None:
        """target <- (1 - rate) target + rate followed, with the critics (or others) as they are now."""
        for name in [name for name in self.parameters if name.startswith(prefix)]:
            online = self.parameters[name.removeprefix("target_")].detach()
            self.parameters[name] = (1 - rate) * self.parameters[name].detach() + rate * online


def gradients(loss: Tensor, parameters: Parameters, prefix: str | tuple[str, ...]) -> dict[str, Tensor]:
    """Gradients of a scalar with respect to the parameters under `prefix` or several, by name."""
    names = [name for name in parameters if name.startswith(prefix)]
    found = torch.autograd.grad(loss, [parameters[name] for name in names])
    return dict(zip(names, found, strict=True))


def random_batch(agents: int, size: int, observation_size: int, action_size: int, seed: int) -> Batch:
    """Transitions of standard normal states, actions inside the box, a few terminals. float32"""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(agents, size, *shape, generator=generator)

    return Batch(
        observations=normal(observation_size),
        actions=torch.tanh(normal(action_size)),
        rewards=normal(),
        masks=(torch.rand(agents, size, generator=generator) > 0.3).float(),
        next_observations=normal(observation_size),
    )


def offline_data(batch: Batch, needed: Needed = NO_EXTRAS, device: torch.device | str = "cpu") -> OfflineData:
    """The transitions of a batch's first row as a dataset, its terminals the episodes' ends."""
    arrays = {name: getattr(batch, name)[0].numpy() for name in FIELDS}
    ends = arrays["masks"] == 0
    ends[-1] = True
    return OfflineData.from_transitions(Transitions(**arrays, episode_ends=ends), device, needed)


def randomise(module: AnyModule, seed: int = 0, scale: float = 0.5) -> AnyModule:
    """Normal parameters of a size at which every term of a loss counts (fresh heads are near zero)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def same_streams(agents: Population) -> Streams:
    """Streams that draw what the agents' own will draw."""
    streams = Streams(range(len(agents.streams)))
    streams.restore(agents.streams.state())
    return streams


def widths(layers: Iterable[nn.Module]) -> list[int]:
    """How many numbers each layer gives."""
    return [layer.get_parameter("weight").shape[2] for layer in layers]


def assert_glorot(layers: Iterable[nn.Module]) -> None:
    """Fresh weights are uniform within sqrt(6 / (in + out)), biases 0."""
    for layer in layers:
        weight = layer.get_parameter("weight")
        _assert_uniform(weight, math.sqrt(6 / (weight.shape[1] + weight.shape[2])))
        assert not layer.get_parameter("bias").any()


def assert_pytorchs(layers: Iterable[nn.Module]) -> None:
    """Fresh weights and biases are uniform within 1 / sqrt(in)."""
    for layer in layers:
        bound = layer.get_parameter("weight").shape[1] ** -0.5
        for part in ("weight", "bias"):
            _assert_uniform(layer.get_parameter(part), bound)


def _assert_uniform(parameter: Tensor, bound: float) -> None:
    """Within the bound, of both signs and, where they are not few, up to it."""
    drawn = parameter.detach().flatten()
    assert float(drawn.min()) < 0 < float(drawn.max()) <= bound
    assert (0.7 * bound if len(drawn) > 15 else 0.0) < float(drawn.abs().max()) <= bound


def assert_gradients(
    module: nn.Module, loss: Tensor, expected: Mapping[str, Tensor], rtol: float = 1e-4, atol: float = 1e-5
) -> None:
    """The loss has these gradients, and none with respect to any other parameter."""
    module.zero_grad()
    loss.backward()
    for name, parameter in module.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            _assert_close(name, parameter.grad.double(), expected[name], rtol, atol)
        else:
            assert parameter.grad is None, name


def assert_parameters(
    module: nn.Module, by_hand: Mapping[str, Tensor], rtol: float = 1e-9, atol: float = 1e-9
) -> None:
    """Every parameter is where the steps by hand, in float64, have led it."""
    for name, parameter in module.named_parameters():
        _assert_close(name, parameter.detach().double(), by_hand[name].detach(), rtol, atol)


def assert_metrics(
    metrics: Mapping[str, Tensor], expected: Mapping[str, Tensor], rtol: float = 1e-9, atol: float = 1e-9
) -> None:
    """These metrics are among an update's."""
    for name, value in expected.items():
        _assert_close(name, metrics[name].double(), value.detach(), rtol, atol)


def _assert_close(name: str, found: Tensor, expected: Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}")
