"""Many copies of one MuJoCo model, each with its own complete state, advanced by a pool of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from envs.simulator import mujoco

# Shares of the batch a thread takes at a time: enough of them that a thread on a busy core takes fewer.
_SHARES_PER_THREAD = 8

_COMPLETE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


def load_model(path: Path) -> mujoco.MjModel:
    """Compile an MJCF file, leaving out work that cannot change a result.

    `settotalmass` is applied after compiling, as MuJoCo 3.17 asks: left to the compiler it gives the same
    model, and a warning in the terminal and in a log file in the working directory. A single kinematic
    tree is a single island of constraints, so looking for islands is switched off (5 to 10% of a step), as
    are contacts where no two geoms may collide (a fifth of the InvertedDoublePendulum's).
    """
    spec = mujoco.MjSpec.from_file(str(path))
    total_mass = spec.compiler.settotalmass
    spec.compiler.settotalmass = -1
    model = spec.compile()
    if total_mass > 0:
        mujoco.mj_setTotalmass(model, total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    if model.ntree == 1:
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    if model.npair == 0 and not model.geom_contype.any():
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    return model


class PhysicsBatch:
    """`copies` independent simulations of one model.

    Every copy keeps its own MjData, and so its trajectory equals a lone simulation's to the last bit.
    `mujoco.rollout` cannot give that: it lends one MjData a thread to all copies, takes the solver's warm
    start but does not return it (without it HalfCheetah is somewhere else after 300 steps, though each
    step is right to 1e-12), and no sensor tells `site_xpos` and `qfrc_constraint` as the last Runge-Kutta
    stage leaves them, which the InvertedDoublePendulum's reward and observation are made of. `mj_step`
    releases the interpreter's lock, so these threads are as fast (`benchmarks/environments.py`).
    """

    def __init__(self, model: mujoco.MjModel, copies: int, threads: int, derived: Sequence[str] = ()) -> None:
        """Make the copies; `derived` are arrays of MjData that are read before a step, and kept in states."""
        self.model, self._derived = model, derived
        self.copies = copies
        self.data = [mujoco.MjData(model) for _ in range(copies)]
        self._controls = [data.ctrl for data in self.data]
        self._positions = [data.qpos for data in self.data]
        self._velocities = [data.qvel for data in self.data]
        threads = min(threads, copies)
        share = -(-copies // (threads * _SHARES_PER_THREAD)) if threads > 1 else copies
        self._shares = [range(start, min(start + share, copies)) for start in range(0, copies, share)]
        self._helpers = threads - 1  # the calling thread works too
        self._pool = ThreadPoolExecutor(self._helpers) if self._helpers else None

    def reset(self, copy: int, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Restart one copy at `position` [nq] and `velocity` [nv] with no memory of what it did before."""
        data = self.data[copy]
        mujoco.mj_resetData(self.model, data)
        data.qpos[:] = position
        data.qvel[:] = velocity
        mujoco.mj_forward(self.model, data)

    def advance(self, controls: NDArray[np.floating], substeps: int) -> None:
        """Hold `controls` [copies, nu] for `substeps` time steps of the model."""
        shares = iter(self._shares)
        if self._pool is None:
            self._advance_shares(shares, controls, substeps)
            return
        helpers = [
            self._pool.submit(self._advance_shares, shares, controls, substeps) for _ in range(self._helpers)
        ]
        self._advance_shares(shares, controls, substeps)
        for helper in helpers:
            helper.result()

    def _advance_shares(self, shares: Iterator[range], controls: NDArray[np.floating], substeps: int) -> None:
        """Take shares from the common iterator until none is left."""
        model, data, slots, step = self.model, self.data, self._controls, mujoco.mj_step
        for share in shares:
            for copy in share:
                slots[copy][:] = controls[copy]
                step(model, data[copy], substeps)

    def positions(self) -> NDArray[np.float64]:
        """Generalised positions [copies, nq], a new array."""
        return self._gather(self._positions)

    def velocities(self) -> NDArray[np.float64]:
        """Generalised velocities [copies, nv], a new array."""
        return self._gather(self._velocities)

    def constraint_forces(self) -> NDArray[np.float64]:
        """Generalised constraint forces [copies, nv] as the last step left them."""
        return self._gather([data.qfrc_constraint for data in self.data])

    def site_positions(self, site: int) -> NDArray[np.float64]:
        """Where a site is in the world [copies, 3], in metres, as the last step left it."""
        return self._gather([data.site_xpos[site] for data in self.data])

    def _gather(self, rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate(rows).reshape(self.copies, -1)  # a third of the time of np.stack

    def state(self) -> NDArray[np.float64]:
        """All that the next step depends on [copies, n]: time, positions, velocities, warm start, inputs."""
        states = np.empty((self.copies, self._size))
        for data, row in zip(self.data, states, strict=True):
            mujoco.mj_getState(self.model, data, row, _COMPLETE)
        derived = [
            self._gather([getattr(data, name).ravel() for data in self.data]) for name in self._derived
        ]
        return np.concatenate([states, *derived], axis=1) if derived else states

    @property
    def _size(self) -> int:
        return int(mujoco.mj_stateSize(self.model, _COMPLETE))

    def restore(self, states: NDArray[np.float64]) -> None:
        """Go back to `states` [copies, n] of `state()`."""
        for data, row in zip(self.data, states, strict=True):
            mujoco.mj_setState(self.model, data, row[: self._size], _COMPLETE)
            place = self._size
            for array in (getattr(data, name) for name in self._derived):
                array[:] = row[place : place + array.size].reshape(array.shape)
                place += array.size
