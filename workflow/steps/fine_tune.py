"""Fine-tune with one online method on one dataset, one run a seed, side by side; resumes from --state."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from algorithms.diagnostics.action_auroc import ActionAUROC
from algorithms.diagnostics.offline_share import OfflineShare
from algorithms.methods.interface import Method
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.custom import try_method
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import job_of
from algorithms.training.lookup import find_method
from algorithms.training.online import OnlineSchedule
from algorithms.training.probes import Probe
from storage.curves import write_curves
from storage.provenance import collect
from workflow import cli, paths, training_process
from workflow.settings import build


def probes_of(method: type[Method], online: OnlineSchedule, seeds: Sequence[int]) -> list[Probe]:
    """What the paper's figures show of the runs of `seeds` besides their learning."""
    probes: list[Probe] = [OfflineShare()]
    if online.diagnostics_interval and "action_auroc" in method.diagnostics:
        probes.append(ActionAUROC(online.diagnostics_interval, seeds))
    return probes


def main(options: argparse.Namespace) -> None:
    """Train and write the curve."""
    settings = options.settings
    compute = training_process.prepare(settings)
    method = find_method(settings["method"], "online")
    config = build(method.Config, settings["config"], "config")
    transitions = paths.read(options.data, settings["reward_scale"]) if options.data else None
    members = [checkpoints.load(path)[0] for path in options.members]
    if ":" in settings["method"]:
        one_run = members[: len(members) // len(options.seeds)]
        try_method(settings["method"], method, config, transitions, one_run, settings["environment"])
    online = build(OnlineSchedule, settings["schedule"], "schedule")
    curve = fine_tune(
        options.label,
        method,
        config,
        online,
        transitions,
        members,
        options.seeds,
        job_of(options.run, options.dataset, settings, options.state, compute),
        paths.reward_scale_of(settings["reward_scale"], transitions),
        probes_of(method, online, options.seeds),
    )
    write_curves(options.output, curve, collect(settings, options.seeds, arithmetic()))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", required=True, help="the configuration's name")
    arguments.add_argument("--dataset", required=True, help="the dataset's name, for the curve's rows")
    arguments.add_argument("--label", required=True, help="what the curve calls the method")
    arguments.add_argument("--seeds", type=int, nargs="+", required=True)
    arguments.add_argument("--data", type=Path, nargs="?", help="folder of the Minari dataset (not for sac)")
    arguments.add_argument(
        "--members",
        type=Path,
        nargs="*",
        default=[],
        help="pre-trained agents, seed by seed",
    )
    cli.settings_argument(arguments, "fine_tuning")
    arguments.add_argument("--state", type=Path, required=True, help="folder of resumable state")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet file for the curve")
    cli.run(main, arguments)
