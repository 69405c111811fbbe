"""What the tests of the environments share."""

from collections.abc import Iterator

import pytest

from envs.simulator import mujoco


@pytest.fixture(autouse=True)
def quiet_mujoco() -> Iterator[None]:
    """Gymnasium's HalfCheetah makes MuJoCo write a warning to a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    yield
    mujoco.set_mju_user_warning(before)
