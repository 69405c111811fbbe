"""Named observations as features, for any method's agents: where encoders stand, and what they learn from.

Two ways. Encoders of its "own" are COG's: every network (each critic, each target, the policy) has one,
trained by that network's loss. A "shared" encoder is ours, a deviation for small budgets: one small encoder
an agent, trained by its critics' loss alone (and cloning's, if asked); the policy reads its features as they
are, and so do the target critics, without a copy of it. Either way each image is encoded once an update and
everything after works on features, as it would on any vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.population.augmentation import PADDING, crop, draw_offsets
from algorithms.population.encoders import CONVOLUTIONS, IMAGE, STATE, EncoderName, Encoders, Shapes
from algorithms.population.networks import Critics, Reads
from algorithms.population.perceptrons import PopulationMLP, Read, fill_uniform, initialise_as_rlkit
from algorithms.population.rows import each_times
from storage import UserError
from storage.constraints import UpToHundred

Observed = int | Shapes
"""What agents are shown: a vector of so many numbers, or named observations of these shapes."""
Named = Mapping[str, Tensor]

POLICY_CNN_LAYERS = 3  # [COG] after the convolutions: 1024, 512, 256


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoders by which agents see images."""

    networks: EncoderName = "own"  # [COG], [S] an encoder for each network; "shared" is ours, one an agent
    state: bool = False  # ours: the robot's state beside the image; COG can, and does not by default
    padding: UpToHundred = PADDING  # [COG] pixels by which crops shift what learns sees, at most
    cloning_teaches: bool = False  # ours: a shared encoder learns from cloning too, not from critics alone


class ObservationEncoding:
    """The encoders' sizes and places in one `Population`, which holds the encoders itself."""

    def __init__(self, shapes: Shapes, config: EncoderConfig) -> None:
        """Raise UserError where there is no image, or no state to read beside it."""
        for name in (IMAGE, STATE) if config.state else (IMAGE,):
            if name not in shapes:
                raise UserError(f"the encoder reads {name}, expected one of {', '.join(shapes)}")
        self.shapes, self.config = shapes, config
        self.shared = config.networks == "shared"
        self.feature_size = self._encoders(0).feature_size

    def _encoders(self, copies: int) -> Encoders:
        return Encoders(copies, self.shapes, CONVOLUTIONS[self.config.networks], self.config.state)

    def attach(self, agents: Any) -> None:
        """Give fresh agents, made for vectors of `feature_size` numbers, their encoders.

        UserError where the agents' networks read no features.
        """
        if not agents.feature_networks:
            kind = type(agents).__name__.removesuffix("Agents")
            raise UserError(f"agents of {kind} have no encoder for images, expected a vector")
        if not (self.shared or agents.steps_together):
            raise UserError(
                f"the encoder's networks is {self.config.networks}, expected shared: {type(agents).__name__}"
                " learn one network after the other"
            )
        agents.encoding = self
        if self.shared:
            agents.image_encoder = self._encoders(agents.count)
            self._learn_with(agents, agents.get_submodule(TEACHER), agents.image_encoder)
        first = 0
        for name in agents.feature_networks:
            network = agents.get_submodule(name)
            followers = [agents.get_submodule(target) for target, of in agents.targets.items() if of == name]
            last = first + self.feature_size * _copies(network)
            for each in (network, *followers):
                if self.shared:
                    if not isinstance(each, Critics):
                        each.register_forward_pre_hook(_apart)
                    continue
                encoder = self._encoders(agents.count * _copies(each))
                if each is network:
                    self._learn_with(agents, network, encoder)
                each.image_encoder = encoder
                if isinstance(each, Critics):
                    each.own_features = slice(first, last)
                else:
                    each.register_forward_pre_hook(partial(_part, first, last))
            first = last
        for name in agents.image_networks:
            network = agents.get_submodule(name)
            encoder = self._encoders(len(agents.streams))
            self._learn_with(agents, network, encoder)
            network.image_encoder = encoder
            network.register_forward_pre_hook(_encoded)

    @staticmethod
    def _learn_with(agents: Any, network: nn.Module, encoder: Encoders) -> None:
        """Add the encoder's parameters to the optimiser's group of a network that is there already."""
        known = next(network.parameters())
        for group in agents.optimiser.param_groups:
            if any(parameter is known for parameter in group["params"]):
                group["params"].extend(encoder.parameters())

    def initialise(self, agents: Any) -> None:
        """Initialise encoders; and the feature networks' layers where each has its own. [COG]

        These are within 1e-4: with zero biases next to no gradient would reach an encoder. Of a policy so are
        the first three, its CNN's; those after them are a perceptron of rlkit's.
        """
        if self.shared:
            agents.image_encoder.initialise(agents.streams)
            return
        for name in agents.feature_networks:
            network: Any = agents.get_submodule(name)
            network.image_encoder.initialise(agents.streams)
            for perceptrons in network.modules():
                if isinstance(perceptrons, PopulationMLP):
                    layers = perceptrons.affine_maps()
                    count = POLICY_CNN_LAYERS if name == "policy" else len(layers)
                    for layer in layers[:count]:
                        fill_uniform(layer.weight, 1e-4, agents.streams)
                        fill_uniform(layer.bias, 1e-4, agents.streams)
                    initialise_as_rlkit(layers[count:], 1e-3, agents.streams)

    def encode(self, agents: Any, batch: Any) -> Any:
        """Encode the batch's images as features, each image cropped anew for each network and encoded once.

        Images are [S, B, H, W, C], features [S N, B, F], with gradient those of `observations` alone; F
        counts those of each feature network in turn (of its target, in `next_observations`) where each
        network has its own encoder. On a CPU networks that share one read its features here and now, if one
        step of all of them follows.
        """
        observations = self._features(agents, batch.observations, agents.feature_networks)
        followed = {network: target for target, network in agents.targets.items()}
        with torch.no_grad():
            networks = tuple(followed.get(name, name) for name in agents.feature_networks)
            next_observations = self._features(agents, batch.next_observations, networks)
        return batch._replace(observations=observations, next_observations=next_observations)

    def _features(self, agents: Any, observations: Named, networks: tuple[str, ...]) -> Tensor | Reads:
        if self.shared:
            features: Tensor = agents.image_encoder(self.cropped(agents, observations, agents.members))
            if not (agents.steps_together and features.is_cpu):
                return features
            return {
                network: network.net.read(each_times(features, _copies(network)))
                for network in map(agents.get_submodule, networks)
            }
        parts = []
        for name in networks:
            network: Any = agents.get_submodule(name)
            copies = _copies(network)
            seen = network.image_encoder(self.cropped(agents, observations, copies * agents.members))
            parts.append(seen.unflatten(0, (-1, copies)).transpose(1, 2).flatten(2))
        return torch.cat(parts, dim=-1)

    def cropped(self, agents: Any, observations: Named, copies: int) -> dict[str, Tensor]:
        """Each run's observations, [S, B, ...] each, `copies` times, its images cropped at random for each.

        [S copies, B, ...]
        """
        images = observations[IMAGE]
        offsets = draw_offsets(agents.streams, copies, images.shape[1], self.config.padding)
        return {
            name: rows.repeat_interleave(copies, dim=0)
            if name != IMAGE
            else crop(images, offsets, self.config.padding)
            for name, rows in observations.items()
        }

    def acting_features(self, agents: Any, observations: Named) -> Tensor:
        """Compute features of whole images, for the policy alone: [S, E, ...] each -> [S N, E, F]."""
        encoder = agents.image_encoder if self.shared else agents.policy.image_encoder
        features: Tensor = encoder({name: agents.for_members(rows) for name, rows in observations.items()})
        return features


TEACHER = "q"
"""The network whose loss teaches a shared encoder, by its rate."""


def _copies(network: nn.Module) -> int:
    """Count the networks of an agent that are side by side in one."""
    return network.count if isinstance(network, Critics) else 1


def teaching(network: nn.Module, observations: Tensor | Reads) -> Any:
    """Return what the network reads of features, with a gradient down to them."""
    return observations[network] if isinstance(observations, Mapping) else observations


def _apart(network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    read = teaching(network, inputs[0])
    return (read.taken_apart() if isinstance(read, Read) else read.detach(), *inputs[1:])


def _part(first: int, last: int, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0][..., first:last], *inputs[1:])


def _encoded(network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (network.image_encoder(inputs[0]), *inputs[1:])
