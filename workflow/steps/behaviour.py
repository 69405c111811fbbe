"""Train a behaviour policy with SAC from scratch; its actors and its replay become datasets."""

from __future__ import annotations

from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.behaviour import train_behaviour
from algorithms.training.online import OnlineSchedule
from algorithms.training.worlds import collection_seed
from offline_data import recipes
from storage.curves import write_curves
from storage.files import atomic_path, write_json
from storage.provenance import collect
from storage.settings import build
from workflow.jobs import Job
from workflow.training_process import loop_job, prepare


def main(job: Job) -> None:
    """Train, then write replay, action log, medium and expert actor, curve and summary."""
    settings = job.settings
    compute = prepare(settings)
    result = train_behaviour(
        build(SACConfig, settings.get("sac", {}), "sac"),
        build(OnlineSchedule, settings.get("schedule", {}), "schedule"),
        loop_job(job, "sac", [settings["seed"]], compute),
        settings.get("reward_scale", 1.0),
        settings["medium"]["score"] if "medium" in settings else None,
        settings.get("checkpoints", ()),
    )
    provenance = collect(settings, [settings["seed"]], arithmetic())
    with atomic_path(job.output("folder")) as folder:
        tensors = {"replay": result.replay_log, "medium": result.medium, "expert": result.expert}
        tensors |= {f"actor_{step}": actor for step, actor in result.checkpoints.items()}
        for name, content in tensors.items():
            checkpoints.save(folder / f"{name}.safetensors", content, provenance)
        if settings.get("reward_scale", 1.0) == 1:
            # Small enough to ship: medium-replay without the replay.
            episodes = recipes.from_replay_log(folder / "replay.safetensors", result.medium_steps)
            seed, log = collection_seed(settings["seed"]), folder / "actions.safetensors"
            recipes.write_action_log(log, settings["environment"], seed, episodes)
        write_curves(folder / "curve.parquet", result.curve, provenance)
        write_json(folder / "summary.json", {"medium_steps": result.medium_steps})
