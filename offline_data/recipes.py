"""D4RL's recipes at any scale: random, medium, medium-replay and medium-expert data of the locomotion tasks.

Rewards are stored raw; a scale is applied where they are read (`Transitions.scaled`).
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from envs.locomotion import EnvironmentBatch, specification
from envs.tabletop import taken_for
from offline_data.collect import Policy, record
from offline_data.minari_io import read_published, read_transitions, write_dataset
from offline_data.transitions import Episode, Transitions, summary, to_episodes
from storage import UserError
from storage.checksums import sha256
from storage.files import atomic_path
from storage.provenance import versions

RandomActions = Literal["uniform", "untrained"]
UNIFORM: RandomActions = "uniform"
UNTRAINED: RandomActions = "untrained"


class Recording(NamedTuple):
    """Episodes of one environment, and the metadata that say how they were made (JSON values)."""

    environment: str
    episodes: list[Episode]
    metadata: dict[str, Any]


class Rollout(NamedTuple):
    """A policy to record: it samples actions in the environment's own range, with its own seeded generator.

    `file` is the safetensors file it was read from, whose SHA-256 goes into the metadata; `seed` is that of
    the environments' initial states.
    """

    policy: Policy
    file: Path
    seed: int


def random(
    environment: str, steps: int, seed: int, copies: int, threads: int, actions: RandomActions = UNIFORM
) -> Recording:
    """`random`: actions that no observation decides (D4RL, section 5, "random").

    Args:
        environment: such as "HalfCheetah-v4".
        steps: transitions in all; 1,000,000 in D4RL.
        seed: of initial states and actions, which are drawn from independent streams.
        copies: environments stepped at once; with the seed they decide what is recorded. Where they divide
            `steps` into whole time limits, no episode is cut.
        threads: of the simulator; they change nothing but the time.
        actions: `UNIFORM` over the action box, or `UNTRAINED`: tanh of a standard normal, scaled to the box,
            which is what a policy network draws before its first update. D4RL's are of an untrained policy.
    """
    policy = random_actions(environment, seed, actions)
    episodes = record(environment, policy, steps, seed, copies, threads)
    recording = described(environment, episodes, "random", [seed], copies=copies)
    if actions != UNIFORM:
        recording.metadata["actions"] = actions
    return recording


def random_actions(environment: str, seed: int, actions: RandomActions = UNIFORM) -> Policy:
    """Return the policy of `random`."""
    spec = specification(environment)
    generator = _generator(seed)
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)

    def policy(observations: NDArray[np.float64]) -> NDArray[np.float64]:
        size = (len(observations), spec.action_size)
        if actions == UNTRAINED:
            share = (np.tanh(generator.standard_normal(size)) + 1) / 2
            return np.asarray(low + (high - low) * share)
        return generator.uniform(low, high, size)

    return policy


def _generator(seed: int) -> np.random.Generator:
    """Spawned, so that actions are independent of the environments' own seeds."""
    return np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])


def disturbed(
    environment: str, policy: Policy, seed: int, random_share: float = 0.0, noise: float = 0.0
) -> Policy:
    """`policy` as BRAC's data have it: now and then a uniform action instead, or Gaussian noise added.

    Args:
        environment: whose action box the actions stay in.
        policy: samples actions.
        seed: of what disturbs them.
        random_share: of the actions, those drawn uniformly over the box instead (epsilon).
        noise: standard deviation of what is added to each number of an action.
    """
    spec = specification(environment)
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)
    generator = _generator(seed)

    def act(observations: NDArray[np.float64]) -> NDArray[Any]:
        actions = np.asarray(policy(observations), np.float64)
        if noise:
            actions = np.clip(actions + noise * generator.standard_normal(actions.shape), low, high)
        if random_share:
            instead = generator.random((len(actions), 1)) < random_share
            actions = np.where(instead, generator.uniform(low, high, actions.shape), actions)
        return actions

    return act if noise or random_share else policy


class Source(NamedTuple):
    """One of the policies that a heterogeneous dataset is made by, acting in the environment's own range.

    `description` says in the metadata which it is (JSON values), `seed` is that of the initial states, and
    `share` its part of the steps, in any unit. Where it acts in another task (`environment`), its episodes
    are taken for the dataset's own (`envs.tabletop.taken_for`).
    """

    policy: Policy
    description: Mapping[str, Any]
    seed: int
    share: float = 1.0
    environment: str | None = None


def heterogeneous(
    environment: str, sources: Sequence[Source], steps: int, copies: int, threads: int
) -> Recording:
    """Record data of several policies, one after the other, with who made each episode.

    With equal shares and SAC's actors it is the heterogeneous-k of Zhang and Kashima (2023); with uniform
    actions, an actor, and that actor disturbed, in the shares 1, 2 and 2, it is BRAC's data (Wu et al. 2019).
    In the metadata `sources` describes the policies and `episode_sources` has one number an episode, from 0.

    Args:
        environment: such as "HalfCheetah-v4".
        sources: at least one.
        steps: transitions in all.
        copies: environments stepped at once.
        threads: of the simulator.

    Raises:
        UserError: a source's share of the steps is less than one step of each copy, or what another task
            shows is not what this one needs (`envs.tabletop.check_taken_for`).
    """
    shares = np.cumsum([source.share for source in sources])
    ends = np.rint(steps * shares / shares[-1]).astype(int)
    episodes: list[Episode] = []
    made_by: list[int] = []
    for number, (source, count) in enumerate(zip(sources, np.diff(ends, prepend=0), strict=True)):
        place = source.environment or environment
        own = record(place, source.policy, int(count), source.seed, copies, threads)
        episodes += own if source.environment is None else [_taken(each, place, environment) for each in own]
        made_by += [number] * len(own)
    return described(
        environment,
        episodes,
        "heterogeneous",
        [source.seed for source in sources],
        copies=copies,
        sources=[{**source.description, "share": source.share} for source in sources],
        episode_sources=made_by,
    )


def _taken(episode: Episode, recorded: str, environment: str) -> Episode:
    observations, rewards = taken_for(episode.observations, recorded, environment)
    return replace(episode, observations=observations, rewards=rewards)


def policy_rollouts(
    environment: str, recipe: str, rollouts: Sequence[Rollout], steps: int, copies: int, threads: int
) -> Recording:
    """`medium`, `expert` and, of both, `medium-expert`: policies with their own sampling (D4RL, section 5).

    They are recorded one after the other, each for its share of the steps (the first `steps % len(rollouts)`
    take one more): with the same seeds the first half of `medium-expert` is `medium`, as in D4RL.

    Args:
        environment: such as "HalfCheetah-v4".
        recipe: its name, for the metadata.
        rollouts: at least one.
        steps: transitions in all; 1,000,000 a policy in D4RL.
        copies: environments stepped at once.
        threads: of the simulator.
    """
    count = len(rollouts)
    episodes = [
        episode
        for number, (policy, _, seed) in enumerate(rollouts)
        for episode in record(
            environment, policy, steps // count + (number < steps % count), seed, copies, threads
        )
    ]
    hashes = [sha256(rollout.file) for rollout in rollouts]
    seeds = [rollout.seed for rollout in rollouts]
    return described(environment, episodes, recipe, seeds, copies=copies, behaviour_policies=hashes)


def published(environment: str, dataset_id: str) -> Recording:
    """Any Minari dataset of plain vectors, downloaded by Minari where it is not there, numbers as float32.

    Stored, it is a local dataset with the checksum and D4RL's reference scores, whatever its own are.

    Args:
        environment: what it was recorded on, such as "Hopper-v5" for "mujoco/hopper/medium-v0".
        dataset_id: in a namespace of any depth.

    Raises:
        UserError: as `minari_io.read_published`.
    """
    transitions, ends = read_published(dataset_id, environment)
    episodes = to_episodes(transitions)
    return described(environment, episodes, "minari", [], source=dataset_id, episode_ends=ends)


def replay(environment: str, log: Path | str, seeds: Sequence[int], steps: int | None = None) -> Recording:
    """`replay` ("medium-replay"): all that a training run met until a step (D4RL, section 5).

    Args:
        environment: such as "InvertedDoublePendulum-v4".
        log: the run's replay log, see `from_replay_log`.
        seeds: of the run.
        steps: how many of the log's first transitions to take; all by default.
    """
    episodes = from_replay_log(log, steps)
    return described(environment, episodes, "replay", seeds, replay_log_sha256=sha256(Path(log)))


def replay_of_actions(environment: str, log: Path | str, seeds: Sequence[int]) -> Recording:
    """`replay` from an action log instead: the run is simulated again, see `resimulate`.

    Args:
        environment: must be the log's.
        log: written by `write_action_log`.
        seeds: of the run.

    Raises:
        UserError: as `resimulate`, or the log is of another environment.
    """
    recorded_on = _read_action_log(Path(log)).environment
    if recorded_on != environment:
        raise UserError(f"{log} is an action log of {recorded_on}, expected one of {environment}")
    return described(environment, resimulate(log), "replay", seeds, action_log_sha256=sha256(Path(log)))


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
    return to_episodes(Transitions(**arrays, metadata={"dataset_id": str(path)}))


def write_action_log(
    path: Path | str, environment: str, reset_seed: int, episodes: Sequence[Episode]
) -> None:
    """Write what it takes to simulate a run of one environment again: a seventh of its replay or less.

    A safetensors file of `actions` [M, A] float32 in order of time, `lengths` [E] (steps of each episode)
    and `resets` [E] (how often the environment was reset before it: twice where an episode ended together
    with a block of `algorithms.training.online`, which resets again), int64; in its header the environment,
    the seed of its resets, and the SHA-256 of all that the simulation gives. The run is simulated once, to
    find the resets and to check that it comes out equal to the last bit.

    Args:
        path: of the log.
        environment: such as "Hopper-v4".
        reset_seed: that the run gave its `EnvironmentBatch`.
        episodes: all of the run's from its first on, in order of time, with raw rewards.

    Raises:
        UserError: the simulation does something else than was recorded, or the place cannot be written.
    """
    environments = EnvironmentBatch(environment, [reset_seed])
    resets = []
    for number, episode in enumerate(tqdm(episodes, desc="checking", unit="episode", mininterval=1)):
        count, first = _reset_to(environments, episode.observations[0])
        again = _simulate(environments, first, episode.actions)
        if _fingerprint([again]) != _fingerprint([episode]):
            raise UserError(
                f"{path} was not written: episode {number} is not what {environment} with reset seed"
                f" {reset_seed} does; expected a whole run in order of time, rewards not scaled"
            )
        resets.append(count)
    header = {
        "environment": environment,
        "reset_seed": str(reset_seed),
        "simulation_sha256": _fingerprint(episodes),
        "simulated_with": _simulator(),
    }
    tensors = {
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "lengths": np.array([len(episode) for episode in episodes]),
        "resets": np.array(resets),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, header)


def resimulate(path: Path | str) -> list[Episode]:
    """Return the episodes of an action log, simulated again: equal to those recorded, to the last bit.

    An episode that a block's end cut is marked truncated, not terminal. Memory: the episodes.

    Raises:
        UserError: the file is missing, damaged or no action log, or this machine's simulator, being another,
            rounds differently, so that the run would be another one.
    """
    log = _read_action_log(Path(path))
    environments = EnvironmentBatch(log.environment, [log.reset_seed])
    ends = np.cumsum(log.lengths)
    episodes = []
    with tqdm(
        total=int(ends[-1]), desc="simulating", unit="step", unit_scale=True, mininterval=1
    ) as progress:
        for end, length, resets in zip(ends, log.lengths, log.resets, strict=True):
            for _ in range(resets):
                first = environments.reset()[0]
            episodes.append(_simulate(environments, first, log.actions[end - length : end]))
            progress.update(int(length))
    if _fingerprint(episodes) != log.fingerprint:
        raise UserError(
            f"{path} was simulated with {log.simulator} and gives another run with {_simulator()}; expected"
            " the same bits: train the behaviour policy again on this machine"
        )
    return episodes


def store(folder: Path | str, dataset_id: str, recording: Recording) -> dict[str, Any]:
    """Write `recording` as the Minari dataset `dataset_id` under `folder`; its summary, read back."""
    write_dataset(folder, dataset_id, recording.episodes, recording.environment, recording.metadata)
    return summary(read_transitions(folder, dataset_id), recording.environment)


def described(
    environment: str, episodes: list[Episode], recipe: str, seeds: Sequence[int], **others: Any
) -> Recording:
    """Return a recording with the metadata that all have: recipe, seeds, steps; `others` are JSON values."""
    metadata = {
        "recipe": recipe,
        "algorithm_name": recipe,
        "seeds": [int(seed) for seed in seeds],
        "steps": sum(len(episode) for episode in episodes),
        **others,
    }
    return Recording(environment, episodes, metadata)


def _read_log(path: Path) -> dict[str, NDArray[Any]]:
    keys = ("observations", "actions", "rewards", "masks", "next_observations", "episode_ends")
    arrays, _ = _read_safetensors(path, keys, "a replay log")
    if len({len(array) for array in arrays.values()}) > 1:
        raise UserError(f"{path} is not a replay log: its arrays differ in length")
    return arrays


def _read_safetensors(
    path: Path, keys: Sequence[str], kind: str
) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """Return the arrays `keys` of a file that should be `kind`, and its header."""
    try:
        with safe_open(path, framework="numpy") as file:
            missing = sorted(set(keys) - set(file.keys()))
            if missing:
                raise UserError(f"{path} is not {kind}: it lacks {missing[0]!r}")
            arrays = {key: file.get_tensor(key) for key in keys}
            header = file.metadata() or {}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} is missing, truncated or not a safetensors file: {error}") from error
    if scalars := [key for key in keys if not arrays[key].ndim]:
        raise UserError(f"{path} is not {kind}: {scalars[0]!r} is a single number")
    return arrays, header


class _ActionLog(NamedTuple):
    environment: str
    reset_seed: int
    fingerprint: str
    simulator: str
    actions: NDArray[np.float32]
    lengths: NDArray[np.int64]
    resets: NDArray[np.int64]


def _read_action_log(path: Path) -> _ActionLog:
    arrays, header = _read_safetensors(path, ("actions", "lengths", "resets"), "an action log")
    try:
        log = _ActionLog(
            header["environment"],
            int(header["reset_seed"]),
            header["simulation_sha256"],
            header["simulated_with"],
            **arrays,
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not an action log: its header lacks or garbles {error}") from error
    expected = (int(log.lengths.sum()), specification(log.environment).action_size)
    whole = log.lengths.shape == log.resets.shape == (log.lengths.size,) and log.lengths.size > 0
    whole = whole and log.lengths.dtype == log.resets.dtype == np.int64 and 0 <= log.reset_seed < 2**32
    if not whole or log.actions.shape != expected or (log.lengths < 1).any() or (log.resets < 1).any():
        raise UserError(f"{path} is not an action log: its arrays do not fit each other or {log.environment}")
    return log


# An episode that ended naturally is followed by one reset, or by two where its end is also a block's.
_MOST_RESETS = 2


def _reset_to(
    environments: EnvironmentBatch, observation: NDArray[np.float32]
) -> tuple[int, NDArray[np.float64]]:
    """Reset until `observation` [obs] comes out, or too often: how often, and the last one unrounded."""
    first, count = environments.reset()[0], 1
    while count < _MOST_RESETS and not np.array_equal(first.astype(np.float32), observation):
        first, count = environments.reset()[0], count + 1
    return count, first


def _simulate(
    environments: EnvironmentBatch, first: NDArray[np.float64], actions: NDArray[np.float32]
) -> Episode:
    """Return the episode that begins at `first`, where the environment is, and takes `actions` [T, A].

    It is shorter than they are where the environment ends it before.
    """
    observations, rewards = [first], []
    for action in actions.astype(np.float64):  # algorithms.training.online steps with float64 actions
        outcome = environments.step(action[None])
        observations.append(outcome.observations[0])
        rewards.append(outcome.rewards[0])
        if outcome.terminations[0] or outcome.truncations[0]:
            break
    terminated = bool(outcome.terminations[0])
    return Episode(
        observations=np.array(observations, dtype=np.float32),
        actions=actions[: len(rewards)],
        rewards=np.array(rewards, dtype=np.float32),
        terminated=terminated,
        truncated=not terminated,
    )


def _fingerprint(episodes: Sequence[Episode]) -> str:
    """Return the hexadecimal SHA-256 of all that an environment said."""
    digest = hashlib.sha256()
    for episode in episodes:
        digest.update(episode.observations.tobytes())
        digest.update(episode.rewards.tobytes())
        digest.update(bytes([episode.terminated]))
    return digest.hexdigest()


def _simulator() -> str:
    """Return the versions that decide the last bits of a simulation."""
    return f"mujoco {versions()['mujoco']} on {platform.machine()}"
