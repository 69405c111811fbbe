"""Record one dataset by its recipe and store it as a Minari dataset, with a summary beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.behaviour import load_behaviour_policy
from datasets import recipes
from envs.locomotion import specification
from records import UserError
from records.files import read_json, write_json
from workflow import command, data


def recorded(settings: command.Json, behaviour: Path | None) -> recipes.Recording:
    """The episodes of `settings["recipe"]`; all but random data come from a behaviour policy's folder."""
    environment, recipe, seed = settings["environment"], settings["recipe"], settings["seed"]
    if recipe == "random":
        return recipes.random(environment, settings["transitions"], seed, settings["copies"], threads=1)
    if behaviour is None:
        raise UserError(f"The recipe {recipe} records a behaviour policy: expected --behaviour.")
    if recipe == "medium":
        spec, actor = specification(environment), behaviour / "medium.safetensors"
        policy = load_behaviour_policy(actor, spec.observation_size, spec.action_size, seed)
        steps, copies = settings["transitions"], settings["copies"]
        return recipes.medium(environment, policy, actor, steps, seed, copies, threads=1)
    steps = settings.get("transitions")
    if recipe == "medium-replay":
        steps = read_json(behaviour / "summary.json")["medium_steps"]
    return recipes.replay(environment, behaviour / "replay.safetensors", [seed], steps)


def main(options: argparse.Namespace) -> None:
    """Record, store, read back, summarise."""
    root, dataset_id = data.root_and_id(options.output)
    summary = recipes.store(root, dataset_id, recorded(options.settings, options.behaviour))
    write_json(options.summary, summary)


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    command.settings_argument(arguments, "recording")
    arguments.add_argument("--behaviour", type=Path, nargs="?", help="a behaviour policy's folder")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--summary", type=Path, required=True, help="JSON file")
    command.run(main, arguments)
