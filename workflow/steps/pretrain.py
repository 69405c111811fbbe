"""Pre-train agents by one method, side by side, from one dataset; resumes from --state."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic, one_by_one
from algorithms.training.custom import try_offline_method
from algorithms.training.jobs import job_of
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule, StartingAgents, pretrain
from storage import UserError
from storage.curves import write_curves
from storage.provenance import collect
from workflow import cli, paths, training_process


def starting_agents(files: Sequence[Path], method: str) -> StartingAgents | None:
    """The agents to start from, None where there are none; UserError where their updates differ."""
    if not files:
        return None
    loaded = [checkpoints.load(path) for path in files]
    updates = [_updates(path, manifest, method) for path, (_, manifest) in zip(files, loaded, strict=True)]
    if len(set(updates)) > 1:
        raise UserError(f"The starting agents have had {updates} updates: expected as many of each.")
    return StartingAgents([tensors for tensors, _ in loaded], updates[0])


def _updates(path: Path, manifest: cli.Json, method: str) -> int:
    """How many updates of `method` an agent has had. UserError where its manifest does not say."""
    try:
        settings = manifest["configuration"]
        updates = settings["schedule"]["updates"] if settings["method"] == method else 0
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its manifest does not say how it was trained: it lacks {error}") from error
    if type(updates) is not int or updates < 0:
        raise UserError(f"{path}: its manifest says {updates!r} updates: expected a whole number from 0 on")
    return updates


def main(options: argparse.Namespace) -> None:
    """Train, write one safetensors file an agent, and the curve."""
    settings = options.settings
    compute = training_process.prepare(settings)
    transitions = paths.read(options.data, settings["reward_scale"])
    name = settings["method"]
    method = find_method(name, "offline")
    config = cli.build(method.Config, settings["config"], "config", name)
    start = starting_agents(options.start, name)
    if ":" in name:
        agents = start.agents if start else ()
        try_offline_method(name, method, config, transitions, agents, settings["environment"])
        compute = one_by_one(compute)
    trained = pretrain(
        options.label,
        method,
        config,
        cli.build(OfflineSchedule, settings["schedule"], "schedule", "offline"),
        transitions,
        options.agents,
        job_of(options.run, options.dataset, settings, options.state, compute),
        start,
    )
    provenance = collect(settings, options.agents, arithmetic())
    checkpoints.save_numbered(options.output, "agent", options.agents, trained.agents, provenance)
    write_curves(options.curves, trained.curve, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", required=True, help="the configuration's name")
    arguments.add_argument("--dataset", required=True, help="the dataset's name, for the curve's rows")
    arguments.add_argument("--label", required=True, help="what the curve calls the method")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--agents", type=int, nargs="+", required=True, help="the agents, by seed")
    arguments.add_argument(
        "--start",
        type=Path,
        nargs="*",
        default=[],
        help="agents to start from, instead of fresh ones",
    )
    cli.settings_argument(arguments, "pretraining")
    arguments.add_argument("--state", type=Path, required=True, help="folder of resumable state")
    arguments.add_argument("--output", type=Path, required=True, help="folder for agent_<number>.safetensors")
    arguments.add_argument("--curves", type=Path, required=True, help="Parquet file for the curve")
    cli.run(main, arguments)
