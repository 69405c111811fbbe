"""Fine-tune on images by episodes with one variant, one run a seed, side by side; resumes."""

from __future__ import annotations

from functools import partial

from algorithms.methods.pixels import VARIANTS, PixelFineTuningConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.pixel_training import EpisodeSchedule, fine_tune_pixels
from envs.manipulation import make
from offline_data.image_episodes import read_image_dataset
from storage import UserError
from storage.curves import write_curves
from storage.provenance import collect
from storage.settings import build, check
from workflow import cli, paths
from workflow.jobs import Job
from workflow.sections import OWN_CHOICE
from workflow.training_process import loop_job, prepare


def fine_tuning_config(settings: cli.Json) -> PixelFineTuningConfig:
    """Return the variant's settings with the job's own. UserError for an unknown variant or setting."""
    if settings["variant"] not in VARIANTS:
        raise UserError(f"unknown variant {settings['variant']!r}, expected one of {', '.join(VARIANTS)}")
    check(PixelFineTuningConfig, settings["config"], "config", OWN_CHOICE)
    chosen = {**VARIANTS[settings["variant"]], "ensemble_size": settings["ensemble_size"]}
    return build(PixelFineTuningConfig, {**chosen, **settings["config"]}, "config")


def main(job: Job) -> None:
    """Train, write one safetensors file a seed of what its ensemble acts with, and the curve."""
    settings = job.settings
    compute = prepare(settings)
    trained = fine_tune_pixels(
        job.about["label"],
        fine_tuning_config(settings),
        build(EpisodeSchedule, settings["schedule"], "schedule"),
        read_image_dataset(*paths.root_and_id(job.required("data"))),
        [checkpoints.load(path)[0] for path in job.paths("agents")],
        job.about["seeds"],
        loop_job(job, compute),
        partial(make, **settings["options"]),
    )
    provenance = collect(settings, job.about["seeds"], arithmetic())
    checkpoints.save_numbered(job.output("agents"), "seed", job.about["seeds"], trained.actors, provenance)
    write_curves(job.output("curves"), trained.curve, provenance)
