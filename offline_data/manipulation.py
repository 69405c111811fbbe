"""Data of the manipulation tasks, recorded from scripts: prior, task and random episodes.

As in COG, no episode need show the whole task: prior episodes do its first stage, with all rewards zeroed;
task episodes start where that ended and do the second. Their sizes in COG are not in its code; its file names
say 10,000 prior and 10,000 task trajectories for the drawers, 10,000 and 5,000 for PickPlace [COG]. In Off2On
half of that data is replaced by 100,000 uniform random rollouts, or transitions: it does not say which
([S] D.2). How many of each is a setting here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Interval
from tqdm import tqdm

from envs.manipulation import make
from envs.manipulation.controllers import HALF, Noise, Policy, Scripted, scripted, uniform
from envs.manipulation.environment import ManipulationEnvironment
from envs.manipulation.gymnasium_environment import spaces
from offline_data.image_episodes import (
    PRIOR,
    RANDOM,
    SOURCES,
    TASK,
    ImageEpisode,
    ImageEpisodes,
)
from offline_data.image_io import read_image_dataset, write_image_dataset
from storage import UserError
from storage.constraints import Candidates, Count, Seed, Weight

ATTEMPTS = 100
"""How often at most an episode is tried until it ends as `Settings.task_success` asks."""


@dataclass(frozen=True)
class Settings:
    """How many episodes of each kind, and how they are made.

    prior, task, random: episodes of each; one at least in all. prior_noise and task_noise: of the scripts.
    prior_rests: whether a prior episode goes on to the horizon when its script is done, as COG's do, or ends
    there (ours for small budgets: agents clone the rest too). task_success: the share of task episodes in
    success at their last step, spread evenly over their numbers, each tried until it ends as it is to (ours:
    few successes are data from which training offline does not learn the whole task); None takes them as they
    come. seed: of everything. action_form,
    horizon: the environment's; None is the task's own horizon. middle_spread and
    returns: where first stages end and task episodes start, see `ManipulationTask`.
    """

    prior: Count
    task: Count
    random: Count
    prior_noise: Noise = HALF
    task_noise: Noise = HALF
    prior_rests: bool = True
    task_success: Weight | None = None
    seed: Seed = 0
    action_form: Literal["full", "position"] = "full"
    horizon: Candidates | None = None
    middle_spread: Annotated[float, Interval(ge=0, le=0.05)] = 0.0
    returns: bool = True


class ImageRecording(NamedTuple):
    """Episodes of one environment, what it was made with, and how they were made (JSON values)."""

    environment: str
    options: dict[str, Any]
    episodes: list[ImageEpisode]
    metadata: dict[str, Any]


def record(task: str, settings: Settings) -> ImageRecording:
    """Record `settings.prior` prior, then `task` task, then `random` random episodes of a task.

    Each episode has a seed of its own, so that its content depends on `settings.seed`, its kind, its number
    and how it is to end alone. Images are equal on machines with the same drawing library.

    Args:
        task: such as "GraspClosedDrawer-v0".
        settings: as above.

    Raises:
        UserError: the task is unknown, a setting is out of range, or task episodes never end as asked.
    """
    counts = {PRIOR: settings.prior, TASK: settings.task, RANDOM: settings.random}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise UserError(f"episodes of {task} are {list(counts.values())}; expected at least one in all")
    options = {name: getattr(settings, name) for name in ("action_form", "horizon")}
    episodes, first_stage = [], dict.fromkeys(SOURCES, 0)
    for source, count in counts.items():
        start = "middle" if source == TASK else "beginning"
        middle = {"middle_spread": settings.middle_spread, "returns": settings.returns}
        environment = make(task, start=start, **middle, **options)
        for number in tqdm(range(count), desc=SOURCES[source], unit="episode", mininterval=1):
            episode, reached = _wanted_episode(environment, source, settings, number)
            episodes.append(episode)
            first_stage[SOURCES[source]] += reached
        environment.close()
    metadata = {
        "recipe": "manipulation",
        "algorithm_name": "manipulation",
        "seeds": [settings.seed],
        "steps": sum(len(episode) for episode in episodes),
        "settings": asdict(settings),
        "first_stage_reached": first_stage,
    }
    return ImageRecording(task, options, episodes, metadata)


def store(folder: Path | str, dataset_id: str, recording: ImageRecording) -> dict[str, Any]:
    """Write `recording` as the Minari dataset `dataset_id` under `folder`; its summary, read back."""
    first = recording.episodes[0]
    shown = spaces(first.images.shape[1:], first.actions.shape[1])
    write_image_dataset(folder, dataset_id, recording.episodes, *recording[:2], recording.metadata, shown)
    return image_summary(read_image_dataset(folder, dataset_id))


def image_summary(episodes: ImageEpisodes) -> dict[str, Any]:
    """Summarise the data as JSON values: of each source, and of all.

    `success`: the share of episodes that are in success at their last step; prior data are rewarded nowhere,
    and so in none. `first_stage`: the share that reached the first stage's end at some step (the whole of
    the second stage starts there).
    """
    metadata = episodes.metadata
    reached = metadata["first_stage_reached"]
    rows = list(episodes.episodes())
    sources = {}
    for number, name in enumerate(SOURCES):
        of_source = [part for part in rows if episodes.source[part.start] == number]
        if of_source:
            sources[name] = {
                "episodes": len(of_source),
                "steps": sum(part.stop - part.start for part in of_source),
                "success": float(np.mean([episodes.rewards[part.stop - 1] for part in of_source])),
                "first_stage": reached[name] / len(of_source),
            }
    return {
        "dataset_id": metadata.get("dataset_id"),
        "environment": metadata.get("environment"),
        "steps": len(episodes),
        "episodes": len(rows),
        "length_mean": len(episodes) / len(rows),
        "rewarded_steps": int(episodes.rewards.sum()),
        "sources": sources,
    }


def _wanted_episode(
    environment: ManipulationEnvironment, source: int, settings: Settings, number: int
) -> tuple[ImageEpisode, bool]:
    """Return the first attempt at an episode that ends as it is to (`_episode`). UserError for none."""
    share = settings.task_success if source == TASK else None
    for attempt in range(ATTEMPTS):
        again = [attempt] if attempt else []
        seeds = np.random.SeedSequence([settings.seed, source, number, *again])
        made = _episode(environment, source, settings, seeds)
        if share is None or bool(made[0].rewards[-1]) == _succeeds(number, share):
            return made
    outcome = "fail" if _succeeds(number, settings.task_success or 0.0) else "succeed"
    raise UserError(
        f"task_success is {settings.task_success}, and {ATTEMPTS} attempts at one task episode of"
        f" {environment.name} all {outcome}: expected a share that task_noise leaves room for"
    )


def _succeeds(number: int, share: float) -> bool:
    """Whether episode `number` is one of the `share` that succeed, spread evenly."""
    return int((number + 1) * share) > int(number * share)


def _episode(
    environment: ManipulationEnvironment, source: int, settings: Settings, seeds: np.random.SeedSequence
) -> tuple[ImageEpisode, bool]:
    """One episode, and whether it reached the end of the first stage."""
    start, noise = seeds.spawn(2)
    observation = environment.reset(int(start.generate_state(1)[0]))
    policy = _policy(environment, source, settings, np.random.default_rng(noise))
    steps, size = environment.horizon, environment.action_size  # a script has at least one step
    images = np.empty((steps + 1, *environment.shapes["image"]), np.uint8)
    states = np.empty((steps + 1, len(observation["state"])), np.float32)
    actions, rewards = np.empty((steps, size), np.float32), np.empty(steps, np.float32)
    images[0], states[0] = observation["image"], observation["state"]
    reached, cut = False, source == PRIOR and not settings.prior_rests
    for time in range(steps):
        actions[time] = policy()
        if cut and isinstance(policy, Scripted) and policy.resting:
            steps = time
            break
        outcome = environment.step(actions[time])
        images[time + 1], states[time + 1] = outcome.observation["image"], outcome.observation["state"]
        rewards[time] = outcome.reward
        reached = reached or environment.task.first_stage_done(environment.physics)
    if source == PRIOR:
        rewards[:] = 0.0  # [COG]
    return (
        ImageEpisode(images[: steps + 1], states[: steps + 1], actions[:steps], rewards[:steps], source),
        reached,
    )


def _policy(
    environment: ManipulationEnvironment, source: int, settings: Settings, random: np.random.Generator
) -> Policy:
    if source == RANDOM:
        return uniform(environment, random)
    noise = settings.prior_noise if source == PRIOR else settings.task_noise
    return scripted(environment, SOURCES[source], noise, random)
