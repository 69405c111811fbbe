"""MuJoCo, imported without an OpenGL of its own.

`import mujoco` opens the OpenGL that MUJOCO_GL names and fails where it is not installed. The suite draws in
one place, through dm_control's OpenGL (`envs.manipulation.rendering`): whatever a shell's profile sets,
simulating alone needs none.

    from envs.simulator import mujoco
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DISABLED", "VARIABLE", "mujoco", "opengl"]

VARIABLE = "MUJOCO_GL"
"""What both mujoco and dm_control ask, once, as they are imported."""
DISABLED = "disable"
"""No OpenGL at all, in its words."""


@contextmanager
def opengl(backend: str) -> Iterator[None]:
    """Let imports in here find `backend` as the OpenGL to open; the variable is then as it was."""
    told = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        yield
    finally:
        if told is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = told


with opengl(DISABLED):
    import mujoco
