"""Scripts succeed without noise, fail as often as they should with it, and do their stage alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs.manipulation import ENVIRONMENTS
from envs.manipulation.controllers import HALF, NONE, Noise, scripted, uniform
from envs.manipulation.environment import ManipulationEnvironment

Get = Callable[..., ManipulationEnvironment]
FORMS = ("full", "position")


def roll(environment: ManipulationEnvironment, stage: str, noise: Noise, seed: int) -> tuple[bool, bool]:
    """Whether an episode ends in success, and whether it reached the first stage's end."""
    environment.reset(seed)
    policy = scripted(environment, stage, noise, np.random.default_rng(seed))
    reached = False
    for _ in range(environment.horizon):
        step = environment.step(policy())
        reached = reached or environment.task.first_stage_done(environment.physics)
    return step.info["success"], reached


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_script_of_a_task_succeeds_without_noise(environment_of: Get, name: str, form: str) -> None:
    environment = environment_of(name, action_form=form)
    assert all(roll(environment, "whole", NONE, seed)[0] for seed in range(5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_stages_do_their_part_and_no_more(environment_of: Get, name: str, form: str) -> None:
    beginning = environment_of(name, action_form=form)
    middle = environment_of(name, action_form=form, start="middle")
    for seed in range(3):
        success, reached = roll(beginning, "prior", NONE, seed)
        assert reached
        assert not success
        assert roll(middle, "task", NONE, seed)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["GraspClosedDrawer-v0", "GraspBlockedDrawer-v0"])
def test_the_first_stage_of_a_drawer_ends_where_the_second_starts(
    environment_of: Get, name: str, form: str
) -> None:
    first, second = (
        environment_of(name, action_form=form),
        environment_of(name, action_form=form, start="middle"),
    )
    first.reset(0)
    second.reset(0)
    policy = scripted(first, "prior", NONE, np.random.default_rng(0))
    while not policy.resting:
        first.step(policy())
    hands = [environment.physics.hand_position() for environment in (first, second)]
    assert np.linalg.norm(hands[0] - hands[1]) < 0.03


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_noise_makes_some_episodes_of_the_second_stage_fail(environment_of: Get, name: str) -> None:
    environment = environment_of(name, action_form="position", start="middle")
    successes = sum(roll(environment, "task", HALF, seed)[0] for seed in range(12))
    assert 1 <= successes <= 10  # of 12, at a rate of about one half


def test_a_hand_that_closes_by_its_height_never_hovers_below_it(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0", action_form="position", start="middle")
    successes = []
    for seed in range(8):
        environment.reset(seed)
        noise = Noise(action=0.1, limit=0.9, close=0.02)
        policy = scripted(environment, "task", noise, np.random.default_rng(seed))
        for _ in range(environment.horizon):
            hand, thing = environment.physics.hand_position(), environment.physics.object_position()
            below = environment.task.is_open and hand[2] - thing[2] <= 0.02
            action = policy()
            assert not below or action[3] < 0
            step = environment.step(action)
        successes.append(step.info["success"])
    assert sum(successes) >= 6


def test_noisy_actions_are_clipped_and_clean_ones_are_what_the_script_says(environment_of: Get) -> None:
    environment = environment_of("GraspClosedDrawer-v0")
    for noise, largest in ((HALF, 0.9), (NONE, 1.0)):
        environment.reset(0)
        policy = scripted(environment, "whole", noise, np.random.default_rng(0))
        actions = []
        for _ in range(30):
            actions.append(policy())
            environment.step(actions[-1])
        assert np.abs(actions).max() == pytest.approx(largest)
        rotations = np.array(actions)[:, 3:6]
        # The script never turns the hand, so these numbers are the noise alone.
        assert rotations.std() == pytest.approx(noise.action, abs=0.03)


def test_uniform_actions_fill_their_range(environment_of: Get) -> None:
    environment = environment_of("PickPlace-v0")
    policy = uniform(environment, np.random.default_rng(0))
    actions = np.array([policy() for _ in range(500)])
    assert actions.shape == (500, 8)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions.std(axis=0), 2 / np.sqrt(12), atol=0.05)
