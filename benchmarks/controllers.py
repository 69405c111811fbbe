"""How often the scripts of the manipulation tasks succeed: without noise and with the recorded data's.

    python -m benchmarks.controllers --output controllers.json

Each task is played in both forms of actions, from the seeds 0, 1, 2 and so on: the whole task, and its stages
as they are recorded. An episode is a success when its last step is one; a prior episode, which does the first
stage alone, when it reached that stage's end. Beside each share stands Wilson's 95% interval.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from envs.manipulation import ENVIRONMENTS, make
from envs.manipulation.controllers import HALF, NONE, Noise, scripted
from envs.manipulation.environment import ManipulationEnvironment
from storage.files import write_json
from storage.provenance import hardware, versions

FORMS = ("full", "position")
STAGES = ("whole", "prior", "task")
NOISES = {"none": NONE, "as recorded": HALF}
_Z = 1.959964
"""The normal distribution's quantile of a 95% interval."""


def succeeds(environment: ManipulationEnvironment, stage: str, noise: Noise, seed: int) -> tuple[bool, int]:
    """Whether one episode does its stage, and the step at which it first had (the horizon: never)."""
    environment.reset(seed)
    policy = scripted(environment, stage, noise, np.random.default_rng(seed))
    done, first = False, environment.horizon
    for time in range(environment.horizon):
        step = environment.step(policy())
        reached = environment.task.first_stage_done(environment.physics)
        done = done or reached if stage == "prior" else step.info["success"]
        if done:
            first = min(first, time + 1)
    return done, first


def interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    share, z = successes / episodes, _Z
    middle = (share + z * z / (2 * episodes)) / (1 + z * z / episodes)
    half = z * math.sqrt(share * (1 - share) / episodes + z * z / (4 * episodes**2)) / (1 + z * z / episodes)
    return max(0.0, middle - half), min(1.0, middle + half)


def measure(name: str, form: str, stage: str, noise: str, episodes: int) -> dict[str, Any]:
    """One row of the record."""
    environment = make(name, action_form=form, start="middle" if stage == "task" else "beginning")
    outcomes = [succeeds(environment, stage, NOISES[noise], seed) for seed in range(episodes)]
    horizon = environment.horizon
    environment.close()
    successes = sum(done for done, _ in outcomes)
    firsts = [first for done, first in outcomes if done]
    return {
        "environment": name,
        "action_form": form,
        "stage": stage,
        "noise": noise,
        "horizon": horizon,
        "episodes": episodes,
        "success": successes / episodes,
        "interval": interval(successes, episodes),
        "median_step_of_success": float(np.median(firsts)) if firsts else None,
    }


def main() -> None:
    """Print a row of a Markdown table for each task, form, stage and noise; write all with `--output`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=100, help="of each kind")
    parser.add_argument("--output", type=Path, help="write every row as JSON")
    arguments = parser.parse_args()
    results = []
    print("| task | actions | stage | noise | success | 95% interval | median step | horizon |")
    print("| --- | --- | --- | --- | ---: | ---: | ---: | ---: |")
    for name in ENVIRONMENTS:
        for form in FORMS:
            for stage in STAGES:
                for noise in NOISES:
                    row = measure(name, form, stage, noise, arguments.episodes)
                    results.append(row)
                    low, high = row["interval"]
                    step = row["median_step_of_success"] or 0
                    share = f"{row['success']:.2f} | {low:.2f} to {high:.2f}"
                    print(
                        f"| {name} | {form} | {stage} | {noise} | {share} | {step:.0f} | {row['horizon']} |",
                        flush=True,
                    )
    if arguments.output:
        write_json(arguments.output, {"results": results, "versions": versions(), "hardware": hardware()})


if __name__ == "__main__":
    main()
