"""A dataset as the workflow names it: the folder of one Minari dataset."""

from __future__ import annotations

from pathlib import Path

from offline_data.minari_io import read_transitions
from offline_data.transitions import RewardScale, Transitions


def root_and_id(folder: Path) -> tuple[Path, str]:
    """The Minari root and the dataset's id: results/x/halfcheetah/random-local-v0 lies under results/x."""
    return folder.parent.parent, f"{folder.parent.name}/{folder.name}"


def read(folder: Path, reward_scale: RewardScale) -> Transitions:
    """The transitions in `folder`, rewards scaled. UserError where it is missing or damaged."""
    return read_transitions(*root_and_id(folder)).scaled(reward_scale)
