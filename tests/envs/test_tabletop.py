"""The tasks on the table: rewards by their statements, scripts that do them, data taken for another one."""

from __future__ import annotations

import numpy as np
import pytest

from envs.locomotion import EnvironmentBatch, specification
from envs.reference_scores import normalised_score
from envs.tabletop import ENVIRONMENTS, FAR, MIDDLE, TASKS, UNIT, taken_for
from offline_data.collect import record
from offline_data.tabletop import script
from storage import UserError

EPISODES = 12


def played(environment: str, noise: float = 0.0) -> tuple[EnvironmentBatch, list[np.ndarray], np.ndarray]:
    """Whole episodes of the script: what was seen [T + 1] of [n, obs], and rewards [T, n]."""
    batch = EnvironmentBatch(environment, range(EPISODES))
    policy, seen, rewards = script(environment, 0, noise), [batch.reset()], []
    for _ in range(specification(environment).time_limit):
        step = batch.step(policy(seen[-1]))
        seen.append(step.observations)
        rewards.append(step.rewards)
    assert step.truncations.all() and not step.terminations.any()
    return batch, seen, np.array(rewards)


@pytest.mark.parametrize("actions", ["Delta", "Absolute"])
@pytest.mark.parametrize("task", TASKS)
def test_a_script_without_noise_always_succeeds_and_begins_without_success(task: str, actions: str) -> None:
    batch, seen, rewards = played(f"{task}{actions}-v0")
    begun, ended = batch.successes(seen[0]), batch.successes(seen[-1])
    assert begun is not None and ended is not None
    assert ended.all() and begun.mean() < 0.2
    assert normalised_score(rewards.sum(axis=0).mean(), f"{task}{actions}-v0") > 85


def test_rewards_are_their_formulas_of_what_is_seen() -> None:
    hand, thing, goal = np.array([0.1, -0.2, 0.5]), np.array([0.1, 0.0, 0.3]), np.array([0.4, 0.0, 1.0])
    rows = {"hand": hand, "fingers": np.ones(2), "object": thing, "goal": goal}
    held = np.sqrt(0.2**2 + 0.2**2)
    slid = 1 - 2 * held - 0.3
    expected = {
        "Reach": 1 - np.sqrt(0.3**2 + 0.2**2 + 0.5**2),
        "Slide": slid,
        "Lift": 0.57 - held + 0.12,  # raised by 0.12, in the hand
        "Place": 0.9 * slid + 0.5 * 0.12,
    }
    for name, task in TASKS.items():
        seen = np.concatenate([rows[part] for part in task.sees])[None]
        assert task.rewards(seen)[0] == pytest.approx(expected[name])


def test_both_kinds_of_actions_lead_the_hand_to_the_same_places() -> None:
    ends = [played(f"Place{actions}-v0")[1][-1] for actions in ("Delta", "Absolute")]
    np.testing.assert_allclose(*ends, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_goals_lie_where_the_name_says(task: str) -> None:
    for region, expected in (("Near", {False}), ("Far", {True}), ("", {False, True})):
        batch = EnvironmentBatch(f"{task}Delta{region}-v0", range(40))
        parts = TASKS[task].parts(batch.reset())
        place = parts.get("goal", parts.get("object"))
        assert place is not None
        assert set((place[:, 0] > FAR).tolist()) == expected


def test_a_copy_depends_on_its_seed_alone_and_goes_on_to_the_bit() -> None:
    name = "SlideDelta-v0"
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (30, 3, 4))
    together, alone = EnvironmentBatch(name, [4, 7, 9], threads=2), EnvironmentBatch(name, [7])
    assert np.array_equal(together.reset()[1:2], alone.reset())
    for action in actions[:15]:
        assert np.array_equal(together.step(action).observations[1:2], alone.step(action[1:2]).observations)
    other = EnvironmentBatch(name, [4, 7, 9])
    other.restore(together.state())
    for action in actions[15:]:
        one, two = together.step(action), other.step(action)
        assert np.array_equal(one.observations, two.observations)
        assert np.array_equal(one.rewards, two.rewards)


def test_the_object_is_held_and_the_hand_stays_in_its_box() -> None:
    _, seen, _ = played("LiftDelta-v0")
    parts = TASKS["Lift"].parts(seen[-1])
    assert (np.linalg.norm(parts["hand"] - parts["object"], axis=1) < 0.4).all()
    assert (parts["object"][:, 2] > 0.8).all()
    batch = EnvironmentBatch("ReachAbsolute-v0", [0])
    batch.reset()
    for _ in range(20):
        step = batch.step(np.array([[1.0, 1.0, 1.0, 1.0]]))
    hand = TASKS["Reach"].parts(step.observations)["hand"][0] * UNIT + MIDDLE
    np.testing.assert_allclose(hand, [0.24, 0.30, 0.27], atol=5e-3)


def test_data_of_a_task_taken_for_another_are_seen_and_rewarded_as_its_own() -> None:
    (episode,) = record("PlaceDelta-v0", script("PlaceDelta-v0", 0), 50, 3, copies=1, threads=1)
    observations, rewards = taken_for(episode.observations, "PlaceDelta-v0", "LiftDelta-v0")
    assert observations.shape == (51, 8) and observations.dtype == rewards.dtype == np.float32
    assert np.array_equal(observations, episode.observations[:, :8])  # its goal is left out
    assert rewards == pytest.approx(TASKS["Lift"].rewards(observations[1:]), abs=1e-6)
    own, same = taken_for(episode.observations, "PlaceDelta-v0", "PlaceDelta-v0")
    assert np.array_equal(own, episode.observations)
    np.testing.assert_allclose(same, episode.rewards, atol=1e-5)


@pytest.mark.parametrize(
    ("recorded", "taken", "message"),
    [
        (
            "ReachDelta-v0",
            "LiftDelta-v0",
            "the reward of LiftDelta-v0 needs the object, which data of ReachDelta",
        ),
        (
            "LiftDelta-v0",
            "SlideDelta-v0",
            "the reward of SlideDelta-v0 needs the goal, which data of LiftDelta",
        ),
        (
            "PlaceAbsolute-v0",
            "SlideDelta-v0",
            "PlaceAbsolute-v0 have absolute actions and SlideDelta-v0 takes delta",
        ),
        ("PlaceDelta-v0", "Hopper-v4", "Hopper-v4 is no task of the table: expected two of Reach, Slide"),
    ],
)
def test_data_that_lack_what_another_task_needs_are_refused_in_one_sentence(
    recorded: str, taken: str, message: str
) -> None:
    size = sum(3 if part != "fingers" else 2 for part in ENVIRONMENTS[recorded].judged.sees)
    with pytest.raises(UserError) as refusal:
        taken_for(np.zeros((4, size)), recorded, taken)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
