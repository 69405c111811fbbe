"""Operations of a method are counted while it runs, for whatever method it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from algorithms.methods import cql, dmpo, sac
from algorithms.methods.awac import AWAC, AWACConfig
from algorithms.methods.interface import Metrics
from algorithms.population.encoding import EncoderConfig
from algorithms.replay.batch import Batch
from algorithms.training import counting
from envs.locomotion import specification
from workflow import operations
from workflow.chains import Link, Place

PLACE = Place("HalfCheetah-v4")
SPEC = specification(PLACE.environment)
ROWS, WIDTHS = 24, (40, 32)
POLICY = (SPEC.observation_size, *WIDTHS, 2 * SPEC.action_size)
Q = (SPEC.observation_size + SPEC.action_size, *WIDTHS, 1)
SETTINGS: dict[str, Any] = {"hidden_widths": WIDTHS, "batch_size": ROWS}


def forward(sizes: Sequence[int], rows: int = ROWS) -> int:
    return sum(2 * rows * inputs * outputs for inputs, outputs in pairwise(sizes))


def learning(sizes: Sequence[int]) -> int:
    """Forwards, and backwards to the weights."""
    return 3 * forward(sizes) - forward(sizes[:2])


def of_sac(method: type[sac.SAC] = sac.SAC) -> operations.Operations:
    return operations.of_run(PLACE, 0, (), (method, sac.SACConfig(**SETTINGS)))


def test_products_of_every_kind_count() -> None:
    left, right, total = torch.rand(2, 3, 4), torch.rand(2, 4, 5), torch.rand(2, 3, 5)
    for product in (lambda: left @ right, lambda: total.baddbmm_(left, right)):
        assert counting.operations(product) == 2 * 2 * 3 * 4 * 5


def test_sac_does_what_its_losses_say() -> None:
    target = forward(POLICY) + 2 * forward(Q)
    to_action = forward(Q) - forward(Q[:2]) + forward((SPEC.action_size, Q[1]))
    climbing = 2 * (forward(Q) + to_action)  # forwards, and backwards to the action alone
    expected = target + 2 * learning(Q) + learning(POLICY) + climbing
    found = of_sac()
    # PyTorch does not count the scalar products of last layers with one output.
    assert found.update == pytest.approx(expected, rel=0.04)
    assert found.action == pytest.approx(forward(POLICY, 1), rel=0.04)
    learned = [sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes)) for sizes in (POLICY, Q, Q)]
    assert found.numbers == sum(learned) + 1  # and the entropy coefficient


def test_a_users_own_method_counts_as_itself() -> None:
    class Twice(sac.SAC):
        def update(self, batch: Batch, step: int) -> Metrics:
            super().update(batch, step)
            return super().update(batch, step)

    assert of_sac(Twice).update == 2 * of_sac().update


def test_members_of_an_ensemble_do_as_much_each() -> None:
    one, three = (AWACConfig(**SETTINGS, policy_hidden_widths=WIDTHS, ensemble_size=size) for size in (1, 3))
    before: tuple[Link, ...] = ((AWAC, one),)
    single, ensemble = (
        operations.of_run(PLACE, config.ensemble_size, before, (AWAC, config)) for config in (one, three)
    )
    assert ensemble[:3] == tuple(3 * each for each in single[:3])
    assert ensemble.kernels.launches < 1.1 * single.kernels.launches  # side by side


def test_a_warm_start_counts_what_it_teaches() -> None:
    method = (cql.CQL, cql.CQLConfig(**SETTINGS))
    cloning, fitting = operations.of_warm_start(PLACE, (), method)
    assert cloning == pytest.approx(learning(POLICY), rel=0.04)
    assert fitting == pytest.approx(2 * learning(Q), rel=0.04)
    assert operations.of_agent(PLACE, (), method).update > of_sac().update


def test_kernels_are_counted_without_views_and_with_what_they_read_and_write() -> None:
    numbers, generator = torch.rand(10, 10), torch.Generator()
    found = counting.kernels(lambda: numbers.t().reshape(2, 50) + torch.rand(50, generator=generator))
    # The transposed is copied, 50 numbers are drawn, and the sum reads both.
    assert found == counting.Kernels(launches=3, draws=1, traffic=4 * (200 + 50 + 250), written=4 * 250)


def test_kernels_are_of_an_update_that_others_went_before() -> None:
    """The first makes the optimiser's moments too."""
    run = operations.begin_online(PLACE, 0, (), (sac.SAC, sac.SACConfig(**SETTINGS)))
    first, second, third = (counting.kernels(run.learn) for _ in range(3))
    assert first.launches > second.launches
    assert of_sac().kernels == second == third


def test_images_are_encoded_once_an_update_and_once_an_action() -> None:
    """Of the small encoder, by its convolutions: outputs times 9 inputs each."""
    layers = (24 * 24 * 16 * 3, 12 * 12 * 32 * 16, 6 * 6 * 32 * 32)
    encoding = 2 * 9 * sum(layers)
    drawer = Place("GraspClosedDrawer-v0", "position")
    updates = []
    for padding in (0, 4):
        config = cql.CQLConfig(
            **SETTINGS, encoder=EncoderConfig("shared", padding=padding), sampled_actions=1
        )
        found = operations.of_agent(drawer, (), (cql.CQL, config))
        assert found.action == pytest.approx(encoding + forward((6 * 6 * 32, *WIDTHS, 8), 1), rel=0.01)
        updates.append(found.update)
    assert updates[0] == updates[1]
    # Both frames forwards, and one backwards, to the weights and to what the later layers read.
    first = 2 * 9 * layers[0]
    assert updates[0] > ROWS * (4 * encoding - first)
    assert updates[0] < 1.5 * ROWS * (4 * encoding - first)


def test_an_actor_that_learns_at_every_nth_update_counts_by_the_nth() -> None:
    def of_dmpo(delay: int) -> int:
        return operations.of_agent(
            PLACE, (), (dmpo.DMPO, dmpo.DMPOConfig(**SETTINGS, policy_delay=delay))
        ).update

    always, every_second, every_third = map(of_dmpo, (1, 2, 3))
    assert always > every_second > every_third
    assert always - every_second == pytest.approx(3 * (every_second - every_third), rel=1e-3)
