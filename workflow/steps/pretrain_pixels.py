"""Pre-train agents on images by COG's CQL, side by side, or a control of it; resumes from --state."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from algorithms.methods.pixels import PixelConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.jobs import job_of
from algorithms.training.pixel_training import PixelOfflineSchedule, pretrain_pixels
from envs.manipulation import make
from offline_data.image_episodes import read_image_dataset
from storage.curves import write_curves
from storage.provenance import collect
from workflow import cli, paths, training_process
from workflow.sections import OWN_CHOICE
from workflow.settings import build
from workflow.steps.pretrain import starting_agents


def main(options: argparse.Namespace) -> None:
    """Train, write one safetensors file an agent, and the curve."""
    settings = options.settings
    compute = training_process.prepare(settings)
    trained = pretrain_pixels(
        options.label,
        build(PixelConfig, settings["config"], "config", OWN_CHOICE),
        build(PixelOfflineSchedule, settings["schedule"], "schedule"),
        read_image_dataset(*paths.root_and_id(options.data)),
        options.agents,
        job_of(options.run, options.task, settings, options.state, compute),
        partial(make, **settings["options"]),
        starting_agents(options.start, settings["method"]),
    )
    provenance = collect(settings, options.agents, arithmetic())
    checkpoints.save_numbered(options.output, "agent", options.agents, trained.agents, provenance)
    write_curves(options.curves, trained.curve, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", required=True, help="the configuration's name")
    arguments.add_argument("--task", required=True, help="the task's name, for the curve's rows")
    arguments.add_argument("--label", required=True, help="what the curve calls the training")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--agents", type=int, nargs="+", required=True, help="the agents, by seed")
    arguments.add_argument("--start", type=Path, nargs="*", default=[], help="agents to start from")
    cli.settings_argument(arguments, "pretraining")
    arguments.add_argument("--state", type=Path, required=True, help="folder of resumable state")
    arguments.add_argument("--output", type=Path, required=True, help="folder for agent_<number>.safetensors")
    arguments.add_argument("--curves", type=Path, required=True, help="Parquet file for the curve")
    cli.run(main, arguments)
