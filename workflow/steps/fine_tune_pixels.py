"""Fine-tune on images by episodes with one variant, one run a seed, side by side; resumes from --state."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from algorithms.methods.pixels import VARIANTS, PixelFineTuningConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.jobs import job_of
from algorithms.training.pixel_training import EpisodeSchedule, fine_tune_pixels
from envs.manipulation import make
from offline_data.image_episodes import read_image_dataset
from storage import UserError
from storage.curves import write_curves
from storage.provenance import collect
from workflow import cli, paths, training_process
from workflow.sections import OWN_CHOICE
from workflow.settings import build, check


def fine_tuning_config(settings: cli.Json) -> PixelFineTuningConfig:
    """The variant's settings with the job's own. UserError for an unknown variant or setting."""
    if settings["variant"] not in VARIANTS:
        raise UserError(f"unknown variant {settings['variant']!r}, expected one of {', '.join(VARIANTS)}")
    check(PixelFineTuningConfig, settings["config"], "config", OWN_CHOICE)
    chosen = {**VARIANTS[settings["variant"]], "ensemble_size": settings["ensemble_size"]}
    return build(PixelFineTuningConfig, {**chosen, **settings["config"]}, "config")


def main(options: argparse.Namespace) -> None:
    """Train, write one safetensors file a seed of what its ensemble acts with, and the curve."""
    settings = options.settings
    compute = training_process.prepare(settings)
    trained = fine_tune_pixels(
        options.label,
        fine_tuning_config(settings),
        build(EpisodeSchedule, settings["schedule"], "schedule"),
        read_image_dataset(*paths.root_and_id(options.data)),
        [checkpoints.load(path)[0] for path in options.members],
        options.seeds,
        job_of(options.run, options.task, settings, options.state, compute),
        partial(make, **settings["options"]),
    )
    provenance = collect(settings, options.seeds, arithmetic())
    checkpoints.save_numbered(options.actors, "seed", options.seeds, trained.actors, provenance)
    write_curves(options.output, trained.curve, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", required=True, help="the configuration's name")
    arguments.add_argument("--task", required=True, help="the task's name, for the curve's rows")
    arguments.add_argument("--label", required=True, help="what the curve calls the method")
    arguments.add_argument("--seeds", type=int, nargs="+", required=True)
    arguments.add_argument("--data", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--members", type=Path, nargs="+", required=True, help="agents, seed by seed")
    cli.settings_argument(arguments, "fine_tuning")
    arguments.add_argument("--state", type=Path, required=True, help="folder of resumable state")
    arguments.add_argument("--actors", type=Path, required=True, help="folder for seed_<number>.safetensors")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet file for the curve")
    cli.run(main, arguments)
