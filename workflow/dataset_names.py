"""Names of datasets: what they say of the environment, and where what is recorded lies by them."""

from __future__ import annotations

from envs.reference_scores import PLANE, REFERENCE_SCORES

TASKS = {
    "pick-place": "PickPlace-v0",
    "grasp-closed-drawer": "GraspClosedDrawer-v0",
    "grasp-blocked-drawer": "GraspBlockedDrawer-v0",
}
"""The datasets of images by the paper's names, and their environments: `envs.manipulation.ENVIRONMENTS`."""
IMAGE_FAMILY, OWN_FAMILY = "manipulation", "own"
FAMILIES = {family.lower() for family in REFERENCE_SCORES | PLANE}
"""What names of datasets begin with, hyphens aside; the folders of what is recorded."""


def split_name(dataset: str) -> tuple[str, str]:
    """Family and quality of a dataset's name: "two-ways-scripted" gives "two-ways" and "scripted".

    Tasks with images are one family, and so are datasets whose names begin with none.
    """
    if dataset in TASKS:
        return IMAGE_FAMILY, dataset
    words = dataset.split("-")
    for count in range(1, len(words)):
        if "".join(words[:count]) in FAMILIES:
            return "-".join(words[:count]), "-".join(words[count:])
    return OWN_FAMILY, dataset


def dataset_id(dataset: str) -> str:
    """Return the Minari id: "halfcheetah-medium-replay" gives "halfcheetah/medium-replay-local-v0"."""
    family, quality = split_name(dataset)
    return f"{family}/{quality}-local-v0"


def family_of(dataset: str) -> str | None:
    """Return the environment that a dataset's name begins with; None where it may be any."""
    letters = dataset.replace("-", "").lower()
    return next((family for family in REFERENCE_SCORES | PLANE if letters.startswith(family.lower())), None)
