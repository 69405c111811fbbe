"""How likely the samples that an agent gathers online are under its offline data ([P] Fig. 1a, [S] C).

A variational autoencoder learns the density of the offline state-action pairs; the importance-weighted bound
(Burda et al. 2016) then estimates the log likelihood of held-out offline pairs and of online ones. The paper
gives Adam's rate and that there is a validation split; architecture and scaling are not known, so all else is
ours and absolute levels do not compare. Observation noise is a unit Gaussian in the data's own units: of what
was tried on HalfCheetah's random data, its shift from offline to online (8 to 10 nats) came closest to the
published 7.5; with standardised data, or a variance learned for each component, it was 17 to 24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from algorithms.diagnostics.fingerprint import population
from algorithms.population.networks import LOG_STD_RANGE
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams, derived_seed
from offline_data.collect import record
from offline_data.transitions import Transitions, from_episodes
from storage import UserError
from storage.constraints import BatchSize, Candidates, PositiveCount, Rate, Share, Widths

BLOCK_ROWS = 4_000  # draws that are decoded at a time: their activations stay in cache
COPIES = 10  # environments that the agent gathers in at once; episodes of HalfCheetah are 1,000 steps


@dataclass(frozen=True)
class LikelihoodConfig:
    """The numbers of one comparison: half a minute on one core."""

    hidden_widths: Widths = (256, 256)  # ours, of encoder and decoder
    latent_size: Candidates = 8  # ours: on HalfCheetah's random data 4 fits worse, 16 no better
    learning_rate: Rate = 1e-3  # [S] C, Adam
    batch_size: BatchSize = 256  # ours
    updates: PositiveCount = 5_000  # ours: 3,000 to 9,000 change held-out means by less than 0.1 nats
    held_out_fraction: Share = 0.1  # ours, of the offline pairs
    evaluated_pairs: PositiveCount = 10_000  # ours: online pairs, and at most so many held-out ones
    importance_samples: PositiveCount = 100  # ours: ten times as many change the means by less than 0.3 nats


class VAE(nn.Module):
    """p(z) = N(0, 1), p(x|z) = N(decoder(z), 1), q(z|x) = N(mean, std^2) of the encoder; x is a pair [D]."""

    def __init__(self, size: int, config: LikelihoodConfig) -> None:
        super().__init__()
        # A population of one: the networks of this package.
        self.encoder = PopulationMLP(1, size, config.hidden_widths, 2 * config.latent_size)
        self.decoder = PopulationMLP(1, config.latent_size, config.hidden_widths, size)

    def initialise(self, streams: Streams) -> None:
        """Initialise with near-zero outputs: q starts as the prior, the decoder at the origin."""
        self.encoder.initialise(3e-3, streams)
        self.decoder.initialise(3e-3, streams)

    def log_weights(self, pairs: Tensor, samples: int, streams: Streams) -> Tensor:
        """log p(x|z) p(z) / q(z|x) at `samples` draws z ~ q(z|x) for each pair of [n, D]. [n, samples]"""
        mean, log_std = self.encoder(pairs.unsqueeze(0)).chunk(2, dim=-1)
        mean, log_std = mean.squeeze(0).unsqueeze(1), log_std.squeeze(0).unsqueeze(1).clamp(*LOG_STD_RANGE)
        noise = streams.normal(len(pairs), samples, mean.shape[-1]).squeeze(0)
        latents = mean + log_std.exp() * noise
        decoded = self.decoder(latents.flatten(0, 1).unsqueeze(0)).reshape(len(pairs), samples, -1)
        # The normalising constants of p(z) and q(z|x) cancel, but for q's deviation.
        prior_over_posterior = (0.5 * (noise.square() - latents.square()) + log_std).sum(dim=-1)
        error = (pairs.unsqueeze(1) - decoded).square().sum(dim=-1)
        log_weights: Tensor = prior_over_posterior - 0.5 * error
        return log_weights - 0.5 * pairs.shape[1] * math.log(2 * math.pi)


def train_vae(pairs: Tensor, streams: Streams, config: LikelihoodConfig) -> VAE:
    """Train a VAE of the state-action pairs [n, D] on the evidence lower bound of uniform batches.

    Initial weights, batches and latents come from `streams`, of one row. UserError where it diverges.
    """
    vae = VAE(pairs.shape[1], config)
    vae.initialise(streams)
    optimiser = torch.optim.Adam(vae.parameters(), lr=config.learning_rate)
    for update in range(config.updates):
        batch = pairs[streams.integers(len(pairs), config.batch_size)[0]]
        loss = -vae.log_weights(batch, 1, streams).mean()
        if not loss.isfinite():
            raise UserError(f"the VAE's loss became non-finite at update {update}: lower its learning rate")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return vae


@torch.no_grad()
def log_likelihood(vae: VAE, pairs: Tensor, streams: Streams, importance_samples: int) -> Tensor:
    """log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x), z_i ~ q(z|x), of each of the pairs [n, D], in nats. [n]

    A lower bound of log p(x) on average, which rises to it with k = `importance_samples` (Burda et al. 2016).
    """
    block = max(1, BLOCK_ROWS // importance_samples)
    sums = [
        vae.log_weights(pairs[start : start + block], importance_samples, streams).logsumexp(dim=1)
        for start in range(0, len(pairs), block)
    ]
    return torch.cat(sums) - math.log(importance_samples)


def compare(
    offline: Transitions, online: Transitions, seed: int, config: LikelihoodConfig
) -> dict[str, NDArray[np.float32]]:
    """Compute log likelihoods in nats of held-out pairs, "offline" [m], and of gathered ones, "online" [n].

    The VAE sees neither. UserError where there is no offline pair to train on or none to hold out.
    """
    streams = Streams([derived_seed(seed, "likelihood")])
    pairs = state_action_pairs(offline)[streams.uniform(len(offline))[0].argsort()]
    held_out = round(config.held_out_fraction * len(pairs))
    if not 0 < held_out < len(pairs):
        raise UserError(
            f"held_out_fraction {config.held_out_fraction} splits {len(pairs)} pairs into nothing"
        )
    vae = train_vae(pairs[held_out:], streams, config)
    evaluated = {"offline": pairs[:held_out][: config.evaluated_pairs], "online": state_action_pairs(online)}
    return {
        source: log_likelihood(vae, rows, streams, config.importance_samples).numpy()
        for source, rows in evaluated.items()
    }


def gather(agent: Mapping[str, Tensor], environment: str, pairs: int, seed: int) -> Transitions:
    """Gather `pairs` transitions online with one pre-trained agent (`agents.one_agent`'s tensors), exploring.

    Actions are sampled, as at the start of fine-tuning; the paper says only "gathered by the CQL agent".
    UserError where the agent's networks are of other sizes than the environment's.
    """
    own_seed = derived_seed(seed, "likelihood", "gathering")
    agents = population([agent], environment)
    agents.streams = Streams([own_seed])

    @torch.no_grad()
    def explore(observations: NDArray[np.float64]) -> NDArray[Any]:
        rows = torch.from_numpy(observations.astype(np.float32)).unsqueeze(0)
        noise = agents.streams.normal(len(observations), agents.action_size)
        actions: NDArray[np.float32] = agents.policy(rows).sample(noise)[0].squeeze(0).numpy()
        return actions

    copies = min(COPIES, pairs)
    return from_episodes(record(environment, explore, pairs, own_seed, copies, threads=1))


def state_action_pairs(transitions: Transitions) -> Tensor:
    """Return states and actions side by side, in their own units. [M, observation_size + action_size]"""
    return torch.from_numpy(np.concatenate([transitions.observations, transitions.actions], axis=1))
