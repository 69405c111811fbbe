"""The importance-weighted bound: closed form on a linear Gaussian, tighter with more draws, low far away."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from algorithms.diagnostics import likelihood
from algorithms.diagnostics.likelihood import (
    VAE,
    LikelihoodConfig,
    compare,
    gather,
    log_likelihood,
    train_vae,
)
from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.population.streams import Streams
from offline_data import recipes
from offline_data.transitions import Transitions
from paper_figures import figure_01a
from storage import UserError
from tests.made_up import made_up_transitions
from workflow.jobs import Job
from workflow.steps import likelihood as step

PENDULUM = "InvertedDoublePendulum-v4"
SMALL = LikelihoodConfig(
    hidden_widths=(16,), latent_size=2, updates=30, evaluated_pairs=50, importance_samples=3
)
LOADING = torch.tensor([[1.5, -0.5, 0.0], [0.3, 0.8, -1.0]])  # [latents, D]
OFFSET = torch.tensor([0.5, -1.0, 2.0])


def linear_vae(posterior_std: float) -> VAE:
    """x = z LOADING + OFFSET + unit noise; q(z|x) has the exact mean and a deviation of one's choosing."""
    vae = VAE(3, LikelihoodConfig(hidden_widths=(), latent_size=2))
    (encoder,), (decoder,) = vae.encoder.affine_maps(), vae.decoder.affine_maps()
    regression = LOADING.T @ torch.linalg.inv(LOADING @ LOADING.T + torch.eye(2))  # E[z|x] = (x - b) R
    with torch.no_grad():
        decoder.weight[0], decoder.bias[0, 0] = LOADING, OFFSET
        encoder.weight.zero_()
        encoder.weight[0, :, :2] = regression
        encoder.bias[0, 0] = torch.cat([-OFFSET @ regression, torch.full((2,), math.log(posterior_std))])
    return vae


def exact_log_density(pairs: Tensor) -> np.ndarray[Any, Any]:
    """log N(x; OFFSET, LOADING^T LOADING + I), a row at a time in float64."""
    loading, offset = LOADING.double().numpy(), OFFSET.double().numpy()
    covariance = loading.T @ loading + np.eye(3)
    found = []
    for row in pairs.double().numpy():
        distance = (row - offset) @ np.linalg.inv(covariance) @ (row - offset)
        found.append(-0.5 * (distance + math.log(np.linalg.det(covariance)) + 3 * math.log(2 * math.pi)))
    return np.array(found)


def some_pairs(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 1.5 * torch.randn(count, 3, generator=generator) + OFFSET


class TestBound:
    @pytest.mark.parametrize("posterior_std", [0.7, 1.0])
    def test_it_approaches_the_closed_form_of_a_linear_gaussian(self, posterior_std: float) -> None:
        pairs = some_pairs(20)
        found = log_likelihood(linear_vae(posterior_std), pairs, Streams([0]), importance_samples=20_000)
        np.testing.assert_allclose(found.numpy(), exact_log_density(pairs), atol=0.05)

    def test_it_is_exact_where_the_posterior_is(self) -> None:
        """With orthogonal loadings of one length q(z|x) is the posterior: every weight is p(x) itself."""
        vae = VAE(3, LikelihoodConfig(hidden_widths=(), latent_size=2))
        (encoder,), (decoder,) = vae.encoder.affine_maps(), vae.decoder.affine_maps()
        with torch.no_grad():
            for tensor in (encoder.weight, encoder.bias, decoder.weight, decoder.bias):
                tensor.zero_()
            for k in range(2):  # x_k = 2 z_k + noise: z_k | x ~ N(2 x_k / 5, 1 / 5)
                decoder.weight[0, k, k] = 2.0
                encoder.weight[0, k, k] = 0.4
            encoder.bias[0, 0, 2:] = -0.5 * math.log(5.0)
        pairs = some_pairs(10)
        variances = torch.tensor([5.0, 5.0, 1.0])
        exact = torch.distributions.Normal(0.0, variances.sqrt()).log_prob(pairs).sum(dim=1)
        for samples in (1, 7):
            found = log_likelihood(vae, pairs, Streams([0]), samples)
            torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)

    def test_more_draws_do_not_lower_it_on_average_and_stay_below_the_density(self) -> None:
        pairs = some_pairs(2_000)
        vae = linear_vae(posterior_std=0.25)
        means = [float(log_likelihood(vae, pairs, Streams([0]), k).mean()) for k in (1, 4, 16, 64)]
        assert all(more > less for less, more in pairwise(means))
        assert means[-1] < exact_log_density(pairs).mean() + 0.02

    def test_blocks_do_not_change_what_is_estimated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every pair has draws of its own, however many are decoded at a time."""
        pairs, vae = some_pairs(11), linear_vae(posterior_std=0.7)
        monkeypatch.setattr(likelihood, "BLOCK_ROWS", 6_000)  # two pairs at a time, one in the last block
        found = log_likelihood(vae, pairs, Streams([0]), importance_samples=3_000)
        assert found.shape == (11,)
        np.testing.assert_allclose(found.numpy(), exact_log_density(pairs), atol=0.1)

    def test_a_fresh_vae_has_the_prior_for_its_posterior_and_decodes_to_the_origin(self) -> None:
        """Every weight is N(x; 0, 1), whatever the draw."""
        vae, pairs = VAE(3, LikelihoodConfig(hidden_widths=(16,), latent_size=2)), some_pairs(10)
        vae.initialise(Streams([0]))
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(pairs).sum(dim=1)
        with torch.no_grad():
            found = vae.log_weights(pairs, 5, Streams([1]))
        torch.testing.assert_close(found, expected.unsqueeze(1).expand(-1, 5), rtol=0, atol=0.2)

    def test_a_posteriors_log_deviation_is_held_between_minus_20_and_2(self) -> None:
        for beyond, limit in ((30.0, 2.0), (-50.0, -20.0)):
            found, expected = (
                log_likelihood(linear_vae(math.exp(log_std)), some_pairs(5), Streams([0]), 4)
                for log_std in (beyond, limit)
            )
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class TestTraining:
    CONFIG = LikelihoodConfig(
        hidden_widths=(32,), latent_size=2, learning_rate=5e-3, updates=400, batch_size=128
    )

    def test_a_trained_vae_tells_far_samples_from_near_ones(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(count: int) -> Tensor:
            latents = torch.randn(count, 1, generator=generator) * torch.tensor([[3.0, -2.0, 1.0, 0.0]])
            return latents + torch.randn(count, 4, generator=generator)

        vae = train_vae(draw(4_000), Streams([0]), self.CONFIG)
        near = log_likelihood(vae, draw(500), Streams([1]), 50)
        # as far from the origin as typical data, but across the direction in which they vary
        across = draw(500) @ torch.tensor([[0, 0, 0, 1.0], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
        far = log_likelihood(vae, across, Streams([2]), 50)
        covariance = torch.tensor([[3.0, -2.0, 1.0, 0.0]])
        exact = torch.distributions.MultivariateNormal(
            torch.zeros(4), covariance.T @ covariance + torch.eye(4)
        )
        assert float(near.mean()) == pytest.approx(-float(exact.entropy()), abs=0.5)
        assert float(far.mean()) < float(near.mean()) - 3.0

    def test_it_is_the_same_again_from_the_same_seed_and_leaves_the_global_generator(self) -> None:
        pairs, config = some_pairs(100), dataclasses.replace(self.CONFIG, updates=3)
        state = torch.get_rng_state()
        first, again, other = (train_vae(pairs, Streams([seed]), config).state_dict() for seed in (4, 4, 5))
        assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
        assert not all(torch.equal(other[name], tensor) for name, tensor in first.items())
        assert torch.equal(torch.get_rng_state(), state)

    def test_an_update_is_adams_on_a_batch_of_rows_drawn_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Adam's first step moves a parameter by the rate, or not where it has no gradient."""
        batches: list[Tensor] = []
        log_weights = VAE.log_weights

        def watched(vae: VAE, pairs: Tensor, samples: int, streams: Streams) -> Tensor:
            batches.append(pairs)
            return log_weights(vae, pairs, samples, streams)

        monkeypatch.setattr(VAE, "log_weights", watched)
        pairs, config = some_pairs(60), dataclasses.replace(self.CONFIG, updates=1, batch_size=20)
        fresh = VAE(3, config)
        fresh.initialise(Streams([4]))
        vae = train_vae(pairs, Streams([4]), config)
        moved = [
            (parameter - before).detach().abs()
            for parameter, before in zip(vae.parameters(), fresh.parameters(), strict=True)
        ]
        assert max(float(step.max()) for step in moved) == pytest.approx(config.learning_rate, rel=0.01)
        train_vae(pairs, Streams([4]), dataclasses.replace(config, updates=2))
        rows = {tuple(row) for row in pairs.tolist()}
        first, again, second = ({tuple(row) for row in batch.tolist()} for batch in batches)
        assert [len(batch) for batch in batches] == [20, 20, 20]
        assert first == again != second and first | second < rows

    def test_diverging_is_reported(self) -> None:
        with pytest.raises(UserError, match="non-finite at update 0"):
            train_vae(torch.full((10, 3), 1e30), Streams([0]), SMALL)


class TestComparison:
    def test_held_out_pairs_are_none_that_trained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trained: list[Tensor] = []

        def spy(pairs: Tensor, streams: Streams, config: LikelihoodConfig) -> VAE:
            trained.append(pairs)
            return train_vae(pairs, streams, config)

        evaluated: list[Tensor] = []

        def watch(vae: VAE, pairs: Tensor, streams: Streams, samples: int) -> Tensor:
            evaluated.append(pairs)
            return log_likelihood(vae, pairs, streams, samples)

        monkeypatch.setattr(likelihood, "train_vae", spy)
        monkeypatch.setattr(likelihood, "log_likelihood", watch)
        offline, online = made_up_transitions([60, 40]), made_up_transitions([20])
        found = compare(offline, online, 0, SMALL)
        rows = {tuple(row) for row in trained[0].tolist()}
        held_out = {tuple(row) for row in evaluated[0].tolist()}
        assert len(rows) == 90 and len(held_out) == 10 and not rows & held_out
        expected = np.concatenate([offline.observations, offline.actions], axis=1)
        assert rows | held_out == {tuple(row) for row in expected.tolist()}
        assert found["offline"].shape == (10,) and found["online"].shape == (20,)
        first = {tuple(row) for row in expected[:10].tolist()}
        assert held_out != first  # but drawn from all over the data
        few = compare(offline, online, 0, dataclasses.replace(SMALL, evaluated_pairs=4, updates=1))
        assert few["offline"].shape == (4,)
        again = compare(offline, online, 0, SMALL)
        assert all(np.array_equal(again[name], values) for name, values in found.items())

    def test_too_few_pairs_are_refused(self) -> None:
        with pytest.raises(UserError, match="splits 3 pairs into nothing"):
            compare(made_up_transitions([3]), made_up_transitions([3]), 0, SMALL)


def pendulum_agent(bias: float = 0.0, log_std: float = 0.0) -> dict[str, Tensor]:
    """An agent whose policy is one Gaussian everywhere."""
    agents = ActorCritics([0], 11, 1, SACConfig(hidden_widths=(8, 8)))
    agents.initialise()
    with torch.no_grad():
        for layer in agents.policy.net.affine_maps():
            layer.weight.zero_()
        agents.policy.net.affine_maps()[-1].bias[0, 0] = torch.tensor([bias, log_std])
    return one_agent(agents, 0)


class TestGathering:
    def test_the_agent_explores_with_sampled_actions(self) -> None:
        online = gather(pendulum_agent(bias=0.4, log_std=math.log(0.1)), PENDULUM, pairs=2_000, seed=0)
        before_tanh = np.arctanh(online.actions.astype(np.float64))
        assert len(online) == 2_000
        assert before_tanh.mean() == pytest.approx(0.4, abs=0.01)
        assert before_tanh.std() == pytest.approx(0.1, abs=0.01)

    def test_a_seed_gathers_the_same_again(self) -> None:
        def rows(seed: int) -> Transitions:
            return gather(pendulum_agent(), PENDULUM, pairs=30, seed=seed)

        np.testing.assert_array_equal(rows(1).observations, rows(1).observations)
        assert not np.array_equal(rows(1).observations[:5], rows(2).observations[:5])

    def test_an_agent_of_another_environment_is_refused(self) -> None:
        with pytest.raises(UserError, match="another size"):
            gather(pendulum_agent(), "HalfCheetah-v4", pairs=30, seed=0)


def test_the_step_leaves_what_the_figure_reads(tmp_path: Path) -> None:
    recipes.store(
        tmp_path,
        "invertedpendulum/random-local-v0",
        recipes.random(PENDULUM, 200, seed=0, copies=4, threads=1),
    )
    checkpoints.save(tmp_path / "agent_0.safetensors", pendulum_agent(), {})
    output = tmp_path / "likelihood.parquet"
    job = Job(
        "likelihood",
        ["pendulum-random"],
        "workflow.steps.likelihood",
        {
            "environment": PENDULUM,
            "seed": 3,
            "config": {**dataclasses.asdict(SMALL), "hidden_widths": [16]},
            "fingerprint": "0123456789ab",
        },
        str(tmp_path),
        {
            "data": [str(tmp_path / "invertedpendulum" / "random-local-v0")],
            "agents": [str(tmp_path / "agent_0.safetensors")],
        },
        {"table": str(output)},
        {"dataset": "pendulum-random"},
    )
    step.main(job)
    frame = figure_01a.read_likelihoods([output])
    assert frame.groupby("source").size().to_dict() == {"offline": 20, "online": 50}
    assert set(frame["dataset"]) == {"pendulum-random"}
    assert b'"seeds": [3]' in pq.ParquetFile(output).schema_arrow.metadata[b"provenance"]
    first = output.read_bytes()
    step.main(job)
    assert output.read_bytes() == first
    pd.testing.assert_frame_equal(figure_01a.read_likelihoods([output]), frame)
