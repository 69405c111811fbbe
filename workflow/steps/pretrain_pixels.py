"""Pre-train agents on images by COG's CQL, side by side, or a control of it; resumes."""

from __future__ import annotations

from functools import partial

from algorithms.methods.pixels import PixelConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.pixel_training import PixelOfflineSchedule, pretrain_pixels
from envs.manipulation import make
from offline_data.image_episodes import read_image_dataset
from storage.curves import write_curves
from storage.provenance import collect
from storage.settings import build
from workflow import paths
from workflow.jobs import Job
from workflow.sections import OWN_CHOICE
from workflow.steps.pretrain import starting_agents
from workflow.training_process import loop_job, prepare


def main(job: Job) -> None:
    """Train, write one safetensors file an agent, and the curve."""
    settings = job.settings
    compute, seeds = prepare(settings), job.about["seeds"]
    trained = pretrain_pixels(
        job.about["label"],
        build(PixelConfig, settings["config"], "config", OWN_CHOICE),
        build(PixelOfflineSchedule, settings["schedule"], "schedule"),
        read_image_dataset(*paths.root_and_id(job.required("data"))),
        seeds,
        loop_job(job, compute),
        partial(make, **settings["options"]),
        starting_agents(job.paths("agents"), settings["method"]),
    )
    provenance = collect(settings, seeds, arithmetic())
    checkpoints.save_numbered(job.output("agents"), "agent", seeds, trained.agents, provenance)
    write_curves(job.output("curves"), trained.curve, provenance)
