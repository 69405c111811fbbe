"""Drawing without a display: which OpenGL is used, and one camera an environment.

Importing this module settles the backend; `dm_control` looks at MUJOCO_GL once, when it is imported, and so
the other modules have it from here. Where MUJOCO_GL is set, it is respected; else EGL is used where it works,
or OSMesa. Where what is set cannot draw, the first camera says so: simulating and reading images go on.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.simulator import DISABLED, VARIABLE, mujoco, opengl
from storage import UserError

__all__ = ["Camera", "control", "dm_mujoco"]

_EGL, _OSMESA, _GLFW = "egl", "osmesa", "glfw"
_REMEDIES = {
    _EGL: "install Debian's libegl1, libegl-mesa0 and libgl1-mesa-dri",
    _OSMESA: "install Debian's libosmesa6",
    _GLFW: "start this where there is a display",
}
_PLATFORM = "PYOPENGL_PLATFORM"  # dm_control's EGL and OSMesa refuse any platform of PyOpenGL but their own
_DEVICE = "MUJOCO_EGL_DEVICE_ID"
_EGL_PLATFORM_DEVICE = 0x313F
_MOST_DEVICES = 16


def _egl_works(device: str | None) -> bool:
    """Whether some EGL device, or the one of this number, starts without a display.

    Asked of the library itself: a failed import of PyOpenGL's EGL cannot be undone in the process.
    """
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(addresses):
        return False
    handles = ctypes.POINTER(ctypes.c_void_p)
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, handles, ctypes.POINTER(ctypes.c_int))(addresses[0])
    display_of = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(
        addresses[1]
    )
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    devices, count = (ctypes.c_void_p * _MOST_DEVICES)(), ctypes.c_int()
    if not query(_MOST_DEVICES, devices, ctypes.byref(count)):
        return False
    asked = devices[: count.value]
    if device is not None:
        asked = asked[int(device) :][:1] if device.isdecimal() else []
    displays = (display_of(_EGL_PLATFORM_DEVICE, handle, None) for handle in asked)
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


def _glfw_works() -> bool:
    """Whether GLFW finds a display; a context that fails later leaves a traceback when it is forgotten."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a sentence of ours
        return bool(import_module("glfw").init())


def _obstacle(backend: str) -> str:
    """Why `backend` cannot draw, and what to do about it; empty where nothing speaks against it."""
    platform, device = os.environ.get(_PLATFORM), os.environ.get(_DEVICE)
    if platform and platform != backend and backend != _GLFW:
        return f"{_PLATFORM} is {platform!r}: expected {backend!r}, or unset it"
    if backend == _EGL and not _egl_works(device):
        if device is not None and _egl_works(None):
            return f"{_DEVICE} is {device!r}: expected the number of a device that EGL draws on, or unset it"
        return _cannot_draw(_EGL)
    if backend == _OSMESA and not ctypes.util.find_library("OSMesa"):
        return _cannot_draw(_OSMESA)
    if backend == _GLFW and not _glfw_works():
        return _cannot_draw(_GLFW)
    return ""


def _cannot_draw(backend: str) -> str:
    remedy = _REMEDIES[backend]
    if os.environ.get(VARIABLE):
        return f"{VARIABLE} is {backend!r}, which cannot draw on this machine: unset it, or {remedy}"
    return f"no OpenGL that draws without a display was found: {remedy}"


def _settle() -> tuple[str, str]:
    """Return the backend for dm_control, and why it cannot draw where that is known before it is tried."""
    asked = os.environ.get(VARIABLE, "").strip().lower()
    known = ", ".join(_REMEDIES)
    if asked and asked not in _REMEDIES:
        return DISABLED, f"{VARIABLE} is {asked!r}: expected one of {known} to draw with, or unset it"
    obstacles = []
    for backend in [asked] if asked else [_EGL, _OSMESA]:
        obstacle = _obstacle(backend)
        if not obstacle:
            return backend, ""
        obstacles.append(obstacle)
    return DISABLED, obstacles[0]


@contextmanager
def _unlogged() -> Iterator[None]:
    """Leave the root logger its handlers: absl gives it one, by which all messages come twice."""
    handlers = list(logging.root.handlers)
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers


# Mesa loads its LLVM for the whole process, and triton, which PyTorch's CUDA build imports in passing, takes
# the symbols of that one for its own and crashes: it has to come first. PyTorch's CPU build has none.
with suppress(ImportError):
    import_module("triton")
# No worker threads in Mesa's software renderer: 10 to 30% less processor time on pictures this small.
os.environ.setdefault("LP_NUM_THREADS", "0")
_BACKEND, _OBSTACLE = _settle()
try:
    with opengl(_BACKEND), _unlogged():
        from dm_control import mujoco as dm_mujoco
        from dm_control.rl import control
except (ImportError, AttributeError, RuntimeError) as _error:  # whatever PyOpenGL raises in a broken library
    if _BACKEND == DISABLED:
        raise
    raise UserError(_cannot_draw(_BACKEND)) from _error


class Camera:
    """One of the scene's cameras at one size, made once: making one takes six times as long as a picture.

    Raises:
        UserError: there is no OpenGL to draw with, or a variable asks for one that cannot.
    """

    def __init__(self, physics: Any, name: str, size: int) -> None:
        if _OBSTACLE:
            raise UserError(_OBSTACLE)
        try:
            self._camera = dm_mujoco.Camera(physics, height=size, width=size, camera_id=name)
        except mujoco.FatalError as error:
            raise UserError(_cannot_draw(_BACKEND)) from error

    def image(self) -> NDArray[np.uint8]:
        """Render the camera's image [size, size, 3], a new array."""
        picture: NDArray[np.uint8] = self._camera.render()
        return picture.copy()
