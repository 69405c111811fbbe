"""The batched environments beside Gymnasium's own, and the promises of `EnvironmentBatch`."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from envs import reference_scores
from envs.locomotion import ENVIRONMENTS, EnvironmentBatch, Transition, specification
from envs.physics import load_model
from envs.simulator import mujoco
from envs.task import TIME_LIMIT
from storage import UserError

FALLING = [name for name in ENVIRONMENTS if not name.startswith("HalfCheetah")]


def make(name: str) -> gymnasium.Env[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v4 is out of date, says Gymnasium; it is the version we want
        return gymnasium.make(name, disable_env_checker=True)


def random_actions(name: str, copies: int, steps: int, seed: int) -> Iterator[NDArray[np.floating]]:
    """Stretches of weak, strong and out-of-range actions, in float32 (a policy's) and float64."""
    generator = np.random.default_rng(seed)
    size = specification(name).action_size
    for step in range(steps):
        strength = (0.1, 1.0, 1.6)[step // 50 % 3]
        actions = strength * generator.uniform(-1, 1, (copies, size))
        yield actions.astype(np.float32) if step % 3 else actions


def walk(batch: EnvironmentBatch, actions: list[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
    """Everything that came out, one [copies, ...] array a step; finished copies start again."""
    record = []
    for action in actions:
        transition = batch.step(action)
        finished = transition.terminations | transition.truncations
        following = batch.reset(finished)
        parts = (transition.observations, transition.rewards, finished, following)
        record.append(np.concatenate([part.reshape(batch.copies, -1) for part in parts], axis=1))
    return record


def started(name: str, seeds: list[int], threads: int = 1) -> EnvironmentBatch:
    batch = EnvironmentBatch(name, seeds, threads)
    batch.reset()
    return batch


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_long_walk_agrees_with_gymnasium_through_falls_and_time_outs(name: str) -> None:
    seeds, steps = [3, 14], 2300
    batch = EnvironmentBatch(name, seeds, threads=2)
    peers = [make(name) for _ in seeds]
    first = [peer.reset(seed=seed)[0] for peer, seed in zip(peers, seeds, strict=True)]
    np.testing.assert_array_equal(batch.reset(), first)
    falls = time_outs = 0
    for actions in random_actions(name, len(seeds), steps, seed=0):
        ours = batch.step(actions)
        steps_of_peers = [peer.step(action)[:4] for peer, action in zip(peers, actions, strict=True)]
        theirs = Transition(*zip(*steps_of_peers, strict=True))
        # Rounding only: a difference in the state, however small, would have grown in thousands of steps.
        np.testing.assert_allclose(ours.observations, theirs.observations, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(ours.rewards, theirs.rewards, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(ours.terminations, theirs.terminations)
        np.testing.assert_array_equal(ours.truncations, theirs.truncations)
        falls += int(ours.terminations.sum())
        time_outs += int(ours.truncations.sum())
        finished = ours.terminations | ours.truncations
        observations = batch.reset(finished)
        for copy in np.flatnonzero(finished):
            np.testing.assert_array_equal(observations[copy], peers[copy].reset()[0])
    for peer in peers:
        peer.close()
    if name in FALLING:
        assert falls >= 40
    else:
        assert (falls, time_outs) == (0, len(seeds) * (steps // TIME_LIMIT))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_specification_is_gymnasiums(name: str) -> None:
    ours, theirs = specification(name), make(name)
    assert theirs.spec is not None
    assert theirs.observation_space.shape == (ours.observation_size,)
    assert theirs.action_space.shape == (ours.action_size,)
    np.testing.assert_array_equal(theirs.action_space.low, ours.action_low)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(theirs.action_space.high, ours.action_high)  # type: ignore[attr-defined]
    assert ours.time_limit == theirs.spec.max_episode_steps
    assert ours.step_duration == theirs.unwrapped.dt  # type: ignore[attr-defined]
    theirs.close()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_time_limit_is_a_truncation_also_where_the_task_can_end(name: str) -> None:
    batch = started(name, [0, 1])
    state = batch.state()
    state["elapsed"][:] = [TIME_LIMIT - 2, 0]
    batch.restore(state)
    idle = np.zeros((2, specification(name).action_size))
    assert not batch.step(idle).truncations.any()
    last = batch.step(idle)
    assert last.truncations.tolist() == [True, False]
    assert not last.terminations.any()
    batch.reset(last.truncations)
    assert not batch.step(idle).truncations.any()


@pytest.mark.parametrize("name", FALLING)
def test_only_v4_pays_the_healthy_reward_on_the_step_that_falls(name: str) -> None:
    batch = started(name, [5])
    healthy, fall = [], None
    for actions in random_actions(name, 1, 1000, seed=2):
        transition = batch.step(actions)
        if transition.terminations[0]:
            fall = transition.rewards[0]
            break
        healthy.append(transition.rewards[0])
    bonus = 10.0 if name.startswith("Inverted") else 1.0
    assert fall is not None
    lost = healthy[-1] - fall
    assert (lost > 0.5 * bonus) == name.endswith("v5")


@pytest.fixture
def others() -> Iterator[None]:
    """Gymnasium's other MuJoCo environments, with made-up reference scores, for the time of a test."""
    known = dict(reference_scores.KNOWN)
    for family in {name.rpartition("-v")[0] for name in OTHERS}:
        reference_scores.register(family, 0.0, 1.0)
    yield
    reference_scores.KNOWN.clear()
    reference_scores.KNOWN.update(known)
    specification.cache_clear()


OTHERS = ["Ant-v4", "Ant-v5", "Humanoid-v5", "InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5"]


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_mujoco_environment_is_gymnasiums_once_it_is_registered(name: str, others: None) -> None:
    batch, peers = EnvironmentBatch(name, [3, 4], threads=2), [make(name), make(name)]
    first = [peer.reset(seed=seed)[0] for peer, seed in zip(peers, [3, 4], strict=True)]
    np.testing.assert_array_equal(batch.reset(), first)
    middle: dict[str, Any] = {}
    for number, actions in enumerate(random_actions(name, 2, 120, seed=0)):
        if number == 60:
            middle = batch.state()
            batch = EnvironmentBatch(name, [0, 0])
            batch.restore(middle)
        ours = batch.step(actions)
        for copy, (peer, action) in enumerate(zip(peers, actions, strict=True)):
            theirs = peer.step(action)
            np.testing.assert_array_equal(ours.observations[copy], theirs[0])
            assert (ours.rewards[copy], ours.terminations[copy]) == (theirs[1], theirs[2])
            assert ours.truncations[copy] == theirs[3]
        finished = ours.terminations | ours.truncations
        observations = batch.reset(finished)
        for copy in np.flatnonzero(finished):
            np.testing.assert_array_equal(observations[copy], peers[copy].reset()[0])


def test_an_environment_that_is_none_of_gymnasiums_mujoco_is_one_sentence(others: None) -> None:
    for family, said in (
        ("CartPole", "no MuJoCo environment of vectors"),
        ("Nothing", "none of Gymnasium's"),
    ):
        reference_scores.register(family, 0.0, 1.0)
        with pytest.raises(UserError, match=rf"{family}-v1' is {said}"):
            specification(f"{family}-v1")
    with pytest.raises(UserError, match=r"expert is 0\.0: expected more than random"):
        reference_scores.register("Ant", 1.0, 0.0)
    with pytest.raises(UserError, match=r"Hopper has the reference scores .* expected no others"):
        reference_scores.register("Hopper", 0.0, 1.0)


def test_the_total_mass_is_set_as_the_compiler_would_have() -> None:
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    ours, compiled = load_model(path), mujoco.MjModel.from_xml_path(str(path))
    assert ours.body_mass.sum() == pytest.approx(14.0)
    for field in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(compiled, field))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_copy_is_bit_identical_whatever_its_neighbours_and_threads(name: str) -> None:
    steps = 160
    alone = list(random_actions(name, 1, steps, seed=7))
    expected = walk(started(name, [42]), alone)
    for copies, place, threads in [(1, 0, 2), (5, 3, 1), (20, 17, 2), (20, 0, 5)]:
        seeds = [1000 + copy for copy in range(copies)]
        seeds[place] = 42
        crowd = list(random_actions(name, copies, steps, seed=copies))
        mixed = [others.astype(own.dtype) for others, own in zip(crowd, alone, strict=True)]
        for others, own in zip(mixed, alone, strict=True):
            others[place] = own[0]
        found = [rows[place] for rows in walk(started(name, seeds, threads), mixed)]
        np.testing.assert_array_equal(found, [rows[0] for rows in expected])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_restored_state_continues_bit_identically(name: str, tmp_path: Any) -> None:
    actions = list(random_actions(name, 3, 400, seed=1))
    batch = started(name, [0, 1, 2])
    walk(batch, actions[:200])
    np.savez(tmp_path / "state.npz", allow_pickle=False, **batch.state())
    expected = walk(batch, actions[200:])
    everything = batch.reset()
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        state = dict(file)
    # In another batch, with another past, and again in the same one.
    other = started(name, [8, 9, 10], threads=2)
    walk(other, actions[:33])
    for resumed in (other, batch):
        resumed.restore(state)
        np.testing.assert_array_equal(walk(resumed, actions[200:]), expected)
        np.testing.assert_array_equal(resumed.reset(), everything)


def test_a_state_is_a_copy_and_its_arrays_are_ours_to_keep() -> None:
    batch = started("Hopper-v4", [0, 1])
    state, observations = batch.state(), batch.reset(np.zeros(2, dtype=bool))
    kept = {key: value.copy() for key, value in state.items()}
    transition = batch.step(np.ones((2, 3)))
    transition.observations[:] = 7.0
    observations[:] = 7.0
    assert not (batch.reset(np.zeros(2, dtype=bool)) == 7.0).any()
    for key, value in state.items():
        np.testing.assert_array_equal(value, kept[key])


def test_a_partial_reset_leaves_the_other_copies_alone() -> None:
    actions = list(random_actions("HalfCheetah-v4", 3, 60, seed=4))
    batch, undisturbed = started("HalfCheetah-v4", [0, 1, 2]), started("HalfCheetah-v4", [0, 1, 2])
    for step, action in enumerate(actions):
        ours, theirs = batch.step(action), undisturbed.step(action)
        np.testing.assert_array_equal(ours.observations[[0, 2]], theirs.observations[[0, 2]])
        if step % 20 == 19:
            after = batch.reset(np.array([False, True, False]))
            np.testing.assert_array_equal(after[[0, 2]], ours.observations[[0, 2]])
            assert not np.array_equal(after[1], ours.observations[1])


def test_stepping_a_finished_copy_is_refused_until_its_reset() -> None:
    batch = started("InvertedDoublePendulum-v4", [0, 1])
    push = np.array([[1.0], [0.0]])
    while not (finished := batch.step(push).terminations).any():
        pass
    assert finished.tolist() == [True, False]
    before = batch.state()
    with pytest.raises(UserError, match=r"copy 0 .* expected a reset"):
        batch.step(push)
    for key, value in batch.state().items():
        np.testing.assert_array_equal(value, before[key])
    batch.reset(finished)
    batch.step(push)


def test_a_batch_that_never_began_is_refused() -> None:
    batch = EnvironmentBatch("Hopper-v4", [0, 1])
    with pytest.raises(UserError, match="expected a reset"):
        batch.step(np.zeros((2, 3)))
    observations = batch.reset(np.array([False, True]))
    assert np.isnan(observations[0]).all() and np.isfinite(observations[1]).all()
    with pytest.raises(UserError, match="copy 0"):
        batch.step(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        (np.zeros(3), r"shape \(3,\); expected \(2, 3\)"),
        (np.zeros((3, 3)), r"shape \(3, 3\); expected \(2, 3\)"),
        (np.zeros((2, 4)), r"shape \(2, 4\); expected \(2, 3\)"),
        (np.zeros((2, 3), dtype=int), "int64; expected floating"),
        (np.zeros((2, 3), dtype=object), "object; expected floating"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "copy 1 .* expected finite"),
        (np.array([[np.inf, 0, 0], [0, 0, 0]], dtype=np.float32), "copy 0 .* expected finite"),
    ],
)
def test_wrong_actions_are_refused_and_change_nothing(actions: Any, complaint: str) -> None:
    batch = started("Hopper-v4", [0, 1])
    before = batch.state()
    with pytest.raises(UserError, match=complaint):
        batch.step(actions)
    for key, value in batch.state().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("name", ["Ant-v4", "HalfCheetah", "HalfCheetah-v3", "halfcheetah-v4", ""])
def test_an_unknown_environment_is_refused_with_the_known_ones(name: str) -> None:
    for use in (specification, lambda unknown: EnvironmentBatch(unknown, [0])):
        with pytest.raises(UserError) as refusal:
            use(name)
        assert repr(name) in str(refusal.value)
        assert all(known in str(refusal.value) for known in ENVIRONMENTS)


@pytest.mark.parametrize("seeds", [[], [0, -1], [0.5]])
def test_wrong_seeds_are_refused(seeds: Any) -> None:
    with pytest.raises(UserError, match="non-negative integer"):
        EnvironmentBatch("Hopper-v4", seeds)


def test_no_threads_are_refused() -> None:
    with pytest.raises(UserError, match="threads"):
        EnvironmentBatch("Hopper-v4", [0], threads=0)


@pytest.mark.parametrize("mask", [np.array([True]), np.array([0, 1]), np.array([[True, False]])])
def test_a_wrong_reset_mask_is_refused(mask: Any) -> None:
    with pytest.raises(UserError, match=r"expected bool \(2,\)"):
        started("Hopper-v4", [0, 1]).reset(mask)


def test_a_state_of_another_batch_is_refused_and_changes_nothing() -> None:
    batch = started("Hopper-v4", [0, 1])
    good = batch.state()
    fewer, other = started("Hopper-v4", [0]).state(), started("Walker2d-v4", [0, 1]).state()
    missing = {key: value for key, value in good.items() if key != "elapsed"}
    narrower = {**good, "elapsed": good["elapsed"].astype(np.int32)}
    for wrong in (fewer, other, missing, narrower):
        with pytest.raises(UserError, match="expected"):
            batch.restore(wrong)
    for key, value in batch.state().items():
        np.testing.assert_array_equal(value, good[key])
