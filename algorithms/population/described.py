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
from algorithms.population.perceptrons import PopulationMLP, PopulationScale, Read
from algorithms.population.rows import each_times
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

    def features(self, inputs: Tensor, frozen: bool = False, given: Tensor | None = None) -> Read:
        """Return what the head has read of the inputs [K, B, in], the same for every vector.

        Inputs that are `given` come first and get no gradient; `frozen` lets gradients through to the inputs
        only.
        """
        hidden = torch.relu_(self.body(inputs, frozen, given))
        normalised = functional.layer_norm(hidden, hidden.shape[-1:], eps=NORM_EPSILON)
        scale = (self.scale.shift, self.scale.gain)
        shift, gain = (part.detach() for part in scale) if frozen else scale
        return self.head.read(torch.addcmul(shift, normalised, gain), frozen)

    def of(self, features: Read, vectors: Tensor, frozen: bool = False) -> Tensor:
        """Return the head's outputs, told whose by `vectors [K, n B, d]`, n for each row. [K, n B, outputs]

        All rows' first vectors come before their second ones.
        """
        outputs: Tensor = self.head(vectors, frozen, given=features)
        return outputs

    def initialise(self, streams: Streams) -> None:
        """Initialise with Glorot and Bengio's weights, biases 0; a norm that scales by 1."""
        self.body.initialise_xavier(streams)
        self.head.initialise_xavier(streams)
        nn.init.ones_(self.scale.gain)
        nn.init.zeros_(self.scale.shift)


class DescribedPolicy(Described):
    """P policy networks, each of as many policies as there are vectors."""

    def distribution(self, features: Read, vectors: Tensor) -> TanhGaussian:
        """Return the policies of `vectors [P, n B, d]` in the states of `features`. [P, n B, A]"""
        mean, log_std = self.of(features, vectors).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))


class DescribedCritics(Described):
    """Twin critics of P agents, with a vector for each policy whose values they are to say."""

    def __init__(
        self, agents: int, inputs: int, widths: Sequence[int], policies: int, embedding_size: int
    ) -> None:
        super().__init__(2 * agents, inputs, widths, embedding_size, 1)
        self.policies = Embeddings(2 * agents, policies, embedding_size)

    def pairs(self, observations: Tensor, actions: Tensor, frozen: bool = False) -> Read:
        """Return the features of states and actions, [P, B, ...] each."""
        return self.features(each_times(actions, 2), frozen, given=each_times(observations, 2))

    def values(self, features: Read, policies: Tensor, frozen: bool = False) -> Tensor:
        """Q of the policies by number, int64 [P, n B], of the B pairs of `features`. [P, 2, n B]"""
        vectors = self.policies(each_times(policies, 2), frozen)
        return self.of(features, vectors, frozen).reshape(len(policies), 2, -1)

    def initialise(self, streams: Streams) -> None:
        """Initialise networks and vectors."""
        super().initialise(streams)
        self.policies.initialise(streams)
