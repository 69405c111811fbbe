"""What every training job has: names, a place for its resumable state, a device, a progress bar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from algorithms.training.acceleration import Compute
from envs.locomotion import specification
from offline_data.transitions import Transitions
from storage import UserError


class Job(NamedTuple):
    """What a training job is called in its curve, where its resumable state lives, what it computes on."""

    run: str
    dataset: str
    environment: str
    configuration_hash: str
    state_folder: Path
    compute: Compute = Compute()


def check_sizes(transitions: Transitions, environment: str) -> None:
    """UserError where the data's observations or actions are not of the sizes of `environment`."""
    spec = specification(environment)
    expected = (spec.observation_size, spec.action_size)
    found = (transitions.observations.shape[1], transitions.actions.shape[1])
    if found != expected:
        name = transitions.metadata.get("dataset_id", "the dataset")
        raise UserError(
            f"{name} has observations and actions of sizes {found}, expected {expected} for {environment}"
        )


def progress_bar(job: Job, total: int, initial: int, unit: str) -> tqdm[Any]:
    """A bar with rate and time left on stderr: live on a terminal, a line now and then in a log."""
    return tqdm(
        total=total,
        initial=initial,
        unit=unit,
        desc=job.dataset,
        mininterval=0.5 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
    )
