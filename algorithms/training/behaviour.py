"""Behaviour policies: SAC runs whose actors and replay become datasets, by D4RL's recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from algorithms.methods.interface import Method
from algorithms.methods.sac import SAC, SACConfig
from algorithms.population import checkpoints
from algorithms.training.fine_tuning import make_learner
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineSchedule, run_online
from algorithms.training.probes import Probe
from algorithms.training.worlds import world_of
from storage import UserError

METHOD = SAC
MEDIUM_SHARE = 1 / 3  # D4RL's "medium" is a policy at about a third of the expert's return


class BehaviourRun(NamedTuple):
    """One SAC run: its curve, all it collected in order of time, and its actors at two moments.

    `replay_log` holds observations, actions, rewards (raw), masks, next_observations [M, ...] (float32)
    and episode_ends [M] (bool). `medium_steps` is how much of it had been collected when the medium
    actor acted.
    """

    curve: pd.DataFrame
    replay_log: dict[str, Tensor]
    medium: dict[str, Tensor]
    expert: dict[str, Tensor]
    medium_steps: int
    checkpoints: dict[int, dict[str, Tensor]]  # actors at the steps that were asked for


def train_behaviour(
    config: SACConfig,
    online: OnlineSchedule,
    job: Job,
    reward_scale: float = 1.0,
    medium_score: float | None = None,
    kept_steps: Sequence[int] = (),
) -> BehaviourRun:
    """Train SAC from scratch, keeping its actor at every evaluation; resumes from `job.state_folder`.

    The job has one seed. The expert is the actor with the best evaluation, the medium one the first whose
    normalised score reaches `medium_score`, by default a third of the expert's; those of `kept_steps` are
    handed on too. UserError where none does, and for a step without an evaluation.
    """
    for step in kept_steps:
        if step > online.steps or (step % online.evaluation_interval and step != online.steps):
            raise UserError(
                f"checkpoints has {step}: expected multiples of the evaluation_interval,"
                f" {online.evaluation_interval}, up to {online.steps}"
            )
    world = world_of(job)
    learner = make_learner(METHOD, config, online, None, [], job, world)
    snapshots = job.state_folder / "snapshots"
    probes = [_KeptActors(snapshots)]
    result = run_online(online, learner, job, reward_scale, probes, world)
    scores = result.curve[result.curve.metric == "normalised_score"].set_index("step").value
    medium, expert = choose_snapshots(scores, medium_score)
    log = {name: rows[0].cpu() for name, rows in learner.replay.state().items()}
    log["rewards"] = log["rewards"] / reward_scale
    return BehaviourRun(
        result.curve,
        {**log, "episode_ends": torch.from_numpy(result.episode_ends[0].copy())},
        checkpoints.load(_snapshot(snapshots, medium))[0],
        checkpoints.load(_snapshot(snapshots, expert))[0],
        medium + online.initial_steps,
        {step: checkpoints.load(_snapshot(snapshots, step))[0] for step in kept_steps},
    )


class _KeptActors(Probe):
    """Keeps the actor of every evaluation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def at(self, learner: Method, step: int) -> Mapping[str, ArrayLike]:
        """Write the actor; nothing is measured."""
        actor = learner.agents.get_submodule("policy").state_dict()
        checkpoints.save(_snapshot(self._folder, step), actor, {"step": step})
        return {}


def choose_snapshots(scores: pd.Series[float], medium_score: float | None = None) -> tuple[int, int]:
    """Choose the steps of the medium and the expert actor, from normalised scores indexed by step.

    The untrained actor of step 0 is neither: the medium one comes after it. UserError where no score
    reaches `medium_score`.
    """
    trained = scores[scores.index > 0]
    steps, values = trained.index.to_numpy(), trained.to_numpy()
    reached = values >= (MEDIUM_SHARE * values.max() if medium_score is None else medium_score)
    if medium_score is not None and not reached.any():
        raise UserError(
            f"medium.score is {medium_score}, and the best actor scores {values.max():.1f}: expected a score"
            " that an evaluation reached"
        )
    return int(steps[reached.argmax()]), int(steps[values.argmax()])


def _snapshot(folder: Path, step: int) -> Path:
    return folder / f"actor_{step}.safetensors"
