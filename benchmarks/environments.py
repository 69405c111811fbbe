"""Time batched environment steps beside Gymnasium's own loop, in one run.

    python -m benchmarks.environments --output environments.json

Four contestants take turns, each with the same number of copies and the same random actions: our batch on
`--threads` threads; the plainest loop over Gymnasium's environments that gathers what they return;
Gymnasium's own loop, `SyncVectorEnv`; and, for what a batch can reach, the bare physics of its models
through `mujoco.rollout`'s thread pool, which observes and rewards nothing and forgets the solver's warm
start. All but the last restart finished episodes.
Steps per second of processor time (all threads) are told too: they hold on a machine that is shared.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray

from envs.locomotion import ENVIRONMENTS, EnvironmentBatch, specification
from storage.files import write_json
from storage.provenance import hardware, versions

Stepper = Callable[[NDArray[np.float32]], None]


def make(name: str) -> Any:
    """Gymnasium's environment, without its and MuJoCo's complaints about old versions."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        environment = gymnasium.make(name)
    mujoco.set_mju_user_warning(before)
    return environment


def batched(name: str, copies: int, threads: int) -> Stepper:
    """Our batch."""
    batch = EnvironmentBatch(name, range(copies), threads)
    batch.reset()

    def step(actions: NDArray[np.float32]) -> None:
        transition = batch.step(actions)
        finished = transition.terminations | transition.truncations
        if finished.any():
            batch.reset(finished)

    return step


def looped(name: str, copies: int) -> Stepper:
    """Gymnasium's environments one after the other, their returns gathered into arrays."""
    environments = [make(name) for _ in range(copies)]
    for seed, environment in enumerate(environments):
        environment.reset(seed=seed)

    def step(actions: NDArray[np.float32]) -> None:
        returned = []
        for environment, action in zip(environments, actions, strict=True):
            observation, reward, terminated, truncated, _ = environment.step(action)
            returned.append((observation, reward, terminated, truncated))
            if terminated or truncated:
                environment.reset()
        for part in zip(*returned, strict=True):
            np.array(part)

    return step


def vectorised(name: str, copies: int) -> Stepper:
    """`gymnasium.vector.SyncVectorEnv`, which restarts by itself."""
    environments = gymnasium.vector.SyncVectorEnv([lambda: make(name)] * copies)
    environments.reset(seed=0)

    def step(actions: NDArray[np.float32]) -> None:
        environments.step(actions)

    return step


def bare_physics(name: str, copies: int, threads: int) -> Stepper:
    """`mujoco.rollout` from where the last step ended; nothing falls, so nothing restarts."""
    environment = make(name).unwrapped
    model, substeps = environment.model, environment.frame_skip
    pool = mujoco.rollout.Rollout(nthread=threads)
    lent = [mujoco.MjData(model) for _ in range(threads)]
    environment.reset(seed=0)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    first = np.empty(size)
    mujoco.mj_getState(model, environment.data, first, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    states = np.tile(first, (copies, substeps, 1))

    def step(actions: NDArray[np.float32]) -> None:
        controls = np.repeat(actions[:, None].astype(np.float64), substeps, axis=1)
        pool.rollout(model, lent, np.ascontiguousarray(states[:, -1]), controls, state=states)

    return step


def measure(name: str, copies: int, threads: int, steps: int, rounds: int) -> dict[str, Any]:
    """Environment steps a second of each contestant, of the clock's and of the processor's: every round's,
    and medians and ratios.
    """
    contestants: dict[str, Stepper] = {
        "batch": batched(name, copies, threads),
        "loop": looped(name, copies),
        "sync_vector": vectorised(name, copies),
        "rollout": bare_physics(name, copies, threads),
    }
    generator = np.random.default_rng(0)
    size = specification(name).action_size
    rates: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    processor_rates: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for turn in range(rounds + 1):
        actions = generator.uniform(-1, 1, (steps, copies, size)).astype(np.float32)
        for contestant, step in contestants.items():
            start, processor_start = time.perf_counter(), time.process_time()
            for action in actions:
                step(action)
            seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
            if turn > 0:  # the first turn warms up
                rates[contestant].append(steps * copies / seconds)
                processor_rates[contestant].append(steps * copies / processor_seconds)
    medians = {contestant: statistics.median(found) for contestant, found in rates.items()}
    processor_medians = {key: statistics.median(found) for key, found in processor_rates.items()}
    return {
        "environment": name,
        "copies": copies,
        "threads": threads,
        "steps_per_turn": steps * copies,
        "steps_per_second": rates,
        "median_steps_per_second": medians,
        "median_steps_per_processor_second": processor_medians,
        "batch_over_loop": medians["batch"] / medians["loop"],
        "batch_over_sync_vector": medians["batch"] / medians["sync_vector"],
    }


def main() -> None:
    """Measure the environments asked for, print a line each, and write everything if told where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=["HalfCheetah-v4"])
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="steps of every copy in a turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every contestant")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args()

    results = []
    for name in arguments.environments:
        result = measure(name, arguments.copies, arguments.threads, arguments.steps, arguments.rounds)
        results.append(result)
        print(
            f"{name}: {arguments.copies} copies, {arguments.threads} threads, medians of {arguments.rounds}"
        )
        for contestant, rate in result["median_steps_per_second"].items():
            processor_rate = result["median_steps_per_processor_second"][contestant]
            print(f"  {contestant:12}{rate:9,.0f} steps/s {processor_rate:9,.0f} steps/processor second")
        print(
            f"  batch / loop {result['batch_over_loop']:.2f}, "
            f"batch / sync_vector {result['batch_over_sync_vector']:.2f}"
        )
    if arguments.output:
        write_json(arguments.output, {"results": results, "hardware": hardware(), "versions": versions()})


if __name__ == "__main__":
    main()
