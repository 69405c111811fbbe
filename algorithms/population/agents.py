"""Populations of agents: networks, targets, optimiser and random streams; SAC's are `ActorCritics`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from algorithms.population.adam import AgentwiseAdam
from algorithms.population.checkpoints import fit, section
from algorithms.population.encoding import Named, ObservationEncoding
from algorithms.population.networks import Critics, Distribution, Policy, TanhGaussian
from algorithms.population.streams import Streams
from storage import UserError
from storage.constraints import Positive

InitialCoefficient = Positive | Literal["carried"]
"""An entropy coefficient to begin with, or that with which the agents before ended."""
CARRIED: InitialCoefficient = "carried"


COEFFICIENT = "log_entropy_coefficient"
"""The name of the logarithm of alpha among an agent's tensors."""
AVERAGES = "averaged."
"""What the names of an agent's moving averages begin with."""


class Population(nn.Module):
    """Networks of P agents that learn side by side, with their optimiser and their random streams.

    Parameters and states never cross from one agent to another. P = len(seeds) x members: each seed has one
    random stream and `members` agents (1, or N for an ensemble). A subclass makes its networks, and says what
    of them is learned at which rate.
    """

    exported: ClassVar[tuple[str, ...]]
    """The networks an agent is handed on with."""
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q"}
    """The target networks, and which network each follows."""
    handed_on_whole: ClassVar[bool] = False
    """Whether an agent is handed on with its targets, other parameters and optimiser's moments too."""
    feature_networks: ClassVar[tuple[str, ...]] = ()
    """The networks that read an encoder's features, policy first; none where agents have vectors alone."""
    steps_together: ClassVar[bool] = True
    """Whether an update makes one step of all networks, which alone read observations, or one after the other
    from one encoded batch."""
    image_networks: ClassVar[tuple[str, ...]] = ()
    """The networks of each run that are shown the images themselves, whatever encoders there are."""

    optimiser: torch.optim.Optimizer
    encoding: ObservationEncoding | None = None
    """How named observations become features; nothing where they are a vector."""
    image_encoder: Any
    """The shared encoder, where there is one."""

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        action_size: int,
        config: Any,
        members: int = 1,
    ) -> None:
        """Agents of the settings in `config`, a method's; their networks are not initialised yet."""
        super().__init__()
        self.count = len(seeds) * members
        self.members = members
        self.action_size = action_size
        self.streams = Streams(seeds)
        self.image_encoder = None
        self.make_networks(observation_size, config)
        self.optimiser = AgentwiseAdam(self.groups(config), self.count)

    def make_networks(self, observation_size: int, config: Any) -> None:
        """Make the networks, each tensor with P times a whole number as first axis."""
        raise NotImplementedError

    def groups(self, config: Any) -> list[dict[str, Any]]:
        """Group what is learned by its rate, as `learned` does: by default the policy, and the critics."""
        policy, critics = self.get_submodule("policy"), self.get_submodule("q")
        return [learned(config.policy_learning_rate, policy), learned(config.value_learning_rate, critics)]

    def initialise(self) -> None:
        """Initialise networks, each drawn from its own stream, and targets equal to what they follow."""
        if self.encoding is not None:
            self.encoding.initialise(self)
        if self.encoding is None or self.encoding.shared:
            self.initialise_networks()
        self.copy_targets()

    def initialise_networks(self) -> None:
        """Initialise networks, each drawn from its own stream; encoders apart."""
        for network in self.exported:
            self.get_submodule(network).initialise(self.streams)  # type: ignore[operator]

    @property
    def handed_on(self) -> tuple[str, ...]:
        """The exported networks, and a shared encoder."""
        return self.exported if self.image_encoder is None else ("image_encoder", *self.exported)

    def copy_targets(self) -> None:
        """Set the target networks equal to what they follow."""
        for target, network in self.targets.items():
            self.get_submodule(target).load_state_dict(self.get_submodule(network).state_dict())

    def move_targets(self, rate: float) -> None:
        """target <- (1 - rate) target + rate network, of each target."""
        for target, network in self.targets.items():
            move_towards(self.get_submodule(target), self.get_submodule(network), rate)

    def start_from(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over agents that were handed on (`load_members`). UserError where they do not fit."""
        load_members(self, members)

    def handed_over(self, index: int) -> dict[str, Tensor]:
        """Return what one agent is handed on with beside its networks; nothing by default."""
        return {}

    def load_averages(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Be evaluated by the averages of agents that were handed on and loaded, where they have any."""

    def carry_over(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over what else of agents that were handed on is to go on; nothing by default."""

    def encode(self, batch: Any) -> Any:
        """Encode the batch as networks read it: features for named observations, vectors unchanged."""
        return batch if self.encoding is None else self.encoding.encode(self, batch)

    def cropped(self, batch: Any) -> Any:
        """Return the batch for networks with encoders of their own: images cropped, vectors unchanged."""
        if self.encoding is None:
            return batch
        return batch._replace(observations=self.encoding.cropped(self, batch.observations, 1))

    def acting_features(self, observations: Tensor | Named) -> Tensor:
        """States [S, B, ...] as the acting policy reads them: features of whole images, a vector as it is."""
        if isinstance(observations, Tensor):
            return observations
        if self.encoding is None:
            raise UserError(f"agents without an encoder were shown {', '.join(observations)}")
        return self.encoding.acting_features(self, observations)

    def distribution(self, observations: Tensor) -> Distribution:
        """Return what each run (with one member: each agent) acts by, in the states [S, B, ...]."""
        raise NotImplementedError

    def evaluated(self) -> Self:
        """Return the agents as they are evaluated: themselves, or with other weights for acting."""
        return self

    def explore(self, observations: Tensor) -> Tensor:
        """Choose actions for collection, sampled: [S, E, obs] -> [S, E, A]."""
        acting = self.distribution(observations)
        return acting.actions(self.streams.normal(observations.shape[1], self.action_size))

    def exploit(self, observations: Tensor) -> Tensor:
        """Choose actions for evaluation, the distribution's mode: [S, E, obs] -> [S, E, A]."""
        return self.distribution(observations).mode()

    def for_members(self, rows: Any) -> Any:
        """Each run's rows [S, ...] for each of its members [P, ...]; what is the members' stays as it is."""
        if not isinstance(rows, Tensor) or len(rows) == self.count:
            return rows
        return rows.repeat_interleave(self.members, dim=0)

    def per_run(self, values: Tensor) -> Tensor:
        """Members of a run on an axis of their own: [P, ...] -> [S, N, ...]."""
        return values.reshape(-1, self.members, *values.shape[1:])

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Return all optimisers, by what a saved state calls their moments."""
        return {"adam": self.optimiser}

    def move_to(self, device: torch.device | str) -> None:
        """Move all to `device`, before the first update there; random streams begin anew."""
        self.to(device)
        for optimiser in self.optimisers().values():
            for moments in optimiser.state.values():
                moments.update({key: tensor.to(device) for key, tensor in moments.items()})
        self.streams = self.streams.on(device)

    def as_they_are(self) -> Self:
        """Copy the networks as they are now to the CPU, to act deterministically while these learn on."""
        still = copy.copy(self)  # its random streams and its optimiser are these agents'
        for kind in ("_parameters", "_buffers", "_modules"):
            setattr(still, kind, copy.deepcopy(getattr(self, kind)))
        return still.to("cpu")

    def step(self, *losses: Tensor) -> None:
        """Make one step of the optimiser down the sum of the losses (each [P], [S] or a number)."""
        self.step_by(self.optimiser, *losses)

    def step_by(self, optimiser: torch.optim.Optimizer, *losses: Tensor) -> None:
        """Make the step of one of the `optimisers`."""
        optimiser.zero_grad()
        torch.autograd.backward(losses, [torch.ones_like(loss) for loss in losses])
        self.settle_gradients()
        optimiser.step()

    def settle_gradients(self) -> None:
        """Change the losses' gradients before the optimiser goes by them; nothing by default."""

    def training_state(self) -> dict[str, Tensor]:
        """Return everything that further updates depend on, as named tensors."""
        state = {f"networks.{name}": tensor for name, tensor in self.state_dict().items()}
        for prefix, optimiser in self.optimisers().items():
            for name, parameter in self.named_parameters():
                for key, tensor in optimiser.state.get(parameter, {}).items():
                    state[f"{prefix}.{key}.{name}"] = tensor
        state["streams"] = self.streams.state()
        return state

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `training_state()`. UserError where a tensor is missing or of another shape or type."""
        networks = {f"networks.{name}": tensor for name, tensor in self.state_dict().items()}
        fit(state, {**networks, "streams": self.streams.state()})
        self.load_state_dict(section(state, "networks."))
        for prefix, optimiser in self.optimisers().items():
            self._restore_moments(prefix, optimiser, state)
        self.streams.restore(state["streams"])

    def _restore_moments(
        self, prefix: str, optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]
    ) -> None:
        for name, parameter in self.named_parameters():
            like = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            if any(f"{prefix}.{key}.{name}" in state for key in like):  # the rest was never learned
                fit(state, {f"{prefix}.{key}.{name}": tensor for key, tensor in like.items()})
                saved = {key: state[f"{prefix}.{key}.{name}"] for key in like}
                optimiser.state[parameter] = {
                    key: tensor.to(parameter.device, copy=True) for key, tensor in saved.items()
                }


class CountedAgents(Population):
    """Agents that count their updates, for what is done at some of them alone."""

    actor_measures: ClassVar[tuple[str, ...]]
    """Metrics of an actor's update, which the updates until its next one repeat."""

    updates: Tensor  # made so far, on the agents' device: a captured CUDA graph reads it. float32 [P]
    of_actor: Tensor  # what the actor's last update measured. [P, measures]

    def make_networks(self, observation_size: int, config: Any) -> None:
        """Make the count; a subclass makes its networks beside it."""
        self.register_buffer("updates", torch.zeros(self.count))
        self.made = 0  # `updates` once more, on the host
        self.register_buffer("of_actor", torch.zeros(self.count, len(self.actor_measures)))

    def note_actor(self, *measures: Tensor) -> None:
        """Note what an actor's update has measured, [P] each, in the order of `actor_measures`."""
        self.of_actor.copy_(torch.stack([measure.detach() for measure in measures], dim=1))

    def noted(self) -> dict[str, Tensor]:
        """Return what the actor's last update measured. [P] each"""
        return dict(zip(self.actor_measures, self.of_actor.clone().unbind(dim=1), strict=True))

    def count_from(self, made: int) -> None:
        """Take `made` for the number of updates that have been made."""
        self.made = made
        self.updates.fill_(made)

    def count_update(self) -> None:
        """Count one more."""
        self.made += 1
        self.updates.add_(1)

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `training_state()`. UserError where a tensor is missing or of another shape or type."""
        super().restore_training_state(state)
        self.made = int(self.updates[0])


class ActorCritics(Population):
    """P actor-critic agents: policy, K critics (twins by default) and their targets, entropy coefficient.

    Their configuration has the fields of `algorithms.methods.sac.SACConfig`.

    The state dictionary's tensors have P (policy), K P (critics) or len(seeds) (entropy coefficient: one a
    seed) as first axis.
    """

    exported: ClassVar[tuple[str, ...]] = ("policy", "q")
    feature_networks: ClassVar[tuple[str, ...]] = ("policy", "q")

    averaged: nn.ModuleDict | None
    """Moving averages of what acts, which evaluation goes by; nothing where there are none."""

    policy_class: ClassVar[type[Policy]] = Policy
    critics_class: ClassVar[type[Critics]] = Critics

    def make_networks(self, observation_size: int, config: Any) -> None:
        """Make policy, critics with their targets, and entropy coefficient."""
        sizes, widths = (self.count, observation_size, self.action_size), config.hidden_widths
        self.policy = self.policy_class(*sizes, config.policy_hidden_widths or widths, config.log_std_range)
        self.q, self.target_q = (
            self.critics_class(*sizes, widths, config.critics, config.critic_norm) for _ in range(2)
        )
        self.averaging_rate, self.averaged = config.averaging_rate, None
        self.coefficient_is_carried = config.initial_entropy_coefficient == CARRIED
        coefficient = 1.0 if self.coefficient_is_carried else float(config.initial_entropy_coefficient)
        self.log_entropy_coefficient = nn.Parameter(torch.full((len(self.streams),), coefficient).log())

    def groups(self, config: Any) -> list[dict[str, Any]]:
        """Group what is learned; the entropy coefficient learns at the policy's rate [C]."""
        return [
            learned(config.policy_learning_rate, self.policy, self.log_entropy_coefficient),
            learned(config.value_learning_rate, self.q),
        ]

    def initialise(self) -> None:
        """Initialise networks. UserError where the entropy coefficient is to be that of agents before."""
        if self.coefficient_is_carried:
            raise UserError(
                "initial_entropy_coefficient is carried, expected a number for agents that start from nothing"
            )
        super().initialise()

    def _acting(self) -> dict[str, nn.Module]:
        """Return what acting needs, as it learns."""
        encoder = {} if self.image_encoder is None else {"image_encoder": self.image_encoder}
        return {**encoder, "policy": self.policy}

    def copy_targets(self) -> None:
        """Set the targets, and the averages where there are any, equal to what they follow."""
        super().copy_targets()
        if self.averaging_rate is not None:
            self.averaged = nn.ModuleDict(copy.deepcopy(self._acting()))

    def move_targets(self, rate: float) -> None:
        """target <- (1 - rate) target + rate network, of each target; and the averages by their own rate."""
        super().move_targets(rate)
        if self.averaged is not None and self.averaging_rate is not None:
            for name, module in self._acting().items():
                move_towards(self.averaged[name], module, self.averaging_rate)

    def handed_over(self, index: int) -> dict[str, Tensor]:
        """Return the logarithm of the entropy coefficient of the agent's run [1], and the averages."""
        run = index // self.members
        averages = {} if self.averaged is None else self.averaged.state_dict()
        return {
            COEFFICIENT: self.log_entropy_coefficient.detach()[run : run + 1].clone(),
            **{AVERAGES + name: rows_of_agent(self, tensor, index) for name, tensor in averages.items()},
        }

    def load_averages(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Be evaluated by the averages of agents that were handed on and loaded, where they have any."""
        if self.averaged is not None:
            parts = [section(member, AVERAGES) for member in members]
            self.averaged.load_state_dict({name: torch.cat([p[name] for p in parts]) for name in parts[0]})

    def carry_over(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the entropy coefficient if so configured: a run's is its members' geometric mean.

        UserError where agents lack it, as those do that were written before it was handed on.
        """
        if not self.coefficient_is_carried:
            return
        if any(COEFFICIENT not in member for member in members):
            raise UserError(
                f"initial_entropy_coefficient is carried, and an agent before lacks {COEFFICIENT}:"
                " expected a number"
            )
        carried = torch.cat([member[COEFFICIENT] for member in members])
        with torch.no_grad():
            self.log_entropy_coefficient.copy_(self.per_run(carried).mean(dim=1))

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """Return the policy of each run (with one member: of each agent) in the states [S, B, ...]."""
        return self.together(self.policy(self.for_members(observations)))

    def together(self, policies: TanhGaussian) -> TanhGaussian:
        """Return the policy that a run's members act by; a single one acts by its own."""
        return policies

    def evaluated(self) -> Self:
        """Return these agents acting by the averages; themselves where there are none."""
        if self.averaged is None:
            return self
        evaluated = copy.copy(self)
        evaluated._modules = {**self._modules, **self.averaged}
        return evaluated

    @property
    def entropy_coefficient(self) -> Tensor:
        """alpha of each temperature, without gradient. [S]"""
        return self.log_entropy_coefficient.detach().exp()


def learned(rate: float, *parts: nn.Module | nn.Parameter, **others: float) -> dict[str, Any]:
    """Make a group of the optimiser: all parameters of `parts`, at one learning rate."""
    parameters = [
        parameter
        for part in parts
        for parameter in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    ]
    return {"params": parameters, "lr": rate, **others}


@torch.no_grad()
def move_towards(target: nn.Module, followed: nn.Module, rate: float) -> None:
    """Every parameter of `target` <- (1 - rate) target + rate followed."""
    torch._foreach_lerp_(list(target.parameters()), list(followed.parameters()), rate)


def one_agent(agents: Population, index: int) -> dict[str, Tensor]:
    """Copy the exported networks of one agent, as a population of one: named "policy.…", "q.…"."""
    tensors = {}
    for network in agents.handed_on:
        for name, tensor in agents.get_submodule(network).state_dict().items():
            tensors[f"{network}.{name}"] = rows_of_agent(agents, tensor, index)
    tensors |= agents.handed_over(index)
    if agents.handed_on_whole:
        state = agents.training_state()
        del state["streams"]
        for name, tensor in state.items():
            own = tensor.reshape(1) if tensor.ndim == 0 else rows_of_agent(agents, tensor, index)
            tensors[name.removeprefix("networks.")] = own
    return tensors


def rows_of_agent(agents: Population, tensor: Tensor, index: int) -> Tensor:
    """Copy one agent's rows of the first axis."""
    rows = len(tensor) // agents.count
    return tensor[rows * index : rows * (index + 1)].clone()


def load_members(agents: Population, members: Iterable[Mapping[str, Tensor]]) -> None:
    """Fill the population with agents (`one_agent`'s tensors), in order, and copy their targets.

    UserError where they are too few, too many, or networks of other sizes.
    """
    rows = list(members)
    for network in agents.handed_on:
        load_network(agents, network, rows)
    agents.copy_targets()
    if agents.handed_on_whole:
        _load_the_rest(agents, rows)
    else:
        agents.carry_over(rows)


def load_network(
    agents: Population, network: str, members: Sequence[Mapping[str, Tensor]], source: str | None = None
) -> None:
    """Fill one network with that of the agents handed on, which there is called `source` or the same.

    UserError as `load_members`.
    """
    if len(members) != agents.count:
        raise UserError(f"{len(members)} pre-trained agents were given, expected {agents.count}")
    module, prefix = agents.get_submodule(network), f"{source or network}."
    parts = [section(member, prefix) for member in members]
    networks = module.state_dict()
    for index, part in enumerate(parts):
        if differing := sorted(networks.keys() ^ part.keys()):
            verb = "has" if differing[0] in part else "lacks"
            raise UserError(
                f"pre-trained agent {index} {verb} {prefix}{differing[0]}: expected agents of a method with"
                " the same networks"
            )
        for name, own in networks.items():
            if part[name].shape != (expected := (len(own) // agents.count, *own.shape[1:])):
                raise UserError(
                    f"pre-trained agent {index}: {prefix}{name} has shape {tuple(part[name].shape)}, expected"
                    f" {expected}; its network is of another size"
                )
    module.load_state_dict({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _load_the_rest(agents: Population, members: Sequence[Mapping[str, Tensor]]) -> None:
    """Go on from what `one_agent` says beside the exported networks. UserError where it says too little.

    Averages go on where there are some before and after; else they begin as what they follow, or are dropped.
    """
    averages = {name: rows for name, rows in agents.state_dict().items() if name.startswith(AVERAGES)}
    if missing := [name for name in agents.state_dict() if name not in members[0] and name not in averages]:
        raise UserError(
            f"the pre-trained agents lack {missing[0]}, expected agents of the method that goes on with them"
        )
    for index, member in enumerate(members):
        if member.keys() != members[0].keys():
            raise UserError(f"pre-trained agent {index} has not learned the same as agent 0, expected it to")
    state = {f"networks.{name}": rows for name, rows in averages.items()}
    state["streams"] = agents.streams.state()
    for name in members[0]:
        if name.startswith(AVERAGES) and name not in averages:
            continue
        joined = torch.cat([member[name] for member in members])
        if not name.startswith("adam."):
            state[f"networks.{name}"] = joined
        elif not name.startswith("adam.step."):
            state[name] = joined
        elif bool((joined == joined[0]).all()):
            state[name] = joined[0]
        else:
            raise UserError(
                f"pre-trained agents have learned for {joined.tolist()} updates, expected equally long"
            )
    agents.restore_training_state(state)
