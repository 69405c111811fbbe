"""Film one task: its script, and one ensemble before and after fine-tuning, from the same start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from algorithms.methods.interface import OfflineStart
from algorithms.population import checkpoints
from algorithms.population.agents import Population, load_members
from algorithms.population.streams import derived_seed
from algorithms.training import acceleration
from algorithms.training.lookup import find_method
from envs.manipulation import make, pictures
from envs.manipulation.controllers import NONE, scripted
from envs.manipulation.environment import ManipulationEnvironment, Observation
from envs.manipulation.pictures import Reel
from storage.files import atomic_path
from storage.settings import build
from workflow import cli
from workflow.jobs import Job

BEFORE, AFTER, SCRIPT = "before", "after", "script"
_STEP = 80  # milliseconds that a step takes in the GIF: half as fast as in the simulator
_GAP = 4


def script(environment: ManipulationEnvironment, start: int) -> Reel:
    """Return the episode of the task's script without noise."""
    observation = environment.reset(start)
    policy = scripted(environment, "whole", NONE, np.random.default_rng(start))
    return pictures.play(environment, observation, lambda _: policy())


@torch.no_grad()
def agent(agents: Population, environment: ManipulationEnvironment, start: int) -> Reel:
    """Return the episode that an ensemble plays deterministically, as it is evaluated."""

    def act(observation: Observation) -> NDArray[np.float32]:
        shown = {name: torch.from_numpy(np.array(rows))[None, None] for name, rows in observation.items()}
        action: NDArray[np.float32] = agents.exploit(agents.acting_features(shown))[0, 0].numpy()
        return action

    return pictures.play(environment, environment.reset(start), act)


def ensemble(
    settings: cli.Json, environment: ManipulationEnvironment, files: Sequence[Path], averaged: bool
) -> Population:
    """One ensemble of the agents in `files`, acting by their averaged weights if `averaged` and there."""
    method = find_method(settings["method"], "online")
    config = build(method.Config, settings["config"], "config")
    start = OfflineStart([settings["seed"]], environment.shapes, environment.action_size, ())
    agents = method.population(start, config, len(files))
    members = [checkpoints.load(path)[0] for path in files]
    load_members(agents, members)
    if averaged:
        agents.load_averages(members)
    return agents.evaluated()


def outcomes(
    players: Mapping[str, Callable[[int], Reel]], starts: Sequence[int]
) -> tuple[pd.DataFrame, dict[str, list[Reel]]]:
    """Every player's episode from each of `starts`, and a row each: player, episode, success."""
    reels = {name: [play(start) for start in starts] for name, play in players.items()}
    rows = [(name, n, reel.success) for name, played in reels.items() for n, reel in enumerate(played)]
    return pd.DataFrame(rows, columns=["player", "episode", "success"]), reels


def main(job: Job) -> None:
    """Write <task>_<player>.png and <task>_outcomes.csv, and the GIF of all three."""
    acceleration.prepare_process()
    settings, task = job.settings, job.about["dataset"]
    environment = make(settings["environment"], **settings["options"])
    before = ensemble(settings, environment, job.paths("members"), averaged=False)
    after = ensemble(settings, environment, job.paths("actors"), averaged=True)
    players = {
        SCRIPT: partial(script, environment),
        BEFORE: partial(agent, before, environment),
        AFTER: partial(agent, after, environment),
    }
    starts = [derived_seed(settings["seed"], "film", n) % 2**32 for n in range(settings["starts"])]
    table, reels = outcomes(players, starts)
    shown = next((n for n, reel in enumerate(reels[AFTER]) if reel.success), 0)
    table["shown"] = table["episode"] == shown
    films = {name: film(environment, played[shown], settings) for name, played in reels.items()}
    environment.close()
    with atomic_path(job.output("strips")) as folder:
        for name, frames in films.items():
            strip = pictures.spread(frames, settings["frames"])
            pictures.write_png(folder / f"{task}_{name}.png", pictures.side_by_side(strip, _GAP))
        table.to_csv(folder / f"{task}_outcomes.csv", index=False, lineterminator="\n")
    together = [pictures.side_by_side(moment, _GAP) for moment in zip(*films.values(), strict=True)]
    pictures.write_gif(job.output("gif"), together, _STEP)


def film(environment: ManipulationEnvironment, reel: Reel, settings: cli.Json) -> list[Any]:
    """Every moment of an episode, in print quality."""
    return pictures.draw(environment, reel.states, settings["size"], "overview")
