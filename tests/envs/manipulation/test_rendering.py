"""OpenGL variables, as a shell's profile may set them: they concern what draws alone, which names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OPENGL = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID", "DISPLAY", "WAYLAND_DISPLAY")

SIMULATE = """
import importlib, pkgutil
import numpy as np
import workflow.steps
for module in pkgutil.iter_modules(workflow.steps.__path__, "workflow.steps."):
    importlib.import_module(module.name)
import offline_data.image_episodes
from envs.locomotion import EnvironmentBatch
batch = EnvironmentBatch("HalfCheetah-v4", [0])
batch.reset()
print(batch.step(np.zeros((1, 6), np.float32)).observations.shape)
from envs.manipulation import make
make("PickPlace-v0").physics.step()
"""
DRAW = """
import numpy as np
from envs.manipulation import make
print(make("PickPlace-v0").reset(0)["image"].std() > 0)
"""
WITHOUT_LIBRARIES = """
import ctypes, ctypes.util
load = ctypes.CDLL
def without_egl(name, *arguments, **options):
    if "EGL" in str(name):
        raise OSError(name)
    return load(name, *arguments, **options)
ctypes.CDLL, ctypes.util.find_library = without_egl, lambda name: None
"""
"""For a machine that has them: as on one that has neither EGL nor OSMesa."""


def run(code: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `code` with no other OpenGL variables than these, and no display."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENGL}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"MUJOCO_GL": "osmesa"},
        {"MUJOCO_GL": "glfw", "PYOPENGL_PLATFORM": "glx"},
        {"MUJOCO_GL": "no such", "MUJOCO_EGL_DEVICE_ID": "no number"},
        {"PYOPENGL_PLATFORM": "osmesa"},
    ],
    ids=str,
)
def test_what_draws_nothing_runs_whatever_is_set(variables: dict[str, str]) -> None:
    result = run(WITHOUT_LIBRARIES + SIMULATE, variables)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["(1, 17)"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"MUJOCO_GL": "osmesa"},
            "MUJOCO_GL is 'osmesa', which cannot draw on this machine: unset it, or install",
        ),
        ({"MUJOCO_GL": "egl"}, "MUJOCO_GL is 'egl', which cannot draw on this machine: unset it, or install"),
        ({"MUJOCO_GL": "glfw"}, "MUJOCO_GL is 'glfw', which cannot draw on this machine: unset it, or start"),
        ({"MUJOCO_GL": "disable"}, "MUJOCO_GL is 'disable': expected one of egl, osmesa, glfw to draw with"),
        ({"MUJOCO_GL": "no such"}, "MUJOCO_GL is 'no such': expected one of egl, osmesa, glfw to draw with"),
        ({"PYOPENGL_PLATFORM": "glx"}, "PYOPENGL_PLATFORM is 'glx': expected 'egl', or unset it"),
        (
            {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "egl"},
            "PYOPENGL_PLATFORM is 'egl': expected 'osmesa', or unset it",
        ),
        ({}, "no OpenGL that draws without a display was found: install Debian's libegl1"),
    ],
    ids=str,
)
def test_what_cannot_draw_says_in_a_sentence_why(variables: dict[str, str], sentence: str) -> None:
    result = run(WITHOUT_LIBRARIES + DRAW, variables)
    assert result.stderr.splitlines()[-1].startswith(f"storage.UserError: {sentence}")


def test_of_a_missing_display_no_more_is_said_than_the_sentence() -> None:
    lines = DRAW.strip().splitlines()
    result = run(
        "\n".join(
            [*lines[:-1], "try:", f"    {lines[-1]}", "except Exception as error:", "    print(error)"]
        ),
        {"MUJOCO_GL": "glfw"},
    )
    assert result.stdout.startswith(
        "MUJOCO_GL is 'glfw', which cannot draw on this machine: unset it, or start"
    )
    assert result.stderr == ""


@pytest.mark.parametrize(
    "variables", [{"MUJOCO_GL": ""}, {"MUJOCO_GL": "EGL", "PYOPENGL_PLATFORM": "egl"}], ids=str
)
def test_what_is_set_and_can_draw_is_left_as_it_is(variables: dict[str, str]) -> None:
    show = f"import os; print({{name: os.environ[name] for name in {list(variables)}}})"
    result = run(DRAW + show, variables)
    assert result.stdout.splitlines() == ["True", str(variables)], result.stderr


def test_a_device_that_is_none_is_named() -> None:
    result = run(DRAW, {"MUJOCO_EGL_DEVICE_ID": "999"})
    assert result.stderr.splitlines()[-1].startswith(
        "storage.UserError: MUJOCO_EGL_DEVICE_ID is '999': expected"
    )


def test_triton_comes_before_mesa(tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("print('libEGL' in open('/proc/self/maps').read())")
    code = "from envs.manipulation import make; print('libEGL' in open('/proc/self/maps').read())"
    result = run(code, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert result.stdout.splitlines() == ["False", "True"], result.stderr


def test_the_programs_log_is_left_as_it_was() -> None:
    ran = run("import logging; import envs.manipulation.rendering; assert not logging.root.handlers", {})
    assert ran.returncode == 0, ran.stderr
