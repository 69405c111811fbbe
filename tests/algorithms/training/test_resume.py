"""Jobs killed at any moment and started again end with the same bytes as jobs left alone.

A job runs in a process of its own and is killed (SIGKILL, by itself) at an event drawn at random: an
update, an environment step, or a step of writing a file. Or it is asked to end (SIGTERM).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.off2on import Off2On, Off2OnConfig
from algorithms.methods.rlpd import RLPD, RLPDConfig
from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.training import acceleration
from algorithms.training.behaviour import train_behaviour
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule
from envs.locomotion import EnvironmentBatch
from storage import UserError
from storage.curves import write_curves
from storage.files import exclusive
from tests.made_up import made_up_transitions

ENVIRONMENT, OBSERVATIONS, ACTIONS = "InvertedDoublePendulum-v4", 11, 1
SEEDS = [0, 1]
WIDTHS = (8, 8)
ONLINE = OnlineSchedule(
    steps=170,  # three blocks and a part of one
    block_size=50,
    first_block_multiplier=2,
    evaluation_interval=100,  # so that a checkpoint lies between two evaluations
    evaluation_episodes=2,
    checkpoint_interval=50,
)
OFFLINE = OfflineSchedule(
    updates=60,
    cloning_warm_start=20,
    monte_carlo_warm_start=20,
    evaluation_interval=30,
    evaluation_episodes=2,
    checkpoint_interval=20,
)
LENGTHS = (30, 20, 14)
KINDS = ("pretrain", "off2on", "behaviour", "rlpd")


def train(kind: str, folder: Path, configuration: str = "this") -> None:
    """The whole job: its state under `folder`/state, what it makes under `folder`."""
    label, seeds = {"pretrain": ("cql", SEEDS), "behaviour": ("sac", [0])}.get(kind, (kind, SEEDS))
    job = Job("test", label, "made-up", ENVIRONMENT, seeds, configuration, folder / "state")
    if kind == "pretrain":
        method = CQLConfig(hidden_widths=WIDTHS, batch_size=16, sampled_actions=2, frozen_actor_updates=5)
        result = pretrain(CQL, method, OFFLINE, made_up_transitions(LENGTHS), job)
        for seed, agent in zip(SEEDS, result.agents, strict=True):
            checkpoints.save(folder / f"agent_{seed}.safetensors", agent, {"seed": seed})
        curve = result.curve
    elif kind == "behaviour":
        run = train_behaviour(SACConfig(hidden_widths=WIDTHS, batch_size=16), ONLINE, job, 0.1)
        for name in ("replay_log", "medium", "expert"):
            checkpoints.save(folder / f"{name}.safetensors", getattr(run, name), {"seed": 0})
        curve = run.curve
    elif kind == "rlpd":
        many = RLPDConfig(hidden_widths=WIDTHS, batch_size=16, updates_per_step=2, warm_up_steps=50)
        online = replace(ONLINE, fresh_episodes=False)
        curve = fine_tune(RLPD, many, online, made_up_transitions(LENGTHS), [], job)
    else:
        config = Off2OnConfig(
            hidden_widths=WIDTHS,
            batch_size=16,
            ensemble_size=2,
            density_hidden_widths=WIDTHS,
            density_batch_size=16,
            initial_online_fraction=0.1,  # a default priority low enough to rise
        )
        agents = ActorCritics(range(4), OBSERVATIONS, ACTIONS, config)
        agents.initialise()
        members = [one_agent(agents, index) for index in range(4)]
        curve = fine_tune(
            Off2On, config, ONLINE, made_up_transitions(LENGTHS), members, job, reward_scale=0.1
        )
    write_curves(folder / "curve.parquet", curve, {"kind": kind})


class Moment(NamedTuple):
    """When a process is killed: at an event, counted or named, after it has written so many checkpoints."""

    checkpoints_written: int
    event: int | str
    signal: int = signal.SIGKILL


FIRST_CHECKPOINT = Moment(1, 0)


class Events:
    """Counts the events of this process between its checkpoints, kills it at the moment asked for."""

    def __init__(self, kill_at: Moment | None) -> None:
        self.kill_at = kill_at
        self.names: list[list[str]] = [[]]
        for owner, name in (
            (TrainingLog, "add"),
            (EnvironmentBatch, "step"),
            (checkpoints, "save_file"),
            (os, "fsync"),
            (os, "replace"),
        ):
            setattr(owner, name, self.around(getattr(owner, name), name))

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.happened(f"before {name}")
            result = function(*arguments, **options)
            self.happened(f"after {name}")
            if name == "replace" and arguments[1].name == "checkpoint.safetensors":
                self.names.append([])
            return result

        return watched

    def happened(self, name: str) -> None:
        here = len(self.names) - 1
        if self.kill_at is not None and self.kill_at[:2] in ((here, len(self.names[-1])), (here, name)):
            os.kill(os.getpid(), self.kill_at.signal)
        self.names[-1].append(name)


def child(kind: str, folder: Path, kill_at: Moment | None, configuration: str) -> None:
    """What the process runs; the names of its events, or why it was refused, are left in `folder`."""
    acceleration.prepare_process()
    events = Events(kill_at)
    try:
        train(kind, folder, configuration)
    except UserError as error:
        (folder / "refusal.txt").write_text(str(error))
    else:
        (folder / "events.json").write_text(json.dumps(events.names))


_processes = multiprocessing.get_context("forkserver")
# torch imports its compiler when the first optimiser is made: here once, not in every process.
_processes.set_forkserver_preload(
    [
        "pytest",
        "torch._dynamo",
        "torch._inductor.config",
        "algorithms.training.behaviour",
        "algorithms.training.offline",
    ]
)


def start(kind: str, folder: Path, kill_at: Moment | None = None, configuration: str = "this") -> int:
    """Run the job in a new process; its exit status, negative for a signal."""
    folder.mkdir(exist_ok=True)
    process = _processes.Process(target=child, args=(kind, folder, kill_at, configuration))
    process.start()
    process.join(timeout=120)
    assert process.exitcode is not None
    return process.exitcode


def written(folder: Path) -> dict[str, bytes]:
    """Every file that the job left, but for locks and this test's notes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "events.json")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_killed_at_random_moments_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    left_alone, killed = tmp_path / "left alone", tmp_path / "killed"
    assert start(kind, left_alone) == 0
    events = json.loads((left_alone / "events.json").read_text())
    generator = np.random.default_rng([2021, KINDS.index(kind)])
    before, between, later = (int(generator.integers(len(names))) for names in events[:3])
    kills = [
        Moment(0, before),  # nothing is saved yet: from the start again
        Moment(1, between),  # then from the first checkpoint
        Moment(1, later),  # then from the second
        Moment(0, "after save_file"),  # while a checkpoint is written, before it has its name
    ]
    for moment in kills:
        assert start(kind, killed, moment) == -signal.SIGKILL
        assert "curve.parquet" not in written(killed)
    assert any("partial" in name for name in written(killed))
    assert start(kind, killed) == 0
    assert not any("partial" in name for name in written(killed))
    assert written(killed) == written(left_alone)
    assert "state/checkpoint.safetensors" in written(killed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_asked_to_end_saves_first_and_loses_nothing(kind: str, tmp_path: Path) -> None:
    left_alone, ended = tmp_path / "left alone", tmp_path / "ended"
    assert start(kind, left_alone) == 0
    names = json.loads((left_alone / "events.json").read_text())[1]
    updates = [number for number, name in enumerate(names) if name == "after add"]
    moment = Moment(1, updates[len(updates) // 3], signal.SIGTERM)
    assert start(kind, ended, moment) == 128 + signal.SIGTERM
    _, manifest = checkpoints.load(ended / "state" / "checkpoint.safetensors")
    interval = OFFLINE.checkpoint_interval if kind == "pretrain" else ONLINE.checkpoint_interval
    # Offline at once, between two intervals; online at the end of the block, where an episode may be cut.
    assert interval < manifest["step"] < 2 * interval if kind == "pretrain" else manifest["step"] > interval
    assert "curve.parquet" not in written(ended)
    assert start(kind, ended) == 0
    assert written(ended) == written(left_alone)


def test_a_job_asked_to_end_before_its_first_update_begins_anew(tmp_path: Path) -> None:
    left_alone, ended = tmp_path / "left alone", tmp_path / "ended"
    assert start("pretrain", left_alone) == 0
    assert start("pretrain", ended, Moment(0, 0, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert "state/checkpoint.safetensors" not in written(ended)
    assert start("pretrain", ended) == 0
    assert written(ended) == written(left_alone)


def test_a_finished_job_started_again_only_repeats_its_result(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    assert start("off2on", folder) == 0
    before = written(folder)
    assert start("off2on", folder) == 0
    [names] = json.loads((folder / "events.json").read_text())
    assert "before add" not in names and "before step" not in names
    assert written(folder) == before


@pytest.mark.parametrize("kind", ["pretrain", "sac"])
def test_a_checkpoint_of_another_configuration_is_refused(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    start(kind, folder, kill_at=FIRST_CHECKPOINT, configuration="another")
    before = written(folder)
    start(kind, folder)
    refusal = (folder / "refusal.txt").read_text()
    assert str(folder / "state" / "checkpoint.safetensors") in refusal
    assert "belongs to configuration another, expected this" in refusal
    assert {name: content for name, content in written(folder).items() if name != "refusal.txt"} == before


@pytest.mark.parametrize("kind", ["pretrain", "off2on"])
def test_a_damaged_checkpoint_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    start(kind, folder, kill_at=FIRST_CHECKPOINT)
    checkpoint = folder / "state" / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 4
    for damaged in (whole[:-200], bytes(flipped)):
        checkpoint.write_bytes(damaged)
        start(kind, folder)
        refusal = (folder / "refusal.txt").read_text()
        assert str(checkpoint) in refusal and "damaged" in refusal
        assert checkpoint.read_bytes() == damaged


@pytest.mark.parametrize("kind", ["pretrain", "off2on"])
def test_a_job_whose_newest_checkpoint_is_gone_goes_on_from_the_previous(kind: str, tmp_path: Path) -> None:
    left_alone, folder = tmp_path / "left alone", tmp_path / "job"
    start(kind, left_alone)
    start(kind, folder, Moment(2, 1))
    (folder / "state" / "checkpoint.safetensors").unlink()
    start(kind, folder)
    events = ((each / "events.json").read_text() for each in (left_alone, folder))
    whole, resumed = (text.count("before add") for text in events)
    assert 0 < resumed < whole
    assert written(folder) == written(left_alone)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pretrain", "agents.networks.q.net.layers.0.weight"),
        ("pretrain", "agents.adam.exp_avg.policy.net.layers.0.bias"),
        ("pretrain", "draws"),
        ("off2on", "agents.networks.density.net.layers.0.weight"),
        ("off2on", "agents.adam.step.q.net.layers.0.weight"),
        ("off2on", "agents.streams"),
        ("off2on", "replay.rewards"),
        ("off2on", "replay.priority_units"),
        ("off2on", "environments.physics"),
        ("off2on", "episode_ends"),
    ],
)
def test_a_checkpoint_that_lacks_a_tensor_or_has_it_in_another_shape_is_one_sentence(
    kind: str, name: str, tmp_path: Path
) -> None:
    start(kind, tmp_path / "job", kill_at=FIRST_CHECKPOINT)
    path = tmp_path / "job" / "state" / "checkpoint.safetensors"
    tensors, manifest = checkpoints.load(path)
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    for changed in (without, {**without, name: torch.zeros(1, 2, 3, 4)}):
        checkpoints.save(path, changed, manifest)
        start(kind, tmp_path / "job")
        refusal = (tmp_path / "job" / "refusal.txt").read_text()
        assert refusal.startswith(f"{path} does not fit this run: ")
        # Each part of a job knows its tensors by its own names.
        assert name.removeprefix("agents.").removeprefix("replay.") in refusal


def test_a_second_process_in_one_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    with exclusive(folder / "state"):
        start("pretrain", folder)
    expected = f"{folder / 'state'} is already being written by another run (process {os.getpid()})"
    assert (folder / "refusal.txt").read_text() == expected
