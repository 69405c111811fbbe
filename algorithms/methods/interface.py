"""The interface between methods and loops: what a method is, and what it is given to begin.

One class serves both phases. Offline P agents learn side by side and the loop calls `update` with a batch;
online S runs learn side by side, each with one agent or an ensemble, and the loop calls `learn`, which draws.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

from torch import Tensor

from algorithms.population.agents import Population
from algorithms.population.encoding import ObservationEncoding, Observed
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.replay.extras import Extra, Needed
from algorithms.replay.replays import MixedReplay, OnlineReplay, UniformReplay
from algorithms.replay.stores import OfflineData, OnlineBuffer
from storage import UserError

Metrics = dict[str, Tensor]
"""One number a row of agents by `storage.curves.METRICS`' names or its own: [P] offline, [S] online."""

PRETRAINED = sys.maxsize
"""The step of an online update: whatever an untrained agent is spared at first is over."""


class OfflineStart(NamedTuple):
    """The inputs of a method that begins pre-training; P agents learn side by side."""

    seeds: Sequence[int]  # of the agents' random streams; they belong to this method alone
    observation_size: Observed
    action_size: int
    agents: Sequence[Mapping[str, Tensor]]  # to start from, or empty for fresh ones
    returns: Sequence[float] = ()  # of each trajectory of the data, by its number; undiscounted
    updates: int = 0  # of this method that the agents have had


class Start(NamedTuple):
    """The inputs of a method that begins its online phase; S runs learn side by side."""

    seeds: Sequence[int]  # of the runs' random streams; they belong to this method alone
    draws: Streams  # which the batches are drawn with
    observation_size: Observed
    action_size: int
    offline: OfflineData | None  # None where the configuration gives the method no data
    buffer: OnlineBuffer  # empty
    members: Sequence[Mapping[str, Tensor]]  # pre-trained agents, run by run
    block_size: int  # environment steps between two rounds of updates

    def offline_data(self) -> OfflineData:
        """Return the offline data. UserError where there are none."""
        if self.offline is None:
            raise UserError("the method fine-tunes on offline data, and none were given")
        return self.offline


def _encoding(method: type[Method], observed: Observed, config: Any) -> ObservationEncoding | None:
    encoder = getattr(config, "encoder", None)
    if isinstance(observed, int):
        if encoder is not None:
            raise UserError("encoder is for images, expected none where observations are a vector")
        return None
    if encoder is None:
        expected = "one" if hasattr(config, "encoder") else "observations that are a vector"
        raise UserError(
            f"{method.__name__} is shown {', '.join(observed)} and its settings have no encoder, expected"
            f" {expected}"
        )
    return ObservationEncoding(observed, encoder)


Replays = Literal["uniform", "online_only", "mixed"]
"""Names of a method's replays (`Method.replays`)."""


class Method:
    """A method as configurations name it. A subclass has its numbers, its agents and its `update`.

    Everything else is what most methods share, to be overridden by one that differs.
    """

    Config: ClassVar[type[Any]]
    """The frozen dataclass of the method's numbers; it has `batch_size` and, to pre-train, `discount`."""
    Agents: ClassVar[Any]
    """Its agents: a `Population`, made of seeds, observation size, action size, config and members."""
    extras: ClassVar[tuple[Extra, ...]] = ()
    """What its batches have beside the fields of every batch."""
    measures: ClassVar[Mapping[str, str]] = {}
    """What its updates measure beside `storage.curves.METRICS`, with its unit."""
    diagnostics: ClassVar[tuple[str, ...]] = ()
    """Modules of `algorithms.diagnostics` whose measurement is one of this method, by name."""

    algorithm: ClassVar[Any]
    """One update of agents by a batch and numbers, a static function; where the step matters, `update`."""

    replays: ClassVar[Replays] = "uniform"
    """Where online batches come from, unless the configuration has a `replay`: all data, the online data
    alone, or an `offline_fraction` of the configuration's from the offline data and the rest online."""

    replay: OnlineReplay
    draws: Streams

    def __init__(
        self, agents: Any, config: Any, replay: OnlineReplay | None = None, draws: Streams | None = None
    ) -> None:
        """`replay` and the `draws` that it is sampled with are the online phase's."""
        self.agents, self.config = agents, config
        if replay is not None and draws is not None:
            self.replay, self.draws = replay, draws

    @classmethod
    def needed(cls, config: Any) -> Needed:
        """Return the extras that its batches need, by the method's own discount."""
        return Needed(cls.extras, getattr(config, "discount", 1.0))

    @classmethod
    def population(cls, start: OfflineStart | Start, config: Any, members: int) -> Population:
        """Make the agents, `members` for each seed, not yet initialised; with encoders of images.

        UserError where they are shown named observations and have no encoder, or one and a vector.
        """
        encoding = _encoding(cls, start.observation_size, config)
        size = start.observation_size if encoding is None else encoding.feature_size
        agents: Population = cls.Agents(start.seeds, size, start.action_size, config, members)
        if encoding is not None:
            encoding.attach(agents)
        return agents

    @classmethod
    def make_replay(cls, start: Start, config: Any) -> OnlineReplay:
        """Make the replay of the online phase. UserError where it needs offline data and there are none."""
        name = getattr(config, "replay", cls.replays)
        if name == "online_only":
            return OnlineReplay(start.buffer)
        if name == "mixed":
            return MixedReplay(start.offline_data(), start.buffer, config.offline_fraction)
        if name != "uniform":
            raise UserError(f"the replay is {name}, expected one of {', '.join(get_args(Replays))}")
        return UniformReplay(start.offline_data(), start.buffer)

    @classmethod
    def begin_offline(cls, start: OfflineStart, config: Any) -> Self:
        """Begin pre-training with fresh agents, or with those of `start`.

        UserError where they do not fit.
        """
        agents = cls.population(start, config, 1)
        if start.agents:
            agents.start_from(start.agents)
        else:
            agents.initialise()
        return cls(agents, config)

    @classmethod
    def begin(cls, start: Start, config: Any) -> Self:
        """Begin the online phase from pre-trained agents, N a run of an ensemble method.

        UserError for agents of other number or size, or no offline data.
        """
        replay = cls.make_replay(start, config)
        agents = cls.population(start, config, getattr(config, "ensemble_size", 1))
        agents.start_from(start.members)
        return cls(agents, config, replay, start.draws)

    def explore(self, observations: Any) -> Tensor:
        """Choose actions for collection: [S, E, obs], or named, -> [S, E, A]."""
        actions: Tensor = self.agents.explore(self.agents.acting_features(observations))
        return actions

    def exploit(self, observations: Any) -> Tensor:
        """Choose actions for evaluation: [S, E, obs], or named, -> [S, E, A]; of agents offline, P for S."""
        agents = self.agents.evaluated()
        actions: Tensor = agents.exploit(agents.acting_features(observations))
        return actions

    def sample(self, observations: Any, streams: Streams) -> Tensor:
        """Actions sampled from what `exploit` acts by, with the numbers of `streams`."""
        agents = self.agents.evaluated()
        seen = agents.acting_features(observations)
        actions: Tensor = agents.distribution(seen).actions(streams.normal(seen.shape[1], agents.action_size))
        return actions

    def update(self, batch: Batch, step: int) -> Metrics:
        """Update number `step` (from 0; PRETRAINED online) of every agent, on its row of `batch`.

        Observations are what networks read, as `Population.encode` makes of a draw. By default `algorithm`.
        """
        metrics: Metrics = self.algorithm(self.agents, batch, self.config)
        return metrics

    def update_online(self, batch: Batch) -> Metrics:
        """Make the updates of an environment step online; by default those of `update`."""
        return self.update(batch, PRETRAINED)

    def warm_up_steps(self) -> int:
        """Environment steps at the beginning of an online run after which nothing is learned yet."""
        return int(getattr(self.config, "warm_up_steps", 0))

    def warming_up(self) -> bool:
        """Tell whether what is collected now belongs to the `warm_up_steps`."""
        return self.replay.online.size < self.warm_up_steps()

    def turning_points(self) -> Sequence[int]:
        """Return the steps from which `update` does something else than before; none where it never does."""
        return ()

    def period(self) -> int:
        """After how many updates what an update does repeats itself; a `policy_delay` of the settings."""
        return int(getattr(self.config, "policy_delay", 1))

    def clone(self, batch: Batch) -> Metrics:
        """Make one update of a warm start that imitates the data's actions. UserError where there is none."""
        raise UserError(f"{type(self).__name__} has no warm start, expected none in its schedule")

    def fit_returns(self, batch: Batch, returns: Tensor) -> Metrics:
        """Make one update of a warm start that fits `returns` [P, B]. UserError where there is none."""
        raise UserError(f"{type(self).__name__} has no warm start, expected none in its schedule")

    def learn(self) -> Metrics:
        """Draw the batches of the updates that an environment step has, and update, online. [S] each"""
        rows = self.config.batch_size * getattr(self.config, "updates_per_step", 1)
        batch, indices = self.replay.sample(rows, self.draws)
        metrics = self.update_online(self.agents.encode(batch))
        return metrics | {"offline_fraction": self.replay.offline_share(indices)}
