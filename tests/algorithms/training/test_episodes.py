"""The loops on images: schedule, curves, resuming, refusals, and that a trivial task is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from algorithms.methods.awac import AWAC, AWACConfig
from algorithms.methods.cql import CQL, CQLConfig
from algorithms.methods.interface import OfflineStart
from algorithms.methods.off2on import Off2On, Off2OnConfig
from algorithms.population import checkpoints
from algorithms.population.agents import one_agent
from algorithms.population.encoding import EncoderConfig
from algorithms.population.streams import Streams
from algorithms.training.fine_tuning import fine_tune
from algorithms.training.jobs import Job
from algorithms.training.log import TrainingLog
from algorithms.training.offline import OfflineSchedule, pretrain
from algorithms.training.online import OnlineSchedule
from algorithms.training.worlds import Episodes
from storage import UserError
from storage.curves import write_curves
from tests.algorithms.image_task import ACTION, HORIZON, SHAPES, Spot, make, record

SEEDS = [3, 8]
TINY: dict[str, Any] = {
    "encoder": EncoderConfig(networks="shared"),
    "hidden_widths": (8,),
    "policy_hidden_widths": (8,),
    "batch_size": 8,
}
COG: dict[str, Any] = {"sampled_actions": 1, "log_std_range": (-5.0, 2.0)}
OFFLINE = OfflineSchedule(updates=30, evaluation_interval=15, evaluation_episodes=1, checkpoint_interval=10)
ONLINE = OnlineSchedule(
    steps=5,  # two blocks and a part of one
    block_size=2,
    updates_per_episode=5,
    first_block_multiplier=3,
    evaluation_interval=4,  # so that a checkpoint lies between two evaluations
    evaluation_episodes=1,
    checkpoint_interval=2,
)
CQL_CONFIG = CQLConfig(cloning_updates=12, averaging_rate=0.1, conservative_weight=1.0, **COG, **TINY)
OFF2ON = Off2OnConfig(
    ensemble_size=2,
    density_hidden_widths=(8,),
    density_batch_size=8,
    initial_online_fraction=0.1,  # a default priority low enough to rise
    averaging_rate=0.1,
    cloning_weight=0.2,
    cloning_data="scripted",
    **COG,
    **TINY,
)


def job(folder: Path, label: str = "cql", seeds: Sequence[int] = SEEDS) -> Job:
    return Job("test", label, "made-up", "spot", seeds, "this", folder / "state", make=make)


def pretrained(count: int) -> list[dict[str, Tensor]]:
    agents = CQL.begin_offline(OfflineStart(range(count), SHAPES, ACTION, ()), CQL_CONFIG).agents
    return [one_agent(agents, index) for index in range(count)]


def train(kind: str, folder: Path) -> pd.DataFrame:
    """A whole job; its curve is also written to `folder`."""
    folder.mkdir(exist_ok=True)
    this = job(folder, "cql" if kind == "pretrain" else kind)
    if kind == "pretrain":
        result = pretrain(CQL, CQL_CONFIG, OFFLINE, record(6), this)
        agents, curve = result.agents, result.curve
    else:
        penalty = {"replay": "online_only", "conservative_weight": 1.0}
        config = OFF2ON if kind == "off2on" else replace(OFF2ON, **penalty)
        agents = []
        curve = fine_tune(Off2On, config, ONLINE, record(6), pretrained(4), this, trained=agents)
    for number, agent in enumerate(agents):
        checkpoints.save(folder / f"agent_{number}.safetensors", agent, {"number": number})
    write_curves(folder / "curve.parquet", curve, {"kind": kind})
    return curve


@pytest.mark.parametrize("kind", ["pretrain", "off2on"])
def test_a_q_beyond_the_schedule_s_bound_stops_the_run_and_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, schedule in (("OFFLINE", OFFLINE), ("ONLINE", ONLINE)):
        monkeypatch.setitem(globals(), name, replace(schedule, largest_q=1e-9))
    with pytest.raises(UserError, match=r"q_mean of seed 3 became .* at update 1, expected at most 1e-09"):
        train(kind, tmp_path)


def written(folder: Path) -> dict[str, bytes]:
    """Every file that the job left, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


class KilledError(Exception):
    """Stands for a kill: nothing in the loops catches it."""


@pytest.mark.parametrize("kind", ["pretrain", "off2on", "cql_ft"])
def test_a_job_stopped_at_any_event_ends_with_the_same_bytes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(kind, tmp_path / "left alone")
    original = {TrainingLog: TrainingLog.add, Spot: Spot.step}
    left = math.inf

    def counted(owner: type, name: str) -> None:
        def watched(self: Any, *arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError
            return original[owner](self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, watched)

    counted(TrainingLog, "add")
    counted(Spot, "step")
    stops = 0
    for events in (3, 60, 60, 90, math.inf):  # evaluation, then updates and collected steps
        left = events
        try:
            train(kind, tmp_path / "stopped")
        except KilledError:
            stops += 1
    assert stops >= 3
    assert written(tmp_path / "stopped") == written(tmp_path / "left alone")
    assert "state/checkpoint.safetensors" in written(tmp_path / "stopped")


def test_offline_the_curve_has_success_by_updates(tmp_path: Path) -> None:
    curve = train("pretrain", tmp_path)
    success = curve[curve.metric == "success_deterministic"]
    assert list(success.step) == [0, 0, 15, 15, 30, 30] and list(success.seed) == SEEDS * 3
    assert set(curve[curve.step == 30].metric) == {
        *("success_deterministic", "success_stochastic", "return"),
        *("td_error", "conservative_penalty", "actor_loss"),
        *("q_mean", "entropy", "entropy_coefficient"),
    }


def test_online_the_curve_counts_episodes_and_blocks_get_their_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    learn, play = Off2On.learn, Episodes.play

    def learning(self: Off2On) -> Any:
        calls.append("learn")
        return learn(self)

    def playing(self: Episodes, act: Any, seeds: Any) -> Any:
        collecting = getattr(act, "__name__", "") == "explore"
        calls.append("collect" if collecting else "evaluate")
        return play(self, act, seeds)

    monkeypatch.setattr(Off2On, "learn", learning)
    monkeypatch.setattr(Episodes, "play", playing)
    curve = train("off2on", tmp_path)
    evaluation = ["evaluate"] * 2
    assert calls == [
        *evaluation,
        *["collect"] * 2,
        *["learn"] * 30,
        *["collect"] * 2,
        *["learn"] * 10,
        *evaluation,
        "collect",
        *["learn"] * 5,
        *evaluation,
    ]
    wide = curve.pivot(index=["seed", "step"], columns="metric", values="value")
    assert wide.index.tolist() == [(seed, step) for seed in SEEDS for step in (0, 4, 5)]
    shares = wide[["online_share", "random_share"]].dropna()
    assert len(shares) == 4 and (shares > 0).all().all() and (shares.sum(axis=1) < 1).all()


def test_an_episode_is_what_the_environment_showed() -> None:
    stage = Episodes(make, "spot", 2)
    chosen = torch.rand(2, HORIZON, ACTION) * 2 - 1
    moments = iter(range(HORIZON))

    def act(shown: Any) -> Tensor:
        assert shown["image"].shape == (2, 1, *SHAPES["image"]) and shown["image"].dtype == torch.uint8
        return chosen[:, next(moments)].unsqueeze(1)

    episode = stage.play(act, [5, 6])
    assert torch.equal(episode.actions, chosen) and episode.masks.all()
    for run, seed in enumerate((5, 6)):
        environment = Spot()
        shown, rewards = [environment.reset(seed)], []
        for action in chosen[run].numpy():
            observation, reward, _, _ = environment.step(action)
            shown.append(observation)
            rewards.append(reward)
        for name in SHAPES:
            rows = np.stack([each[name] for each in shown])
            assert np.array_equal(episode.observations[name][run], rows[:-1])
            assert np.array_equal(episode.next_observations[name][run], rows[1:])
        assert episode.rewards[run].tolist() == rewards


class Player:
    """Agents that go to the middle, or by chance away from it."""

    def exploit(self, shown: Any) -> Tensor:
        red = shown["image"][:, 0, 5, 5, 0].float() / 25
        return torch.stack([(5 - red) / 2.5, torch.zeros(2)], dim=1).clamp(-1, 1).unsqueeze(1)

    def sample(self, shown: Any, streams: Streams) -> Tensor:
        return torch.full((2, 1, ACTION), -1.0)


def test_success_is_the_share_of_episodes_with_a_rewarded_last_step() -> None:
    player: Any = Player()
    found: Any = Episodes(make, "spot", 2).measurement(player, SEEDS, 0, episodes=3)()
    assert found["success_deterministic"].tolist() == [1, 1]
    assert found["success_stochastic"].tolist() == [0, 0]
    assert (found["return"] >= 2).all()


def test_an_episode_of_another_length_is_refused() -> None:
    class Short(Spot):
        horizon = HORIZON - 1

    stage = Episodes(lambda name: Short(), "spot", 1)
    with pytest.raises(UserError, match="not cut after 3 steps, expected a horizon of 3"):
        stage.play(lambda images: torch.zeros(1, 1, ACTION), [0])


def test_data_of_another_task_is_refused(tmp_path: Path) -> None:
    episodes = record(3)
    other = replace(episodes, actions=episodes.actions[:, :1].copy())
    sentence = r"made-up has observations and actions of sizes .* expected .* for spot"
    with pytest.raises(UserError, match=sentence):
        pretrain(CQL, CQL_CONFIG, OFFLINE, other, job(tmp_path))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"initial_steps": 2}, "initial_steps is 2, expected 0: spot is collected from by episodes"),
        ({"fresh_episodes": False}, "fresh_episodes is False, expected True"),
    ],
)
def test_a_schedule_of_single_steps_is_refused(
    settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    schedule = replace(ONLINE, **settings)
    with pytest.raises(UserError, match=sentence):
        fine_tune(Off2On, OFF2ON, schedule, record(6), pretrained(4), job(tmp_path))


def test_another_method_learns_by_episodes_too(tmp_path: Path) -> None:
    config = AWACConfig(ensemble_size=1, **TINY)
    result = pretrain(AWAC, config, OFFLINE, record(6), job(tmp_path, label="awac"))
    online = job(tmp_path / "online", label="awac")
    curve = fine_tune(AWAC, config, ONLINE, record(6), result.agents, online)
    assert set(curve["unit"]) == {"episode"}
    assert {"success_deterministic", "critic_loss", "offline_fraction"} <= set(curve["metric"])


LEARNING: dict[str, Any] = {
    "encoder": EncoderConfig(networks="shared"),
    "sampled_actions": 1,
    "hidden_widths": (32, 32),
    "policy_hidden_widths": (32, 32),
    "batch_size": 32,
    "discount": 0.5,
    "target_update_rate": 0.05,
    "clip_targets": True,
    "log_std_range": (-5.0, 0.5),
    "initial_entropy_coefficient": 0.01,
    "policy_learning_rate": 3e-3,
    "value_learning_rate": 3e-3,
    "cloning_data": "scripted",
}


def test_a_trivial_task_is_learned_from_images_in_seconds(tmp_path: Path) -> None:
    config = CQLConfig(cloning_updates=250, conservative_weight=0.1, **LEARNING)
    schedule = OfflineSchedule(400, evaluation_interval=400, evaluation_episodes=10, checkpoint_interval=400)
    result = pretrain(CQL, config, schedule, record(300), job(tmp_path, seeds=[0, 1]))
    wide = result.curve.pivot(index="step", columns=["metric", "seed"], values="value")
    assert (wide["success_deterministic"].loc[0] < 0.5).all()
    assert (wide["success_deterministic"].loc[400] > 0.8).all()
    # discount 0.5: near 2 where every step is rewarded, 0 where none is
    assert wide["q_mean"].loc[400].between(1.0, 2.0).all()

    online = Off2OnConfig(
        ensemble_size=2,
        density_hidden_widths=(16,),
        density_batch_size=32,
        initial_online_fraction=0.5,
        weight_temperature=2.5,
        **LEARNING,
    )
    episodes = OnlineSchedule(
        steps=10,
        block_size=5,
        updates_per_episode=10,
        first_block_multiplier=2,
        evaluation_interval=5,
        evaluation_episodes=10,
        checkpoint_interval=10,
    )
    this = job(tmp_path / "online", label="off2on", seeds=[0])
    curve = fine_tune(Off2On, online, episodes, record(300), result.agents, this)
    wide = curve.pivot(index="step", columns="metric", values="value")
    assert wide["success_deterministic"].loc[10] > 0.8
