"""Batch-Constrained deep Q-learning (Fujimoto et al. 2019): the best of a few actions like the data's.

A conditional VAE imitates the data's actions, a perturbation network moves its samples by at most Phi
towards higher values, and target and policy both take the best of several such candidates. [BCQ] is its
paper; [BCQ code] its authors' code for continuous actions, which the D4RL evaluations run and [S] D.1
names as the BCQ-ft baseline: the same update offline, and online with the online samples added.

[P] 6.1 applies an ensemble of N to BCQ and does not say how. Ours: the members of a run learn each for
itself, from one shared batch with random numbers of their own; to act they propose equal shares of the
candidates, each by its own generator and perturbation, and the mean of all members' Q1 judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algorithms.methods import losses
from algorithms.methods.interface import Method, Metrics
from algorithms.population.action_vae import ActionVAE, divergence_from_prior
from algorithms.population.agents import Population, learned
from algorithms.population.networks import Critics
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.batch import Batch
from storage import UserError
from storage.constraints import BatchSize, Candidates, EnsembleSize, Rate, UpToTwo, Weight, Widths

LATENT_LIMIT = 0.5  # [BCQ code] latents of sampled actions are clipped to [-0.5, 0.5]
DIVERGENCE_WEIGHT = 0.5  # [BCQ code] of the KL term, both terms being means over their components


@dataclass(frozen=True)
class BCQConfig:
    """BCQ's numbers."""

    hidden_widths: Widths = (400, 300)  # [BCQ code] critics and perturbation
    generator_hidden_widths: Widths = (750, 750)  # [BCQ code] encoder and decoder alike
    learning_rate: Rate = 1e-3  # [BCQ code] all networks; Adam
    batch_size: BatchSize = 100  # [BCQ code]
    discount: Weight = 0.99  # [BCQ code]
    target_update_rate: Rate = 5e-3  # [BCQ code] tau, every step
    perturbation_limit: UpToTwo = 0.05  # [BCQ code] Phi, in units of the largest action, 1
    minimum_weight: Weight = 0.75  # [BCQ code] lambda, the weight of the smaller twin
    target_candidates: Candidates = 10  # [BCQ code] n, in each next state
    acting_candidates: Candidates = 100  # [BCQ code], of all members together (ours)
    ensemble_size: EnsembleSize = 5  # [P] 6.1, [S] D.1: members of an online run


class Perturbation(nn.Module):
    """P networks xi that move actions by at most `limit` in each component."""

    def __init__(
        self,
        agents: int,
        observation_size: int,
        action_size: int,
        hidden_widths: Sequence[int],
        limit: float,
    ) -> None:
        super().__init__()
        self.limit = limit
        self.net = PopulationMLP(agents, observation_size + action_size, hidden_widths, action_size)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Compute a + xi(s, a), kept in the box [-1, 1]. [P, B, action_size]"""
        return self._moved(actions, self.net(torch.cat([observations, actions], dim=-1)))

    def of_candidates(self, observations: Tensor, actions: Tensor) -> Tensor:
        """`forward` for n actions in each state, without gradients: [P, B n, A] -> [P, B n, A]."""
        return self._moved(actions, self.net.of_candidates(observations, actions))

    def _moved(self, actions: Tensor, outputs: Tensor) -> Tensor:
        return (actions + self.limit * torch.tanh(outputs)).clamp(-1, 1)


class BCQAgents(Population):
    """S runs of N members: VAE, perturbation and twin critics each, targets of the latter two.

    An agent is handed on without its targets: where it is loaded, they are copied from what they follow.
    UserError where the members cannot propose equal shares of the candidates.
    """

    exported: ClassVar[tuple[str, ...]] = ("vae", "perturbation", "q")
    targets: ClassVar[Mapping[str, str]] = {"target_q": "q", "target_perturbation": "perturbation"}

    fixed_latents: Tensor  # [P, candidates of each member, latent_size]

    def make_networks(self, observation_size: int, config: BCQConfig) -> None:
        """Make VAE, perturbation, critics, and the targets of the latter two."""
        if config.acting_candidates % self.members:
            raise UserError(
                f"acting_candidates is {config.acting_candidates}, expected a multiple of the {self.members}"
                " members of a run"
            )
        sizes = (self.count, observation_size, self.action_size)
        self.vae = ActionVAE(*sizes, config.generator_hidden_widths)
        self.perturbation = Perturbation(*sizes, config.hidden_widths, config.perturbation_limit)
        self.target_perturbation = Perturbation(*sizes, config.hidden_widths, config.perturbation_limit)
        self.q, self.target_q = (Critics(*sizes, config.hidden_widths) for _ in range(2))
        self.candidates_of_each = config.acting_candidates // self.members
        # From streams of their own: evaluation must not move those that training draws from.
        fixed = Streams([derived_seed(seed, "exploit") for seed in self.streams.seeds])
        self.register_buffer("fixed_latents", self._latents(fixed, self.candidates_of_each), persistent=False)

    def groups(self, config: BCQConfig) -> list[dict[str, Any]]:
        """Group what is learned: all networks at one rate. [BCQ code]"""
        return [learned(config.learning_rate, self.vae, self.perturbation, self.q)]

    def initialise(self) -> None:
        """Initialise networks, each drawn from its own stream, and targets equal to what they follow."""
        for net in (self.vae.encoder, self.vae.decoder, self.perturbation.net, self.q.net):
            net.initialise_default(self.streams)  # [BCQ code]
        self.copy_targets()

    def generate(self, observations: Tensor, candidates: int = 1) -> Tensor:
        """n actions like the data's in each state, not perturbed: [P, B, obs] -> [P, B n, A].

        They are constants: no gradient reaches the generator.
        """
        latents = self._latents(self.streams, observations.shape[1] * candidates)
        return self.vae.decode_candidates(observations, latents)

    def explore(self, observations: Tensor) -> Tensor:
        """Choose actions for collection, BCQ's own greedy selection: [S, E, obs] -> [S, E, A]. [BCQ code]

        The best of `acting_candidates`, sampled anew in each state; there is no other noise.
        """
        latents = self._latents(self.streams, observations.shape[1] * self.candidates_of_each)
        return self._best_candidate(observations, latents)

    def exploit(self, observations: Tensor) -> Tensor:
        """Choose actions for evaluation: [S, E, obs] -> [S, E, A].

        As `explore`, but the candidates' latents, sampled once a seed, are the same in all states (ours):
        an evaluation is a function of the networks and leaves no random stream elsewhere.
        """
        return self._best_candidate(observations, self.fixed_latents.repeat(1, observations.shape[1], 1))

    @torch.no_grad()
    def _best_candidate(self, observations: Tensor, latents: Tensor) -> Tensor:
        """Return the candidate of highest Q1, in the mean of all members, of those with these latents."""
        runs, states = observations.shape[:2]
        rows = self.for_members(observations)
        actions = self.perturbation.of_candidates(rows, self.vae.decode_candidates(rows, latents))
        # Every member judges what any of them has proposed: [S, N, E, n, A] -> [S, E, N n, A].
        by_member = actions.reshape(runs, self.members, states, -1, self.action_size)
        proposed = by_member.transpose(1, 2).flatten(2, 3)
        q1 = self.q.first_of_candidates(rows, self.for_members(proposed.flatten(1, 2)))
        best = self.per_run(q1).mean(dim=1).reshape(runs, states, -1).argmax(dim=-1)
        return proposed.take_along_dim(best[:, :, None, None], dim=2).squeeze(2)

    def _latents(self, streams: Streams, rows: int) -> Tensor:
        """Draw clipped latents of sampled actions, each member's its own. [P, rows, latent_size]"""
        normal = streams.normal(self.members, rows, self.vae.latent_size)
        return normal.clamp(-LATENT_LIMIT, LATENT_LIMIT).flatten(0, 1)


def vae_loss(agents: BCQAgents, batch: Batch) -> Tensor:
    """Squared error of the reconstructed actions + 0.5 KL(latents || prior). [P]  [BCQ] algorithm 1

    Each is a mean over batch and components [BCQ code]; latents having twice an action's components, the
    summed divergence counts a quarter of the summed squared error.
    """
    mean, log_std = agents.vae.encode(batch.observations, batch.actions)
    noise = agents.streams.normal(agents.members, *mean.shape[1:]).flatten(0, 1)
    reconstructed = agents.vae.decode(batch.observations, mean + log_std.exp() * noise)
    error = (reconstructed - batch.actions).square().mean(dim=(1, 2))
    return error + DIVERGENCE_WEIGHT * divergence_from_prior(mean, log_std).mean(dim=(1, 2))


@torch.no_grad()
def td_target(agents: BCQAgents, batch: Batch, config: BCQConfig) -> Tensor:
    """r + discount mask max_i [ lambda min_j Q_target_j(s', a_i) + (1 - lambda) max_j Q_target_j(s', a_i) ].

    The n candidates a_i ~ G(s') are perturbed by the target network. [P, B]  [BCQ] algorithm 1
    """
    observations = batch.next_observations
    generated = agents.generate(observations, config.target_candidates)
    actions = agents.target_perturbation.of_candidates(observations, generated)
    proposed = actions.reshape(*observations.shape[:2], -1, actions.shape[-1])
    q = agents.target_q.of_candidates(observations, proposed)
    value = config.minimum_weight * q.amin(dim=1) + (1 - config.minimum_weight) * q.amax(dim=1)
    best: Tensor = value.amax(dim=-1)
    return batch.rewards + config.discount * batch.masks * best


def perturbation_loss(agents: BCQAgents, observations: Tensor) -> Tensor:
    """-E[Q1(s, a + xi(s, a))], a ~ G(s): the deterministic policy gradient. [P]  [BCQ] algorithm 1"""
    actions = agents.perturbation(observations, agents.generate(observations))
    return -agents.q.first(observations, actions).mean(dim=-1)


def update(agents: BCQAgents, batch: Batch, config: BCQConfig) -> Metrics:
    """Make one step of every agent on its run's batch [S, B, ...], in both phases. [BCQ] algorithm 1

    The networks step one after the other: the target's candidates come from the VAE as it is after its
    step, and the perturbation climbs the critic as it is after its own. Metrics are means over members.
    """
    batch = batch.map(agents.for_members)
    generator = vae_loss(agents, batch)
    agents.step(generator)
    critics, q = losses.critic_loss(agents, batch, td_target(agents, batch, config))
    agents.step(critics)
    actor = perturbation_loss(agents, batch.observations)
    agents.step(actor)
    agents.move_targets(config.target_update_rate)
    metrics = {
        "vae_loss": generator,
        "critic_loss": critics,
        "actor_loss": actor,
        "q_mean": q.mean(dim=(1, 2)),
    }
    return {name: agents.per_run(value.detach()).mean(dim=1) for name, value in metrics.items()}


class BCQ(Method):
    """BCQ offline, every agent for itself; online BCQ-ft: it acts greedily and learns from uniform draws.

    [S] D.1
    """

    Config: ClassVar[type[Any]] = BCQConfig
    Agents: ClassVar[Any] = BCQAgents
    algorithm = staticmethod(update)
