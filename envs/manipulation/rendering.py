"""Drawing without a display: which OpenGL is used, and one camera an environment.

Importing this module settles the backend; `dm_control` looks at MUJOCO_GL once, when it is imported, and so
the other modules have it from here. Where MUJOCO_GL is set, it is respected; else EGL is used where it works,
or OSMesa.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records import UserError

__all__ = ["Camera", "control", "dm_mujoco"]

_PACKAGES = "install Debian's libegl1, libegl-mesa0 and libgl1-mesa-dri (EGL), or libosmesa6 (OSMesa)"
_EGL_PLATFORM_DEVICE = 0x313F
_MOST_DEVICES = 16
_NONE = "disable"


def _egl_works() -> bool:
    """Whether some EGL device starts without a display.

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
    displays = (display_of(_EGL_PLATFORM_DEVICE, device, None) for device in devices[: count.value])
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


def _settle_backend() -> None:
    # No worker threads in Mesa's software renderer: 10 to 30% less processor time on pictures this small.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if "MUJOCO_GL" not in os.environ:
        osmesa = "osmesa" if ctypes.util.find_library("OSMesa") else _NONE
        os.environ["MUJOCO_GL"] = "egl" if _egl_works() else osmesa


_settle_backend()

try:
    from dm_control import mujoco as dm_mujoco
    from dm_control.rl import control
except (ImportError, AttributeError, RuntimeError) as _error:  # whatever PyOpenGL raises without a library
    raise UserError(
        f"MUJOCO_GL={os.environ['MUJOCO_GL']} cannot draw on this machine: unset it, or {_PACKAGES}"
    ) from _error


class Camera:
    """One of the scene's cameras at one size, made once: making one takes six times as long as a picture.

    Raises:
        UserError: there is no OpenGL to draw with.
    """

    def __init__(self, physics: Any, name: str, size: int) -> None:
        if os.environ["MUJOCO_GL"] == _NONE:
            raise UserError(f"no OpenGL that draws without a display was found: {_PACKAGES}")
        self._camera = dm_mujoco.Camera(physics, height=size, width=size, camera_id=name)

    def image(self) -> NDArray[np.uint8]:
        """What the camera sees [size, size, 3], a new array."""
        picture: NDArray[np.uint8] = self._camera.render()
        return picture.copy()
