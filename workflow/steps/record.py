"""Record one dataset by its recipe and store it as a Minari dataset, with a summary beside it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from algorithms.population.behaviour_policy import load_behaviour_policy
from algorithms.population.streams import derived_seed
from envs.locomotion import specification
from envs.tabletop import SCRIPT
from offline_data import d4rl_hdf5, recipes
from offline_data.plane import SCRIPTS, UNIFORM_ACTOR
from storage import UserError
from storage.checksums import sha256
from storage.files import read_json, write_json
from storage.settings import build
from workflow import cli, paths
from workflow.jobs import Job

ACTORS = {"medium": ("medium",), "expert": ("expert",), "medium-expert": ("medium", "expert")}
"""The behaviour policy's actors that a recipe rolls out, in turn."""


def recorded(settings: cli.Json, behaviour: Path | None) -> recipes.Recording:
    """Return episodes of `settings["recipe"]`; D4RL's recipes but random need a behaviour policy's folder."""
    environment, recipe = settings["environment"], settings["recipe"]
    if recipe == "minari":
        return recipes.published(environment, settings["minari_id"])
    if recipe == "d4rl":
        rule = settings.get("episode_ends", d4rl_hdf5.CHECKED)
        return d4rl_hdf5.recording(settings["file"], environment, rule)
    seed = settings["seed"]
    if recipe == "random":
        actions = settings.get("actions", recipes.UNIFORM)
        return recipes.random(environment, settings["transitions"], seed, settings["copies"], 1, actions)
    if behaviour is None:
        raise UserError(
            f"The recipe {recipe} records a behaviour policy: expected its folder among the inputs."
        )
    if recipe in ACTORS:
        scale = settings.get("deviation_scale", 1.0)
        rollouts = [
            _rollout(environment, behaviour / f"{actor}.safetensors", seed + i, scale)
            for i, actor in enumerate(ACTORS[recipe])
        ]
        steps, copies = settings["transitions"], settings["copies"]
        recording = recipes.policy_rollouts(environment, recipe, rollouts, steps, copies, threads=1)
        if scale != 1.0:
            recording.metadata["deviation_scale"] = scale
        return recording
    replay, steps = behaviour / "replay.safetensors", settings.get("transitions")
    if recipe == "medium-replay":
        if not replay.exists():
            return recipes.replay_of_actions(environment, behaviour / "actions.safetensors", [seed])
        steps = _medium_steps(behaviour / "summary.json")
    return recipes.replay(environment, replay, [seed], steps)


def mixed(settings: cli.Json, behaviours: Sequence[Path]) -> recipes.Recording:
    """Return the episodes of the recipe heterogeneous, from the folders of its behaviour policies."""
    folders, environment = {folder.name: folder for folder in behaviours}, settings["environment"]
    sources = [
        _source(environment, entry, folders, settings["seed"] + number)
        for number, entry in enumerate(settings["sources"])
    ]
    return recipes.heterogeneous(environment, sources, settings["transitions"], settings["copies"], threads=1)


def _source(environment: str, entry: cli.Json, folders: Mapping[str, Path], seed: int) -> recipes.Source:
    environment = entry.get("environment", environment)
    scripts, hashed = SCRIPTS.get(environment, {}), dict[str, str]()
    if entry["actor"] == UNIFORM_ACTOR:
        policy = recipes.random_actions(environment, seed)
    elif entry["actor"] in scripts:
        policy = scripts[entry["actor"]](seed)
    elif entry["actor"] == SCRIPT:
        # Imports the robot's scene, which no other actor needs.
        policy = importlib.import_module("offline_data.tabletop").script(environment, seed)
    else:
        actor = folders[entry["policy"]] / f"{entry['actor']}.safetensors"
        policy, file, _ = _rollout(environment, actor, seed, 1.0)
        hashed = {"sha256": sha256(file)}
    disturbances = (entry.get("random_share", 0.0), entry.get("action_noise", 0.0))
    own_seed = derived_seed(seed, "disturbance") % 2**32
    policy = recipes.disturbed(environment, policy, own_seed, *disturbances)
    return recipes.Source(
        policy, {**entry, **hashed}, seed, entry.get("share", 1.0), entry.get("environment")
    )


def _medium_steps(path: Path) -> int:
    try:
        return int(read_json(path)["medium_steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no behaviour policy's summary: expected medium_steps.") from error


def _rollout(environment: str, actor: Path, seed: int, deviation_scale: float) -> recipes.Rollout:
    spec = specification(environment)
    sizes = (spec.observation_size, spec.action_size)
    policy = load_behaviour_policy(actor, *sizes, seed, deviation_scale)
    return recipes.Rollout(policy, actor, seed)


def main(job: Job) -> None:
    """Record, store, read back, summarise."""
    root, dataset_id = paths.root_and_id(job.output("data"))
    if job.settings["recipe"] == "scripts":
        # Imports the tasks' simulator, which no other recipe needs.
        scripts = importlib.import_module("offline_data.manipulation")
        settings = build(scripts.Settings, job.settings["scripts"], "scripts")
        made = scripts.record(job.settings["environment"], settings)
        write_json(job.output("summary"), scripts.store(root, dataset_id, made))
        return
    if job.settings["recipe"] == "heterogeneous":
        recording = mixed(job.settings, job.paths("behaviour"))
    else:
        recording = recorded(job.settings, job.path("behaviour"))
    summary = recipes.store(root, dataset_id, recording)
    write_json(job.output("summary"), summary)
