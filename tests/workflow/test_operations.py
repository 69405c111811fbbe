"""Operations counted by hand are those that PyTorch counts while an update runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from algorithms.methods import awac, bcq, cql, fqe, off2on, sac, warm_start
from algorithms.population.agents import ActorCritics
from algorithms.replay.batch import Batch
from benchmarks.workers import gflop
from workflow import operations

STATE, ACTION, ROWS, WIDTHS = 7, 3, 24, (40, 32)


def batch() -> Batch:
    """One run's; what is in it does not matter."""
    return Batch(
        torch.randn(1, ROWS, STATE),
        torch.rand(1, ROWS, ACTION),
        torch.randn(1, ROWS),
        torch.ones(1, ROWS),
        torch.randn(1, ROWS, STATE),
    )


def agents(config: Any) -> ActorCritics:
    result = ActorCritics([0], STATE, ACTION, config)
    result.initialise()
    return result


def count_of_cql(**settings: Any) -> tuple[float, int]:
    config = cql.CQLConfig(hidden_widths=WIDTHS, batch_size=ROWS, **settings)
    learner = agents(config)
    counted = gflop(lambda: cql.update(learner, batch(), config, 10**9))
    return counted, operations.cql(STATE, ACTION, config)


def count_of_sac() -> tuple[float, int]:
    config = sac.SACConfig(hidden_widths=WIDTHS, batch_size=ROWS)
    learner = agents(config)
    counted = gflop(lambda: sac.update(learner, batch(), config))
    return counted, operations.actor_critic(STATE, ACTION, config)


def count_of_fqe() -> tuple[float, int]:
    config = fqe.FQEConfig(hidden_widths=WIDTHS, batch_size=ROWS)
    learner = agents(config)
    return gflop(lambda: fqe.update(learner, batch(), config)), operations.fqe(STATE, ACTION, config)


def count_of_off2on() -> tuple[float, int]:
    config = off2on.Off2OnConfig(
        hidden_widths=WIDTHS, density_hidden_widths=WIDTHS, batch_size=ROWS, density_batch_size=ROWS
    )
    learner = off2on.Off2OnAgents([0], STATE, ACTION, config)
    learner.initialise()
    learner.density.initialise(learner.streams)
    counted = gflop(lambda: off2on.update(learner, batch(), batch(), batch(), config))
    return counted, operations.off2on(STATE, ACTION, config)


def count_of_awac() -> tuple[float, int]:
    config = awac.AWACConfig(hidden_widths=WIDTHS, policy_hidden_widths=(32, 40, 32), batch_size=ROWS)
    learner = awac.AWACAgents([0], STATE, ACTION, config, config.ensemble_size)
    learner.initialise()
    counted = gflop(lambda: awac.update(learner, batch(), config))
    return counted, operations.ONLINE["awac"](STATE, ACTION, config)


def count_of_bcq() -> tuple[float, int]:
    config = bcq.BCQConfig(hidden_widths=WIDTHS, generator_hidden_widths=(48, 40), batch_size=ROWS)
    learner = bcq.BCQAgents([0], STATE, ACTION, config, config.ensemble_size)
    learner.initialise()
    counted = gflop(lambda: bcq.update(learner, batch(), config))
    return counted, operations.ONLINE["bcq_ft"](STATE, ACTION, config)


def count_of_acting_with_bcq() -> tuple[float, int]:
    config = bcq.BCQConfig(hidden_widths=WIDTHS, generator_hidden_widths=(48, 40))
    learner = bcq.BCQAgents([0], STATE, ACTION, config, config.ensemble_size)
    learner.initialise()
    counted = gflop(lambda: learner.exploit(torch.randn(1, 1, STATE)))
    return counted, operations.acting("bcq_ft", STATE, ACTION, config, config.ensemble_size)


def count_of_cloning() -> tuple[float, int]:
    config = cql.CQLConfig(hidden_widths=WIDTHS, batch_size=ROWS)
    learner = agents(config)
    counted = gflop(lambda: warm_start.clone(learner, batch()))
    return counted, operations.warm_start(STATE, ACTION, config)[0]


def count_of_fitting_returns() -> tuple[float, int]:
    config = cql.CQLConfig(hidden_widths=WIDTHS, batch_size=ROWS)
    learner = agents(config)
    counted = gflop(lambda: warm_start.fit_returns(learner, batch(), torch.randn(1, ROWS)))
    return counted, operations.warm_start(STATE, ACTION, config)[1]


@pytest.mark.parametrize(
    "counts",
    [
        count_of_cql,
        lambda: count_of_cql(penalty_gradient_actions=4),
        count_of_sac,
        count_of_fqe,
        count_of_off2on,
        count_of_awac,
        count_of_bcq,
        count_of_acting_with_bcq,
        count_of_cloning,
        count_of_fitting_returns,
    ],
    ids=range(10),
)
def test_operations_are_those_that_pytorch_counts(counts: Any) -> None:
    torch.manual_seed(0)
    counted, by_hand = counts()
    # PyTorch does not count the scalar products of last layers with one output.
    assert by_hand == pytest.approx(1e9 * counted, rel=0.04)


def test_an_agent_learns_so_many_numbers() -> None:
    config = bcq.BCQConfig(hidden_widths=WIDTHS, generator_hidden_widths=(48, 40))
    learner = bcq.BCQAgents([0], STATE, ACTION, config)
    learned = [learner.vae, learner.perturbation, learner.q]
    expected = sum(parameter.numel() for network in learned for parameter in network.parameters())
    assert operations.parameters("bcq", STATE, ACTION, config) == expected
    plain = agents(sac.SACConfig(hidden_widths=WIDTHS))
    expected = sum(p.numel() for network in (plain.policy, plain.q) for p in network.parameters())
    assert operations.parameters("sac", STATE, ACTION, sac.SACConfig(hidden_widths=WIDTHS)) == expected
