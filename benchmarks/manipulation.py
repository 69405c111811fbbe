"""Time the manipulation tasks: environment steps with images, and what they are spent on.

    OMP_NUM_THREADS=1 python -m benchmarks.manipulation --output manipulation.json

Each task is stepped by its noisy script (which toggles the gripper and goes back to the start, both of which
take more of the simulator) and by uniform random actions, in both forms of actions, whole episodes with their
resets. Processor time counts, which holds on a machine that is shared. "physics", "render" and "controller"
are shares of it; the rest is rewards, observations and the loop.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envs.manipulation import ENVIRONMENTS, make
from envs.manipulation.controllers import HALF, Policy, scripted, uniform
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.physics import Physics
from storage.files import write_json
from storage.provenance import hardware, versions

TARGET = 900
"""Steps a second of processor time that every task should reach."""

_Timed = Callable[..., Any]


class Shares:
    """Processor time spent in functions that are watched."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, name: str, function: _Timed) -> _Timed:
        """`function`, its time counted under `name`."""
        self.seconds[name] = 0.0

        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            result = function(*arguments)
            self.seconds[name] += time.process_time() - start
            return result

        return timed


def _policy(kind: str, environment: ManipulationEnvironment, random: np.random.Generator) -> Policy:
    return uniform(environment, random) if kind == "random" else scripted(environment, "whole", HALF, random)


def run(environment: ManipulationEnvironment, kind: str, episodes: int, shares: Shares | None) -> float:
    """Seconds of processor time that `episodes` episodes take."""
    start = time.process_time()
    for seed in range(episodes):
        environment.reset(seed)
        policy = _policy(kind, environment, np.random.default_rng(seed))
        if shares is not None:
            policy = shares.watch("controller", policy) if seed == 0 else _again(shares, policy)
        for _ in range(environment.horizon):
            environment.step(policy())
    return time.process_time() - start


def _again(shares: Shares, policy: Policy) -> Policy:
    spent = shares.seconds["controller"]
    watched = shares.watch("controller", policy)
    shares.seconds["controller"] = spent
    return watched


def measure(name: str, form: str, kind: str, steps: int, rounds: int) -> dict[str, Any]:
    """Steps a second of processor time in each round, and shares of it from one more, watched round."""
    environment = make(name, action_form=form)
    episodes = max(1, steps // environment.horizon)
    run(environment, kind, 1, None)
    total = episodes * environment.horizon
    rates = [total / run(environment, kind, episodes, None) for _ in range(rounds)]
    shares = Shares()
    plain_step, plain_image = Physics.step, Physics.image
    Physics.step = shares.watch("physics", plain_step)  # type: ignore[method-assign]
    Physics.image = shares.watch("render", plain_image)  # type: ignore[method-assign]
    try:
        seconds = run(environment, kind, episodes, shares)
    finally:
        Physics.step, Physics.image = plain_step, plain_image  # type: ignore[method-assign]
        environment.close()
    return {
        "environment": name,
        "action_form": form,
        "actions": kind,
        "steps_per_round": total,
        "steps_per_cpu_second": rates,
        "median_steps_per_cpu_second": statistics.median(rates),
        "shares": {part: spent / seconds for part, spent in shares.seconds.items()},
    }


def main() -> None:
    """Print a line for each task, form and kind of actions; write all rounds with `--output`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="environment steps in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write every round as JSON")
    arguments = parser.parse_args()
    results = []
    for name in ENVIRONMENTS:
        for form in ("full", "position"):
            for kind in ("scripted", "random"):
                result = measure(name, form, kind, arguments.steps, arguments.rounds)
                results.append(result)
                shares = ", ".join(f"{part} {100 * share:.0f}%" for part, share in result["shares"].items())
                print(
                    f"{name:22s} {form:8s} {kind:8s}"
                    f" {result['median_steps_per_cpu_second']:6.0f} steps a CPU second ({shares})",
                    flush=True,
                )
    slowest = min(result["median_steps_per_cpu_second"] for result in results)
    print(f"target {TARGET}: {'reached' if slowest >= TARGET else 'missed'} (slowest {slowest:.0f})")
    if arguments.output:
        written = {"results": results, "versions": versions(), "hardware": hardware()}
        write_json(arguments.output, written)


if __name__ == "__main__":
    main()
