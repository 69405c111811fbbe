"""A dataset as the workflow names it: the folder of one Minari dataset."""

from __future__ import annotations

from pathlib import Path

from offline_data.arrays import RewardScale
from offline_data.image_episodes import ImageEpisodes
from offline_data.image_io import read_image_dataset
from offline_data.minari_io import read_transitions
from offline_data.transitions import Transitions
from storage import UserError
from workflow.jobs import Json


def root_and_id(folder: Path) -> tuple[Path, str]:
    """Return Minari root and the dataset's id: results/x/halfcheetah/random-local-v0 lies under results/x."""
    return folder.parent.parent, f"{folder.parent.name}/{folder.name}"


def read(folder: Path, reward_scale: RewardScale) -> Transitions:
    """Return the transitions in `folder`, rewards scaled. UserError where it is missing or damaged."""
    return read_transitions(*root_and_id(folder)).scaled(reward_scale)


def read_for(settings: Json, folder: Path) -> Transitions | ImageEpisodes:
    """Read what a training job learns from, vectors or images. UserError where it is missing or damaged."""
    if "options" in settings:
        return read_image_dataset(*root_and_id(folder)).scaled(settings["reward_scale"])
    return read(folder, settings["reward_scale"])


def reward_scale_of(asked: RewardScale, transitions: Transitions | ImageEpisodes | None) -> float:
    """Return the factor of rewards collected online: as those of the data, already scaled.

    UserError where their range is asked for, and there are none.
    """
    if transitions is not None:
        return float(transitions.metadata["reward_scale"])
    if asked == "return_range":
        raise UserError("reward_scale is return_range: expected a number for a method without offline data")
    return asked
