"""What agents act in: how it is collected from, by steps or by episodes, and how they are evaluated.

A loop counts in the unit of its world and does not look further. A world has the name of its `environment`;
its `unit`, what a step of an online schedule is; its `headline`, the metric that a progress bar shows;
whether agents may learn while it measures (`measures_beside`); the shapes of an `observation` and its
`action_size`; its `horizon`, how many transitions a step of a schedule brings; `fixed`, the settings of an
online schedule that have one value here; and `episode_ends`, which collected transitions [S, n] end an
episode, or are cut by a block's end, block by block.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.methods.interface import Method
from algorithms.population import checkpoints
from algorithms.population.agents import Population
from algorithms.population.encoding import Named, Observed
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.batch import Batch
from algorithms.replay.extras import EPISODE_ENDS
from algorithms.replay.stores import OfflineData
from algorithms.training.acceleration import Compute
from algorithms.training.evaluation import evaluation_of
from algorithms.training.jobs import Job
from algorithms.training.measuring import Measured
from envs.locomotion import EnvironmentBatch, specification
from storage import UserError

ON_CPU = Compute()
Act = Callable[[Any], Tensor]  # named observations [G, 1, ...] each -> actions [G, 1, action_size]


def collection_seed(seed: int) -> int:
    """Derive the seed of the environment that a run collects from; an action log needs it."""
    return derived_seed(seed, "collection") % 2**32


class Locomotion:
    """MuJoCo's tasks, stepped as a batch."""

    unit: str = "step"
    headline: str = "normalised_score"
    measures_beside: bool = True
    horizon: int = 1
    fixed: Mapping[str, Any] = MappingProxyType({"updates_per_episode": 1})

    def __init__(self, environment: str, compute: Compute = ON_CPU) -> None:
        self.environment, self.compute = environment, compute
        spec = specification(environment)
        self.observation: Observed = spec.observation_size
        self.action_size = spec.action_size
        self.episode_ends: list[NDArray[np.bool_]] = []

    def measurement(
        self, player: Method, seeds: Sequence[int], step: int, episodes: int
    ) -> Callable[[], Measured]:
        """Return, score and length of whole episodes."""
        return evaluation_of(player, self.environment, seeds, step, episodes, self.compute)

    def open(self, seeds: Sequence[int], reward_scale: float, fresh_episodes: bool) -> None:
        """Open an environment a run."""
        starts = [collection_seed(seed) for seed in seeds]
        self.environments = EnvironmentBatch(self.environment, starts, self.compute.environment_threads)
        self.fresh_episodes, self.reward_scale = fresh_episodes, reward_scale

    def collect(self, learner: Method, first: int, count: int) -> None:
        """Append `count` transitions of each run; a cut episode is no terminal. [C]"""
        observations = self._first_observations()
        rows: list[tuple[NDArray[Any], ...]] = []
        ends = []
        for _ in range(count):
            actions = self._explore(learner, observations)
            # A Gaussian that is not squashed may leave the box: what is executed and charged for is clipped,
            # what is learned from is not. [C] rlkit's NormalizedBoxEnv
            spec = self.environments.specification
            executed = np.clip(actions.astype(np.float64), spec.action_low, spec.action_high)
            outcome = self.environments.step(executed)
            rewards = outcome.rewards * self.reward_scale
            masks = 1.0 - outcome.terminations
            rows.append((observations, actions, rewards, masks, outcome.observations))
            ended = outcome.terminations | outcome.truncations
            ends.append(ended)
            observations = self.environments.reset(ended) if ended.any() else outcome.observations
        if self.fresh_episodes:
            ends[-1] = np.ones_like(ends[-1])
        ended = np.stack(ends, axis=1)
        self.episode_ends.append(ended)
        fields = (np.stack(field, axis=1).astype(np.float32) for field in zip(*rows, strict=True))
        ends_too = {EPISODE_ENDS: torch.from_numpy(ended)}
        learner.replay.add(Batch._make([*map(torch.from_numpy, fields), ends_too]))

    def _first_observations(self) -> NDArray[np.float64]:
        """Return the observations that a block begins with: fresh resets, or the last block's end."""
        if self.fresh_episodes or not self.episode_ends:
            return self.environments.reset()
        return self.environments.reset(np.zeros(self.environments.copies, dtype=np.bool_))

    @torch.no_grad()
    def _explore(self, learner: Method, observations: NDArray[np.float64]) -> NDArray[np.float32]:
        shaped = torch.from_numpy(observations.astype(np.float32)).unsqueeze(1)
        actions = learner.explore(shaped.to(self.compute.device)).squeeze(1).cpu()
        explored: NDArray[np.float32] = actions.numpy()
        return explored

    def state(self) -> dict[str, Tensor]:
        """Copy the environments, as bytes, and where episodes end."""
        ends = torch.from_numpy(np.concatenate(self.episode_ends, axis=1))
        return {**self._environment_bytes(), "episode_ends": ends}

    def _environment_bytes(self) -> dict[str, Tensor]:
        return {
            f"environments.{name}": torch.from_numpy(np.ascontiguousarray(array).view(np.uint8))
            for name, array in self.environments.state().items()
        }

    def restore(self, tensors: Mapping[str, Tensor], collected: int) -> None:
        """Go on from `state()`, after so many transitions. UserError where it is not this world's."""
        ends = torch.zeros(self.environments.copies, collected, dtype=torch.bool)
        checkpoints.fit(tensors, {**self._environment_bytes(), "episode_ends": ends})
        saved = checkpoints.section(tensors, "environments.")
        self.environments.restore(
            {
                name: saved[name].numpy().view(like.dtype).reshape(like.shape)
                for name, like in self.environments.state().items()
            }
        )
        self.episode_ends = [tensors["episode_ends"].numpy()]


class Episodes:
    """Tasks with a fixed horizon and rewards in {0, 1}, an environment for each of G agents or runs.

    Every episode starts from a reset with a seed of its own and lasts the task's horizon. So an episode
    depends on its seed and on who acts alone, and nothing of an environment has to be kept between two.
    """

    unit: str = "episode"
    headline: str = "success_deterministic"
    measures_beside: bool = False
    fixed: Mapping[str, Any] = MappingProxyType(
        {"fresh_episodes": True, "initial_steps": 0, "diagnostics_interval": 0}
    )

    def __init__(
        self,
        make: Callable[[str], Any],
        environment: str,
        copies: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make `copies` environments `make(environment)`, for agents that act on `device`."""
        self.environment, self.device = environment, torch.device(device)
        self._environments = [make(environment) for _ in range(copies)]
        first = self._environments[0]
        self.horizon, self.action_size = first.horizon, first.action_size
        self.observation: Observed = first.shapes
        self.episode_ends: list[NDArray[np.bool_]] = []

    @torch.no_grad()
    def play(self, act: Act, seeds: Sequence[int]) -> Batch:
        """One episode each, from the starts `seeds`. Tensors [G, horizon, ...], images uint8.

        UserError where an episode ends before or after the horizon.
        """
        observed = [self._together([e.reset(s) for e, s in zip(self._environments, seeds, strict=True)])]
        actions: list[Tensor] = []
        rewards = torch.zeros(len(seeds), self.horizon)
        for moment in range(self.horizon):
            shown = {name: rows.unsqueeze(1).to(self.device) for name, rows in observed[-1].items()}
            actions.append(act(shown).squeeze(1).cpu())
            steps = [e.step(a) for e, a in zip(self._environments, actions[-1].numpy(), strict=True)]
            observed.append(self._together([step[0] for step in steps]))
            rewards[:, moment] = torch.tensor([float(step[1]) for step in steps])
            for truncated in (step[2] for step in steps):
                if truncated != (moment + 1 == self.horizon):
                    raise UserError(
                        f"an episode was {'cut' if truncated else 'not cut'} after {moment + 1} steps,"
                        f" expected a horizon of {self.horizon}"
                    )
        frames = {name: torch.stack([each[name] for each in observed], dim=1) for name in observed[0]}
        before, after = ({n: f[:, slice(i, self.horizon + i)] for n, f in frames.items()} for i in (0, 1))
        ends = torch.arange(1, self.horizon + 1).eq(self.horizon).expand(rewards.shape)
        return Batch(
            before,
            torch.stack(actions, dim=1),
            rewards,
            torch.ones_like(rewards),
            after,
            {EPISODE_ENDS: ends},
        )

    def _together(self, observations: Sequence[Mapping[str, Any]]) -> Named:
        """Copy what each environment shows, by name; it may draw into one array. [G, ...] each"""
        return {
            name: torch.from_numpy(np.stack([each[name] for each in observations]))
            for name in self.observation  # type: ignore[union-attr]
        }

    def measurement(
        self, player: Method, seeds: Sequence[int], step: int, episodes: int
    ) -> Callable[[], Measured]:
        """Measure how often an episode's last step is rewarded, by deterministic and by sampled actions. [G]

        Both play the same `episodes` starts, which depend on (seed, step, episode) alone; so does the noise
        of the sampled actions. `return` is of the deterministic episodes.
        """

        def measure() -> Measured:
            noise = [derived_seed(seed, "evaluation noise", step) for seed in seeds]
            streams = Streams(noise, self.device)
            found: dict[str, list[Tensor]] = {
                name: [] for name in ("return", "success_deterministic", "success_stochastic")
            }
            for episode in range(episodes):
                starts = [derived_seed(seed, "evaluation", step, episode) % 2**32 for seed in seeds]
                rewards = self.play(player.exploit, starts).rewards
                found["return"].append(rewards.sum(dim=1))
                found["success_deterministic"].append(rewards[:, -1] > 0)
                rewards = self.play(lambda shown: player.sample(shown, streams), starts).rewards
                found["success_stochastic"].append(rewards[:, -1] > 0)
            return {name: torch.stack(rows).double().mean(dim=0).numpy() for name, rows in found.items()}

        return measure

    def open(self, seeds: Sequence[int], reward_scale: float, fresh_episodes: bool) -> None:
        """Each episode is a new one."""
        self.seeds, self.reward_scale = seeds, reward_scale

    def collect(self, learner: Method, first: int, count: int) -> None:
        """Play `count` episodes of each run, number `first` first."""
        for episode in range(first, first + count):
            starts = [derived_seed(seed, "collection", episode) % 2**32 for seed in self.seeds]
            played = self.play(learner.explore, starts)
            learner.replay.add(played._replace(rewards=self.reward_scale * played.rewards))

    def state(self) -> dict[str, Tensor]:
        """Nothing: an episode depends on its number."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], collected: int) -> None:
        """Nothing is restored."""


World = Locomotion | Episodes


def world_of(job: Job) -> World:
    """Make the world of a job, for as many agents or runs as it has seeds."""
    if job.make is None:
        return Locomotion(job.environment, job.compute)
    return Episodes(job.make, job.environment, len(job.seeds), job.compute.device)


class _PlayersOf:
    """A player as those of its agents that `rows` are: what the others would be shown is zero."""

    def __init__(self, player: Method, rows: slice) -> None:
        self._player, self._rows = player, rows

    @property
    def agents(self) -> Population:
        agents: Population = self._player.agents
        return agents

    @agents.setter
    def agents(self, agents: Population) -> None:
        self._player = copy.copy(self._player)
        self._player.agents = agents

    def exploit(self, observations: Tensor) -> Tensor:
        shown = observations.new_zeros(self.agents.count, *observations.shape[1:])
        shown[self._rows] = observations
        return self._player.exploit(shown)[self._rows]


def measurement_of(
    player: Method, groups: Sequence[tuple[World, Sequence[int]]], step: int, episodes: int
) -> Callable[[], Measured]:
    """Return a function that measures each group of a player's agents, of these seeds, in its own world.

    UserError where worlds measure different things.
    """
    if len(groups) == 1:
        world, seeds = groups[0]
        return world.measurement(player, seeds, step, episodes)
    measures, start = [], 0
    for world, seeds in groups:
        own: Any = _PlayersOf(player, slice(start, start + len(seeds)))
        measures.append(world.measurement(own, seeds, step, episodes))
        start += len(seeds)

    def measure() -> Measured:
        first, *others = (each() for each in measures)
        if any(set(found) != set(first) for found in others):
            raise UserError("agents side by side act where different things are measured: expected the same")
        return {name: np.concatenate([first[name], *(each[name] for each in others)]) for name in first}

    return measure


def check_sizes(data: OfflineData, world: World, dataset: str) -> None:
    """Raise UserError where the data's observations or actions are not of the sizes of the world."""
    found, expected = data.sizes, (world.observation, world.action_size)
    if found != expected:
        raise UserError(
            f"{dataset} has observations and actions of sizes {found}, expected {expected} for"
            f" {world.environment}"
        )
