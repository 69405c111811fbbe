"""What the conformance suite runs on: each method and phase of the catalogue, or a method of somebody's own.

Networks and batches are tiny, by the names of a configuration's fields; widths are no multiples of a vector's
length, so that every kernel has a remainder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from algorithms import catalogue
from algorithms.catalogue import NOTHING, Phase
from algorithms.methods.interface import Method, Metrics, OfflineStart, Start
from algorithms.population import checkpoints
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch, combined
from algorithms.replay.extras import EPISODE_ENDS
from algorithms.replay.stores import OnlineBuffer
from algorithms.training.acceleration import Compute
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, StartingAgents, pretrain
from algorithms.training.online import OnlineSchedule
from tests.algorithms import meta_device
from tests.algorithms import slow_reference as slow
from tests.algorithms.bits import row_of
from tests.made_up import made_up_transitions

SMALL: Mapping[str, Any] = {
    "hidden_widths": (24, 17),
    "policy_hidden_widths": (24, 17),
    "behaviour_hidden_widths": (24, 17),
    "generator_hidden_widths": (24, 17),
    "density_hidden_widths": (24, 17),
    "batch_size": 38,
    "density_batch_size": 38,
    "ensemble_size": 2,
    "sampled_actions": 2,
    "acting_candidates": 4,
    "updates_per_step": 2,
    "policies": 2,
    "online_fraction": 0.5,
    "warm_up_steps": 0,
}
OBSERVATION, ACTION, OFFLINE_ROWS, COLLECTED = 5, 2, 60, 30
RETURNS = range(OFFLINE_ROWS)  # as many as the data can have episodes
SEEDS = [3, 8]
OFFLINE = OfflineSchedule(
    updates=23,
    evaluation_interval=10,
    evaluation_episodes=1,
    checkpoint_interval=7,  # so that checkpoints lie between evaluations
)
ONLINE = OnlineSchedule(
    steps=25,  # two blocks and a part of one
    block_size=10,
    first_block_multiplier=2,
    evaluation_interval=20,  # so that a checkpoint lies between two evaluations
    evaluation_episodes=1,
    checkpoint_interval=10,
)


class Case(NamedTuple):
    """A method in one phase, whose agents it takes over there, and settings beside the small ones."""

    name: str  # the catalogue's, or package.module:Class
    phase: Phase
    source: str
    settings: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return "-".join(
            [self.name, self.phase, *(f"{name}={value}" for name, value in self.settings.items())]
        )

    @property
    def method(self) -> type[Method]:
        """The class."""
        return find_method(self.name, self.phase)

    @property
    def replays_offline(self) -> bool:
        """Whether it is given offline data online."""
        row = catalogue.ONLINE.get(self.name)
        return self.source != NOTHING or (row is not None and row.replays_offline)

    def config(self, **others: Any) -> Any:
        """Small numbers, of the fields that the method has."""
        return _config(self.method, {**SMALL, **self.settings, **others})

    def members(
        self,
        rows: Sequence[int],
        sizes: tuple[int, int] = (OBSERVATION, ACTION),
        returns: Sequence[float] = RETURNS,
    ) -> list[Any]:
        """Agents for each of `rows` to take over, fresh ones of the source."""
        if self.source == NOTHING:
            return []
        each = getattr(self.config(), "ensemble_size", 1) if self.phase == "online" else 1
        seeds = [100 * row + member for row in rows for member in range(each)]
        return self.exported(seeds, sizes, returns)

    def exported(
        self, seeds: Sequence[int], sizes: tuple[int, int], returns: Sequence[float]
    ) -> list[dict[str, Tensor]]:
        """Fresh agents of the source, one a seed, as they are handed on."""
        own = find_method(self.source, "offline")
        known = catalogue.OFFLINE.get(self.source)
        before = Case(self.source, "offline", known.starts_from["offline"] if known else NOTHING)
        agents = before.exported(seeds, sizes, returns) if before.source != NOTHING else []
        config = _config(own, {**SMALL, **self.settings})
        start = OfflineStart(seeds, *sizes, agents, returns=returns)
        population = own.begin_offline(start, config).agents
        return [one_agent(population, index) for index in range(len(seeds))]


def _config(method: type[Method], numbers: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(method.Config)}
    return method.Config(**{name: value for name, value in numbers.items() if name in known})


CASES = [
    *(Case(name, phase, source) for name, row in catalogue.METHODS.items()
      for phase, source in row.starts_from.items()),
    # What these update by is other code where these settings are.
    Case("cql", "offline", NOTHING, {"penalty_gradient_actions": 3}),
    Case("cql", "offline", NOTHING, {"penalty_gradient_actions": 3, "reduced_precision_penalty": True}),
    Case("cql", "offline", NOTHING, {"deterministic_backup": False, "importance_sampling": False}),
    Case("cql", "offline", NOTHING, {"cloning_updates": 2, "frozen_actor_updates": 1}),
    Case("off2on", "online", "cql", {"density_reference": "union", "critic_regression": "mean"}),
    Case("off2on", "online", "cql", {"replay": "uniform"}),
    Case("off2on", "online", "cql", {"replay": "online_only"}),
    Case("off2on", "online", "cql", {"cloning_weight": 0.5, "cloning_rows": "offline"}),
    Case("off2on", "online", "cql", {
        "replay": "online_only", "cloning_weight": 0.5, "cloning_rows": "offline",
    }),
    Case("cql", "offline", NOTHING, {"critics": 3, "critic_norm": "before"}),
    Case(
        "cal_ql", "offline", NOTHING, {"penalty_gradient_actions": 3, "reduced_precision_penalty": True}
    ),
    Case("rlpd", "online", NOTHING, {"critic_norm": "after"}),
    Case("brac_v", "offline", "bc", {"warm_start_updates": 2, "target_divergence": 0.5}),
    Case("brac_v", "offline", "bc", {"divergence": "mmd"}),
    Case("iql", "offline", NOTHING, {"policy_delay": 2}),
    Case("dmpo", "offline", NOTHING, {"information": "published"}),
    Case(
        "dmpo", "offline", NOTHING, {"information": "bound", "learns_values": True, "minimum_weight": 0.7}
    ),
    Case("reds", "offline", NOTHING, {"mixture": "halves", "penalty_gradient_actions": 3}),
]  # fmt: skip


class Run:
    """A method's rows with made-up data: offline agents, or runs that have collected their first block.

    What belongs to row 0 depends on `neighbour` too: its seed, agents and data, and, if it has `diverged`,
    rewards without end. The other rows' own numbers do not.
    """

    def __init__(
        self,
        case: Case,
        rows: Sequence[int] = (0, 1, 2),
        neighbour: int = 0,
        diverged: bool = False,
        device: torch.device | str = "cpu",
        config: Any = None,
        sizes: tuple[int, int] = (OBSERVATION, ACTION),
    ) -> None:
        self.rows, self.diverged, self.step, self.device = list(rows), diverged, 0, device
        config = config or case.config()
        seeds = [1000 * neighbour + 10 if row == 0 else 10 + row for row in rows]
        draws = meta_device.DrawsWithoutNumbers if str(device) == "meta" else Streams
        self.draws = draws([seed + 500 for seed in seeds], device)
        rows_of_data = slow.random_batch(1, OFFLINE_ROWS, *sizes, seed=1)
        self.data = slow.offline_data(rows_of_data, case.method.needed(config), device)
        members = case.members([40 if neighbour and row == 0 else row for row in rows], sizes)
        if case.phase == "offline":
            begin = OfflineStart(seeds, *sizes, members, returns=RETURNS)
            self.learner = case.method.begin_offline(begin, config)
        else:
            buffer = OnlineBuffer(len(rows), COLLECTED, *sizes, device, case.method.needed(config))
            offline = self.data if case.replays_offline else None
            start = Start(seeds, self.draws, *sizes, offline, buffer, members, COLLECTED)
            self.learner = case.method.begin(start, config)
        self.learner.agents.move_to(device)
        if case.phase == "online":
            blocks = [slow.random_batch(1, COLLECTED, *sizes, seed=seed + 7) for seed in seeds]
            block = combined(blocks, lambda *fields: torch.cat(fields).to(device))
            ends = (torch.arange(COLLECTED) % 12 == 11).expand(len(rows), -1)
            self.learner.replay.add(self._spoilt(block)._replace(extras={EPISODE_ENDS: ends}))
        self.online = case.phase == "online"

    def _spoilt(self, batch: Batch) -> Batch:
        if self.diverged:
            batch.rewards[self.rows.index(0)] = torch.inf
        return batch

    def update(self) -> Metrics:
        """One update of every row."""
        if self.online:
            return self.learner.learn()
        indices = self.draws.integers(len(self.data), self.learner.config.batch_size)
        self.step += 1
        return self.learner.update(self._spoilt(self.data.gather(indices)), self.step - 1)

    def observations(self) -> Tensor:
        """Some states of every row, the same in each. [rows, 4, observation size]"""
        size = self.data.gather(torch.zeros(1, 1, dtype=torch.int64, device=self.device)).observations.shape[
            -1
        ]
        states = torch.randn(1, 4, size, generator=torch.Generator().manual_seed(4))
        return states.expand(len(self.rows), -1, -1).to(self.device)

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """All that further updates depend on, and the actions in some states."""
        state = {f"agents.{name}": tensor for name, tensor in self.learner.agents.training_state().items()}
        if self.online:
            state |= {f"replay.{name}": tensor for name, tensor in self.learner.replay.state().items()}
        state["exploit"] = self.learner.exploit(self.observations())
        return {**state, "draws": self.draws.state()}

    def row(self, number: int, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One row's share of every tensor; the optimiser's step counts belong to all."""
        return row_of(state, number, len(self.rows))


def train(
    case: Case, folder: Path, compute: Compute | None = None, config: Any = None, **schedule: Any
) -> tuple[pd.DataFrame, bytes]:
    """A whole job in InvertedDoublePendulum, or the rest of one: its curve and its last checkpoint."""
    where = ("made-up", "InvertedDoublePendulum-v4")
    job = Job("test", case.name, *where, SEEDS, "hash", folder, compute or Compute())
    data, config, members = (
        made_up_transitions((30, 20)),
        config or case.config(),
        case.members(SEEDS, (11, 1), range(2)),
    )
    if case.phase == "offline":
        start = StartingAgents(members, 0) if members else None
        looks = OFFLINE.__class__(**{**vars(OFFLINE), **schedule})
        curve = pretrain(case.method, config, looks, data, job, start).curve
    else:
        looks_online = ONLINE.__class__(**{**vars(ONLINE), **schedule})
        offline = data if case.replays_offline else None
        curve = fine_tune(case.method, config, looks_online, offline, members, job, 0.5)
    return curve, (folder / "checkpoint.safetensors").read_bytes()


def through_a_file(state: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The same tensors, written and read."""
    checkpoints.save(folder / "state.safetensors", state, {})
    return checkpoints.load(folder / "state.safetensors")[0]
