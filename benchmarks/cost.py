"""Measure what `snakemake cost` estimates with: the rates of everything a job does, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.cost --output workflow/cost/measured.json
    OMP_NUM_THREADS=1 python -m benchmarks.cost --only reds so2 --output workflow/cost/measured.json

The second adds the updates of some methods to what was measured before, as at that machine's speed.

Each method's update is timed at two widths, with batches as they are used; a line through both gives its
rate of counted operations and what it takes besides. Processor time counts throughout.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from algorithms.catalogue import METHODS, NOTHING, Phase
from algorithms.methods.awac import AWACConfig
from algorithms.methods.bcq import BCQConfig
from algorithms.methods.behaviour_cloning import CloningConfig
from algorithms.methods.brac import BRACConfig
from algorithms.methods.cal_ql import CalQLConfig
from algorithms.methods.cql import CQLConfig
from algorithms.methods.dmpo import DMPOConfig
from algorithms.methods.edac import EDACConfig
from algorithms.methods.fqe import FQEConfig
from algorithms.methods.interface import PRETRAINED
from algorithms.methods.iql import IQLConfig
from algorithms.methods.latent_awac import LatentAWACConfig
from algorithms.methods.lbrac import LBRACConfig
from algorithms.methods.mixture_awac import MixtureAWACConfig
from algorithms.methods.multi_source import MultiSourceConfig
from algorithms.methods.normalised_awac import NormalisedAWACConfig
from algorithms.methods.off2on import Off2OnConfig
from algorithms.methods.pex import PEXConfig
from algorithms.methods.rebrac import ReBRACConfig, TD3BCConfig
from algorithms.methods.reds import REDSConfig
from algorithms.methods.rlpd import RLPDConfig
from algorithms.methods.sac import SACConfig
from algorithms.methods.so2 import SO2Config
from algorithms.methods.wsrl import WSRLConfig
from algorithms.population import checkpoints
from algorithms.population.agents import one_agent
from algorithms.population.encoding import EncoderConfig
from algorithms.training import counting
from algorithms.training.acceleration import prepare_process
from algorithms.training.fine_tuning import make_learner
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.lookup import find_method
from algorithms.training.online import OnlineSchedule
from algorithms.training.worlds import world_of
from analysis.aggregate import statistics as judge
from benchmarks.manipulation import run
from benchmarks.random_data import random_transitions
from benchmarks.workers import OBSERVATION_SIZE, SEED, random_batch
from envs import manipulation, plane
from envs.locomotion import ENVIRONMENTS, EnvironmentBatch, specification
from offline_data import recipes
from offline_data.minari_io import read_transitions
from storage.curves import COLUMNS
from storage.files import read_json, write_json
from storage.provenance import hardware, versions
from workflow.chains import Link, Place, begin_offline, begin_online
from workflow.cost.estimate import redrawn
from workflow.cost.machine import TABLETOP, Model, Speed, calibrate
from workflow.operations import random_batch_of

ENVIRONMENT = "HalfCheetah-v4"
PLACE, DRAWER = Place(ENVIRONMENT), Place("GraspClosedDrawer-v0", "position")
SEEING: dict[str, Any] = {
    "encoder": EncoderConfig("shared", state=True, padding=0),
    "hidden_widths": (128, 128),
    "batch_size": 64,
}
"""The networks of config/manipulation_pilot.yaml; and a batch that is mostly what an update takes besides."""
FEW: dict[str, Any] = {**SEEING, "hidden_widths": (32, 32), "batch_size": 8}
WIDTHS = (64, 64)
SMALL: dict[str, Any] = {"hidden_widths": WIDTHS}  # as config/dmpo.yaml, with its methods' usual batches
NARROW: dict[str, Any] = {"hidden_widths": (128, 128)}  # as config/realistic_source.yaml
CALLS = 4
"""Updates in a round and in a count: whole periods of methods whose actors learn at every second one."""
ROWS = 200_000  # offline transitions that updates draw from: more than the caches hold

OTHER_SIZES: tuple[tuple[str, str, str, Any], ...] = (
    ("cql", "offline", "cql", CQLConfig(hidden_widths=(256, 256, 256))),
    ("cql", "offline", "cql", CQLConfig(batch_size=64, sampled_actions=4)),
    ("off2on", "online", "off2on", Off2OnConfig(hidden_widths=(256, 256, 256))),
    ("off2on", "online", "off2on", Off2OnConfig(batch_size=128, density_batch_size=128, ensemble_size=3)),
    ("sac", "online", "sac", SACConfig(batch_size=128)),
    ("awac", "online", "awac", AWACConfig(batch_size=256)),
    ("awac", "offline", "awac", AWACConfig()),
    ("bcq", "online", "bcq_ft", BCQConfig()),
    ("bcq", "offline", "bcq", BCQConfig(hidden_widths=(256, 256), generator_hidden_widths=(256, 256))),
    ("awac", "offline", "awac", AWACConfig(**NARROW, policy_hidden_widths=(128, 128), batch_size=256)),
    ("iql", "offline", "iql", IQLConfig(**NARROW)),
    ("rebrac", "offline", "td3_bc", TD3BCConfig(**NARROW)),
    ("dmpo", "offline", "dmpo", DMPOConfig(**NARROW)),
)
"""Updates that the model has not seen: its key, the loop, the method and its settings."""

Timed = Callable[[], object]


def processor_seconds(work: Timed, count: int, rounds: int) -> float:
    """Seconds of one call: the median of rounds of `count`, after one to warm up."""
    times = []
    for turn in range(rounds + 1):
        start = time.process_time()
        for _ in range(count):
            work()
        if turn:
            times.append((time.process_time() - start) / count)
    return statistics.median(times)


def counted(update: Timed) -> float:
    """Floating-point operations of one of so many updates."""
    return counting.operations(lambda: [update() for _ in range(CALLS)]) / CALLS


def logged(learn: Callable[[], Any]) -> Timed:
    """An update whose metrics go where the loops put them."""
    log, step = (
        TrainingLog("cost", "cost", "cost", [SEED], phase="online", unit="step"),
        iter(range(1, 10**9)),
    )
    return lambda: log.add(learn(), next(step))


def make_job(label: str) -> Job:
    """A job that is not run."""
    return Job("cost", label, "random", ENVIRONMENT, [SEED], "0" * 12, Path())


def links_before(method: str, phase: Phase, config: Any) -> tuple[Link, ...]:
    """Whose agents a method of the catalogue starts from, with its own settings where they share some."""
    source = METHODS[method].starts_from[phase]
    if source == NOTHING:
        return ()
    found = find_method(source, "offline")
    shared = {
        each.name: getattr(config, each.name) for each in fields(found.Config) if hasattr(config, each.name)
    }
    settings = found.Config(**shared)
    return (*links_before(source, "offline", settings), (found, settings))


def offline_update(method: str, config: Any, place: Place = PLACE) -> Timed:
    """One update of the offline loop; images are encoded with it."""
    last = find_method(method, "offline"), config
    learner = begin_offline(place, links_before(method, "offline", config), last)
    batch = random_batch_of(place, last)
    return logged(lambda: learner.update(learner.agents.encode(batch), PRETRAINED))


def online_update(method: str, config: Any) -> Timed:
    """One update of the online loop, drawn from offline and online data."""
    row, before = METHODS[method], links_before(method, "online", config)
    members: list[Any] = []
    if before:
        teacher = begin_offline(Place(ENVIRONMENT), before[:-1], before[-1])  # type: ignore[arg-type]
        members = [one_agent(teacher.agents, 0)] * getattr(config, "ensemble_size", 1)
    transitions = random_transitions(ROWS) if before or row.replays_offline else None
    online = OnlineSchedule(steps=2_000)
    kind, job = find_method(method, "online"), make_job(method)
    learner = make_learner(kind, config, online, transitions, members, job, world_of(job))
    learner.replay.add(random_batch(SEED, 1_000))
    return logged(learner.learn)


def update_from_images(method: str, config: Any) -> Timed:
    """One update of the online loop, from few frames, which caches hold."""
    before = links_before(method, "online", config)
    members = getattr(config, "ensemble_size", 1)
    return logged(begin_online(DRAWER, members, before, (find_method(method, "online"), config)).learn)


def updates() -> dict[str, tuple[Callable[[Any], Timed], Any, Any]]:
    """By the keys of the model: what makes the update, its small and its usual settings."""
    few_densities = {"density_hidden_widths": (32, 32), "density_batch_size": 32}
    few = {"penalty_gradient_actions": 6, "reduced_precision_penalty": True}

    def offline(method: str) -> Callable[[Any], Timed]:
        return lambda config: offline_update(method, config)

    def online(method: str) -> Callable[[Any], Timed]:
        return lambda config: online_update(method, config)

    return {
        "sac": (online("sac"), SACConfig(**SMALL), SACConfig()),
        "off2on": (online("off2on"), Off2OnConfig(**SMALL, density_hidden_widths=WIDTHS), Off2OnConfig()),
        "cql": (offline("cql"), CQLConfig(**SMALL), CQLConfig()),
        "cql, bfloat16": (offline("cql"), CQLConfig(**SMALL, **few), CQLConfig(**few)),
        "awac": (
            offline("awac"),
            AWACConfig(**SMALL, policy_hidden_widths=WIDTHS, batch_size=256),
            AWACConfig(batch_size=256),
        ),
        "bcq": (offline("bcq"), BCQConfig(**SMALL, generator_hidden_widths=WIDTHS), BCQConfig()),
        "fqe": (offline("fqe"), FQEConfig(**SMALL), FQEConfig()),
        "iql": (offline("iql"), IQLConfig(**SMALL), IQLConfig()),
        "rlpd": (online("rlpd"), RLPDConfig(**SMALL), RLPDConfig()),
        "wsrl": (online("wsrl"), WSRLConfig(**SMALL), WSRLConfig()),
        "cal_ql": (offline("cal_ql"), CalQLConfig(**SMALL), CalQLConfig()),
        "pex": (online("pex"), PEXConfig(**SMALL), PEXConfig()),
        "rebrac": (offline("rebrac"), ReBRACConfig(**SMALL, batch_size=256), ReBRACConfig()),
        "edac": (offline("edac"), EDACConfig(**SMALL), EDACConfig()),
        # Of the published 2,560 rows a quarter: ten updates of ten critics take seconds.
        "so2": (online("so2"), SO2Config(**SMALL, batch_size=640), SO2Config(batch_size=640)),
        "brac": (
            offline("brac_v"),
            BRACConfig(**SMALL, policy_hidden_widths=WIDTHS, behaviour_hidden_widths=WIDTHS),
            BRACConfig(),
        ),
        "behaviour_cloning": (
            offline("bc"),
            CloningConfig(behaviour_hidden_widths=WIDTHS),
            CloningConfig(),
        ),
        "multi_source": (
            offline("multi_source"),
            MultiSourceConfig(**SMALL, policy_hidden_widths=WIDTHS),
            MultiSourceConfig(),
        ),
        "dmpo": (offline("dmpo"), DMPOConfig(**SMALL), DMPOConfig()),
        "normalised_awac": (
            offline("normalised_awac"),
            NormalisedAWACConfig(**SMALL),
            NormalisedAWACConfig(),
        ),
        "mixture_awac": (offline("mixture_awac"), MixtureAWACConfig(**SMALL), MixtureAWACConfig()),
        "latent_awac": (
            offline("latent_awac"),
            LatentAWACConfig(**SMALL, generator_hidden_widths=WIDTHS),
            LatentAWACConfig(),
        ),
        "lbrac": (offline("lbrac_v"), LBRACConfig(**SMALL, policy_hidden_widths=WIDTHS), LBRACConfig()),
        "reds": (offline("reds"), REDSConfig(**SMALL), REDSConfig()),
        "cql, images": (
            partial(offline_update, "cql", place=DRAWER),
            CQLConfig(**FEW, sampled_actions=1),
            CQLConfig(**SEEING, sampled_actions=1),
        ),
        "off2on, images": (
            partial(update_from_images, "off2on"),
            Off2OnConfig(**FEW, **few_densities, ensemble_size=2),
            Off2OnConfig(**SEEING, density_hidden_widths=(64,), density_batch_size=64, ensemble_size=2),
        ),
        "awac, images": (
            partial(offline_update, "awac", place=DRAWER),
            AWACConfig(**FEW, policy_hidden_widths=(32, 32)),
            AWACConfig(**SEEING, policy_hidden_widths=(128, 128)),
        ),
        "iql, images": (partial(offline_update, "iql", place=DRAWER), IQLConfig(**FEW), IQLConfig(**SEEING)),
    }


def measure_updates(rounds: int, reference: Speed, only: Collection[str] = ()) -> dict[str, dict[str, float]]:
    """Rate of counted operations and what comes on top, from a small and a usual update; of `only` these.

    Each as at the `reference` speed: what else the machine does comes and goes while they are timed.
    """
    found, before = {}, calibrate()
    for name, (make, small, usual) in updates().items():
        if only and name not in only:
            continue
        made = [make(config) for config in (small, usual)]
        seconds = [
            processor_seconds(update, calls, rounds)
            for update, calls in zip(made, (2 * CALLS, CALLS), strict=True)
        ]
        counts = [counted(update) for update in made]
        after = calibrate()
        here = Model(
            Speed(*map(statistics.mean, zip(before, after, strict=True))), {"speed": reference._asdict()}
        )
        before = after
        rate = (counts[1] - counts[0]) / (seconds[1] - seconds[0])
        found[name] = {
            "overhead_ms": 1e3 * (seconds[0] - counts[0] / rate) * here.updates,
            "gflop_per_second": rate / 1e9 / here.products,
        }
        print(
            f"{name:17} {found[name]['overhead_ms']:6.2f} ms + operations at"
            f" {found[name]['gflop_per_second']:4.0f} GFLOP/s, took {1e3 * seconds[0]:.2f} and"
            f" {1e3 * seconds[1]:.1f} ms where {here.updates:.2f} times as fast",
            flush=True,
        )
    return found


def compare_other_sizes(measured: Mapping[str, Any], rounds: int) -> list[dict[str, Any]]:
    """The model, at the speed of the moment, beside updates of sizes that it was not measured at."""
    found = []
    for kind, loop, method, config in OTHER_SIZES:
        update = (offline_update if loop == "offline" else online_update)(method, config)
        took = 1e3 * processor_seconds(update, CALLS, rounds)
        said = 1e3 * Model(calibrate(), measured).update(kind, counted(update))
        sizes = {"rows": config.batch_size, "hidden_widths": list(config.hidden_widths)}
        found.append({"method": method, "loop": loop, **sizes, "model_ms": said, "took_ms": took})
        print(f"{method}, {loop}, {sizes}: model {said:.1f} ms, took {took:.1f} ms", flush=True)
    return found


def measure_environment(name: str, rounds: int) -> dict[str, float]:
    """Microseconds of a step of the batch and of each copy in it."""
    seconds = {}
    for copies in (1, 50):
        batch = EnvironmentBatch(name, range(copies))
        actions = np.random.default_rng(SEED).uniform(-1, 1, (copies, specification(name).action_size))
        batch.reset()

        def step(batch: EnvironmentBatch = batch, actions: Any = actions) -> None:
            outcome = batch.step(actions)
            if (outcome.terminations | outcome.truncations).any():
                batch.reset(outcome.terminations | outcome.truncations)

        seconds[copies] = processor_seconds(step, 2_000 // copies, rounds)
    copy = (seconds[50] - seconds[1]) / 49
    return {"batch_us": 1e6 * max(0.0, seconds[1] - copy), "copy_us": 1e6 * copy}


def measure_task(name: str, rounds: int) -> dict[str, float]:
    """Microseconds of a step of a task with images, drawn, by random actions."""
    environment = manipulation.make(name, action_form="position")
    seconds = [run(environment, "random", 5, None) / 5 / environment.horizon for _ in range(rounds + 1)]
    environment.close()
    return {"batch_us": 0.0, "copy_us": 1e6 * statistics.median(seconds[1:])}


def measure_acting(rounds: int) -> dict[str, float]:
    """What one action takes besides its operations, and their rate: a policy's, at two sizes."""
    found = []
    for width in (32, 512):
        config = SACConfig(hidden_widths=(width, width))
        job = make_job("sac")
        learner = make_learner(
            find_method("sac", "online"), config, OnlineSchedule(), None, [], job, world_of(job)
        )
        observations = torch.randn(1, 1, OBSERVATION_SIZE)
        with torch.no_grad():
            seconds = processor_seconds(lambda: learner.explore(observations), 500, rounds)  # noqa: B023
            count = counting.operations(lambda: learner.explore(observations))  # noqa: B023
        found.append((seconds, count))
    rate = (found[1][1] - found[0][1]) / (found[1][0] - found[0][0])
    return {
        "acting_us": 1e6 * (found[0][0] - found[0][1] / rate),
        "acting_gflop_per_second": rate / 1e9,
    }


def measure_start(module: str) -> float:
    """Processor seconds until a step's process has imported all it needs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", module], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_files(rounds: int) -> tuple[dict[str, float], float]:
    """Seconds a gigabyte and an episode written and read, a gigabyte saved; a file's share of its data."""
    amounts, written, read, disk = [], [], [], []
    for name, rows in ((ENVIRONMENT, 100_000), ("TwoWays-v0", 20_000)):  # of few episodes, and of many
        recording = recipes.random(name, rows, SEED, 100, threads=1)
        amounts.append((rows * Place(name).row_bytes / 1e9, rows / Place(name).time_limit))
        with tempfile.TemporaryDirectory() as folder:
            root, dataset = Path(folder), "cost/random-local-v0"
            start = time.process_time()
            recipes.store(root, dataset, recording)
            written.append(time.process_time() - start)
            disk.append(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e9)
            read.append(processor_seconds(lambda: read_transitions(root, dataset), 1, rounds))  # noqa: B023
    found = {}
    for what, seconds in (("write", written), ("read", read)):
        gigabyte, episode = np.linalg.solve(np.array(amounts), np.array(seconds))
        found |= {f"{what}_gb": float(gigabyte), f"{what}_episode": float(episode)}
    tensors = {"numbers": torch.rand(25_000_000)}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.safetensors")
        saved = processor_seconds(lambda: checkpoints.save(state, tensors, {}), 1, rounds)
    return {**found, "save_gb": saved / 0.1}, disk[0] / amounts[0][0]


def measure_statistics() -> dict[str, float]:
    """Seconds of a thousand redrawn intervals, and of a million scores in them."""
    repetitions, found = 300, []
    for points in (2, 400):
        curves = made_up_curves(labels=3, runs=4, points=points)
        start = time.process_time()
        judge(curves, repetitions=repetitions, seed=SEED)
        found.append((time.process_time() - start, *redrawn(3, 1, 4, points)))
    (short, intervals, few), (long, _, many) = found
    score = (long - short) / (many - few)
    return {
        "thousand_intervals": 1e3 * (short - few * score) / (intervals * repetitions),
        "million_scores": 1e6 * score / repetitions,
    }


def made_up_curves(labels: int, runs: int, points: int) -> pd.DataFrame:
    """Noise in the form of curves."""
    random = np.random.default_rng(SEED)
    rows = [
        (
            "cost",
            f"method_{label}",
            "halfcheetah-random",
            seed,
            "online",
            "step",
            step,
            "return",
            random.normal(),
        )
        for label in range(labels)
        for seed in range(runs)
        for step in range(points)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def main() -> None:
    """Measure all, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=updates(), help="only these updates, added to the output"
    )
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    prepare_process(threads=1)
    if arguments.only:
        known = read_json(arguments.output)
        added = measure_updates(arguments.rounds, Speed(**known["speed"]), arguments.only)
        write_json(arguments.output, {**known, "updates": {**known["updates"], **added}})
        return
    load = os.getloadavg()[0]
    before = calibrate()
    measured = measure_updates(arguments.rounds, before)
    others = compare_other_sizes({"speed": before._asdict(), "updates": measured}, arguments.rounds)
    environments = {
        name.rpartition("-")[0]: measure_environment(name, arguments.rounds)
        for name in (*ENVIRONMENTS, *plane.TASKS)
        if not name.endswith("-v5")
    }
    environments[TABLETOP] = measure_environment("PlaceDelta-v0", arguments.rounds)
    environments |= {
        name.rpartition("-")[0]: measure_task(name, arguments.rounds) for name in manipulation.ENVIRONMENTS
    }
    files, disk_share = measure_files(arguments.rounds)
    document = {
        "command": "OMP_NUM_THREADS=1 python -m benchmarks.cost --output workflow/cost/measured.json",
        "rounds": arguments.rounds,
        "load_average": load,
        "speed": before._asdict(),
        "updates": measured,
        "updates_of_other_sizes": others,
        "environments": environments,
        **measure_acting(arguments.rounds),
        "seconds": {
            "start_training": measure_start("workflow.steps.fine_tune"),
            "start_drawing": measure_start("workflow.steps.figure"),
            "figure": 1.0,
            **measure_statistics(),
            **files,
        },
        "disk_share": disk_share,
        "memory_gb": {"training": 0.50, "drawing": 0.28},
        "hardware": hardware(),
        "versions": versions(),
    }
    write_json(arguments.output, document)


if __name__ == "__main__":
    main()
