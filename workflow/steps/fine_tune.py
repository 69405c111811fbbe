"""Fine-tune with one online method on one dataset, one run a seed, side by side; resumes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from algorithms.diagnostics.action_auroc import ActionAUROC
from algorithms.diagnostics.offline_share import OfflineShare
from algorithms.methods.interface import Method
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.custom import try_method
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.lookup import find_method
from algorithms.training.online import OnlineSchedule
from algorithms.training.probes import Probe
from storage.curves import write_curves
from storage.files import atomic_path
from storage.provenance import collect
from storage.settings import build
from workflow import paths
from workflow.jobs import Job
from workflow.training_process import loop_job, prepare


def probes_of(method: type[Method], online: OnlineSchedule, seeds: Sequence[int]) -> list[Probe]:
    """Make the probes of the runs of `seeds` that the paper's figures show."""
    probes: list[Probe] = [OfflineShare()]
    if online.diagnostics_interval and "action_auroc" in method.diagnostics:
        probes.append(ActionAUROC(online.diagnostics_interval, seeds))
    return probes


def main(job: Job) -> None:
    """Train, write one safetensors file for each agent of each seed, and the curve."""
    settings = job.settings
    compute, data, seeds = prepare(settings), job.path("data"), job.about["seeds"]
    method = find_method(settings["method"], "online")
    config = build(method.Config, settings["config"], "config")
    transitions = paths.read_for(settings, data) if data else None
    members = [checkpoints.load(path)[0] for path in job.paths("agents")]
    if ":" in settings["method"]:
        one_run = members[: len(members) // len(seeds)]
        try_method(settings["method"], method, config, transitions, one_run, settings["environment"])
    trained: list[dict[str, Tensor]] = []
    online = build(OnlineSchedule, settings["schedule"], "schedule")
    curve = fine_tune(
        method,
        config,
        online,
        transitions,
        members,
        loop_job(job, job.about["label"], seeds, compute),
        paths.reward_scale_of(settings["reward_scale"], transitions),
        probes_of(method, online, seeds),
        trained,
    )
    provenance = collect(settings, seeds, arithmetic())
    with atomic_path(job.output("agents")) as folder:
        of_each = len(trained) // len(seeds)
        for number, tensors in enumerate(trained):
            seed, member = seeds[number // of_each], number % of_each
            path = folder / f"seed_{seed}_agent_{member}.safetensors"
            checkpoints.save(path, tensors, {**provenance, "seeds": [seed]})
    write_curves(job.output("curves"), curve, provenance)
