"""HalfCheetah, Hopper, Walker2d and InvertedDoublePendulum as in Gymnasium (v4 and v5), stepped as a batch.

Any other of Gymnasium's MuJoCo environments takes part once it has reference scores
(`envs.reference_scores.register`): its own class then acts on the batch, one copy after the other.

v4 is the version whose returns compare with D4RL's. The models are the XML files that Gymnasium ships;
observations, rewards, terminations, time limit and reset noise repeat its classes in
`gymnasium/envs/mujoco` operation by operation, so that a copy equals `gymnasium.make(name)` to the bit.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import ArrayLike, NDArray

from envs import plane, tabletop
from envs.physics import PhysicsBatch, load_model
from envs.reference_scores import KNOWN, MAZES
from envs.simulator import mujoco
from envs.task import TIME_LIMIT, Limits, Outcome, Task, World
from storage import UserError

_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
_OBSERVED_LIMIT = 10.0  # observed velocities and forces are clipped to this, but for HalfCheetah


class Transition(NamedTuple):
    """What `EnvironmentBatch.step` returns, one row a copy.

    observations [copies, obs] and rewards [copies] are float64; terminations [copies] (the task ended) and
    truncations [copies] (the time limit was reached; both may hold at once) are bool.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]


class MujocoTask(Task):
    """A task of a MuJoCo model; `version` is Gymnasium's, 4 or 5."""

    xml: ClassVar[str]
    substeps: ClassVar[int]
    reset_noise: ClassVar[float]

    @property
    def model_path(self) -> Path:
        """The MJCF file that Gymnasium ships for this version."""
        return _ASSETS / self.xml

    def world(self, copies: int, threads: int) -> PhysicsBatch:
        return PhysicsBatch(load_model(self.model_path), copies, threads)

    def limits(self, world: PhysicsBatch) -> Limits:
        low, high = world.model.actuator_ctrlrange.T.copy()
        return Limits(low, high, world.model.opt.timestep * self.substeps)

    def restart(self, world: PhysicsBatch, copy: int, generator: np.random.Generator) -> None:
        model, noise = world.model, self.reset_noise
        positions = model.qpos0 + generator.uniform(low=-noise, high=noise, size=model.nq)
        world.reset(copy, positions, self.velocity_noise(generator, model.nv))

    def velocity_noise(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Noise on the velocities of a new episode [size]; drawn after the positions'."""
        return generator.uniform(low=-self.reset_noise, high=self.reset_noise, size=size)


class Runner(MujocoTask):
    """A planar body that is rewarded for its forward velocity (m/s) less the cost of its actions.

    Observation: positions without the first (the distance run), then velocities.
    """

    control_cost: ClassVar[float]
    healthy_reward: ClassVar[float] = 0.0

    def observe(self, physics: PhysicsBatch) -> NDArray[np.float64]:
        return self._observation(physics.positions(), physics.velocities())

    def step(self, physics: PhysicsBatch, actions: NDArray[np.floating]) -> Outcome:
        before = physics.positions()[:, 0]
        physics.advance(actions, self.substeps)
        positions, velocities = physics.positions(), physics.velocities()
        forward_velocity = (positions[:, 0] - before) / (physics.model.opt.timestep * self.substeps)
        # In the dtype of the actions, as Gymnasium computes it.
        cost = self.control_cost * np.square(actions).sum(axis=1)
        healthy = self.healthy(positions, velocities)
        alive = self.healthy_reward if self.version == 4 else self.healthy_reward * healthy
        rewards = forward_velocity + alive - cost
        return Outcome(self._observation(positions, velocities), rewards, ~healthy)

    def healthy(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which copies [copies] may go on."""
        return np.ones(len(positions), dtype=np.bool_)

    def observed_velocities(self, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Velocities as the agent sees them [copies, nv]."""
        return velocities.clip(-_OBSERVED_LIMIT, _OBSERVED_LIMIT)

    def _observation(
        self, positions: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.concatenate((positions[:, 1:], self.observed_velocities(velocities)), axis=1)


class HalfCheetah(Runner):
    """Never terminates; v4 and v5 are the same."""

    xml = "half_cheetah.xml"
    substeps = 5
    reset_noise = 0.1
    control_cost = 0.1

    def velocity_noise(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.reset_noise * generator.standard_normal(size)

    def observed_velocities(self, velocities: NDArray[np.float64]) -> NDArray[np.float64]:
        return velocities


class Hopper(Runner):
    """Ends when the torso drops or leans, or the state leaves its range.

    v4 pays the healthy reward also on the step that ends the episode, v5 does not.
    """

    xml = "hopper.xml"
    substeps = 4
    reset_noise = 5e-3
    control_cost = 1e-3
    healthy_reward = 1.0

    def healthy(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> NDArray[np.bool_]:
        height, angle = positions[:, 1], positions[:, 2]
        in_range = (np.abs(positions[:, 2:]) < 100.0).all(axis=1) & (np.abs(velocities) < 100.0).all(axis=1)
        healthy: NDArray[np.bool_] = in_range & (height > 0.7) & (height < np.inf) & (np.abs(angle) < 0.2)
        return healthy


class Walker2d(Runner):
    """Ends when the torso leaves its heights or leans.

    v5 changed the right foot's friction (0.9 to 1.9) and, as Hopper, the healthy reward.
    """

    substeps = 4
    reset_noise = 5e-3
    control_cost = 1e-3
    healthy_reward = 1.0

    @property
    def model_path(self) -> Path:
        return _ASSETS / ("walker2d.xml" if self.version == 4 else "walker2d_v5.xml")

    def healthy(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> NDArray[np.bool_]:
        height, angle = positions[:, 1], positions[:, 2]
        healthy: NDArray[np.bool_] = (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)
        return healthy


class InvertedDoublePendulum(MujocoTask):
    """Ten a step for keeping the tip above one metre, less its distance from upright and its velocity.

    Observation: cart position, sines and cosines of both angles, velocities, constraint forces (v5: only
    the cart's). v4 pays the ten also on the step that ends the episode, v5 does not.
    """

    xml = "inverted_double_pendulum.xml"
    substeps = 5
    reset_noise = 0.1

    def velocity_noise(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.standard_normal(size) * self.reset_noise

    def observe(self, physics: PhysicsBatch) -> NDArray[np.float64]:
        positions = physics.positions()
        angles = np.ascontiguousarray(positions[:, 1:])
        forces = physics.constraint_forces().clip(-_OBSERVED_LIMIT, _OBSERVED_LIMIT)
        velocities = physics.velocities().clip(-_OBSERVED_LIMIT, _OBSERVED_LIMIT)
        observed_forces = forces if self.version == 4 else forces[:, :1]
        parts = (positions[:, :1], np.sin(angles), np.cos(angles), velocities, observed_forces)
        return np.concatenate(parts, axis=1)

    def step(self, physics: PhysicsBatch, actions: NDArray[np.floating]) -> Outcome:
        physics.advance(actions, self.substeps)
        tip = physics.site_positions(0)
        across, height = tip[:, 0], tip[:, 2]
        first, second = physics.velocities()[:, 1:3].T
        distance_penalty = 0.01 * across**2 + (height - 2) ** 2
        velocity_penalty = 1e-3 * first**2 + 5e-3 * second**2
        terminations = height <= 1
        alive = 10.0 if self.version == 4 else 10.0 * ~terminations
        return Outcome(self.observe(physics), alive - distance_penalty - velocity_penalty, terminations)


class Registered(Task):
    """Whatever Gymnasium's own class does, on the data of each copy in turn."""

    def __init__(self, name: str) -> None:
        super().__init__(int(name.rsplit("-v", 1)[1]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # v4 is the version of published scores
                limited = gymnasium.make(name)
        except gymnasium.error.Error as error:
            raise UserError(f"environment {name!r} is none of Gymnasium's: {error}") from error
        made: Any = limited.unwrapped
        vectors = all(len(space.shape or ()) == 1 for space in (made.observation_space, made.action_space))
        # Imports OpenGL, which nothing else here needs.
        mujoco_environment = importlib.import_module("gymnasium.envs.mujoco").MujocoEnv
        if not (isinstance(made, mujoco_environment) and vectors):
            raise UserError(f"environment {name!r} is no MuJoCo environment of vectors: expected one")
        self._environment = made
        self.time_limit: int = (limited.spec and limited.spec.max_episode_steps) or TIME_LIMIT

    def world(self, copies: int, threads: int) -> PhysicsBatch:
        # After a step bodies lag behind the positions by a substep, and rewards are made of them.
        return PhysicsBatch(self._environment.model, copies, threads, derived=("xpos", "xipos"))

    def limits(self, world: PhysicsBatch) -> Limits:
        environment: Any = self._environment
        space = environment.action_space
        low, high = (np.array(bound, dtype=np.float64) for bound in (space.low, space.high))
        return Limits(low, high, float(environment.dt))

    def restart(self, world: PhysicsBatch, copy: int, generator: np.random.Generator) -> None:
        self._environment.np_random = generator
        self._environment.data = world.data[copy]
        mujoco.mj_resetData(world.model, world.data[copy])
        self._environment.reset_model()

    def observe(self, world: PhysicsBatch) -> NDArray[np.float64]:
        return np.stack([self._of(data)._get_obs() for data in world.data]).astype(np.float64)

    def step(self, world: PhysicsBatch, actions: NDArray[np.floating]) -> Outcome:
        outcomes = [self._of(data).step(action) for data, action in zip(world.data, actions, strict=True)]
        observations, rewards, terminations, *_ = zip(*outcomes, strict=True)
        return Outcome(
            np.stack(observations).astype(np.float64),
            np.array(rewards, dtype=np.float64),
            np.array(terminations, dtype=np.bool_),
        )

    def _of(self, data: mujoco.MjData) -> Any:
        self._environment.data = data
        return self._environment


_FAMILIES: dict[str, type[MujocoTask]] = {
    "HalfCheetah": HalfCheetah,
    "Hopper": Hopper,
    "Walker2d": Walker2d,
    "InvertedDoublePendulum": InvertedDoublePendulum,
}
_VERSIONS = (4, 5)

ENVIRONMENTS: tuple[str, ...] = tuple(f"{family}-v{version}" for family in _FAMILIES for version in _VERSIONS)
"""Those of MuJoCo; `specification` and `EnvironmentBatch` know `envs.plane`'s and `envs.tabletop`'s too."""


@dataclass(frozen=True)
class EnvironmentSpecification:
    """Sizes and limits of an environment.

    action_low and action_high: [action_size], the range in which actions differ; the simulator clips beyond
    it. time_limit: steps until truncation. step_duration: seconds of simulated time a step takes.
    """

    name: str
    observation_size: int
    action_size: int
    action_low: NDArray[np.float64]
    action_high: NDArray[np.float64]
    time_limit: int
    step_duration: float


@cache
def specification(name: str) -> EnvironmentSpecification:
    """Return specification of an environment, by its Gymnasium name. Raises UserError for an unknown name."""
    task = _task(name)
    world = task.world(copies=1, threads=1)
    low, high, duration = task.limits(world)
    low.setflags(write=False)
    high.setflags(write=False)
    return EnvironmentSpecification(
        name=name,
        observation_size=task.observe(world).shape[1],
        action_size=len(low),
        action_low=low,
        action_high=high,
        time_limit=task.time_limit,
        step_duration=duration,
    )


def _task(name: str) -> Task:
    family, _, version = name.rpartition("-v")
    if name in plane.TASKS:
        return plane.TASKS[name](0)
    if name in tabletop.ENVIRONMENTS:
        # Imports the robot's scene, which nothing else here needs.
        task: Task = importlib.import_module("envs.manipulation.tabletop").TabletopTask(name)
        return task
    if name in ENVIRONMENTS:
        return _FAMILIES[family](int(version))
    if family in KNOWN and family not in (*_FAMILIES, *MAZES) and version.isdecimal():
        return Registered(name)
    known = ", ".join((*ENVIRONMENTS, *plane.TASKS, *tabletop.ENVIRONMENTS))
    raise UserError(
        f"environment {name!r} is unknown; known: {known}; any other of Gymnasium's MuJoCo environments is"
        " registered with its reference scores (docs/your_own_dataset.md)"
    )


class EnvironmentBatch:
    """`len(seeds)` independent copies of one environment, stepped together.

    Copy i draws its resets from Gymnasium's generator for seeds[i]: its first reset equals
    `reset(seed=seeds[i])` there, later ones `reset()`. What a copy does depends on its seed and actions
    alone, never on its neighbours or on `threads`. There is no automatic reset.
    """

    def __init__(self, name: str, seeds: Sequence[int], threads: int = 1) -> None:
        """`seeds`: one non-negative integer a copy; `threads`: how many step the batch, at least 1.

        Raises UserError for an unknown name, no or negative seeds, fewer than 1 thread.
        """
        self.specification = specification(name)
        if len(seeds) == 0 or not all(isinstance(seed, int | np.integer) and seed >= 0 for seed in seeds):
            raise UserError(f"seeds of {name} are {list(seeds)}; expected one non-negative integer a copy")
        if threads < 1:
            raise UserError(f"threads of {name} is {threads}; expected 1 or more")
        self._task = _task(name)
        self._world: World = self._task.world(len(seeds), threads)
        self._generators = [seeding.np_random(int(seed))[0] for seed in seeds]
        self._elapsed = np.zeros(self.copies, dtype=np.int64)
        self._finished = np.ones(self.copies, dtype=np.bool_)  # nothing may step before its first reset
        self._observations = np.full((self.copies, self.specification.observation_size), np.nan)

    @property
    def copies(self) -> int:
        """How many environments the batch holds."""
        return self._world.copies

    def reset(self, which: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Start a new episode in the copies where `which` [copies] is true; in all, if it is None.

        Returns the observations of all copies [copies, obs]: new ones where an episode began, the latest
        elsewhere (NaN in a copy that never began). Raises UserError for a mask of another shape or dtype.
        """
        selected = self._mask(which)
        for copy in np.flatnonzero(selected):
            self._task.restart(self._world, int(copy), self._generators[copy])
        self._elapsed[selected] = 0
        self._finished[selected] = False
        self._observations[selected] = self._task.observe(self._world)[selected]
        return self._observations.copy()

    def step(self, actions: ArrayLike) -> Transition:
        """One control step of every copy.

        `actions`: [copies, action_size], floating; the control cost is computed in their dtype, as
        Gymnasium does. Raises UserError for actions of another shape, not floating or not finite, and when
        a copy has finished its episode and was not reset.
        """
        actions = self._checked(actions)
        if self._finished.any():
            raise UserError(
                f"copy {self._first(self._finished)} of {self.specification.name} has no running episode; "
                "expected a reset before the next step"
            )
        observations, rewards, terminations = self._task.step(self._world, actions)
        self._elapsed += 1
        truncations = self._elapsed >= self.specification.time_limit
        self._finished = terminations | truncations
        self._observations = observations
        return Transition(observations.copy(), rewards, terminations, truncations)

    def successes(self, observations: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Whether episodes that ended at `observations` [n, obs] are successes; None: nothing is one."""
        return self._task.successes(observations)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything a bit-identical continuation needs, as arrays with a leading axis of copies.

        physics [copies, n] float64 (time, positions, velocities, warm start), observations [copies, obs]
        float64, elapsed [copies] int64, finished [copies] bool, generators [copies, 6] uint64.
        """
        return {
            "physics": self._world.state(),
            "observations": self._observations.copy(),
            "elapsed": self._elapsed.copy(),
            "finished": self._finished.copy(),
            "generators": np.stack([_encode(generator) for generator in self._generators]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a `state()` of a batch with the same environment and number of copies.

        Raises UserError, and changes nothing, when an array is missing, superfluous or of another shape or
        dtype.
        """
        present = self.state()
        if state.keys() != present.keys():
            raise UserError(
                f"state of {self.specification.name} has arrays {sorted(state)}; expected {sorted(present)}"
            )
        for key, array in present.items():
            given = state[key]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise UserError(
                    f"state {key!r} of {self.specification.name} is {given.dtype} {given.shape}; "
                    f"expected {array.dtype} {array.shape}"
                )
        self._world.restore(state["physics"])
        self._observations = state["observations"].copy()
        self._elapsed = state["elapsed"].copy()
        self._finished = state["finished"].copy()
        for generator, row in zip(self._generators, state["generators"], strict=True):
            _decode(generator, row)

    def _mask(self, which: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        if which is None:
            return np.ones(self.copies, dtype=np.bool_)
        mask = np.asarray(which)
        if mask.shape != (self.copies,) or mask.dtype != np.bool_:
            raise UserError(
                f"reset mask of {self.specification.name} is {mask.dtype} {mask.shape}; "
                f"expected bool ({self.copies},)"
            )
        return mask

    def _checked(self, actions: ArrayLike) -> NDArray[np.floating]:
        array = np.asarray(actions)
        name, expected = self.specification.name, (self.copies, self.specification.action_size)
        if array.shape != expected:
            raise UserError(f"actions for {name} have shape {array.shape}; expected {expected}")
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"actions for {name} are {array.dtype}; expected floating-point numbers")
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            copy = self._first(~finite)
            raise UserError(f"action of copy {copy} of {name} is {array[copy]}; expected finite numbers")
        return array

    @staticmethod
    def _first(mask: NDArray[np.bool_]) -> int:
        return int(np.argmax(mask))


_WORD = 2**64


def _encode(generator: np.random.Generator) -> NDArray[np.uint64]:
    """Pack a PCG64 generator's state into [6] uint64: two 128-bit numbers, high word first, and a buffer."""
    state: dict[str, Any] = dict(generator.bit_generator.state)
    counter, increment = state["state"]["state"], state["state"]["inc"]
    words = (*divmod(counter, _WORD), *divmod(increment, _WORD), state["has_uint32"], state["uinteger"])
    return np.array(words, dtype=np.uint64)


def _decode(generator: np.random.Generator, words: NDArray[np.uint64]) -> None:
    """Put a PCG64 generator into the state that `_encode` gave."""
    high, low, increment_high, increment_low, has_buffer, buffer = (int(word) for word in words)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high * _WORD + low, "inc": increment_high * _WORD + increment_low},
        "has_uint32": has_buffer,
        "uinteger": buffer,
    }
