"""D4RL's recipes at any scale: random, medium and replay data of the locomotion tasks.

Rewards are stored raw; a scale is applied where they are read (`Transitions.scaled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from datasets.collect import Policy, record
from datasets.minari_io import read_transitions, sha256, write_dataset
from datasets.transitions import Episode, Transitions, summary
from envs.locomotion import specification
from records import UserError


class Recording(NamedTuple):
    """Episodes of one environment, and the metadata that say how they were made (JSON values)."""

    environment: str
    episodes: list[Episode]
    metadata: dict[str, Any]


def random(environment: str, steps: int, seed: int, copies: int, threads: int) -> Recording:
    """`random`: uniform actions over the environment's action box (D4RL, section 5, "random").

    Args:
        environment: such as "HalfCheetah-v4".
        steps: transitions in all; 1,000,000 in D4RL.
        seed: of initial states and actions, which are drawn from independent streams.
        copies: environments stepped at once; with the seed they decide what is recorded. Where they divide
            `steps` into whole time limits, no episode is cut.
        threads: of the simulator; they change nothing but the time.
    """
    spec = specification(environment)
    # Spawned, so that the actions are independent of the environments' own seeds.
    generator = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)

    def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        return generator.uniform(low, high, size=(len(observations), spec.action_size))

    episodes = record(environment, policy, steps, seed, copies, threads)
    return Recording(environment, episodes, _metadata("random", [seed], steps, copies=copies))


def medium(
    environment: str,
    policy: Policy,
    behaviour_policy: Path | str,
    steps: int,
    seed: int,
    copies: int,
    threads: int,
) -> Recording:
    """`medium`: a partly trained policy rolled out, with its own sampling (D4RL, section 5, "medium").

    Args:
        environment: such as "HalfCheetah-v4".
        policy: samples actions in the environment's own range; it holds its own seeded generator.
        behaviour_policy: the safetensors file the policy was read from; its SHA-256 goes into the metadata.
        steps: transitions in all; 1,000,000 in D4RL.
        seed: of initial states.
        copies: environments stepped at once.
        threads: of the simulator.
    """
    episodes = record(environment, policy, steps, seed, copies, threads)
    hashes = [sha256(Path(behaviour_policy))]
    return Recording(
        environment, episodes, _metadata("medium", [seed], steps, copies=copies, behaviour_policies=hashes)
    )


def replay(environment: str, log: Path | str, seeds: Sequence[int], steps: int | None = None) -> Recording:
    """`replay` ("medium-replay"): all that a training run met until a step (D4RL, section 5).

    Args:
        environment: such as "InvertedDoublePendulum-v4".
        log: the run's replay log, see `from_replay_log`.
        seeds: of the run.
        steps: how many of the log's first transitions to take; all by default.
    """
    episodes = from_replay_log(log, steps)
    taken = sum(len(episode) for episode in episodes)
    return Recording(
        environment, episodes, _metadata("replay", seeds, taken, replay_log_sha256=sha256(Path(log)))
    )


def from_replay_log(path: Path | str, steps: int | None = None) -> list[Episode]:
    """Cut the replay log of a run into its episodes.

    The log is a safetensors file of the transitions of one environment in order of time: `observations`,
    `next_observations` [M, obs], `actions` [M, A], `rewards`, `masks` [M] (float32), `episode_ends` [M]
    (bool). An episode that the end of what is taken cuts is marked truncated, not terminal.

    Args:
        path: of the log.
        steps: how many of its first transitions to take; all by default.

    Raises:
        UserError: the file is missing, damaged, lacks an array, holds fewer transitions than `steps` or
            holds them out of order.
    """
    arrays = _read_log(Path(path))
    total = len(arrays["rewards"])
    if steps is not None and not 1 <= steps <= total:
        raise UserError(f"{path} holds {total} transitions, expected at least {steps} and to take at least 1")
    count = total if steps is None else steps
    arrays = {key: array[:count].copy() for key, array in arrays.items()}
    arrays["episode_ends"][-1] = True
    log = Transitions(**arrays, metadata={"dataset_id": str(path)})

    inside = np.flatnonzero(~log.episode_ends)
    if not np.array_equal(log.next_observations[inside], log.observations[inside + 1]):
        raise UserError(
            f"{path}: inside an episode the next observation of a step is not the observation of the step"
            " after it; expected the transitions of one environment in order of time"
        )
    return [
        Episode(
            observations=np.concatenate([log.observations[rows], log.next_observations[rows][-1:]]),
            actions=log.actions[rows],
            rewards=log.rewards[rows],
            terminated=bool(log.masks[rows.stop - 1] == 0),
            truncated=bool(log.masks[rows.stop - 1] == 1),
        )
        for rows in log.episodes()
    ]


def store(folder: Path | str, dataset_id: str, recording: Recording) -> dict[str, Any]:
    """Write `recording` as the Minari dataset `dataset_id` under `folder`; its summary, read back."""
    write_dataset(folder, dataset_id, recording.episodes, recording.environment, recording.metadata)
    return summary(read_transitions(folder, dataset_id), recording.environment)


def _metadata(recipe: str, seeds: Sequence[int], steps: int, **others: Any) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "algorithm_name": recipe,
        "seeds": [int(seed) for seed in seeds],
        "steps": steps,
        **others,
    }


def _read_log(path: Path) -> dict[str, NDArray[Any]]:
    keys = ("observations", "actions", "rewards", "masks", "next_observations", "episode_ends")
    try:
        with safe_open(path, framework="numpy") as file:
            missing = sorted(set(keys) - set(file.keys()))
            if missing:
                raise UserError(f"{path} is not a replay log: it lacks {missing[0]!r}")
            return {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is missing, truncated or not a safetensors file: {error}") from error
