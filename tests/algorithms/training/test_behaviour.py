"""Behaviour policies: which actors are kept, and a replay log that is the run's own data."""

from __future__ import annotations

import math
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch

from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.behaviour_policy import load_behaviour_policy
from algorithms.population.networks import Policy
from algorithms.population.streams import derived_seed
from algorithms.training.behaviour import (
    BehaviourRun,
    choose_snapshots,
    train_behaviour,
)
from algorithms.training.jobs import Job
from algorithms.training.online import OnlineSchedule
from offline_data.recipes import from_replay_log
from offline_data.transitions import from_episodes
from storage import UserError

ENVIRONMENT, SEED, WIDTHS = "InvertedDoublePendulum-v4", 3, (8, 8)
SCHEDULE = OnlineSchedule(
    steps=110,
    block_size=40,
    first_block_multiplier=1,
    initial_steps=30,
    evaluation_interval=40,
    evaluation_episodes=2,
    checkpoint_interval=40,
)


@pytest.mark.parametrize(
    ("scores", "medium", "expert"),
    [
        ({0: 0.0, 10: 10.0, 20: 33.0, 30: 40.0, 40: 100.0, 50: 90.0}, 30, 40),
        ({0: 0.0, 10: 20.0, 20: 30.0, 30: 60.0}, 10, 30),  # exactly a third is enough
        ({0: 90.0, 10: 5.0, 20: 30.0}, 20, 20),  # the untrained actor is neither
        ({0: 0.0, 10: 50.0, 20: 1.0, 30: 50.0}, 10, 10),  # the first of equals
        ({0: -1.0, 10: -9.0, 20: -3.0}, 10, 20),  # no third of a score below zero: the first trained
    ],
)
def test_medium_is_the_first_at_a_third_of_the_best(
    scores: dict[int, float], medium: int, expert: int
) -> None:
    assert choose_snapshots(pd.Series(scores)) == (medium, expert)


def test_medium_is_the_first_at_a_score_that_is_asked_for() -> None:
    scores = pd.Series({0: 90.0, 10: 10.0, 20: 33.0, 30: 40.0, 40: 100.0, 50: 90.0})
    assert choose_snapshots(scores, 40.0) == (30, 40)
    assert choose_snapshots(scores, 41.0) == (40, 40)


def test_a_medium_score_that_no_actor_reached_is_refused() -> None:
    with pytest.raises(UserError, match=r"medium.score is 101.0, and the best actor scores 100.0"):
        choose_snapshots(pd.Series({0: 200.0, 10: 50.0, 20: 100.0}), 101.0)


@pytest.mark.parametrize("step", [30, 120])
def test_an_actor_of_a_step_without_an_evaluation_is_refused(step: int, tmp_path: Path) -> None:
    job = Job("test", "sac", "made-up", ENVIRONMENT, [SEED], "hash", tmp_path)
    expected = f"checkpoints has {step}: expected multiples of the evaluation_interval, 40, up to 110"
    with pytest.raises(UserError, match=expected):
        train_behaviour(SACConfig(WIDTHS), SCHEDULE, job, kept_steps=[40, step])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run below keeps its state."""
    return tmp_path_factory.mktemp("behaviour")


@pytest.fixture(scope="module")
def run(folder: Path) -> BehaviourRun:
    """A short SAC run on scaled rewards."""
    config = SACConfig(hidden_widths=WIDTHS, batch_size=16)
    job = Job("test", "sac", "made-up", ENVIRONMENT, [SEED], "h", folder)
    return train_behaviour(config, SCHEDULE, job, 0.1, kept_steps=[80, 110])


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_the_replay_log_is_what_gymnasium_does_under_its_actions_with_raw_rewards(
    run: BehaviourRun, tmp_path: Path
) -> None:
    path = tmp_path / "replay_log.safetensors"
    checkpoints.save(path, run.replay_log, {"seed": SEED})
    episodes = from_replay_log(path)
    assert sum(len(episode) for episode in episodes) == 140
    gym = gymnasium.make(ENVIRONMENT)
    start: int | None = derived_seed(SEED, "collection") % 2**32
    collected = 0
    for episode in episodes:
        observation, _ = gym.reset(seed=start)
        start = None
        observations, rewards, terminated = [observation], [], False
        for action in episode.actions:
            observation, reward, terminated, _, _ = gym.step(action.astype(np.float64))
            observations.append(observation)
            rewards.append(reward)
        assert np.array_equal(episode.observations, np.array(observations, dtype=np.float32))
        assert episode.rewards == pytest.approx(np.array(rewards), rel=1e-6)  # divided by the scale again
        assert episode.terminated == terminated and episode.truncated != terminated
        collected += len(episode)
        if terminated and collected in (30, 70, 110):
            gym.reset()  # finished copies are reset at once, and all of them where a block begins
    gym.close()
    assert from_episodes(from_replay_log(path, steps=100)).episode_ends[-1]


def test_the_kept_actors_are_those_of_the_chosen_evaluations(run: BehaviourRun, folder: Path) -> None:
    scores = run.curve[run.curve.metric == "normalised_score"].set_index("step").value
    medium, expert = choose_snapshots(scores)
    assert list(scores.index) == [0, 40, 80, 110]
    assert list(run.checkpoints) == [80, 110]
    for actor, step in ((run.medium, medium), (run.expert, expert), (run.checkpoints[80], 80)):
        kept, manifest = checkpoints.load(folder / "snapshots" / f"actor_{step}.safetensors")
        assert manifest["step"] == step
        assert all(torch.equal(actor[name], tensor) for name, tensor in kept.items())
    assert run.medium_steps == medium + SCHEDULE.initial_steps


@pytest.fixture
def actor(tmp_path: Path) -> tuple[Path, Policy]:
    """A saved actor of two actions, and the same as a policy."""
    agents = ActorCritics([0], 5, 2, SACConfig(hidden_widths=(6, 7)))
    agents.initialise()
    with torch.no_grad():
        last = agents.policy.net.affine_maps()[-1]
        last.bias.copy_(torch.tensor([0.3, -0.8, -0.5, 0.2]))
        last.weight.mul_(100)
    path = tmp_path / "actor.safetensors"
    checkpoints.save(path, agents.policy.state_dict(), {"step": 1})
    return path, agents.policy


def test_a_loaded_policy_acts_like_the_saved_one(actor: tuple[Path, Policy]) -> None:
    path, policy = actor
    observation = np.random.default_rng(0).normal(size=(1, 5))
    draws = 20_000
    actions = load_behaviour_policy(path, 5, 2, seed=1)(np.repeat(observation, draws, axis=0))
    assert actions.shape == (draws, 2) and np.abs(actions).max() < 1
    pre_tanh = np.arctanh(actions.astype(np.float64))
    with torch.no_grad():
        distribution = policy(torch.from_numpy(observation.astype(np.float32)).unsqueeze(0))
    mean, std = distribution.mean[0, 0].numpy(), distribution.log_std[0, 0].exp().numpy()
    assert np.abs(pre_tanh.mean(axis=0) - mean).max() < 5 * std.max() / math.sqrt(draws)
    assert pre_tanh.std(axis=0) == pytest.approx(std, rel=5 / math.sqrt(2 * draws))


def test_a_loaded_policy_may_act_with_a_share_of_its_deviation(actor: tuple[Path, Policy]) -> None:
    path, _ = actor
    observations = np.random.default_rng(0).normal(size=(1, 5)).repeat(5_000, axis=0)
    whole, half = (
        np.arctanh(load_behaviour_policy(path, 5, 2, 1, scale)(observations).astype(np.float64))
        for scale in (1.0, 0.5)
    )
    assert np.allclose(half.mean(axis=0), whole.mean(axis=0), atol=0.1)
    assert half.std(axis=0) == pytest.approx(0.5 * whole.std(axis=0), rel=1e-3)


def test_a_loaded_policy_is_deterministic_in_its_seed(actor: tuple[Path, Policy]) -> None:
    path, _ = actor
    observations = np.random.default_rng(0).normal(size=(4, 5))
    first, again, other = (load_behaviour_policy(path, 5, 2, seed) for seed in (1, 1, 2))
    actions = [first(observations), first(observations)]
    assert not np.array_equal(*actions)  # the stream goes on
    assert np.array_equal(actions[0], again(observations))
    assert np.array_equal(actions[1], again(observations))
    assert not np.array_equal(actions[0], other(observations))


def test_what_is_no_actor_of_these_sizes_is_refused(actor: tuple[Path, Policy], tmp_path: Path) -> None:
    path, _ = actor
    for sizes in ((4, 2), (5, 3)):
        with pytest.raises(UserError, match=rf"expected an actor for {sizes[0]} observations and {sizes[1]}"):
            load_behaviour_policy(path, *sizes, seed=0)
    whole_agent = tmp_path / "agent.safetensors"
    agents = ActorCritics([0], 5, 2, SACConfig(hidden_widths=(6,)))
    agents.initialise()
    checkpoints.save(whole_agent, one_agent(agents, 0), {})
    with pytest.raises(UserError, match=r"agent\.safetensors: expected an actor"):
        load_behaviour_policy(whole_agent, 5, 2, seed=0)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"actor\.safetensors: not a readable checkpoint"):
        load_behaviour_policy(path, 5, 2, seed=0)
