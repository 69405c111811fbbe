"""Networks that are told by a vector whose policy, or whose values, they are to say (Zhang and Kashima 2023).

[MSBM] marks Altriaex/multi_source_behavior_modeling. Fresh weights and vectors are as Keras makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.population.embeddings import Embeddings
from algorithms.population.networks import TanhGaussian
from algorithms.population.perceptrons import PopulationMLP, PopulationScale, each_times
from algorithms.population.streams import Streams

LOG_STD_RANGE = (-10.0, 10.0)  # [MSBM] networks2.py
NORM_EPSILON = 1e-3  # added to the variance of a layer norm; Keras'


class Described(nn.Module):
    """K networks side by side of an input and a vector: features of it, layer norm, a head that sees both."""

    def __init__(
        self, copies: int, inputs: int, widths: Sequence[int], embedding_size: int, outputs: int
    ) -> None:
        super().__init__()
        *hidden, features, last = widths
        self.body = PopulationMLP(copies, inputs, hidden, features)
        self.scale = PopulationScale(copies, features)
        self.head = PopulationMLP(copies, features + embedding_size, (last,), outputs)

    def features(self, inputs: Tensor, frozen: bool = False, given: Tensor | None = None) -> Tensor:
        """Return what every vector's head sees of the inputs: [K, B, in] -> [K, B, features].

        Inputs that are `given` come first and get no gradient.
        """
        hidden = torch.relu_(self.body(inputs, frozen, given))
        normalised = functional.layer_norm(hidden, hidden.shape[-1:], eps=NORM_EPSILON)
        scale = (self.scale.shift, self.scale.gain)
        shift, gain = (part.detach() for part in scale) if frozen else scale
        return torch.addcmul(shift, normalised, gain)

    def of(self, features: Tensor, vectors: Tensor, frozen: bool = False) -> Tensor:
        """Return the head's outputs, told whose by `vectors [K, B, d]`. [K, B, outputs]"""
        outputs: Tensor = self.head(torch.cat([features, vectors], dim=-1), frozen)
        return outputs

    def initialise(self, streams: Streams) -> None:
        """Initialise with Glorot and Bengio's weights, biases 0; a norm that scales by 1."""
        self.body.initialise_xavier(streams)
        self.head.initialise_xavier(streams)
        nn.init.ones_(self.scale.gain)
        nn.init.zeros_(self.scale.shift)


class DescribedPolicy(Described):
    """P policy networks, each of as many policies as there are vectors."""

    def distribution(self, features: Tensor, vectors: Tensor) -> TanhGaussian:
        """Return the policies of `vectors [P, B, d]` in the states of `features`."""
        mean, log_std = self.of(features, vectors).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))


class DescribedCritics(Described):
    """Twin critics of P agents, with a vector for each policy whose values they are to say."""

    def __init__(
        self, agents: int, inputs: int, widths: Sequence[int], policies: int, embedding_size: int
    ) -> None:
        super().__init__(2 * agents, inputs, widths, embedding_size, 1)
        self.policies = Embeddings(2 * agents, policies, embedding_size)

    def pairs(self, observations: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        """Return the features of states and actions: [P, B, ...] each -> [2 P, B, features]."""
        return self.features(each_times(actions, 2), frozen, given=each_times(observations, 2))

    def values(self, features: Tensor, policies: Tensor, frozen: bool = False) -> Tensor:
        """Q of the policies by number, int64 [P, B], of the pairs of `features`. [P, 2, B]"""
        vectors = self.policies(each_times(policies, 2), frozen)
        return self.of(features, vectors, frozen).reshape(len(policies), 2, -1)

    def initialise(self, streams: Streams) -> None:
        """Initialise networks and vectors."""
        super().initialise(streams)
        self.policies.initialise(streams)
