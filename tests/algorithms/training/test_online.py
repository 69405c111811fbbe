"""The online loop's schedule and what it hands to the replay, beside a plain Gymnasium loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from algorithms.diagnostics.offline_share import OfflineShare
from algorithms.methods.interface import Method, Metrics
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.replays import OnlineReplay
from algorithms.replay.stores import OnlineBuffer
from algorithms.training import loop
from algorithms.training.evaluation import evaluate
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineResult, OnlineSchedule, run_online
from algorithms.training.probes import Probe
from envs.locomotion import specification
from storage import UserError

SEEDS = [3, 8]
GAIN = 0.7

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")


class ScriptedLearner(Method):
    """Acts by a fixed formula, learns nothing, and writes down what the loop asks of it."""

    def __init__(
        self, environment: str, seeds: list[int], capacity: int, warm_up: SimpleNamespace | None = None
    ) -> None:
        spec = specification(environment)
        self.action_size = spec.action_size
        self.agents = ActorCritics(
            seeds, spec.observation_size, spec.action_size, SACConfig(hidden_widths=(4,))
        )
        self.agents.initialise()
        buffer = OnlineBuffer(len(seeds), capacity, spec.observation_size, spec.action_size)
        self.replay = OnlineReplay(buffer)
        self.draws = Streams(seeds)
        self.config = warm_up
        self.calls: list[str] = []
        self.losses: Iterator[float] | None = None

    def explore(self, observations: Tensor) -> Tensor:
        self.calls.append("explore")
        return torch.clamp(GAIN * observations[..., : self.action_size], -1, 1)

    def exploit(self, observations: Tensor) -> Tensor:
        self.calls.append("exploit")
        return -torch.clamp(GAIN * observations[..., : self.action_size], -1, 1)

    def learn(self) -> Metrics:
        self.calls.append("learn")
        loss = float(len(self.calls)) if self.losses is None else next(self.losses)
        return {"critic_loss": torch.tensor([1.0, loss])}


def schedule(steps: int, block_size: int, **others: Any) -> OnlineSchedule:
    """An evaluation of one episode and a checkpoint at the end, unless `others` say otherwise."""
    usual = {"first_block_multiplier": 1, "evaluation_interval": steps, "checkpoint_interval": steps}
    return OnlineSchedule(steps, block_size, **{**usual, "evaluation_episodes": 1, **others})


Run = Callable[..., tuple[ScriptedLearner, OnlineResult]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the loop on a scripted learner."""

    def start(
        config: OnlineSchedule,
        environment: str = "InvertedDoublePendulum-v4",
        reward_scale: float = 1.0,
        learner: ScriptedLearner | None = None,
        folder: str = "state",
        **options: Any,
    ) -> tuple[ScriptedLearner, OnlineResult]:
        learner = learner or ScriptedLearner(environment, SEEDS, config.steps + config.initial_steps)
        job = Job("test", "sac", "made-up", environment, SEEDS, "hash", tmp_path / folder)
        result = run_online(config, learner, job, reward_scale, **options)
        return learner, result

    return start


def runs_of_calls(learner: ScriptedLearner) -> list[tuple[str, int]]:
    """The learner's calls in order, repetitions counted; evaluations have no fixed length."""
    counted = ((name, len(list(group))) for name, group in groupby(learner.calls))
    return [(name, 0 if name == "exploit" else number) for name, number in counted]


def test_the_loop_evaluates_then_collects_then_learns_more_after_the_first_block(run: Run) -> None:
    often = {"evaluation_interval": 50, "checkpoint_interval": 50}
    learner, result = run(schedule(120, 50, first_block_multiplier=3, **often))
    assert runs_of_calls(learner) == [
        *(("exploit", 0), ("explore", 50), ("learn", 150)),
        *(("exploit", 0), ("explore", 50), ("learn", 50)),
        *(("exploit", 0), ("explore", 20), ("learn", 20), ("exploit", 0)),
    ]
    curve = result.curve
    assert list(curve[curve.metric == "return"].step) == [0, 0, 50, 50, 100, 100, 120, 120]
    assert list(curve[curve.metric == "critic_loss"].step) == [50, 50, 100, 100, 120, 120]
    assert learner.replay.online.size == 120


def test_the_share_of_offline_samples_is_logged_as_published_too_in_one_update_of_a_hundred(run: Run) -> None:
    learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 120)
    shares = iter([*range(300), *range(60)])  # of the updates after each of the two blocks

    def learn() -> Metrics:
        share = float(next(shares))
        return {"offline_fraction": torch.tensor([share, 2 * share])}

    learner.learn = learn  # type: ignore[method-assign]
    config = schedule(120, 60, first_block_multiplier=5)
    curve = run(config, learner=learner, probes=[OfflineShare()])[1].curve
    logged = curve[curve.metric == "offline_fraction_logged"].value.tolist()
    # After the first block updates 0, 100 and 200, after the second update 0.
    mean = np.mean([0, 100, 200, 0])
    assert logged == [mean, 2 * mean]


def test_initial_steps_come_before_step_zero_s_block_and_are_not_counted(run: Run) -> None:
    learner, result = run(schedule(20, 10, initial_steps=30, checkpoint_interval=10))
    assert runs_of_calls(learner) == [
        *(("exploit", 0), ("explore", 40), ("learn", 10)),
        *(("explore", 10), ("learn", 10), ("exploit", 0)),
    ]
    assert learner.replay.online.size == 50 and result.episode_ends.shape == (2, 50)
    assert sorted(set(result.curve.step)) == [0, 20]


def test_nothing_is_learned_in_the_warm_up_and_its_steps_count(run: Run) -> None:
    often = {"evaluation_interval": 10, "checkpoint_interval": 10}
    config = schedule(50, 10, first_block_multiplier=3, **often)
    learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 50, SimpleNamespace(warm_up_steps=20))
    curve = run(config, learner=learner)[1].curve
    learning = [call for call in runs_of_calls(learner) if call[0] != "exploit"]
    assert learning == [
        *[("explore", 10)] * 3,
        ("learn", 30),
        *[("explore", 10), ("learn", 10)] * 2,
    ]
    assert sorted(set(curve.step)) == [0, 10, 20, 30, 40, 50]
    assert sorted(set(curve[curve.metric == "critic_loss"].step)) == [30, 40, 50]


def test_a_warm_up_that_no_block_ends_is_refused(run: Run) -> None:
    learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 60, SimpleNamespace(warm_up_steps=20))
    with pytest.raises(UserError, match="warm_up_steps is 20, expected a multiple of block_size, 30"):
        run(schedule(60, 30), learner=learner)


def test_initial_steps_beside_a_warm_up_are_refused(run: Run) -> None:
    """They would be taken for the warm-up's own, whose last ones the method would then collect otherwise."""
    learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 90, SimpleNamespace(warm_up_steps=30))
    with pytest.raises(UserError, match="initial_steps is 30, expected 0 beside warm_up_steps, 30"):
        run(schedule(60, 30, initial_steps=30), learner=learner)


def test_a_block_may_go_on_with_the_last_ones_episode(run: Run) -> None:
    """As one block would: whatever the block size, the same transitions are collected."""
    collected = []
    for block_size in (1, 40, 120):
        config = schedule(120, block_size, fresh_episodes=False)
        learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 120)
        _, result = run(config, learner=learner, folder=str(block_size))
        collected.append((learner.replay.state(), result.episode_ends))
    (first, ends), *others = collected
    assert ends.any() and not ends[:, -1].all()
    for state, other_ends in others:
        assert all(torch.equal(first[name], tensor) for name, tensor in state.items())
        assert np.array_equal(other_ends, ends)
    expected, _ = gymnasium_log("InvertedDoublePendulum-v4", SEEDS[0], [120])
    assert np.array_equal(first["observations"][0].numpy(), expected["observations"])


def gymnasium_log(
    environment: str, seed: int, blocks: list[int]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Blocks of steps of the scripted policy, each from a fresh reset, as a person would write it."""
    gym = gymnasium.make(environment)
    size = int(np.prod(gym.action_space.shape or ()))
    rows: dict[str, list[Any]] = {
        name: [] for name in ("observations", "actions", "rewards", "masks", "next_observations")
    }
    ends = []
    start: int | None = derived_seed(seed, "collection") % 2**32
    for block in blocks:
        over = True
        for step in range(block):
            if over:
                observation, _ = gym.reset(seed=start)
                start = None
            action = np.clip(np.float32(GAIN) * observation.astype(np.float32)[:size], -1, 1)
            following, reward, terminated, truncated, _ = gym.step(action.astype(np.float64))
            over = terminated or truncated
            for name, value in zip(
                rows, (observation, action, reward, 1.0 - terminated, following), strict=True
            ):
                rows[name].append(value)
            ends.append(over or step == block - 1)
            observation = following
        if over:
            gym.reset()  # finished copies are reset at once, and all of them where a block begins
    gym.close()
    return {name: np.array(values, dtype=np.float32) for name, values in rows.items()}, np.array(ends)


@pytest.mark.parametrize(
    ("environment", "steps", "block_size"),
    [
        ("InvertedDoublePendulum-v4", 270, 25),  # falls within blocks, cuts of running episodes
        ("HalfCheetah-v4", 2020, 1010),  # never falls: only time-outs and cuts
    ],
)
def test_what_is_collected_equals_gymnasium_and_a_cut_is_no_terminal(
    run: Run, environment: str, steps: int, block_size: int
) -> None:
    interval = 10 * block_size
    config = schedule(steps, block_size, evaluation_interval=interval, checkpoint_interval=interval)
    learner, result = run(config, environment)
    collected = learner.replay.state()
    blocks = [block_size] * (steps // block_size) + ([steps % block_size] if steps % block_size else [])
    for row, seed in enumerate(SEEDS):
        expected, ends = gymnasium_log(environment, seed, blocks)
        for name, array in expected.items():
            assert np.array_equal(collected[name][row].numpy(), array), name
        assert np.array_equal(result.episode_ends[row], ends)
        cuts = np.cumsum(blocks) - 1
        assert ends[cuts].all() and expected["masks"][cuts[0]] == 1.0
    if environment == "HalfCheetah-v4":
        assert np.flatnonzero(result.episode_ends[0]).tolist() == [999, 1009, 2009, 2019]
        assert (collected["masks"] == 1).all()
    else:
        assert (collected["masks"] == 0).any()


def test_the_reward_scale_is_the_replay_s_and_not_the_curve_s(run: Run) -> None:
    learner, result = run(schedule(50, 50, evaluation_episodes=2), reward_scale=0.1)
    for row, seed in enumerate(SEEDS):
        expected, _ = gymnasium_log("InvertedDoublePendulum-v4", seed, [50])
        found = learner.replay.state()["rewards"][row].numpy()
        assert found == pytest.approx(0.1 * expected["rewards"].astype(np.float64), rel=1e-6)
    at_start = evaluate(learner.exploit, "InvertedDoublePendulum-v4", SEEDS, 0, 2).returns.mean(axis=1)
    curve = result.curve
    returns = curve[(curve.metric == "return") & (curve.step == 0)]
    assert list(returns.seed) == SEEDS and returns.value.tolist() == at_start.tolist()


def test_a_loss_that_is_not_finite_stops_the_run_before_it_acts_again(run: Run) -> None:
    learner = ScriptedLearner("InvertedDoublePendulum-v4", SEEDS, 40)
    learner.losses = iter([0.5] * 26 + [float("nan")] * 100)
    with pytest.raises(UserError, match="critic_loss of seed 8 became non-finite at update 27"):
        run(schedule(40, 20), learner=learner)
    assert learner.calls.count("learn") == 27 and learner.calls[-1] == "learn"


def test_intervals_that_no_block_ends_at_are_refused() -> None:
    with pytest.raises(UserError, match="evaluation_interval is 150, expected a multiple of block_size, 100"):
        OnlineSchedule(block_size=100, evaluation_interval=150)
    with pytest.raises(
        UserError, match="checkpoint_interval is 1000, expected a multiple of block_size, 300"
    ):
        OnlineSchedule(block_size=300, evaluation_interval=300)


class Measuring(Probe):
    """Measures something at every evaluation but the first."""

    def at(self, learner: Method, step: int) -> Mapping[str, ArrayLike]:
        return {"auroc_ensemble": [step, 50.0]} if step else {}


def test_what_else_is_measured_joins_the_rows_of_its_step(run: Run) -> None:
    curve = run(schedule(40, 10, evaluation_interval=20), probes=[Measuring()])[1].curve
    rows = curve[curve.metric == "auroc_ensemble"]
    assert list(zip(rows.step, rows.seed, rows.value, strict=True)) == [
        (20, 3, 20.0),
        (20, 8, 50.0),
        (40, 3, 40.0),
        (40, 8, 50.0),
    ]


def test_the_progress_bar_ends_at_the_last_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []
    original = loop.progress_bar

    def watched(*arguments: Any, **options: Any) -> Any:
        bars.append(original(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr(loop, "progress_bar", watched)
    run(schedule(35, 10, first_block_multiplier=3, evaluation_interval=10, checkpoint_interval=10))
    assert bars[0].n == bars[0].total == 35


def test_the_curve_can_be_read_by_seed(run: Run) -> None:
    _, result = run(schedule(10, 10))
    assert isinstance(result.curve, pd.DataFrame)
    wide = result.curve.pivot(index=["seed", "step"], columns="metric", values="value")
    assert wide.index.tolist() == [(3, 0), (3, 10), (8, 0), (8, 10)]
    assert {"return", "normalised_score", "episode_length", "critic_loss"} == set(wide.columns)
