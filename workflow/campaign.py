"""Work through configurations within a budget of time, the first one first, and leave whole files.

    python -m workflow.campaign config/wsrl.yaml config/iql.yaml --seconds 7200 --processes 2
    python -m workflow.campaign config/wsrl.yaml --seconds 400 --bundle OUT --rehearse

What needs a machine's hours is done: behaviour policies, datasets, training, densities. Statistics and
figures are Snakemake's, on whatever machine; nothing here needs Snakemake. Jobs run as they do there, by
their files, and go on from their checkpoints. When the time is up, or at SIGTERM, those that run are asked
for a checkpoint and have --grace seconds for it. The same command goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from algorithms.catalogue import NOTHING
from algorithms.training import acceleration
from algorithms.training.lookup import find_method
from algorithms.training.offline import joint_hash
from algorithms.training.stopping import STATUS, StopRequest
from envs.locomotion import specification
from storage import UserError
from storage.files import exclusive
from workflow import bundles, cli
from workflow.configuration import check, completed, extended, load
from workflow.cost import jobs as costs
from workflow.cost.estimate import Estimate
from workflow.cost.gpu import H100
from workflow.cost.machine import Model, calibrate
from workflow.jobs import SIDE_BY_SIDE, Job
from workflow.lost_state import KEY as LOST
from workflow.lost_state import as_begun, done, mark_begun, mark_of
from workflow.plan import Plan
from workflow.steps.pretrain import ALIKE
from workflow.table import Table

RULES = ("behaviour", "record", "train", "likelihood")
START = 15
"""Seconds that a training job may take until it can answer a request to stop."""
LEAST = {"processes": 1, "grace": 0, "agents": 0, "bundle_files": 1, "bundle_interval": 0}
"""Of options' numbers."""
LOOK = 0.2  # seconds between two looks at the processes
TINY_OFFLINE = {"updates": 4, "evaluation_interval": 2, "evaluation_episodes": 1, "checkpoint_interval": 2}
TINY_ONLINE = {"steps": 40, "block_size": 20, "evaluation_interval": 20, "evaluation_episodes": 1}
TINY_ONLINE |= {"checkpoint_interval": 20}
TINY_START = {"initial_steps": 20, "cloning_warm_start": 2, "monte_carlo_warm_start": 2}
TINY_START |= {"updates_per_episode": 2}
TINY_DATA = {"transitions": 400, "copies": 2}
TINY_SCRIPTS = {"prior": 2, "task": 2, "random": 2}
TINY_DENSITIES = {"updates": 4, "evaluated_pairs": 40}


class Member(NamedTuple):
    """What one process does: a job, or several that pre-train side by side; on a GPU, or on cores.

    `seconds` are those of the GPU or of a core that it is estimated to take; `agent_bytes` is the size of a
    file of an agent, as far as it is known beforehand.
    """

    jobs: tuple[Job, ...]
    seconds: float
    on_gpu: bool
    agent_bytes: int = 0

    @property
    def file(self) -> str:
        """The file of its first job, by which it is known."""
        return self.jobs[0].file

    @property
    def threads(self) -> int:
        """The cores that its process claims."""
        return max(job.threads for job in self.jobs)

    @property
    def state(self) -> Path:
        """The folder of what it resumes from."""
        return self.jobs[0].state / joint_hash([job.fingerprint for job in self.jobs])

    @property
    def needs(self) -> list[str]:
        """What has to be there before it begins."""
        return list(dict.fromkeys(path for job in self.jobs for path in job.needs))


def rehearsal(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same configuration with tiny numbers and results of its own; networks keep their sizes."""
    tiny, plan = copy.deepcopy(dict(configuration)), Plan(completed(configuration))
    tiny |= {"name": f"{configuration['name']}_rehearsal", "demonstration": True}
    datasets = list(tiny.get("datasets", {}).values())
    for entry in datasets:
        entry |= _less(entry, TINY_DATA)
        if "scripts" in entry:
            entry["scripts"] = {**entry["scripts"], **_less(entry["scripts"], TINY_SCRIPTS)}
    if "likelihood" in tiny:
        densities = {**TINY_DENSITIES, **tiny["likelihood"].get("config", {})}
        tiny["likelihood"]["config"] = {**densities, **_less(densities, TINY_DENSITIES)}
    for phase, numbers in (("pretraining", TINY_OFFLINE), ("fine_tuning", TINY_ONLINE)):
        if phase in tiny:
            tiny[phase]["schedule"] = {**numbers, **tiny[phase].get("schedule", {})}
        for part in (tiny.get(phase, {}), *(entry.get(phase, {}) for entry in datasets)):
            for label, entry in (("", part), *part.get("methods", {}).items()):
                if "schedule" in entry:
                    most = numbers
                    if label and phase == "pretraining":  # agents trained further count what they have had
                        most = {**numbers, "updates": numbers["updates"] * _depth(plan, label)}
                    entry["schedule"] = _shortened(entry["schedule"], most)
    for label in plan.online.names:
        if hasattr(find_method(plan.online.method(label), "online").Config, "warm_up_steps"):
            entry = tiny["fine_tuning"]["methods"][label]
            entry["config"] = {**entry.get("config", {}), "warm_up_steps": TINY_ONLINE["block_size"]}
    if "schedule" in (sweep := tiny.get("sweep_policy_lr", {})):
        sweep["schedule"] = _shortened(sweep["schedule"], TINY_ONLINE)
    policies = tiny.get("behaviour_policies", {})
    for policy in policies.values():
        policy["schedule"] = {**TINY_ONLINE, **_shortened(policy.get("schedule", {}), TINY_ONLINE)}
        if _trained(policy):  # neither a late actor nor a good one comes of it
            policy.pop("checkpoints", None)
            policy.pop("medium", None)
    for source in (source for entry in datasets for source in entry.get("sources", [])):
        if "policy" in source and _trained(policies[source["policy"]]):
            source["actor"] = "medium"
    return tiny


def _trained(policy: Mapping[str, Any]) -> bool:
    """Whether a behaviour policy is trained here."""
    return bool(policy.get("source", "train") == "train")


def _depth(plan: Plan, label: str) -> int:
    """Count the offline phases up to that of a label."""
    source = plan.offline.starts_from(label)
    return 1 if source == NOTHING else 1 + _depth(plan, source)


def _shortened(schedule: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return a schedule with its numbers no larger than these, nor anything that comes before it longer."""
    return {**schedule, **_less(schedule, {**numbers, **TINY_START})}


def _less(values: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, int]:
    """Those of the values that are bounded, within their bounds."""
    return {key: min(values[key], bound) for key, bound in most.items() if key in values}


class Campaign:
    """The jobs of several configurations, in the order in which they are begun where there is a choice."""

    def __init__(self, configurations: Sequence[Mapping[str, Any]], model: Model, agents: int = 0) -> None:
        """Up to `agents` agents of jobs that differ in their data alone learn side by side in one process."""
        members: list[Member] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.failed: list[str] = []
        self.said: list[str] = []
        for configuration in configurations:
            table = Table(configuration)
            on_gpu = configuration.get("compute", {}).get("device") == "cuda"
            estimated = Estimate(table.plan, model).jobs
            # Those that `snakemake` runs by itself: no sweep over learning rates, which has to be asked for.
            for name, known in estimated.items():
                if (planned := table.jobs[name]).rule in RULES:
                    job, sentence = as_begun(planned, table.plan)
                    self.said += [sentence] if sentence else []
                    learns = job.rule in ("behaviour", "train")
                    members.append(Member((job,), known.seconds, on_gpu and learns, _agent_bytes(job, known)))
        self.members = [part for group in side_by_side(members, agents) for part in _unfinished(group)]
        self.finished = {member.file for member in self.members if all(map(done, member.jobs))}
        self._makers = {path: m.file for m in self.members for job in m.jobs for path in job.outputs.values()}

    def left(self) -> list[Member]:
        """List what is still to be done."""
        return [member for member in self.members if member.file not in self.finished]

    def _given(self, path: str) -> bool:
        """Whether an input is there, made by the present job where one of these makes it."""
        return self._makers[path] in self.finished if path in self._makers else Path(path).exists()

    def ready(self, processes: int) -> Iterator[Member]:
        """Yield what can be begun now beside what runs: inputs are there, and a GPU has one job at a time."""
        waiting = [m for m in self.left() if m.file not in (*self.running, *self.failed)]
        threads = sum(m.threads for m in self.members if m.file in self.running)
        gpu_taken = any(m.on_gpu for m in self.members if m.file in self.running)
        for member in waiting:
            fits = threads + member.threads <= max(processes, member.threads if not threads else 0)
            if fits and not (member.on_gpu and gpu_taken) and all(map(self._given, member.needs)):
                threads += member.threads
                gpu_taken |= member.on_gpu
                yield member

    def begin(self, member: Member) -> None:
        """Start a process; what older jobs of the same names left goes first."""
        first, *others = member.jobs
        for job in member.jobs:
            for path in map(Path, job.outputs.values()):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            mark_begun(job, member.state)
        log = Path(first.results, "logs", f"{first.name}.log")
        files = [job.file for job in member.jobs]
        command = [sys.executable, "-m", "workflow.train", *files, "--log", str(log)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", cli.PARENT: str(os.getpid())}
        self.running[member.file] = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        beside = f", beside it {', '.join(job.name for job in others)}" if others else ""
        _say(f"begins {first.name} of {first.about['run']}{beside}")

    def collect(self) -> None:
        """Note what has ended."""
        for file, process in list(self.running.items()):
            if (status := process.poll()) is None:
                continue
            del self.running[file]
            if status == 0:
                self.finished.add(file)
                _say(f"done: {file}")
            elif status not in (STATUS, -signal.SIGTERM):  # the latter at its very end
                self.failed.append(file)
                _say(f"failed with status {status}: {file}; its log, under logs/, says why")

    def stop(self, grace: float) -> None:
        """Ask all that runs for a checkpoint, and end it after `grace` seconds in any case."""
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + grace
        for file, process in list(self.running.items()):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                del self.running[file]  # it has not failed: the same command goes on with it
                _say(f"ended after {grace:g} s without a checkpoint: {file}")
        self.collect()

    def files(self) -> list[Path]:
        """List the files worth carrying away, most precious first: curves and agents, then checkpoints."""
        finished = [job for m in self.members if m.file in self.finished for job in m.jobs]
        begun = [job for member in self.left() for job in member.jobs if mark_of(job).exists()]
        trained = [job for job in finished if job.rule != "record"]
        results = [path for job in trained for place in job.outputs.values() for path in _within(place)]
        settings = [*(Path(job.file) for job in trained), *map(mark_of, begun)]
        states = [path for job in begun for path in _within(job.state) if path.suffix == ".safetensors"]
        # Not what is being written: it is gone, under its final name, before it could be packed.
        latest = [p for p in states if not p.name.startswith(".") and ".previous" not in p.name]
        return [*sorted(results, key=lambda path: path.suffix != ".parquet"), *settings, *latest]


def side_by_side(members: Sequence[Member], agents: int) -> list[Member]:
    """Join jobs that pre-train with the same settings on data of the same sizes, up to so many agents."""
    joined: list[Member] = []
    groups: dict[str, int] = {}  # the last member of each kind
    for member in members:
        kind = _kind(member)
        if kind in groups:
            group = joined[groups[kind]]
            jobs = (*group.jobs, *member.jobs)
            if _agents(jobs) <= agents:
                joined[groups[kind]] = group._replace(jobs=jobs, seconds=group.seconds + member.seconds)
                continue
        if kind:
            groups[kind] = len(joined)
        joined.append(member)
    return joined


def _unfinished(group: Member) -> list[Member]:
    """Part jobs that are done from those that are not, unless they were begun together."""
    finished = [job for job in group.jobs if done(job)]
    left = tuple(job for job in group.jobs if job not in finished)
    if not finished or not left or group.state.exists():
        return [group]
    share = _agents(left) / _agents(group.jobs)
    return [
        *(group._replace(jobs=(job,), seconds=0.0) for job in finished),
        group._replace(jobs=left, seconds=group.seconds * share),
    ]


def _agents(jobs: Sequence[Job]) -> int:
    """Count the agents of jobs that pre-train."""
    return sum(len(job.about["seeds"]) for job in jobs)


def _kind(member: Member) -> str:
    """Return what jobs side by side have in common; empty where a job has to be alone."""
    [job] = member.jobs
    if job.step != SIDE_BY_SIDE or "options" in job.settings or ":" in job.settings["method"]:
        return ""
    if "trajectory" in find_method(job.settings["method"], "offline").extras:
        return ""
    spec, had = specification(job.settings["environment"]), job.settings.get(LOST, {}).get("updates")
    common = {"label": job.about["label"], **{key: job.settings.get(key) for key in ALIKE}}
    sizes = (spec.observation_size, spec.action_size)
    return json.dumps([common, sizes, had, bool(job.inputs["agents"]), member.on_gpu], sort_keys=True)


def _within(place: str | Path) -> list[Path]:
    """Return a file, or the files of a folder, in order."""
    place = Path(place)
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def summary(members: Sequence[Member]) -> str:
    """Return a line a configuration: jobs, and the core-hours and GPU-minutes that they are said to take."""
    lines = []
    for run in dict.fromkeys(member.jobs[0].about["run"] for member in members):
        own = [member for member in members if member.jobs[0].about["run"] == run]
        jobs = sum(len(member.jobs) for member in own)
        on_gpu, on_cores = (sum(m.seconds for m in own if m.on_gpu is there) for there in (True, False))
        said = [f"{jobs} jobs", f"{on_cores / costs.HOUR:.2f} core-hours"]
        if on_gpu:
            said.append(f"{on_gpu / 60:.1f} minutes of an {H100.name}, unmeasured")
        lines.append(f"  {run}: {', '.join(said)}")
    return "\n".join(lines) if lines else "  nothing"


def main(options: argparse.Namespace) -> None:
    """Plan, run until the time is up, bundle, and say what is left."""
    started = time.monotonic()
    for option, least in LEAST.items():
        if (given := getattr(options, option)) < least:
            raise UserError(f"--{option.replace('_', '-')} is {given:g}: expected at least {least}")
    if options.seconds <= options.grace + START:
        raise UserError(
            f"--seconds is {options.seconds:g}: expected more than {options.grace + START:g}, {START} for the"
            f" start of a job and {options.grace:g} for its checkpoint"
        )
    configurations = _checked(options)
    with ExitStack() as held:
        for configuration in configurations:  # no other campaign and no Snakemake writes there meanwhile
            held.enter_context(exclusive(Plan(configuration).places.results))
        campaign = Campaign(configurations, Model(calibrate()), options.agents)
        if options.bundle:
            largest = max((member.agent_bytes for member in campaign.members), default=0)
            bundles.check_room(options.bundle_bytes, largest)
        for sentence in campaign.said:
            _say(sentence)
        _say(f"To be done on {options.processes} processes, in this order:\n{summary(campaign.left())}")
        with StopRequest() as stop:
            _run(campaign, options, started + options.seconds - options.grace, stop)
        campaign.stop(options.grace)
        _bundle(campaign, options)
    _say(f"Left:\n{summary(campaign.left())}")
    if campaign.failed:
        raise UserError(f"{len(campaign.failed)} jobs failed, the first of {campaign.failed[0]}")
    if stop.asked:
        raise SystemExit(STATUS)


def _checked(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Read all configurations. UserError for a wrong one, for two of one name, or where a GPU is missing."""
    acceleration.prepare_process()
    configurations = []
    named: dict[str, Path] = {}
    for path in options.configurations:
        said = extended(load(path), path.parent)
        configuration = check(rehearsal(said) if options.rehearse else said)
        if configuration.get("compute", {}).get("device") == "cuda" and not torch.cuda.is_available():
            raise UserError(f"{path} has compute.device cuda: expected a GPU, and PyTorch sees none")
        if (other := named.setdefault(configuration["name"], path)) is not path:
            raise UserError(
                f"{path} has the name {configuration['name']!r}, as {other} has: expected another, as results"
                " are kept by it"
            )
        configurations.append(configuration)
    return configurations


def _run(campaign: Campaign, options: argparse.Namespace, deadline: float, stop: StopRequest) -> None:
    """Keep the processes busy until nothing is left that can be done, or the time is up."""
    bundled = time.monotonic()
    while time.monotonic() < deadline and not stop.asked:
        campaign.collect()
        for member in campaign.ready(options.processes):
            campaign.begin(member)
        if not campaign.running:
            return
        if options.bundle and time.monotonic() - bundled > options.bundle_interval:
            _bundle(campaign, options)
            bundled = time.monotonic()
        time.sleep(LOOK)


def _bundle(campaign: Campaign, options: argparse.Namespace) -> None:
    if options.bundle:
        left_out = bundles.write(options.bundle, campaign.files(), options.bundle_files, options.bundle_bytes)
        for path in left_out:
            _say(f"left out of the bundles, which are full: {path}")


def _agent_bytes(job: Job, known: costs.Job) -> int:
    """Bytes of an agent's file: of the agents that it starts from, or by the estimate of what it makes."""
    start = max((path.stat().st_size for path in job.paths("agents") if path.exists()), default=0)
    if known.stage != "pretrain":
        return start
    return max(start, int(costs.agent_bytes(known, len(job.about["seeds"]))))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("configurations", type=Path, nargs="+", help="by priority")
    arguments.add_argument("--seconds", type=float, required=True, help="in all, checkpoints included")
    arguments.add_argument("--grace", type=float, default=20.0, help="of them kept for checkpoints")
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="threads at once")
    arguments.add_argument(
        "--agents", type=int, default=0, help="side by side at most, of jobs that differ in data alone"
    )
    arguments.add_argument("--rehearse", action="store_true", help="the same with tiny numbers")
    arguments.add_argument("--bundle", type=Path, help="folder for bundles of what was made (tar)")
    arguments.add_argument("--bundle-files", type=int, default=8, help="bundles at most")
    arguments.add_argument("--bundle-bytes", type=int, default=16 * 2**20, help="of a bundle at most")
    arguments.add_argument("--bundle-interval", type=float, default=60.0, help="seconds between two writings")
    cli.run(main, arguments)
